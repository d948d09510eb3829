/** Time that nobody sets, and waiting. */

import { setTimeout as after } from 'node:timers/promises';

/** @returns {number} milliseconds since some moment, by a clock that never goes back */
export const now = () => performance.now();

/**
 * Waits; ends early, with the signal's reason, when the signal is given.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 */
export async function sleep(milliseconds, signal) {
    try {
        await after(Math.max(0, milliseconds), undefined, { signal });
    } catch (error) {
        throw signal?.reason ?? error;
    }
}
