// One port: what has it, until when, what had it before, and what can be done about it.

import { Refused, pages, path, read, send } from './api.js';
import { ask } from './ask.js';
import { byId, clock, el, outside, replace, span, time, when } from './dom.js';
import { run } from './job.js';
import { go, link } from './place.js';
import { LETTERS, MEANINGS } from './states.js';

/** How many tenures are shown at first. */
const TENURES = 20;

const ENDS = {
    released: 'released',
    rejected: 'the offer was rejected',
    'offer-expired': 'the offer expired',
    'lease-lapsed': 'the lease lapsed',
    quarantined: 'in use outside the registry',
    withdrawn: 'withdrawn by the registry',
    removed: 'removed by the reconciler',
    unknown: 'not known',
};

const isPort = (target) => /^[0-9]+$/.test(target);

export class Panel {
    /** @param {{namespace: string, service: string, target: string}} here */
    constructor(here, { settings, stateOf, known, changed }) {
        Object.assign(this, { here, settings, stateOf, known, changed, isOver: false });
        this.stop = new AbortController();
        this.element = byId('panel');
        this.body = el('div');
        this.past = el('div');
        this.title = el(
            'h2',
            { tabindex: '-1', id: 'panel-title' },
            isPort(here.target) ? `Port ${here.target}` : here.target,
        );
        const close = el('button', { type: 'button', 'aria-label': 'Close', class: 'close' }, '×');
        close.addEventListener('click', () => this.close());
        replace(this.element, el('div', { class: 'head' }, this.title, close), this.body, this.past);
        this.element.hidden = false;
        this.element.setAttribute('aria-labelledby', 'panel-title');
        this.element.addEventListener(
            'keydown',
            (event) => {
                if (event.key === 'Escape' && !byId('ask').open) this.close();
            },
            { signal: this.stop.signal },
        );
        this.title.focus({ preventScroll: matchMedia('(min-width: 60rem)').matches });
        this.ticking = setInterval(() => this.#tick(), 1000);
    }

    close() {
        const { namespace, service } = this.here;
        go({ namespace, service });
        document.getElementById('map')?.focus({ preventScroll: true });
    }

    leave() {
        this.isOver = true;
        this.stop.abort();
        clearInterval(this.ticking);
        this.element.hidden = true;
        this.element.replaceChildren();
    }

    /** Reads the port and shows it. */
    async load() {
        try {
            const found = await this.#find();
            if (this.isOver) return;
            this.found = found;
            this.#show(found);
            if (found.port !== undefined) this.known(found.port);
            await this.#history(found);
        } catch (error) {
            if (error.name === 'AbortError' || this.isOver) return;
            replace(this.body, el('p', { class: 'problem', role: 'alert', text: error.message }));
        }
    }

    async #find() {
        const { namespace, service, target } = this.here;
        const { signal } = this.stop;
        try {
            if (isPort(target)) return await read(path.find(namespace, target), { signal });
            return { ...(await read(path.port(namespace, service, target), { signal })), state: 'allocated' };
        } catch (error) {
            if (!(error instanceof Refused) || error.kind !== 'port-not-found') throw error;
            // What is not allocated is described in the problem, as far as there is something to describe.
            const { state, service: of, name, port, owner, expires_at } = error.problem;
            if (state) return { state, service: of, name, port, owner, expires_at, isNotAllocated: true };
            if (!isPort(target)) return { state: 'none', service, name: target, detail: error.message };
            const shown = this.stateOf(Number(target));
            return { state: shown === 'reserved' ? 'reserved' : 'free', service, port: Number(target) };
        }
    }

