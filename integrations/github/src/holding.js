/**
 * What the action holds, or may hold: all that is needed to renew it and to give it back. `main` hands it to `post`
 * and to the process that renews. Nothing in it is secret. The inputs would not do instead, because the runner
 * evaluates them anew for `post`, and by then a variable in them may have another value.
 */

import { choose } from './aws/credentials.js';
import { Registry } from './registry/client.js';

/**
 * @typedef {object} Holding
 * @property {string} url
 * @property {string} namespace
 * @property {string} service
 * @property {string} owner
 * @property {string} role
 * @property {string} region
 * @property {string[]} names for which something was asked
 * @property {boolean} taken whether they have their ports
 * @property {string} folder of the process that renews; empty if there is none
 */

/**
 * @param {Holding} holding
 * @param {import('./runner/inputs.js').Environment} environment
 * @param {(secret: string) => void} mask
 * @returns {Registry}
 */
export function registryOf(holding, environment, mask) {
    const credentials = choose(holding, environment, mask);
    return new Registry(holding.url, holding.namespace, holding.service, credentials);
}
