/** What an answer says: a body, or why there is none. */

import { Failure } from '../failure.js';

/** @typedef {import('./exchange.js').Answer} Answer */

/** The longest time for which anybody is asked to wait, in milliseconds: an offer's thirty minutes, and then some. */
const LONGEST_WAIT = 3_600_000;

/**
 * Reads a `Retry-After`: seconds, or a date.
 * @param {string | undefined} text
 * @param {number} [today] the time now, in milliseconds since 1970
 * @returns {number | undefined} milliseconds; undefined if there is none, or it cannot be read
 */
export function retryAfter(text, today = Date.now()) {
    const seconds = (text ?? '').trim();
    const wait = /^\d+$/.test(seconds) ? Number(seconds) * 1000 : Date.parse(seconds) - today;
    return Number.isNaN(wait) ? undefined : Math.min(Math.max(0, wait), LONGEST_WAIT);
}

/**
 * @param {string} text
 * @returns {Record<string, unknown> | undefined} a JSON object; undefined if it is not one
 */
function object(text) {
    try {
        const value = JSON.parse(text);
        return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
    } catch {
        return undefined;
    }
}

/** @param {number} status */
const passes = (status) => status >= 500 || status === 429 || status === 408;

/**
 * Reads an answer.
 * @param {Answer} answer
 * @param {URL} url where it came from
 * @returns {Record<string, unknown>} the body; empty if there is none
 * @throws {Failure} if the answer is not a success
 */
export function read({ status, headers, body }, url) {
    const document = object(body);
    if (status >= 200 && status < 300) {
        if (!document && body.trim()) {
            throw new Failure('unexpected', `${url.origin} answers ${status} with something that is not Portmaster's`, {
                status,
            });
        }
        return document ?? {};
    }
    const more = { status, retryAfter: retryAfter(headers['retry-after']), passes: passes(status) };
    const kind = /\/problems\/([a-z-]+)$/.exec(String(document?.type ?? ''))?.[1];
    if (document && kind) {
        const { title = 'The registry refused it', detail = '', instance = '', errors = [] } = document;
        const mistakes = Array.isArray(errors) ? errors.map((one) => String(one?.detail ?? '')).filter(Boolean) : [];
        const text = [`${title}: ${detail}`, ...mistakes].join(' | ');
        const id = instance ? ` (request ${instance})` : '';
        return raise(new Failure('problem', `${text}${id}`, { ...more, kind, problem: document }));
    }
    const message = document?.message ?? document?.Message;
    if (typeof message === 'string') {
        // To a wrong signature AWS answers with the canonical request, and so with the session's token.
        const [said] = message.split(/The Canonical String|\n/, 1);
        return raise(
            new Failure('denied', `The gateway of ${url.host} answers ${status}: ${said.trim().slice(0, 400)}`, more),
        );
    }
    return raise(
        new Failure('unexpected', `${url.origin} answers ${status}, which is not an answer of Portmaster's`, more),
    );
}

/**
 * @param {Failure} failure
 * @returns {never}
 */
function raise(failure) {
    throw failure;
}
