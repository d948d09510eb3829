/** Keeping a lease: when it is renewed, and when it is lost. */

import { now, sleep } from './clock.js';
import { Failure, reason } from './failure.js';

/**
 * The first wait after a renewal that nobody answered. Each one is twice as long as the last, up to a tenth of the
 * lease or the longest. In milliseconds.
 */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;

/**
 * When to renew a lease: after a third of it, so that two more attempts fit in, and a little earlier by chance, so
 * that jobs that began together do not call together for ever.
 * @param {number} since when it was asked for
 * @param {number} length
 * @param {number} chance from 0 to 1
 * @returns {number} by the same clock as `since`
 */
export const renewal = (since, length, chance) => since + (length / 3) * (0.8 + 0.2 * chance);

/**
 * How long to wait after a renewal that nobody answered.
 * @param {number} failed how many there were in a row
 * @param {number} length the lease's
 * @param {number | undefined} asked what the answer says, if there was one
 * @param {number} chance from 0 to 1
 * @returns {number} in milliseconds
 */
export function pause(failed, length, asked, chance) {
    const longest = Math.max(Math.min(LONGEST_WAIT, length / 10), FIRST_WAIT);
    const wait = asked ?? Math.min(FIRST_WAIT * 2 ** (failed - 1), longest);
    return wait * (1 + 0.5 * chance);
}

/**
 * Renews a lease until it is lost. The job goes on whatever happens here, so a renewal that nobody answers is tried
 * for as long as the job takes: only the registry knows whether the port is still the job's, and it does not renew a
 * lease that is over.
 * @param {{since: number, length: number}} lease
 * @param {(signal: AbortSignal) => Promise<number>} renew returns how long the lease is by now
 * @param {(text: string) => void} log
 * @param {AbortSignal} signal ends it
 * @returns {Promise<string>} why the lease is lost
 */
export async function keep({ since, length }, renew, log, signal) {
    let failed = 0;
    for (;;) {
        if (failed === 0) {
            await sleep(renewal(since, length, Math.random()) - now(), signal);
        }
        const sent = now();
        try {
            length = await renew(signal);
            since = sent;
            if (failed > 0) {
                log('the lease is renewed again');
            }
            failed = 0;
        } catch (error) {
            if (signal.aborted) {
                throw error;
            }
            if (error instanceof Failure && error.isLost) {
                return error.message;
            }
            failed += 1;
            if (failed === 1) {
                log(`the lease could not be renewed yet, which is tried again: ${reason(error)}`);
            }
            const asked = error instanceof Failure ? error.retryAfter : undefined;
            await sleep(pause(failed, length, asked, Math.random()), signal);
        }
    }
}
