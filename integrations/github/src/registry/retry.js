/** When a call is repeated. */

import { now, sleep } from '../clock.js';
import { Failure } from '../failure.js';

/** How often a call is repeated, at most. With the waits below that takes five seconds or so. */
const REPETITIONS = 4;
const FIRST_WAIT = 150;
const LONGEST_WAIT = 5_000;

/**
 * How long to wait before the next repetition.
 * @param {Failure} failure the last one
 * @param {number} repetition 0 for the first
 * @param {number} chance from 0 to 1
 * @returns {number | undefined} milliseconds, up to twice as long by chance, so that a crowd of callers spreads out,
 *   and no less than the answer asks for; undefined if the failure is final
 */
export function wait(failure, repetition, chance) {
    if (!failure.passes || repetition >= REPETITIONS) {
        return undefined;
    }
    const backoff = Math.min(FIRST_WAIT * 2 ** repetition, LONGEST_WAIT) * (1 + chance);
    return Math.max(backoff, failure.retryAfter ?? 0);
}

/**
 * Makes a call, and repeats it after failures that pass. All calls of this action may be repeated: a second one has the
 * effect of the first.
 * @template T
 * @param {(left: number) => Promise<T>} attempt is told how many milliseconds are left
 * @param {number} time how many milliseconds all of it may take
 * @param {AbortSignal} [signal] gives it up
 * @returns {Promise<T>}
 * @throws {Failure} the last one
 */
export async function repeated(attempt, time, signal) {
    const deadline = now() + time;
    for (let repetition = 0; ; repetition += 1) {
        try {
            return await attempt(deadline - now());
        } catch (error) {
            const pause = error instanceof Failure ? wait(error, repetition, Math.random()) : undefined;
            if (pause === undefined || now() + pause >= deadline || signal?.aborted) {
                throw error;
            }
            await sleep(pause, signal);
        }
    }
}
