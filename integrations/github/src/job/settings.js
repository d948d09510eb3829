/** What the workflow asks for. */

import { Failure } from '../failure.js';
import { input } from '../runner/inputs.js';
import { isInstance, isName, nameOfPart, variables } from './names.js';

/** @typedef {import('../runner/inputs.js').Environment} Environment */
/**
 * @typedef {object} Settings
 * @property {string} url
 * @property {string} namespace
 * @property {string} service
 * @property {string} name empty if it is to be made of the job
 * @property {string[]} parts what several ports are for
 * @property {boolean} contiguous
 * @property {number} lease in seconds
 * @property {number} wait in milliseconds
 * @property {string[][]} variables for each port
 * @property {string} role empty if there is none
 * @property {string} region empty if it is not given
 * @property {string} index
 * @property {string} matrix
 */

const LONGEST_LEASE = 2_592_000;
const MOST_PORTS = 32;

/**
 * Reads a duration: `90s`, `15m`, `1h30m`, `7d`, or a number of seconds.
 * @param {string} text
 * @returns {number | undefined} in seconds; undefined if it is none
 */
export function seconds(text) {
    if (/^\d+$/.test(text)) {
        return Number(text);
    }
    if (!/^(\d+[smhd])+$/.test(text)) {
        return undefined;
    }
    /** @type {Record<string, number>} */
    const units = { s: 1, m: 60, h: 3600, d: 86400 };
    return [...text.matchAll(/(\d+)([smhd])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * units[unit], 0);
}

/**
 * @param {string} text
 * @returns {string | undefined} what is wrong with it as the URL of a registry
 */
function wrongUrl(text) {
    // The text is not repeated, since it may have a password.
    const like = 'it looks like https://ports.example.com';
    if (!text) {
        return `url is missing: the registry's, ${like}`;
    }
    if (!URL.canParse(text) || !['https:', 'http:'].includes(new URL(text).protocol)) {
        return `url is not one of HTTP; ${like}`;
    }
    const { username, password, search, hash } = new URL(text);
    return username || password || search || hash ? `url has a user, a query or a fragment; ${like}` : undefined;
}

/**
 * Reads the inputs.
 * @param {Environment} environment
 * @returns {Settings}
 * @throws {Failure} with all that is wrong with them
 */
export function settings(environment) {
    const given = (/** @type {string} */ name) => input(environment, name);
    /** @type {(string | undefined | false)[]} */
    const wrong = [];
    const nameRule = 'letters and digits, with . _ ~ - between them, at most 64 characters';

    const url = given('url').replace(/\/+$/, '');
    wrong.push(wrongUrl(url));
    const service = given('service');
    wrong.push(!service && 'service is missing: the one whose range the port is from');
    wrong.push(service && !isName(service) && `service is not a name: ${nameRule}`);
    const namespace = given('namespace') || 'default';
    wrong.push(!isName(namespace) && `namespace is not a name: ${nameRule}`);
    const name = given('name');
    wrong.push(name && !isInstance(name) && `name is not a name: ${nameRule}, not digits alone`);

    const parts = given('ports')
        .split(/[\s,]+/)
        .filter(Boolean);
    wrong.push(parts.length > MOST_PORTS && `ports has more than ${MOST_PORTS} entries`);
    const misfits = parts.filter((part) => !isInstance(nameOfPart('job', part)) || part.length > 32);
    wrong.push(
        misfits.length > 0 &&
            `ports has what no part of a name can be: ${misfits.join(', ')}; it is a list as in http,grpc`,
    );
    const first = given('env') || 'PORT';
    wrong.push(!/^[A-Za-z_][A-Za-z0-9_]*$/.test(first) && 'env is no name of a variable: letters, digits and _');
    const names = variables(first, parts);
    const shared = names.flat().filter((one, index, all) => all.indexOf(one) !== index);
    wrong.push(shared.length > 0 && `ports would share the variable ${shared[0]}; rename one of them`);
    const contiguous = (given('contiguous') || 'false').toLowerCase();
    wrong.push(!['true', 'false'].includes(contiguous) && 'contiguous is true or false');
    wrong.push(contiguous === 'true' && parts.length < 2 && 'contiguous is about several ports; give the input ports');

    const lease = seconds(given('lease') || '15m') ?? 0;
    wrong.push(
        (lease < 1 || lease > LONGEST_LEASE) && 'lease is not a duration from 1s to 30d, as in 90s, 15m or 1h30m',
    );
    const wait = seconds(given('wait') || '0');
    wrong.push(wait === undefined && 'wait is not a duration, as in 90s, 15m or 1h30m');

    const mistakes = wrong.filter(Boolean);
    if (mistakes.length > 0) {
        throw new Failure('input', `The step's inputs are not right: ${mistakes.join('. ')}.`);
    }
    return {
        url,
        namespace,
        service,
        name,
        parts,
        contiguous: contiguous === 'true',
        lease,
        wait: (wait ?? 0) * 1000,
        variables: names,
        role: given('role-to-assume'),
        region: given('aws-region'),
        index: given('job-index'),
        matrix: given('job-matrix'),
    };
}
