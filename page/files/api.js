// Calls of the registry's API, on the server that this page comes from.

/** A call that was refused, or had no answer. Its message is the problem's `detail`. */
export class Refused extends Error {
    constructor(status, detail, problem = {}) {
        super(detail);
        this.status = status;
        this.problem = problem;
    }

    /** The last part of the problem's type, such as `port-not-found`; empty if it is not one of the registry's. */
    get kind() {
        const type = typeof this.problem.type === 'string' ? this.problem.type : '';
        return type.startsWith('/problems/') ? type.slice('/problems/'.length) : '';
    }

    /** Whether the registry, or what is in front of it, does not have this call at all: an older one, for example. */
    get isUnknownCall() {
        return (
            ['not-found', 'method-not-allowed', 'history-off'].includes(this.kind) ||
            (!this.kind && [403, 404, 405, 501].includes(this.status))
        );
    }
}

const KEY = 'portmaster-session';
let session = null;
let settings = { registry: '', write: false, session: false };

/** Reads what the page's server is like, and exchanges the one-time token of `portmaster ui`. Returns the settings. */
export async function begin() {
    const token = /^#token=([0-9a-f]+)$/.exec(location.hash)?.[1];
    if (token) history.replaceState(null, '', '#/');
    settings = await (await fetch(new URL('page/settings.json', document.baseURI))).json();
    if (settings.session) {
        session = token ? await exchanged(token) : null;
        if (session) localStorage.setItem(KEY, session);
        session ??= localStorage.getItem(KEY);
    }
    return settings;
}

/** The session for a token; none if the token was used before, as when its address is opened twice. */
async function exchanged(token) {
    const answer = await fetch(new URL('session', document.baseURI), { method: 'POST', body: token });
    return answer.ok ? (await answer.json()).session : null;
}

/** Sends a call. `path` is relative to the page, and has no query. Returns the answer, if it is a success. */
export async function send(method, path, { query, signal, accept = 'application/json', headers = {} } = {}) {
    const url = new URL(path, document.baseURI);
    for (const [name, value] of query ?? []) url.searchParams.append(name, value);
    const sent = { accept, ...headers, ...(session && { 'x-portmaster-session': session }) };
    let answer;
    try {
        answer = await fetch(url, { method, headers: sent, signal, cache: 'no-store', credentials: 'same-origin' });
    } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new Refused(0, 'The registry does not answer. The page tries again.');
    }
    if (answer.ok) return answer;
    let problem = {};
    try {
        problem = await answer.json();
    } catch {
        // Not one of the registry's answers: a proxy's.
    }
    const text = [problem?.detail, problem?.message].find((words) => typeof words === 'string' && words);
    throw new Refused(
        answer.status,
        text ?? `The answer was ${answer.status}. Something in front of the registry gave it.`,
        problem ?? {},
    );
}

/** Reads one thing. */
export async function read(path, options) {
    return (await send('GET', path, options)).json();
}

/** Reads a list page by page. `query` is a list of pairs. */
export async function* pages(path, { query = [], signal } = {}) {
    for (;;) {
        const answer = await send('GET', path, { query, signal });
        const next = /<([^>]*)>;\s*rel="?next"?/.exec(answer.headers.get('link') ?? '')?.[1];
        yield { items: await answer.json(), more: Boolean(next) };
        if (!next) return;
        // Only its query: behind a proxy the path may be another one.
        query = [...new URL(next, document.baseURI).searchParams];
    }
}

const part = encodeURIComponent;
const space = (namespace) => (namespace === 'default' ? 'v1' : `v1/namespaces/${part(namespace)}`);

/** The paths of the API. */
export const path = {
    namespaces: () => 'v1/namespaces',
    services: (namespace) => `${space(namespace)}/services`,
    service: (namespace, service) => `${space(namespace)}/services/${part(service)}`,
    map: (namespace, service) => `${space(namespace)}/services/${part(service)}/map`,
    ports: (namespace, service) => `${space(namespace)}/services/${part(service)}/ports`,
    offers: (namespace, service) => `${space(namespace)}/services/${part(service)}/offers`,
    port: (namespace, service, target) => `${space(namespace)}/services/${part(service)}/ports/${part(target)}`,
    quarantine: (namespace, service, port) => `${space(namespace)}/services/${part(service)}/quarantine/${part(port)}`,
    find: (namespace, port) => `${space(namespace)}/ports/${part(port)}`,
    history: (namespace, port) => `${space(namespace)}/ports/${part(port)}/history`,
    historyOfName: (namespace, service) => `${space(namespace)}/services/${part(service)}/history`,
    events: () => 'v1/events',
};
