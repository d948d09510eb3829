/**
 * Signs requests to AWS (Signature Version 4), here: to API Gateway.
 *
 * Names and queries are already encoded when they come here, so the canonical forms only have to order them.
 */

import { createHash, createHmac } from 'node:crypto';

/** @typedef {{accessKeyId: string, secretAccessKey: string, sessionToken?: string}} Keys */

/** @type {(text: string) => string} */
const digest = (text) => createHash('sha256').update(text).digest('hex');
/** @type {(key: import('node:crypto').BinaryLike, text: string) => Buffer} */
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();

/**
 * Encodes all but RFC 3986's unreserved characters, the only encoding on which a signer and a server cannot differ.
 * @param {string} text
 * @returns {string}
 */
export function encode(text) {
    return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

/**
 * @param {string} path as it is sent
 * @returns {string} encoded once more, as for every service but S3, and without empty segments
 */
const canonicalPath = (path) =>
    path
        .replace(/\/{2,}/g, '/')
        .split('/')
        .map(encode)
        .join('/');

/**
 * @param {string} query as it is sent, without its question mark
 * @returns {string} in the order of its names, and then of its values
 */
function canonicalQuery(query) {
    const order = (/** @type {string} */ a, /** @type {string} */ b) => (a < b ? -1 : Number(a > b));
    const pairs = query
        .split('&')
        .filter(Boolean)
        .map((pair) => {
            const [name] = pair.split('=', 1);
            return [name, pair.slice(name.length + 1)];
        });
    return pairs
        .sort((a, b) => order(a[0], b[0]) || order(a[1], b[1]))
        .map((pair) => pair.join('='))
        .join('&');
}

/**
 * Signs a request.
 * @param {object} request
 * @param {string} request.method
 * @param {URL} request.url
 * @param {Record<string, string>} request.headers in lower case; all of them are signed
 * @param {string} request.body
 * @param {Keys} keys
 * @param {string} region
 * @param {Date} time
 * @returns {Record<string, string>} the headers to send, but for `host`, which the connection adds
 */
export function sign({ method, url, headers, body }, keys, region, time) {
    const date = time.toISOString().replace(/[-:]|\.\d{3}/g, '');
    const scope = `${date.slice(0, 8)}/${region}/execute-api/aws4_request`;
    /** @type {Record<string, string>} */
    const signed = { ...headers, host: url.host, 'x-amz-date': date, 'x-amz-content-sha256': digest(body) };
    if (keys.sessionToken) {
        signed['x-amz-security-token'] = keys.sessionToken;
    }
    const names = Object.keys(signed).sort();
    const canonical = [
        method,
        canonicalPath(url.pathname),
        canonicalQuery(url.search.slice(1)),
        ...names.map((name) => `${name}:${signed[name].trim().replace(/ +/g, ' ')}`),
        '',
        names.join(';'),
        signed['x-amz-content-sha256'],
    ].join('\n');
    /** @type {Buffer} */
    let key = Buffer.from(`AWS4${keys.secretAccessKey}`);
    for (const part of scope.split('/')) {
        key = hmac(key, part);
    }
    const signature = hmac(key, ['AWS4-HMAC-SHA256', date, scope, digest(canonical)].join('\n')).toString('hex');
    const credential = `Credential=${keys.accessKeyId}/${scope}`;
    const { host: _, ...sent } = signed;
    const authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
    return { ...sent, authorization };
}
