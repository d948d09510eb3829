/**
 * The process that renews: how `main` starts it, what it leaves for `post`, and how it knows when to end.
 *
 * It outlives the step, and must not outlive the job. `post` ends it by taking away its mark, a file in its folder.
 * If there is no `post` any more, the runner ends it: on GitHub's runners it carries the job's `RUNNER_TRACKING_ID`,
 * by which they find and kill what a job has left running; they empty `RUNNER_TEMP`, where its folder is; a job's
 * container is removed with all that runs in it. If the runner itself was killed, it notices that the process that
 * ran the step has gone. Then the lease ends the claim.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** @typedef {import('./holding.js').Holding} Holding */
/** @typedef {{pid: number, started: string}} Watched a process, and when it was started, as far as the system says */
/** @typedef {{holding: Holding, lease: number, length: number, age: number, watched?: Watched}} Order
 *   The lease that is asked for, in seconds; how long the one is that there is, and how old, in milliseconds. */

/** How long the process may take to start, in milliseconds. */
const START = 15_000;
/** The variable with the order. */
const ORDER = 'PORTMASTER_RENEWAL';
const MARK = 'renewing';
const LOST = 'lost';
const LOG = 'log';
/** Shells that a runner may put between itself and a step. */
const SHELLS = ['sh', 'bash', 'dash', 'ash', 'busybox', 'pwsh'];

/**
 * Makes the folder of the process.
 * @param {string | undefined} parent RUNNER_TEMP, which the runner empties
 * @returns {string}
 */
export function makeFolder(parent) {
    const place = parent || tmpdir();
    mkdirSync(place, { recursive: true });
    return mkdtempSync(join(place, 'portmaster-'));
}

/**
 * @param {number} pid
 * @returns {{parent: number, name: string, started: string} | undefined} what Linux says of a process
 */
function processOf(pid) {
    try {
        const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
        // The name is in parentheses, and may have some itself.
        const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
        return {
            parent: Number(fields[1]),
            name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')),
            started: fields[19],
        };
    } catch {
        return undefined;
    }
}

/**
 * Whether a process only stands between the runner and the step, and ends with it: a shell, or a program that starts Node
 * and was itself started with the step's script, as version managers have one.
 * @param {number} pid
 * @param {string} name
 * @returns {boolean}
 */
function isBetween(pid, name) {
    const script = process.argv[1];
    try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return SHELLS.includes(name) || Boolean(script && line.includes(script));
    } catch {
        return SHELLS.includes(name);
    }
}

/**
 * Finds the runner among the processes that have started this one.
 * @returns {Watched | undefined} undefined in a container, where the runner is outside
 */
export function runner() {
    let pid = process.ppid;
    let found = processOf(pid);
    while (found && pid > 1 && isBetween(pid, found.name)) {
        pid = found.parent;
        found = processOf(pid);
    }
    return pid > 1 ? { pid, started: found?.started ?? '' } : undefined;
}

/**
 * @param {Watched} watched
 * @returns {boolean} whether that process is still there, and not another one of its number
 */
export function isThere({ pid, started }) {
    try {
        process.kill(pid, 0);
    } catch (error) {
        return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
    }
    return !started || (processOf(pid)?.started ?? started) === started;
}

/**
 * Starts the process, and waits until it runs: by then it has read all of its code, whatever becomes of the action's
 * files.
 * @param {Order} order
 * @throws {Error} why it does not run
 */
export async function start(order) {
    writeFileSync(join(order.holding.folder, MARK), '');
    const child = spawn(process.execPath, [fileURLToPath(new URL('renew.js', import.meta.url))], {
        detached: true,
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        windowsHide: true,
        // Not the workspace: on Windows a folder cannot be removed while a process is in it.
        cwd: tmpdir(),
        env: { ...process.env, [ORDER]: JSON.stringify(order) },
    });
    try {
        const failed = once(child, 'exit').then(([code, signal]) => {
            throw new Error(`its process ended with ${signal ?? code}`);
        });
        await Promise.race([once(child, 'message', { signal: AbortSignal.timeout(START) }), failed]);
    } finally {
        if (child.connected) {
            child.disconnect();
        }
        child.unref();
    }
}

/** Tells the step, which waits for it, that this process runs. */
export function started() {
    process.send?.('started');
    process.disconnect?.();
}

/** @returns {Order} what this process is to do */
export const order = () => JSON.parse(process.env[ORDER] ?? '');

/**
 * Whether the process is to go on.
 * @param {string} folder
 * @returns {boolean}
 */
export const isWanted = (folder) => existsSync(join(folder, MARK));

/**
 * @param {string} folder
 * @param {string} text
 */
export function log(folder, text) {
    try {
        appendFileSync(join(folder, LOG), `${new Date().toISOString()} ${text.replace(/\s+/g, ' ')}\n`);
    } catch {
        // The folder has gone, and with it whoever would read this.
    }
}

/**
 * Notes that a lease is lost.
 * @param {string} folder
 * @param {string} text
 */
export function noteLoss(folder, text) {
    log(folder, text);
    try {
        appendFileSync(join(folder, LOST), `${text.replace(/\s+/g, ' ')}\n`);
    } catch {
        // As above.
    }
}

/**
 * Ends the process; returns what it has left.
 * @param {string} folder
 * @returns {{lost: string[], log: string[]}} lines
 */
export function end(folder) {
    const lines = (/** @type {string} */ file) => {
        try {
            return readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean);
        } catch {
            return [];
        }
    };
    const left = { lost: lines(LOST), log: lines(LOG) };
    rmSync(join(folder, MARK), { force: true });
    // On Windows the process may still have the folder as its own.
    try {
        rmSync(folder, { recursive: true, force: true });
    } catch {
        return left;
    }
    return left;
}
