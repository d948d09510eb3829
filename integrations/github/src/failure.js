/** What can go wrong, in words for whoever reads the log. */

/** @typedef {'input' | 'credentials' | 'unreachable' | 'problem' | 'denied' | 'unexpected'} What */
/** @typedef {Record<string, unknown>} Problem a problem document (RFC 9457) of the registry */

export class Failure extends Error {
    /**
     * @param {What} what
     * @param {string} message what happened, and what to do next
     * @param {object} [more]
     * @param {number} [more.status] the answer's, if there was one
     * @param {string} [more.kind] the problem's, as in `name-taken`
     * @param {Problem} [more.problem]
     * @param {number} [more.retryAfter] in milliseconds, if the answer said so
     * @param {boolean} [more.passes] whether the same call may succeed a little later
     */
    constructor(what, message, more = {}) {
        super(message);
        this.name = 'Failure';
        this.what = what;
        this.status = more.status;
        this.kind = more.kind;
        this.problem = more.problem ?? {};
        this.retryAfter = more.retryAfter;
        this.passes = more.passes ?? false;
    }

    /** Whether the registry says that the port belongs to nobody, or to somebody else. */
    get isLost() {
        return this.what === 'problem' && [404, 409, 410].includes(this.status ?? 0);
    }
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export const reason = (error) => (error instanceof Error ? error.message : String(error));
