/**
 * One request and its answer.
 *
 * By node:http and not by `fetch`, which follows redirections with the signature of another host, adds headers of its
 * own, does not know proxies, and says "fetch failed" whatever has happened.
 */

import http from 'node:http';
import https from 'node:https';
import { BlockList, isIP } from 'node:net';

import { Failure, reason } from '../failure.js';

/** @typedef {{status: number, headers: import('node:http').IncomingHttpHeaders, body: string}} Answer */

/** How many bytes an answer may have: the longest, a set of 32 ports with all labels, has less than a tenth. */
const LONGEST = 1 << 20;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/**
 * Whether a URL's host is this machine.
 * @param {URL} url
 * @returns {boolean}
 */
export function isLoopback(url) {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const version = isIP(host);
    return version
        ? loopback.check(host, version === 6 ? 'ipv6' : 'ipv4')
        : host === 'localhost' || host.endsWith('.localhost');
}

/**
 * @param {NodeJS.ErrnoException} error
 * @param {URL} url
 * @returns {Failure}
 */
function unreachable(error, url) {
    const code = error.code ?? '';
    const where = url.origin;
    if (code === 'ENOTFOUND') {
        return new Failure('unreachable', `${where}: this host has no address; check the URL`, { passes: true });
    }
    if (/^(CERT_|ERR_TLS_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|ERR_SSL_|EPROTO)/.test(code)) {
        // A certificate that is not trusted will not be trusted in a second.
        const hint = 'an authority of your own goes into NODE_EXTRA_CA_CERTS, in the environment of the runner';
        return new Failure('unreachable', `${where} is not trusted: ${reason(error)}; ${hint}`);
    }
    return new Failure('unreachable', `${where} cannot be reached: ${reason(error)}`, { passes: true });
}

/**
 * Sends a request once.
 * @param {object} request
 * @param {string} request.method
 * @param {URL} request.url
 * @param {Record<string, string>} request.headers
 * @param {string} request.body empty if there is none
 * @param {number} request.timeout in milliseconds, for all of it
 * @param {AbortSignal} [request.signal] gives it up
 * @returns {Promise<Answer>} whatever its status
 * @throws {Failure} if there is no answer, or an endless one
 */
export function exchange({ method, url, headers, body, timeout, signal }) {
    const kind = url.protocol === 'https:' ? https : http;
    // A proxy would look for this machine's own addresses on its own.
    const agent = new kind.Agent(isLoopback(url) ? {} : { proxyEnv: process.env });
    const late = AbortSignal.timeout(Math.max(1, Math.ceil(timeout)));
    const given = body ? { ...headers, 'content-length': String(Buffer.byteLength(body)) } : headers;
    const options = { method, agent, headers: given, signal: signal ? AbortSignal.any([late, signal]) : late };
    return new Promise((resolve, reject) => {
        /** @param {Error} error */
        const fail = (error) => {
            reject(unreachable(options.signal.aborted ? new Error('no answer in time') : error, url));
        };
        const request = kind.request(url, options, (answer) => {
            /** @type {Buffer[]} */
            const parts = [];
            let length = 0;
            answer.on('data', (/** @type {Buffer} */ part) => {
                parts.push(part);
                length += part.length;
                if (length > LONGEST) {
                    answer.destroy(new Error(`an answer of more than ${LONGEST} bytes`));
                }
            });
            answer.on('end', () => {
                const text = Buffer.concat(parts).toString('utf8');
                resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text });
            });
            answer.on('error', fail);
        });
        request.on('error', fail);
        request.end(body || undefined);
    });
}
