/** The calls of the registry that a job needs. */

import { Failure } from '../failure.js';
import { read } from './answer.js';
import { exchange } from './exchange.js';
import { repeated } from './retry.js';
import { encode, sign } from './sign.js';

/** @typedef {{name: string, port: number, created: number, expiresAt?: number, expires?: string}} Port
 *   The times are in milliseconds since 1970, by the registry's clock; `expires` is as it was answered. */
/** @typedef {{ports: Port[], date: number}} Held the ports, and the registry's time when it answered */

/** How long a call may take with its repetitions, and one attempt, in milliseconds. */
const CALL = 30_000;
const ATTEMPT = 10_000;
/** By how much the clocks here and there may differ before a refused signature is tried again with the clock there. AWS
 *  allows five minutes. */
const SKEW = 240_000;

/**
 * Reads a port. What is not one is refused here, so that nothing else can reach an output or a variable.
 * @param {unknown} value
 * @returns {Port}
 */
export function port(value) {
    const { name, port: number, created, expires_at: expires } = /** @type {Record<string, unknown>} */ (value ?? {});
    const time = (/** @type {unknown} */ text) =>
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(text)) ? Date.parse(String(text)) : Number.NaN;
    const lease = expires === undefined ? {} : { expiresAt: time(expires), expires: String(expires) };
    const isPort = Number.isInteger(number) && Number(number) >= 1024 && Number(number) <= 49151;
    if (!isPort || typeof name !== 'string' || Number.isNaN(time(created)) || Number.isNaN(lease.expiresAt ?? 0)) {
        throw new Failure('unexpected', 'The registry answers with something that is not a port; check the input url');
    }
    return { name, port: Number(number), created: time(created), ...lease };
}

export class Registry {
    /** How far the registry's clock is ahead, where signatures need to know. */
    #ahead = 0;

    /**
     * @param {string} url
     * @param {string} namespace
     * @param {string} service
     * @param {import('../aws/credentials.js').Credentials | undefined} credentials undefined if requests are not signed
     */
    constructor(url, namespace, service, credentials) {
        this.url = new URL(url);
        const space = namespace === 'default' ? '' : `/namespaces/${namespace}`;
        this.path = `${this.url.pathname.replace(/\/+$/, '')}/v1${space}/services/${service}`;
        this.credentials = credentials;
    }

    /**
     * Ensures that a name has a port.
     * @param {string} name
     * @param {object} wanted
     * @returns {Promise<Held>}
     */
    async put(name, wanted) {
        const { body, date } = await this.#call('PUT', `/ports/${name}`, wanted);
        return { ports: [port(body)], date };
    }

    /**
     * Ensures that each of several names has a port: all, or none.
     * @param {string[]} names
     * @param {object} wanted
     * @returns {Promise<Held>}
     */
    async putSet(names, wanted) {
        const { body, date } = await this.#call('POST', '/sets', { names, ...wanted });
        const ports = Array.isArray(body.ports) ? body.ports.map(port) : [];
        if (ports.length !== names.length) {
            throw new Failure(
                'unexpected',
                `The registry answers with ${ports.length} ports instead of ${names.length}`,
            );
        }
        return { ports, date };
    }

    /**
     * Extends a lease. Once, without repetitions: whoever keeps a lease knows best when to try again.
     * @param {string} name
     * @param {object} wanted
     * @param {AbortSignal} [signal]
     * @returns {Promise<Held>}
     */
    async renew(name, wanted, signal) {
        const { body, date } = await this.#attempt('POST', `/ports/${name}/renew`, wanted, ATTEMPT, signal);
        return { ports: [port(body)], date };
    }

    /**
     * Gives a port back.
     * @param {string} name
     * @param {string} owner
     * @param {number} [time] how many milliseconds it may take
     * @param {AbortSignal} [signal]
     */
    async release(name, owner, time = CALL, signal) {
        await this.#call('DELETE', `/ports/${name}?owner=${encode(owner)}`, undefined, time, signal);
    }

    /**
     * @param {string} method
     * @param {string} path
     * @param {object | undefined} content
     * @param {number} [time]
     * @param {AbortSignal} [signal]
     */
    #call(method, path, content, time = CALL, signal) {
        return repeated((left) => this.#attempt(method, path, content, left, signal), time, signal);
    }

    /**
     * Sends a request. If its signature is refused, for keys that are too old or a clock that is wrong, it is sent
     * once more, signed anew.
     * @param {string} method
     * @param {string} path
     * @param {object | undefined} content
     * @param {number} time
     * @param {AbortSignal} [signal]
     * @returns {Promise<{body: Record<string, unknown>, date: number}>}
     */
    async #attempt(method, path, content, time, signal) {
        const url = new URL(this.path + path, this.url);
        const body = content === undefined ? '' : JSON.stringify(content);
        /** @type {Record<string, string>} */
        const headers = body ? { 'content-type': 'application/json' } : {};
        const timeout = Math.min(time, ATTEMPT);
        for (let corrected = false; ; corrected = true) {
            const signed = await this.#signed({ method, url, headers, body }, timeout, signal);
            // Not signed: proxies may change it.
            const sent = { ...signed, 'user-agent': 'portmaster-action' };
            const answer = await exchange({ method, url, headers: sent, body, timeout, signal });
            const date = Date.parse(answer.headers.date ?? '') || Date.now();
            if (!corrected && answer.status === 403 && this.#correct(answer.body, date)) {
                continue;
            }
            return { body: read(answer, url), date };
        }
    }

    /**
     * @param {{method: string, url: URL, headers: Record<string, string>, body: string}} request
     * @param {number} timeout
     * @param {AbortSignal} [signal]
     * @returns {Promise<Record<string, string>>} the headers to send
     */
    async #signed(request, timeout, signal) {
        if (!this.credentials) {
            return request.headers;
        }
        const keys = await this.credentials.get(timeout, signal);
        return sign(request, keys, this.credentials.region, new Date(Date.now() + this.#ahead));
    }

    /**
     * @param {string} refusal
     * @param {number} date the registry's time
     * @returns {boolean} whether another signature may do better
     */
    #correct(refusal, date) {
        if (!this.credentials) {
            return false;
        }
        if (/security token.*expired/is.test(refusal)) {
            return this.credentials.forget();
        }
        const ahead = date - Date.now();
        if (Math.abs(ahead) <= SKEW || this.#ahead) {
            return false;
        }
        this.#ahead = ahead;
        return true;
    }
}
