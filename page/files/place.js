// Where the page is: the fragment of its address. So every place has a link, and the back button works.
//
//   #/                            all services
//   #/default/django              a service
//   #/default/django/5003         a port of it, or the name that has one
//   #/default/django?from=&to=    a part of its range
//   #/?q=web                      a search

/** @returns {{namespace?: string, service?: string, target?: string, query?: string, from?: number, to?: number}} */
export function place(fragment = location.hash) {
    const [path, query = ''] = fragment.replace(/^#\/?/, '').split('?');
    let parts;
    try {
        parts = path.split('/').map(decodeURIComponent);
    } catch {
        parts = [];
    }
    const [namespace, service, target] = parts.map((part) => part || undefined);
    const parameters = new URLSearchParams(query);
    const port = (name) => {
        const value = Number(parameters.get(name));
        return Number.isInteger(value) && value > 0 && value < 65536 ? value : undefined;
    };
    return { namespace, service, target, query: parameters.get('q') ?? undefined, from: port('from'), to: port('to') };
}

/** The fragment of a place. */
export function link({ namespace, service, target, query, from, to }) {
    const parts = [namespace, service, target].filter((part) => part !== undefined && part !== null);
    const parameters = new URLSearchParams();
    if (query !== undefined) parameters.set('q', query);
    if (from !== undefined && to !== undefined) {
        parameters.set('from', from);
        parameters.set('to', to);
    }
    const text = parameters.toString();
    return `#/${parts.map(encodeURIComponent).join('/')}${text && `?${text}`}`;
}

/** Goes there. `quietly` adds no entry to the history. */
export function go(there, quietly = false) {
    const fragment = link(there);
    if (fragment === location.hash) return;
    if (quietly) {
        history.replaceState(null, '', fragment);
        dispatchEvent(new HashChangeEvent('hashchange'));
    } else {
        location.hash = fragment;
    }
}
