/** The step itself: takes the ports, starts what renews them, and hands them to the steps that follow. */

import { makeFolder, runner, start } from './background.js';
import { claim } from './claim.js';
import { now } from './clock.js';
import { reason, Failure } from './failure.js';
import { registryOf } from './holding.js';
import { Identity, legOf } from './job/identity.js';
import { settings } from './job/settings.js';
import { error, info, mask, warning } from './runner/commands.js';
import { saveState, setOutput, setVariable, summarize } from './runner/files.js';

/** @typedef {import('./claim.js').Taken} Taken */
/** @typedef {import('./job/settings.js').Settings} Settings */

async function main() {
    const asked = settings(process.env);
    const { url, namespace, service, role, region } = asked;
    const identity = new Identity(process.env, legOf(asked.index, asked.matrix));
    /** @type {import('./holding.js').Holding} */
    const holding = {
        url,
        namespace,
        service,
        role,
        region,
        owner: identity.owner,
        names: [],
        taken: false,
        folder: '',
    };
    const save = (/** @type {Partial<typeof holding>} */ more) => {
        Object.assign(holding, more);
        saveState('holding', JSON.stringify(holding));
    };

    const registry = registryOf(holding, process.env, mask);
    // From here on post gives back whatever has been claimed, however this process ends.
    const taken = await claim(registry, asked, identity, { say: info, save: (names) => save({ names }) });
    save({ taken: true });
    if (taken.length > 0) {
        await keep(holding, asked, taken, save);
    }
    hand(asked, taken);
}

/**
 * Starts what renews the leases. Without it the job has its ports all the same, for one lease.
 * @param {import('./holding.js').Holding} holding
 * @param {Settings} asked
 * @param {Taken} taken
 * @param {(more: {folder: string}) => void} save
 */
async function keep(holding, asked, taken, save) {
    try {
        save({ folder: makeFolder(process.env.RUNNER_TEMP) });
        await start({ holding, lease: asked.lease, length: taken.length, age: now() - taken.since, watched: runner() });
    } catch (why) {
        warning(`The lease is not renewed, so the port is the job's until ${taken.ports[0].expires}: ${reason(why)}`);
    }
}

/**
 * Hands the ports to the steps that follow.
 * @param {Settings} asked
 * @param {Taken} taken
 */
function hand(asked, { name, names, ports }) {
    ports.forEach(({ port }, index) => {
        info(`port ${port} of ${asked.service} for ${names[index]}`);
        for (const variable of asked.variables[index]) {
            setVariable(variable, String(port));
        }
    });
    const parts = asked.parts.length > 0 ? asked.parts : ['port'];
    setOutput('port', String(ports[0].port));
    setOutput('ports', JSON.stringify(Object.fromEntries(ports.map(({ port }, index) => [parts[index], port]))));
    setOutput('name', name);
    const [first] = ports.map(({ expires }) => expires ?? '').sort();
    if (first) {
        setOutput('expires-at', first);
    }
    const list = ports.map(({ port }, index) => `**${port}** (\`${names[index]}\`)`).join(', ');
    summarize(`Portmaster: ${ports.length > 1 ? 'ports' : 'port'} ${list} of \`${asked.service}\``);
}

/**
 * @param {unknown} why
 * @returns {string} what the user of the action can do about it, where the registry's own advice is about its API
 */
function advice(why) {
    const kind = why instanceof Failure ? why.kind : undefined;
    if (kind === 'range-exhausted') {
        return ' The input wait, as in `wait: 10m`, has the step wait until another job ends.';
    }
    if (kind === 'name-taken') {
        return ' Without the input name, each step has a name of its own.';
    }
    return '';
}

main().catch((why) => {
    error(`No port. ${reason(why)}${advice(why)}`);
    process.exitCode = 1;
});
