/** Renews the leases of a job's ports, in a process of its own, for as long as the job runs. See background.js. */

import { watch } from 'node:fs';

import { isThere, isWanted, log, noteLoss, order, started } from './background.js';
import { leaseOf } from './claim.js';
import { now } from './clock.js';
import { reason } from './failure.js';
import { registryOf } from './holding.js';
import { keep } from './lease.js';

/** How often the process looks whether it is still wanted, in milliseconds. */
const LOOK = 1_000;
/** The longest that GitHub lets a job take: five days. */
const LONGEST_JOB = 5 * 86_400_000;

const { holding, lease, length, age, watched } = order();
const { folder, names, owner } = holding;
const begun = now() - age;
const ended = new AbortController();

function look() {
    const isLate = now() - begun > LONGEST_JOB;
    if (!isWanted(folder) || isLate || (watched && !isThere(watched))) {
        ended.abort(new Error('the job is over'));
    }
}

/**
 * Keeps one port.
 * @param {import('./registry/client.js').Registry} registry
 * @param {string} name
 */
async function keepOne(registry, name) {
    const renew = async (/** @type {AbortSignal} */ signal) => {
        const { ports, date } = await registry.renew(name, { owner, lease_seconds: lease }, signal);
        return leaseOf(ports[0], date, lease * 1000);
    };
    const say = (/** @type {string} */ text) => log(folder, `${name}: ${text}`);
    const why = await keep({ since: begun, length }, renew, say, ended.signal);
    noteLoss(folder, `${name}: ${why}`);
}

async function main() {
    started();
    // This process's output goes nowhere, so there is nothing to mask.
    const registry = registryOf(holding, process.env, () => {});
    try {
        // The look that follows at once when post takes the mark away.
        watch(folder, look)
            .on('error', () => {})
            .unref();
    } catch {
        // Where the system cannot watch, the timer is enough.
    }
    const looking = setInterval(look, LOOK);
    await Promise.all(names.map((name) => keepOne(registry, name)));
    clearInterval(looking);
}

main()
    .catch((error) => {
        if (!ended.signal.aborted) {
            noteLoss(folder, `the leases are not renewed any more: ${reason(error)}`);
        }
    })
    .finally(() => process.exit());
