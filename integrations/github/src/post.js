/**
 * The end of the job: gives the ports back. It never fails the job, and takes a few seconds at most: what it cannot
 * give back comes back when the lease is over.
 */

import { end } from './background.js';
import { Failure, reason } from './failure.js';
import { registryOf } from './holding.js';
import { info, mask, warning } from './runner/commands.js';
import { state } from './runner/inputs.js';

/** How long giving back may take, in milliseconds: all of it, with the credentials for it. */
const TIME = 5_000;

/**
 * @param {import('./registry/client.js').Registry} registry
 * @param {string} name
 * @param {import('./holding.js').Holding} holding
 * @param {boolean} isKnown whether a loss has been reported already
 */
async function release(registry, name, { service, owner, taken }, isKnown) {
    try {
        await registry.release(name, owner, TIME, AbortSignal.timeout(TIME));
        info(`gave back the port of ${name}`);
    } catch (why) {
        if (!(why instanceof Failure && why.isLost)) {
            const what = taken ? `The port of ${name} (${service})` : `If there is a port of ${name} (${service}), it`;
            warning(`${what} could not be given back, and comes back when its lease is over. ${reason(why)}`);
        } else if (taken && !isKnown) {
            warning(`The port of ${name} (${service}) was not this job's any more when the job ended. ${why.message}`);
        }
    }
}

async function main() {
    const saved = state(process.env, 'holding');
    if (!saved) {
        return;
    }
    /** @type {import('./holding.js').Holding} */
    const holding = JSON.parse(saved);
    const left = holding.folder ? end(holding.folder) : { lost: [], log: [] };
    left.log.forEach((line) => info(`renewal: ${line}`));
    if (left.lost.length > 0) {
        const then = 'Somebody else may have had the port since, while this job was still using it';
        warning(`A lease was lost while the job ran: ${left.lost.join('; ')}. ${then}.`);
    }
    const registry = registryOf(holding, process.env, mask);
    await Promise.all(holding.names.map((name) => release(registry, name, holding, left.lost.length > 0)));
}

main()
    .catch((why) => warning(`The port could not be given back, and comes back when its lease is over. ${reason(why)}`))
    .finally(() => {
        process.exitCode = 0;
    });