    #show(found) {
        const { namespace, service } = this.here;
        this.title.textContent = found.port === undefined ? found.name : `Port ${found.port}`;
        const row = (text, value) =>
            value === undefined || value === null || value === '' ? [] : [el('dt', { text }), el('dd', {}, value)];
        const isHeld = ['allocated', 'offered'].includes(found.state);
        const job = run(found);
        const labels = Object.entries(found.labels ?? {});
        const badge = el(
            'span',
            { class: `badge ${found.state}` },
            el('span', { class: 'letter', text: LETTERS[found.state] ?? '–' }),
            found.state,
        );
        const of =
            found.service && found.service !== service
                ? el('a', { href: link({ namespace, service: found.service }) }, found.service)
                : found.service;
        this.left = found.expires_at ? el('span') : null;
        const until = found.expires_at ? el('span', {}, this.left, when(found.expires_at)) : null;
        const lasts = isHeld && !until ? 'it is released' : until;
        replace(
            this.body,
            el('p', {}, badge, ' ', el('span', { class: 'faint', text: found.detail ?? MEANINGS[found.state] ?? '' })),
            el(
                'dl',
                { class: 'facts-list' },
                ...row('Service', of),
                ...row(isHeld ? 'Name' : 'Last name', found.name),
                ...row('Owner', found.owner),
                ...row('Run', job && outside(job, job.href.replace('https://', ''))),
                ...row(isHeld ? 'Until' : 'Others from', lasts),
                ...row('Since', found.created && when(found.created)),
                ...row(
                    'Labels',
                    labels.length > 0 &&
                        el(
                            'ul',
                            { class: 'labels' },
                            ...labels.map(([key, value]) => el('li', { text: `${key}: ${value}` })),
                        ),
                ),
                ...row('Principal', found.principal),
            ),
            this.#actions(found),
        );
        this.#tick();
    }

    #tick() {
        if (!this.left || !this.found?.expires_at) return;
        const left = time(this.found.expires_at) - Date.now();
        this.left.textContent = left > 0 ? `${span(left)} left, until ` : 'over since ';
    }

    #actions(found) {
        if (!this.settings.write) return null;
        const button = (text, question) => {
            const made = el('button', { type: 'button', class: 'danger' }, text);
            made.addEventListener('click', async () => {
                if (await ask(question)) this.changed();
            });
            return made;
        };
        const { namespace } = this.here;
        const { service, name, port, owner, state } = found;
        if (state === 'allocated') {
            return el(
                'p',
                {},
                button('Release…', {
                    title: `Release port ${port}?`,
                    text:
                        `${name} of ${service} has it, ${owner ? `for the owner ${owner}` : 'and has no owner'}. ` +
                        'What uses the port keeps using it until it notices, and somebody else may get it.',
                    yes: `Release ${port}`,
                    // With the owner that is shown: if somebody else has the port by now, nothing happens.
                    act: () =>
                        send('DELETE', path.port(namespace, service, name), { query: owner ? [['owner', owner]] : [] }),
                }),
            );
        }
        if (state === 'cooling' || state === 'quarantined') {
            const what = state === 'cooling' ? 'cool-down' : 'quarantine';
            return el(
                'p',
                {},
                button(`End the ${what}…`, {
                    title: `End the ${what} of port ${port}?`,
                    text:
                        (name ? `${name} of ${service} had it${owner ? `, for the owner ${owner}` : ''}. ` : '') +
                        'Anybody can get the port at once. Make sure that nothing uses it.',
                    yes: `End the ${what}`,
                    act: () => send('DELETE', path.quarantine(namespace, service, port)),
                }),
            );
        }
        return null;
    }

    /** What had the port before, newest first; or which ports the name had. */
    async #history({ port, name }) {
        const { namespace, service, target } = this.here;
        const of = isPort(target) ? path.history(namespace, port) : path.historyOfName(namespace, service);
        const query = [['limit', String(TENURES)], ...(isPort(target) ? [] : [['name', name]])];
        const head = el('h3', { text: isPort(target) ? 'Who had it' : `What ${name} had` });
        const list = el('ol', { class: 'tenures' });
        const more = el('button', { type: 'button', hidden: true }, 'Show earlier ones');
        const walk = pages(of, { query, signal: this.stop.signal });
        const next = async () => {
            more.hidden = true;
            const { value, done } = await walk.next();
            list.append(...(value?.items ?? []).map((tenure) => this.#tenure(tenure)));
            more.hidden = Boolean(done) || !value.more;
            return list.childElementCount;
        };
        more.addEventListener('click', () => next().catch((error) => more.replaceWith(error.message)));
        try {
            const count = await next();
            const none =
                count === 0 ? el('p', { class: 'faint', text: 'Nothing that this registry remembers.' }) : null;
            replace(this.past, head, none, list, more);
        } catch (error) {
            if (error.name === 'AbortError') return;
            const text = error.isUnknownCall ? 'This registry keeps no history.' : error.message;
            replace(this.past, head, el('p', { class: 'faint', text }));
        }
    }

    #tenure({ service, name, port, owner, labels, offered, allocated, ended, end }) {
        const { namespace, target } = this.here;
        const began = time(allocated ?? offered);
        const finished = time(ended);
        const lasted = began && finished ? `, for ${span(finished - began)}` : '';
        const how = ENDS[end] ?? end;
        const over = finished ? ` to ${clock(finished)}${lasted}: ${how}` : `, and it is over: ${how}`;
        const until = end === undefined ? ', and has it now' : over;
        const job = run({ owner, labels });
        const who = isPort(target)
            ? el('a', { href: link({ namespace, service, target: name }) }, name)
            : el('a', { href: link({ namespace, service, target: String(port) }) }, `Port ${port}`);
        return el(
            'li',
            {},
            who,
            ` of ${service}`,
            owner ? el('span', { class: 'faint', text: ` (${owner})` }) : null,
            el('br'),
            el(
                'span',
                { class: 'faint' },
                el('time', { datetime: allocated ?? offered, text: began ? clock(began) : '?' }),
                `${until}${allocated ? '' : ' – never accepted'}`,
            ),
            job ? el('span', {}, ' ', outside(job, 'run')) : null,
        );
    }
}
