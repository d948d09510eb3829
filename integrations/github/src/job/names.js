/** The names on the wire: what may be one, and how one is made of parts. */

import { createHash } from 'node:crypto';

/** How many characters a name has at most, and a hash with the hyphen before it. */
const NAME = 64;
const HASH = 17;

/**
 * 64 bits of SHA-256, as the command line makes them.
 * @param {string} text
 */
export const hash = (text) => createHash('sha256').update(text).digest('hex').slice(0, 16);

/**
 * Whether a text can be the name of a service or of a namespace.
 * @param {string} text
 */
export const isName = (text) => text.length <= NAME && /^[A-Za-z0-9]([A-Za-z0-9._~-]*[A-Za-z0-9])?$/.test(text);

/**
 * Whether a text can be the name of an instance, which cannot be mistaken for a port.
 * @param {string} text
 */
export const isInstance = (text) => isName(text) && /[^0-9]/.test(text);

/**
 * Joins parts by hyphens. Where that cannot be a name, characters are replaced and the end is a hash of the parts, so
 * that two lists of parts still differ.
 * @param {string[]} parts
 * @returns {string}
 */
export function nameOf(parts) {
    const joined = parts.map((part) => part.replaceAll('/', '-')).join('-');
    if (isInstance(joined)) {
        return joined;
    }
    const edges = /^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g;
    const cut = joined
        .replace(/[^A-Za-z0-9._~-]/g, '-')
        .replace(edges, '')
        .slice(0, NAME - HASH)
        .replace(edges, '');
    return `${cut || 'job'}-${hash(parts.join('/'))}`;
}

/**
 * The name of one of several ports: that of the job, and what the port is for. Where it would be too long, the end of
 * the job's name gives way to a hash of it.
 * @param {string} name
 * @param {string} part
 * @returns {string} which may still not be a name, if the part cannot be a part of one
 */
export function nameOfPart(name, part) {
    const whole = `${name}-${part}`;
    const kept = NAME - part.length - HASH - 1;
    if (whole.length <= NAME || kept < 0) {
        return whole;
    }
    return `${name.slice(0, kept).replace(/[^A-Za-z0-9]+$/, '')}-${hash(name)}-${part}`;
}

/**
 * The names of the variables of several ports: `PORT_HTTP` and so on. The first port is in the first variable as well.
 * @param {string} first by default PORT
 * @param {string[]} parts what the ports are for; none if there is one port
 * @returns {string[][]} for each port
 */
export function variables(first, parts) {
    if (parts.length === 0) {
        return [[first]];
    }
    const names = parts.map((part) => [`${first}_${part.replace(/[^A-Za-z0-9]/g, '_').toUpperCase()}`]);
    names[0].push(first);
    return names;
}
