/**
 * What the action hands to the runner: outputs, variables, its own state, and the summary. Each goes into a file that
 * the runner names by a variable.
 */

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { EOL } from 'node:os';

/**
 * Writes a value in the form that nothing in the value can end: between two lines with a text that nobody can guess.
 * @param {string} name
 * @param {string} value
 * @returns {string}
 */
export function entry(name, value) {
    const delimiter = `ghadelimiter_${randomUUID()}`;
    return `${name}<<${delimiter}${EOL}${value}${EOL}${delimiter}${EOL}`;
}

/**
 * @param {string} variable the one that names the file
 * @param {string} text
 */
function append(variable, text) {
    const file = process.env[variable];
    if (!file) {
        throw new Error(`${variable} is not set: this is an action, and only runs in a job of GitHub Actions`);
    }
    appendFileSync(file, text);
}

/** @type {(name: string, value: string) => void} */
export const setOutput = (name, value) => append('GITHUB_OUTPUT', entry(name, value));

/**
 * Keeps a value for `post`. The last value of a name counts. It must not be a secret: the file is on the runner's disk.
 * @type {(name: string, value: string) => void}
 */
export const saveState = (name, value) => append('GITHUB_STATE', entry(name, value));

/** @type {(name: string, value: string) => void} */
export const setVariable = (name, value) => append('GITHUB_ENV', entry(name, value));

/**
 * Adds a line to the job's summary. A runner that has none does without.
 * @param {string} markdown
 */
export function summarize(markdown) {
    if (process.env.GITHUB_STEP_SUMMARY) {
        append('GITHUB_STEP_SUMMARY', `${markdown}${EOL}${EOL}`);
    }
}
