/** Roles, which AWS's Security Token Service lends to whoever has the right identity token. */

import { Failure } from '../failure.js';
import { exchange, isLoopback } from '../registry/exchange.js';

/**
 * @typedef {import('../registry/sign.js').Keys & {expiresAt: number}} Lent the keys, and when they end, in
 *   milliseconds since 1970
 */

/**
 * Where the service is. The one of the registry's region, so that no other region has to be up.
 * @param {string} region
 * @param {string | undefined} given AWS_ENDPOINT_URL_STS, as every AWS tool reads it
 * @returns {URL}
 */
export function endpoint(region, given) {
    const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    const url = new URL(given || `https://sts.${region}.${domain}`);
    if (url.protocol !== 'https:' && !isLoopback(url)) {
        throw new Failure('credentials', 'AWS_ENDPOINT_URL_STS is not a URL of https');
    }
    return url;
}

/**
 * Makes a session's name of a text: `[\w+=,.@-]{2,64}` (AWS, AssumeRoleWithWebIdentity). Where it is too long, its
 * end is kept, which tells one run from another.
 * @param {string} text
 * @returns {string}
 */
export function sessionName(text) {
    const name = text
        .replace(/[^\w+=,.@-]/g, '-')
        .slice(-64)
        .replace(/^-+|-+$/g, '');
    return name.length < 2 ? `portmaster-${name}`.replace(/-$/, '') : name;
}

/**
 * @param {string} xml
 * @param {string} element one that has a text, and occurs once
 * @returns {string} empty if it is not there
 */
function text(xml, element) {
    const found = new RegExp(`<${element}>([^<]*)</${element}>`).exec(xml)?.[1] ?? '';
    /** @type {Record<string, string>} */
    const named = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
    return found.replace(/&(lt|gt|quot|apos|amp);/g, (_, name) => named[name]).trim();
}

/**
 * Assumes a role. The call is not signed: the token says who calls.
 * @param {object} wanted
 * @param {string} wanted.role its ARN
 * @param {string} wanted.session its session's name, for AWS's own logs
 * @param {string} wanted.token
 * @param {URL} url
 * @param {number} timeout in milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<Lent>}
 * @throws {Failure} which does not have the token in it
 */
export async function assume({ role, session, token }, url, timeout, signal) {
    const body = new URLSearchParams({
        Action: 'AssumeRoleWithWebIdentity',
        Version: '2011-06-15',
        RoleArn: role,
        RoleSessionName: session,
        WebIdentityToken: token,
    }).toString();
    const headers = { accept: 'application/xml', 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await exchange({ method: 'POST', url, headers, body, timeout, signal });
    if (answer.status !== 200) {
        const [code, message] = [text(answer.body, 'Code'), text(answer.body, 'Message')];
        const said = (code ? `${code}: ${message}` : `status ${answer.status}`).replaceAll(token, '(the token)');
        const hint = code === 'AccessDenied' ? "; compare the role's trust policy with the repository's subject" : '';
        const passes = answer.status >= 500 || answer.status === 429 || /Throttl|IDPCommunicationError/.test(code);
        const failure = `AWS does not let the job's identity token assume ${role}: ${said}${hint}`;
        throw new Failure('credentials', failure, { passes });
    }
    const lent = {
        accessKeyId: text(answer.body, 'AccessKeyId'),
        secretAccessKey: text(answer.body, 'SecretAccessKey'),
        sessionToken: text(answer.body, 'SessionToken'),
        expiresAt: Date.parse(text(answer.body, 'Expiration')),
    };
    if (!lent.accessKeyId || !lent.secretAccessKey || !lent.sessionToken || Number.isNaN(lent.expiresAt)) {
        throw new Failure('credentials', `AWS gave no keys for ${role}`);
    }
    return lent;
}
