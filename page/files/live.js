// What is happening now: the registry's events where it has them, and otherwise what two maps differ in.

import { path, send } from './api.js';
import { byId, clock, el } from './dom.js';
import { link } from './place.js';

/** How many lines are kept. */
const KEPT = 100;

const WORDS = {
    'port-offered': 'offered to',
    'port-allocated': 'given to',
    'port-released': 'released by',
    'offer-expired': 'offer expired, of',
    'lease-lapsed': 'lease lapsed, of',
    'port-quarantined': 'put into quarantine, after',
    'service-created': 'was created',
    'service-changed': 'was changed',
    'service-deleted': 'was deleted',
    'range-nearly-full': 'is nearly full',
};

const SAYS = {
    connecting: 'connecting',
    live: 'live',
    polling: 'refreshing now and then',
    lost: 'no answer, trying again',
};

const lines = [];
const listeners = new Set();
let state = 'connecting';
let isPaused = false;
let list = null;
let how = null;

/** How the page learns of changes: `live`, `polling`, `lost` or `connecting`. */
export const mode = () => state;

/** Calls this with each event, and with `null` when some may have been missed. */
export const listen = (listener) => listeners.add(listener);

function set(next) {
    state = next;
    const shown = byId('live');
    if (shown.textContent !== SAYS[next]) shown.textContent = SAYS[next];
    shown.dataset.state = next;
    explain();
}

/** Reports that the registry did not answer another call, or that it did. */
export function noteAnswer(isThere) {
    if (!isThere) set('lost');
    else if (state === 'lost' || state === 'connecting') set('polling');
}

/** Listens for as long as somebody looks: a browser has six connections to a server, and each page takes one. */
export async function start() {
    let wait = 1000;
    let last = null;
    for (;;) {
        if (document.hidden) {
            await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
            continue;
        }
        const stop = new AbortController();
        const hide = () => document.hidden && stop.abort();
        document.addEventListener('visibilitychange', hide);
        try {
            const answer = await send('GET', path.events(), {
                accept: 'text/event-stream',
                signal: stop.signal,
                headers: last ? { 'last-event-id': last } : {},
            });
            if (!answer.headers.get('content-type')?.startsWith('text/event-stream'))
                throw Object.assign(new Error(), { isUnknownCall: true });
            set('live');
            wait = 1000;
            tell(null);
            for await (const { type, data, id } of messages(answer.body)) {
                last = id ?? last;
                note(type, data);
            }
        } catch (error) {
            if (error.isUnknownCall) {
                set('polling');
                return;
            }
            if (error.name !== 'AbortError') set('lost');
        } finally {
            document.removeEventListener('visibilitychange', hide);
        }
        if (!document.hidden) {
            await new Promise((resolve) => setTimeout(resolve, wait));
            wait = Math.min(30_000, wait * 2);
        }
    }
}

/** Reads server-sent events (HTML, section 9.2). An `EventSource` could not send the session of `portmaster ui`. */
async function* messages(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    let message = {};
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        text += value;
        const parts = text.split(/\r\n|\n|\r(?!$)/);
        text = parts.pop();
        for (const line of parts) {
            if (line === '') {
                if (message.data !== undefined) yield message;
                message = {};
                continue;
            }
            const [, name, content] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
            if (name === 'data') message.data = message.data === undefined ? content : `${message.data}\n${content}`;
            else if (name === 'event') message.type = content;
            else if (name === 'id') message.id = content;
        }
    }
}

function note(type, data) {
    let event;
    try {
        event = { ...JSON.parse(data), type };
    } catch {
        return;
    }
    if (Object.hasOwn(WORDS, type)) add(event);
    // `reset` says that some were missed: everything is to be looked at again.
    tell(type === 'reset' ? null : event);
}

const tell = (event) => listeners.forEach((listener) => listener(event));

/** Adds what a newer map differs in, where there are no events. */
export function noteDifference(namespace, service, differences) {
    if (state === 'live') return;
    const now = new Date().toISOString();
    for (const { port, before, after } of differences.slice(0, 20)) {
        add({ time: now, namespace, service, port, was: `${before}, now ${after}` });
    }
}

function add(event) {
    lines.unshift(event);
    lines.length = Math.min(lines.length, KEPT);
    if (list?.isConnected && !isPaused) schedule();
}

let isScheduled = false;
function schedule() {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
        isScheduled = false;
        draw();
    });
}

function draw() {
    const shown = lines.map(line);
    list.replaceChildren(
        ...(shown.length > 0 ? shown : [el('li', { class: 'faint', text: 'Nothing since this page was opened.' })]),
    );
}

function line(event) {
    const { time, namespace = 'default', service, port, name, owner, type, was } = event;
    const about =
        port === undefined
            ? el('a', { href: link({ namespace, service }) }, String(service))
            : el('a', { href: link({ namespace, service, target: String(port) }) }, String(port));
    const words = was ?? WORDS[type];
    const who = name === undefined || port === undefined ? null : el('b', { text: name });
    const of = port === undefined ? null : ` of ${namespace === 'default' ? '' : `${namespace}/`}${service}`;
    return el(
        'li',
        {},
        el('time', { datetime: time, text: clock(new Date(time)) }),
        ' ',
        about,
        ` ${words} `,
        who,
        of,
        owner ? el('span', { class: 'faint', text: ` (${owner})` }) : null,
    );
}

/** The section that shows it. */
export function feed() {
    list = el('ol');
    how = el('p', { class: 'faint' });
    const shown = { class: 'feed', role: 'group', tabindex: '0', 'aria-label': 'What is happening now' };
    const pause = el('button', { type: 'button', 'aria-pressed': String(isPaused), 'data-key': 'pause' }, 'Pause');
    pause.addEventListener('click', () => {
        isPaused = !isPaused;
        pause.setAttribute('aria-pressed', String(isPaused));
        if (!isPaused) draw();
    });
    draw();
    explain();
    return el(
        'section',
        { class: 'now' },
        el('div', { class: 'head' }, el('h3', { text: 'What is happening now' }), pause),
        how,
        el('div', shown, list),
    );
}

function explain() {
    if (!how) return;
    how.textContent = 'This registry sends no events. What is listed is how the map that is open has changed.';
    how.hidden = state !== 'polling';
}
