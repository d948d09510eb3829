/**
 * What the action says in the job's log.
 *
 * The runner reads commands out of the log, from lines that begin with `::`, and from lines that have `##[` anywhere.
 * So nothing that comes from outside may begin a line or have that mark in it: neither an input nor an answer of the
 * registry.
 */

/**
 * Escapes a command's text (actions/toolkit, `escapeData`).
 * @param {string} text
 * @returns {string} one line
 */
export function escapeData(text) {
    return text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
}

/**
 * Makes a text a part of a line that is not a command.
 * @param {string} text
 * @returns {string} one line, in which the runner finds no command
 */
export function plain(text) {
    // eslint-disable-next-line no-control-regex
    return text
        .replace(/[\u0000-\u001f\u007f\u2028\u2029]+/g, ' ')
        .replace(/##\[/g, '## [')
        .replace(/^\s*::/, ': :');
}

/** @param {string} line */
const print = (line) => void process.stdout.write(`${line}\n`);

/**
 * Prints a line.
 * @param {string} text
 */
export const info = (text) => print(plain(text));

/**
 * Prints a warning, which the run's page shows as well.
 * @param {string} text
 */
export const warning = (text) => print(`::warning title=Portmaster::${escapeData(text)}`);

/**
 * Prints an error, which the run's page shows as well. Whether the step fails is the exit code's affair.
 * @param {string} text
 */
export const error = (text) => print(`::error title=Portmaster::${escapeData(text)}`);

/**
 * Has the runner replace a secret by `***` in whatever is printed from now on.
 * @param {string} secret
 */
export function mask(secret) {
    if (secret) {
        print(`::add-mask::${escapeData(secret)}`);
    }
}
