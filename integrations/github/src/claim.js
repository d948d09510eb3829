/** Taking the ports: all, or none. */

import { now, sleep } from './clock.js';
import { Failure } from './failure.js';
import { nameOfPart } from './job/names.js';

/** @typedef {import('./registry/client.js').Registry} Registry */
/** @typedef {import('./registry/client.js').Port} Port */
/** @typedef {import('./job/identity.js').Identity} Identity */
/** @typedef {import('./job/settings.js').Settings} Settings */
/**
 * @typedef {object} Taken
 * @property {string} name the one name, or what the names of several ports begin with
 * @property {string[]} names
 * @property {Port[]} ports in the order of the names
 * @property {number} length how long their lease is, in milliseconds, from when they were asked for; 0 if they have
 *   none
 * @property {number} since when they were asked for, by this machine's steady clock
 */

/**
 * The longest pause between two attempts while a range is full: ports come back earlier than `Retry-After` says,
 * whenever a job ends. The one where the answer names none, and the shortest. In milliseconds.
 */
const LONGEST_PAUSE = 10_000;
const PAUSE = 2_000;
const SHORTEST_PAUSE = 200;

/** What others may give back. */
const PASSING = ['range-exhausted', 'name-taken'];

/**
 * How long the lease of a port is, by the registry's own clock: from when it was made, or if it is older, from when
 * it was answered for. If that makes no sense, or is more than was asked for, it is what was asked for.
 * @param {Port} port
 * @param {number} date the registry's time
 * @param {number} asked in milliseconds
 * @returns {number} in milliseconds; 0 if it has none
 */
export function leaseOf({ created, expiresAt }, date, asked) {
    if (expiresAt === undefined) {
        return 0;
    }
    const length = expiresAt - Math.max(created, date);
    return length > 0 ? Math.min(length, asked) : asked;
}

/**
 * Takes the ports.
 * @param {Registry} registry
 * @param {Settings} settings
 * @param {Identity} identity
 * @param {object} tell
 * @param {(names: string[]) => void} tell.save is told for which names something is asked, before it is
 * @param {(text: string) => void} tell.say is told why it takes long
 * @returns {Promise<Taken>}
 * @throws {Failure} why there is no port
 */
export async function claim(registry, settings, identity, { save, say }) {
    const { parts, contiguous, lease, name } = settings;
    const wanted = { owner: identity.owner, lease_seconds: lease, labels: identity.labels };
    const until = now() + settings.wait;
    const candidates = name ? [name] : identity.names();
    const namesOf = (/** @type {string} */ base) =>
        parts.length ? parts.map((part) => nameOfPart(base, part)) : [base];
    const cleared = new Set();
    let [which, said] = [0, false];
    for (;;) {
        const names = namesOf(candidates[which]);
        save(names);
        const since = now();
        try {
            const { ports, date } = await (names.length === 1
                ? registry.put(names[0], wanted)
                : registry.putSet(names, contiguous ? { ...wanted, contiguous } : wanted));
            const length = Math.min(...ports.map((port) => leaseOf(port, date, lease * 1000)));
            return { name: candidates[which], names, ports, length, since };
        } catch (error) {
            if (!(error instanceof Failure)) {
                throw error;
            }
            const holder = error.kind === 'name-taken' ? error.problem.owner : undefined;
            if (identity.isEarlier(holder) && !cleared.has(holder)) {
                cleared.add(holder);
                say(`giving back what an earlier attempt of this job has left (${holder})`);
                await clear(registry, names, holder);
                continue;
            }
            // A name of the job's own making is not worth waiting for.
            if (error.kind === 'name-taken' && which < candidates.length - 1) {
                which += 1;
                continue;
            }
            const left = until - now();
            if (left <= 0 || !(PASSING.includes(error.kind ?? '') || error.passes)) {
                throw error;
            }
            if (!said) {
                say(`waiting for a port, for ${settings.wait / 1000} seconds at most: ${error.message}`);
                said = true;
            }
            // Those who wait together should not come together. The last attempt is at the very end.
            const pause = Math.min(Math.max(error.retryAfter ?? PAUSE, SHORTEST_PAUSE), LONGEST_PAUSE);
            await sleep(Math.min(pause * (1 + 0.5 * Math.random()), left));
        }
    }
}

/**
 * Gives back what an owner holds under these names. What is not that owner's any more stays.
 * @param {Registry} registry
 * @param {string[]} names
 * @param {string} owner
 */
async function clear(registry, names, owner) {
    for (const name of names) {
        try {
            await registry.release(name, owner);
        } catch (error) {
            if (!(error instanceof Failure && error.isLost)) {
                throw error;
            }
        }
    }
}
