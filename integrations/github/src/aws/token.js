/** The job's identity token (OIDC), which GitHub issues on request. */

import { Failure, reason } from '../failure.js';
import { exchange, isLoopback } from '../registry/exchange.js';

/** For whom a token is meant: AWS checks it. */
const AUDIENCE = 'sts.amazonaws.com';

/** @typedef {import('../runner/inputs.js').Environment} Environment */

/**
 * Whether the job may ask for a token.
 * @param {Environment} environment
 * @returns {boolean}
 */
export const hasToken = (environment) =>
    Boolean(environment.ACTIONS_ID_TOKEN_REQUEST_URL && environment.ACTIONS_ID_TOKEN_REQUEST_TOKEN);

/**
 * Asks GitHub for a token. It lives for five minutes, so it is asked for whenever one is needed, and not kept.
 * @param {Environment} environment
 * @param {number} timeout in milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<string>}
 * @throws {Failure} which does not have the request's own token in it
 */
export async function requestToken(environment, timeout, signal) {
    /** @type {URL} */
    let url;
    try {
        url = new URL(environment.ACTIONS_ID_TOKEN_REQUEST_URL ?? '');
    } catch {
        throw new Failure('credentials', 'ACTIONS_ID_TOKEN_REQUEST_URL is not a URL');
    }
    if (url.protocol !== 'https:' && !isLoopback(url)) {
        throw new Failure('credentials', 'ACTIONS_ID_TOKEN_REQUEST_URL is not one of https');
    }
    url.searchParams.append('audience', AUDIENCE);
    // GitHub's own clients write `bearer` in lower case.
    const headers = {
        accept: 'application/json',
        authorization: `bearer ${environment.ACTIONS_ID_TOKEN_REQUEST_TOKEN}`,
    };
    const { status, body } = await exchange({ method: 'GET', url, headers, body: '', timeout, signal });
    if (status !== 200) {
        const hint = status < 500 ? '; does the job have `permissions: {id-token: write}`?' : '';
        const text = `GitHub answers ${status} to the request for an identity token${hint}`;
        throw new Failure('credentials', text, { passes: status >= 500 || status === 429 });
    }
    try {
        const { value } = JSON.parse(body);
        if (typeof value === 'string' && value) {
            return value;
        }
    } catch (error) {
        // The error's own words may quote the body, and so the token.
        reason(error);
    }
    throw new Failure('credentials', "GitHub's answer has no identity token in it");
}
