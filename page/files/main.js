// The page: reads where it is to be, and shows that.

import { begin } from './api.js';
import { byId, replace } from './dom.js';
import * as live from './live.js';
import * as overview from './overview.js';
import { Panel } from './panel.js';
import { go, place } from './place.js';
import { Range } from './range.js';
import { Search } from './search.js';
import { STATES } from './states.js';

/** How often the list of services is read again: what it says of most of them is a quarter of an hour old anyway. */
const REFRESH = 30_000;

let settings;
let here = {};
let view = null;
let panel = null;

async function show() {
    const there = place();
    const isSame =
        view && view.namespace === there.namespace && view.service === there.service && view.query === there.query;
    const before = here;
    here = there;
    document.body.dataset.view = there.service ? 'service' : there.query === undefined ? 'home' : 'search';
    overview.show(here);
    if (!isSame) {
        view?.leave?.();
        view = null;
        problems.delete('open');
        if (there.service) await showService(there);
        else if (there.query !== undefined) await showSearch(there);
        else showHome();
        if (here !== there) return;
    } else if (there.service) {
        view.at(there);
    }
    showPanel(there, before);
    title(there);
}

function title({ service, target, query }) {
    const words = [target, service, query === undefined ? null : `“${query}”`].filter(Boolean);
    document.title = [...words, 'Portmaster'].join(' – ');
}

function showHome() {
    view = { namespace: here.namespace, service: undefined, query: undefined };
    replace(byId('main'), ...overview.home(live.feed()));
}

async function showService(there) {
    const range = new Range(there.namespace, there.service);
    view = range;
    range.at(there);
    replace(byId('main'), range.element);
    scrollTo(0, 0);
    await attempt('open', () => range.load());
    performance.mark('map-shown');
}

async function showSearch(there) {
    const search = new Search(there.query);
    view = search;
    byId('query').value = there.query;
    replace(byId('main'), search.element);
    const only = await search.load();
    // One port was searched for and found: there is nothing to choose.
    if (only && view === search) go(only, true);
}

function showPanel(there, before) {
    const same = panel && ['namespace', 'service', 'target'].every((part) => before[part] === there[part]);
    if (same) return;
    panel?.leave();
    panel = null;
    document.body.classList.toggle('with-panel', Boolean(there.target));
    if (!there.target || !(view instanceof Range)) return;
    const range = view;
    panel = new Panel(there, {
        settings,
        stateOf: (port) => range.ports && STATES[range.ports[port - range.map.start]],
        known: (port) => range.choose(port),
        changed: () => {
            panel?.load();
            attempt('open', () => range.load());
        },
    });
    panel.load();
}

/** What went wrong, by what was being read: the list, or what is open. */
const problems = new Map();

/** Does something that needs the registry, and says on the page what went wrong. */
async function attempt(what, work) {
    try {
        await work();
        problems.delete(what);
        live.noteAnswer(true);
        return true;
    } catch (error) {
        if (error.name === 'AbortError') return false;
        if (error.status === 0) live.noteAnswer(false);
        problems.set(what, error.message);
        return false;
    } finally {
        const texts = [...new Set(problems.values())];
        const alert = byId('alert');
        alert.textContent = texts.join(' ');
        alert.hidden = texts.length === 0;
    }
}

async function refresh() {
    if (!document.hidden) {
        await attempt('list', () => overview.refresh(here.namespace));
        overview.show(here);
        if (document.body.dataset.view === 'home') showHome();
    }
}

let isHeard = false;
function heard(event) {
    if (view instanceof Range) view.heard(event);
    if (panel && event && String(event.port) === String(panel.found?.port)) panel.load();
    // Many events, one reading. How full a service is changes with each; the list need not.
    if (!isHeard && (event === null || event.type.startsWith('service-') || document.body.dataset.view === 'home')) {
        isHeard = true;
        setTimeout(() => {
            isHeard = false;
            refresh();
        }, 3000);
    }
}

async function main() {
    byId('search').addEventListener('submit', (event) => {
        event.preventDefault();
        const query = byId('query').value.trim();
        if (query) go({ query });
    });
    byId('skip').addEventListener('click', (event) => {
        event.preventDefault();
        byId('main').focus();
    });
    addEventListener('keydown', (event) => {
        if (event.key !== '/' || event.target.closest('input, dialog')) return;
        event.preventDefault();
        byId('query').focus();
    });
    addEventListener('hashchange', show);
    if (
        !(await attempt('settings', async () => {
            settings = await begin();
        }))
    )
        return;
    byId('registry').textContent = settings.registry;
    document.body.classList.toggle('may-write', settings.write);
    here = place();
    // The map of a linked service does not wait for the list of all services.
    const listed = attempt('list', () => overview.refresh(here.namespace));
    if (here.query !== undefined) await listed;
    view = null;
    await show();
    await listed;
    overview.show(here);
    if (view instanceof Range) view.at(here);
    if (document.body.dataset.view === 'home') showHome();
    live.listen(heard);
    live.start();
    setInterval(refresh, REFRESH);
    performance.mark('ready');
    document.body.dataset.ready = 'true';
}

main();
