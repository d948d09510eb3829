/**
 * Who holds the port: one step of one job.
 *
 * The **name** is the same whenever the run is run again, so that the job gets the port that it had: it is made of
 * the repository, the run, the job, its place in the matrix and the step. Nothing that a runner says is sure to tell
 * two steps apart, though: the jobs of a matrix share `GITHUB_JOB`; so do the jobs of a reusable workflow that is
 * called twice, which have the same place in their matrix too; and the steps of a composite action share
 * `GITHUB_ACTION`. So the **owner** ends with a random number. Two steps never are the same holder, whatever the
 * runner says: the registry refuses the second one the name, and it takes another.
 *
 * The owner begins with the job, as the command line names it, and says which attempt it is. By that a job recognizes
 * what an earlier attempt, which was killed, has left behind.
 */

import { randomBytes } from 'node:crypto';

import { hash, nameOf } from './names.js';

/** @typedef {import('../runner/inputs.js').Environment} Environment */

/** How many characters an owner has at most. */
const OWNER = 128;
/** How many characters of a label's value are kept; how many labels a port has, and of how many characters in all. */
const KEPT = 40;
const LABELS = 8;
const LABELS_LENGTH = 256;

/** The numbers of the names that are tried, before one that nobody else can have. */
const NUMBERS = [2, 3, 4];

/**
 * Which of the jobs of a matrix this is.
 * @param {string} index `strategy.job-index`; empty on runners that do not know it
 * @param {string} matrix its values, as JSON; empty or null if there is none
 * @returns {string}
 */
export function legOf(index, matrix) {
    if (/^\d+$/.test(index)) {
        return index;
    }
    const isMatrix = !['', 'null', '{}'].includes(matrix.replace(/\s/g, ''));
    return isMatrix ? hash(matrix).slice(0, 8) : '0';
}

/**
 * @param {string} text
 * @param {number} length
 * @returns {string} the text, if it is printable and not too long; else its beginning, and a hash of it
 */
function fitting(text, length) {
    if (/^[!-~]([ -~]*[!-~])?$/.test(text) && text.length <= length) {
        return text;
    }
    const end = hash(text);
    return `${text
        .replace(/[^ -~]/g, '-')
        .slice(0, length - end.length - 1)
        .trim()}-${end}`;
}

/**
 * Keeps as many labels as a port can have.
 * @param {[string, string | undefined][]} all the most useful first
 * @returns {Record<string, string>}
 */
function labelsOf(all) {
    /** @type {Record<string, string>} */
    const labels = {};
    let length = 0;
    for (const [key, value] of all) {
        const kept = (value ?? '').replace(/[^ -~]/g, '-').slice(0, KEPT);
        length += key.length + kept.length;
        if (length > LABELS_LENGTH || Object.keys(labels).length >= LABELS) {
            break;
        }
        if (kept) {
            labels[key] = kept;
        }
    }
    return labels;
}

export class Identity {
    /**
     * @param {Environment} environment the variables that the runner sets
     * @param {string} leg see {@link legOf}
     * @param {string} [unique] what no other step has
     */
    constructor(environment, leg, unique = randomBytes(8).toString('hex')) {
        const of = (/** @type {string} */ name) => environment[name] ?? '';
        const attempt = /^\d+$/.test(of('GITHUB_RUN_ATTEMPT')) ? of('GITHUB_RUN_ATTEMPT') : '1';
        const end = `/${attempt}-${unique}`;
        const job = [of('GITHUB_REPOSITORY'), of('GITHUB_RUN_ID'), of('GITHUB_JOB'), leg];
        // In a composite action a step without an id has a random one.
        const step = of('GITHUB_ACTION').replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '');
        this.attempt = Number(attempt);
        this.unique = unique;
        this.parts = [...job, step];
        this.job = fitting(['gh', ...job].join('/'), OWNER - end.length);
        this.owner = this.job + end;
        this.labels = labelsOf([
            ['run', environment.GITHUB_RUN_ID],
            ['job', environment.GITHUB_JOB],
            ['index', leg],
            ['attempt', attempt],
            ['repository', environment.GITHUB_REPOSITORY],
            ['ci', 'github'],
        ]);
    }

    /**
     * The names that the port may have, in the order in which they are tried. The first is enough for nearly every
     * job. The jobs of a reusable workflow that is called twice come to the second one; and if there are many of
     * them, to one that nobody else has.
     * @returns {string[]}
     */
    names() {
        return [[], ...NUMBERS.map((number) => [String(number)]), [this.unique]].map((more) =>
            nameOf([...this.parts, ...more]),
        );
    }

    /**
     * Whether an owner is an earlier attempt of this job. It is over: a run is only run again when it has ended.
     * @param {unknown} owner
     * @returns {owner is string}
     */
    isEarlier(owner) {
        if (typeof owner !== 'string' || !owner.startsWith(`${this.job}/`)) {
            return false;
        }
        const attempt = /^(\d+)-[0-9a-f]{16}$/.exec(owner.slice(this.job.length + 1))?.[1];
        return attempt !== undefined && Number(attempt) < this.attempt;
    }
}
