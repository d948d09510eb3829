/** Who calls: the keys with which requests are signed, and where they come from. */

import { now } from '../clock.js';
import { Failure } from '../failure.js';
import { isLoopback } from '../registry/exchange.js';
import { repeated } from '../registry/retry.js';
import { assume, endpoint, sessionName } from './sts.js';
import { hasToken, requestToken } from './token.js';

/** @typedef {import('../registry/sign.js').Keys} Keys */
/** @typedef {import('../runner/inputs.js').Environment} Environment */
/** @typedef {{url: string, owner: string, role: string, region: string}} Caller
 *   The registry, the owner, after whom the session is named, and two inputs, empty if they are not given. */

/** How long before they expire keys are replaced, in milliseconds. */
const AHEAD = 300_000;

/**
 * The region of an API's own URL, `https://ID.execute-api.REGION.amazonaws.com`.
 * @param {URL} url
 * @returns {string | undefined} undefined for any other
 */
export const regionOf = (url) =>
    url.protocol === 'https:'
        ? /^[^.]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$/.exec(url.hostname)?.[1]
        : undefined;

/**
 * Chooses who calls. Requests to an API on AWS are signed, and so are all others if a role or a region is given.
 * @param {Caller} caller
 * @param {Environment} environment
 * @param {(secret: string) => void} mask is told every secret before anything else is done with it
 * @returns {Credentials | undefined} undefined if requests are not signed
 * @throws {Failure} if they have to be, and cannot be
 */
export function choose({ url: text, owner, role, region: given }, environment, mask) {
    const url = new URL(text);
    const there = regionOf(url);
    if (!there && !role && !given) {
        return undefined;
    }
    if (url.protocol !== 'https:' && !isLoopback(url)) {
        const why = 'requests to plain http on another machine are not signed: everybody on the way could repeat them';
        throw new Failure('credentials', `${why}; use https`);
    }
    const region = there || given || environment.AWS_REGION || environment.AWS_DEFAULT_REGION;
    if (!region || !/^[a-z0-9-]+$/.test(region)) {
        throw new Failure(
            'credentials',
            'Which region is the registry in? The URL does not say; give the input aws-region',
        );
    }
    if (!role && !(environment.AWS_ACCESS_KEY_ID && environment.AWS_SECRET_ACCESS_KEY)) {
        const how = 'give the input role-to-assume, or run aws-actions/configure-aws-credentials in a step before';
        throw new Failure('credentials', `There are no AWS credentials for ${url.host}: ${how}`);
    }
    if (role && !hasToken(environment)) {
        const how = 'the job needs `permissions: {id-token: write}`';
        throw new Failure('credentials', `There is no identity token with which to assume ${role}: ${how}`);
    }
    return new Credentials(region, role, owner, environment, mask);
}

export class Credentials {
    /** @type {import('./sts.js').Lent | undefined} */
    #lent;

    /**
     * @param {string} region
     * @param {string} role empty if the environment has keys
     * @param {string} owner
     * @param {Environment} environment
     * @param {(secret: string) => void} mask
     */
    constructor(region, role, owner, environment, mask) {
        this.region = region;
        this.role = role;
        this.owner = owner;
        this.environment = environment;
        this.mask = mask;
    }

    /**
     * Returns keys: those of the environment, or the role's.
     * @param {number} time how many milliseconds it may take
     * @param {AbortSignal} [signal]
     * @returns {Promise<Keys>}
     */
    async get(time, signal) {
        if (!this.role) {
            const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '', AWS_SESSION_TOKEN } = this.environment;
            return {
                accessKeyId: AWS_ACCESS_KEY_ID,
                secretAccessKey: AWS_SECRET_ACCESS_KEY,
                sessionToken: AWS_SESSION_TOKEN,
            };
        }
        const lent = this.#lent;
        if (lent && lent.expiresAt > Date.now() + AHEAD) {
            return lent;
        }
        try {
            this.#lent = await this.#assume(time, signal);
            return this.#lent;
        } catch (error) {
            // They are about to expire, and no others are to be had: they still hold for this request.
            if (lent && lent.expiresAt > Date.now()) {
                return lent;
            }
            throw error;
        }
    }

    /**
     * Forgets the latest keys.
     * @returns {boolean} false if there are no others
     */
    forget() {
        const had = Boolean(this.role && this.#lent);
        this.#lent = undefined;
        return had;
    }

    /**
     * @param {number} time
     * @param {AbortSignal} [signal]
     */
    async #assume(time, signal) {
        const url = endpoint(this.region, this.environment.AWS_ENDPOINT_URL_STS);
        const session = sessionName(this.owner);
        return repeated(
            async (left) => {
                const deadline = now() + left;
                const token = await requestToken(this.environment, left, signal);
                this.mask(token);
                const lent = await assume({ role: this.role, session, token }, url, deadline - now(), signal);
                for (const secret of [lent.accessKeyId, lent.secretAccessKey, lent.sessionToken ?? '']) {
                    this.mask(secret);
                }
                return lent;
            },
            time,
            signal,
        );
    }
}
