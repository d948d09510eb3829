/** What the runner hands to the action. */

/** @typedef {Record<string, string | undefined>} Environment */

/**
 * Reads an input.
 * @param {Environment} environment
 * @param {string} name as in action.yml
 * @returns {string} without spaces around it; empty if it is not given
 */
export function input(environment, name) {
    return (environment[`INPUT_${name.toUpperCase()}`] ?? '').trim();
}

/**
 * Reads what `main` has kept for `post`.
 * @param {Environment} environment
 * @param {string} name
 * @returns {string} empty if it has not
 */
export function state(environment, name) {
    return environment[`STATE_${name}`] ?? '';
}
