// A service: the numbers of its range, its map, and the same as tables.

import { pages, path, read } from './api.js';
import { Canvas, blockOf } from './canvas.js';
import { el, number, replace, span, time, when } from './dom.js';
import * as live from './live.js';
import { noteMap, servicesOf } from './overview.js';
import { go, link } from './place.js';
import { LETTERS, MEANINGS, STATES, cell, usedPercent } from './states.js';

/** How many ports a part of a large range has, and how many rows a table shows at first. */
const PART = 1000;
const ROWS = 100;

/** Waits between two maps: after an event; without events, and how much longer for each port that is read. */
const AFTER_EVENT = 400;
const BETWEEN = 1500;
const POLL = 10_000;
const POLL_A_PORT = 2;

export class Range {
    constructor(namespace, service) {
        Object.assign(this, { namespace, service, map: null, ports: null, chosen: null, read: 0, isOver: false });
        this.part = { from: undefined, to: undefined };
        this.stop = new AbortController();
        this.#build();
    }

    #build() {
        const isDefault = this.namespace === 'default';
        this.canvas = el('canvas', {
            tabindex: '0',
            role: 'application',
            'aria-roledescription': 'map of ports',
            'aria-label': `Ports of ${this.service}`,
            'aria-describedby': 'keys',
            id: 'map',
        });
        this.pointed = el('p', { class: 'pointed', id: 'pointed', 'aria-live': 'polite' }, 'Point at a port.');
        this.description = el('p', { class: 'faint' });
        this.facts = el('dl', { class: 'facts' });
        this.legend = el('ul', { class: 'legend', 'aria-label': 'What the cells mean' });
        this.parts = el('p', { class: 'parts' });
        this.runs = el('details', {}, el('summary', { text: 'The map as a table' }));
        this.holders = el('details', {}, el('summary', { text: 'Who has the ports' }));
        this.feed = el('div');
        this.runs.addEventListener('toggle', () => this.#showRuns());
        this.holders.addEventListener('toggle', () => this.holders.open && this.#showHolders());
        this.element = el(
            'div',
            { class: 'range' },
            el('p', { class: 'back' }, el('a', { href: '#/' }, 'All services')),
            el('h2', {}, isDefault ? null : el('span', { class: 'faint', text: `${this.namespace} / ` }), this.service),
            this.description,
            this.facts,
            this.legend,
            this.parts,
            this.pointed,
            el('div', { class: 'map' }, this.canvas),
            el(
                'p',
                { class: 'faint', id: 'keys' },
                'Arrow keys move, Home and End go to the ends of a row, n and p to the next and the previous port ' +
                    'that is taken, Enter opens.',
            ),
            this.runs,
            this.holders,
            this.feed,
        );
        this.drawn = new Canvas(this.canvas, {
            opened: (start, end) => this.#opened(start, end),
            pointed: (text, byKey) => {
                this.pointed.setAttribute('aria-live', byKey ? 'polite' : 'off');
                this.pointed.textContent = text;
            },
        });
        replace(this.feed, live.feed());
        const scheme = matchMedia('(prefers-color-scheme: dark)');
        scheme.addEventListener('change', () => this.ports && this.#draw(), { signal: this.stop.signal });
    }

    /** Shows this part of the range, and which port is open. */
    at({ from, to, target }) {
        this.part = { from, to };
        this.chosen = /^[0-9]+$/.test(target ?? '') ? Number(target) : null;
        if (this.ports) this.#draw();
    }

    /** Marks the port that is open, once it is known which one a name has. */
    choose(port) {
        if (port === this.chosen) return;
        this.chosen = port;
        if (this.ports) this.drawn.choose(port);
    }

    /** Stops reading. */
    leave() {
        this.isOver = true;
        this.stop.abort();
        clearTimeout(this.timer);
    }

    /** Reads the map, shows it, and does so again when it may have changed. */
    async load() {
        clearTimeout(this.timer);
        let failed = null;
        try {
            const map = await read(path.map(this.namespace, this.service), { signal: this.stop.signal });
            if (this.isOver) return;
            this.#take(map);
            this.#draw();
        } catch (error) {
            if (error.name === 'AbortError') return;
            failed = error;
        }
        this.#later();
        if (failed) throw failed;
    }

    #later() {
        if (this.isOver || live.mode() === 'live') return;
        const taken = this.map ? this.map.size - this.map.counts.free : 0;
        this.#in(POLL + POLL_A_PORT * taken);
    }

    #in(millis) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => {
            // A page that nobody sees asks for nothing.
            if (document.hidden) this.#in(millis);
            else this.load().catch(() => {});
        }, millis);
    }

    /** An event; `null` if some may have been missed. */
    heard(event) {
        const isOther = event && ((event.namespace ?? 'default') !== this.namespace || event.service !== this.service);
        if (isOther || this.isOver) return;
        if (event?.port !== undefined && this.ports) {
            const state = {
                'port-offered': 'offered',
                'port-allocated': 'allocated',
                'port-quarantined': 'quarantined',
            }[event.type];
            const at = event.port - this.map.start;
            if (state && at >= 0 && at < this.ports.length) {
                this.ports[at] = STATES.indexOf(state);
                this.#drawMap();
            }
        }
        // What a release leaves behind, a free port or a cooling one, is in the next map.
        this.#in(Math.max(AFTER_EVENT, this.read + BETWEEN - performance.now()));
    }

    #take(map) {
        const ports = new Uint8Array(map.size);
        for (const { start, end, state } of map.runs) {
            const at = STATES.indexOf(state);
            // A later registry may have more states; what is not known is taken.
            ports.fill(at < 0 ? STATES.indexOf('allocated') : at, start - map.start, end - map.start + 1);
        }
        if (this.ports && map.start === this.map.start && map.size === this.map.size && !map.block) {
            const differences = [];
            for (let at = 0; at < ports.length; at += 1) {
                if (ports[at] !== this.ports[at]) {
                    differences.push({
                        port: map.start + at,
                        before: STATES[this.ports[at]],
                        after: STATES[ports[at]],
                    });
                }
            }
            live.noteDifference(this.namespace, this.service, differences);
        }
        Object.assign(this, { map, ports, read: performance.now() });
        noteMap(this.namespace, map);
    }

    #draw() {
        const { map } = this;
        const service = servicesOf(this.namespace).find(({ name }) => name === this.service);
        this.description.textContent = service?.description ?? '';
        const fact = (value, text) => el('div', { class: 'fact' }, el('dd', {}, value), el('dt', { text }));
        replace(
            this.facts,
            fact(`${map.start}–${map.end}`, `${number(map.size)} ports`),
            fact(`${usedPercent(map.counts)} %`, 'taken'),
            fact(number(map.counts.free), 'free'),
            fact(number(map.largest_free_run), 'at most in a row'),
            map.next_expiry ? fact(inTime(map.next_expiry), 'until a port comes back') : null,
        );
        replace(
            this.legend,
            ...STATES.map((state) => {
                const sample = el('canvas', { width: '36', height: '36', 'aria-hidden': 'true' });
                const paint = sample.getContext('2d');
                paint.scale(2, 2);
                cell(paint, state, 0, 0, 18);
                return el(
                    'li',
                    { title: MEANINGS[state] },
                    sample,
                    el('b', { text: number(map.counts[state] ?? 0) }),
                    ` ${state} `,
                    el('span', { class: 'letter', text: LETTERS[state] }),
                );
            }),
        );
        this.#drawMap();
        this.#showRuns();
        if (this.holders.open && this.isStale?.()) this.#showHolders();
    }

    #drawMap() {
        const { map, ports } = this;
        let { from, to } = this.part;
        const isPart = from !== undefined && to !== undefined && to >= map.start && from <= map.end && from <= to;
        if (!isPart) [from, to] = [map.start, map.end];
        [from, to] = [Math.max(from, map.start), Math.min(to, map.end)];
        const block = blockOf(to - from + 1);
        const here = { namespace: this.namespace, service: this.service };
        const texts = [];
        if (isPart)
            texts.push(
                `Ports ${from}–${to}. `,
                el('a', { href: link(here), 'data-key': 'whole' }, 'Show the whole range'),
                ' ',
            );
        if (block > 1)
            texts.push(
                `Each cell is ${block} ports, and filled as far as they are taken. Open one to see them one by one. `,
            );
        if (map.block)
            texts.push(`The range is so fragmented that the registry sums it up in blocks of ${map.block} ports. `);
        replace(this.parts, ...texts);
        this.drawn.show(from, ports.subarray(from - map.start, to - map.start + 1), this.chosen);
    }

    #opened(start, end) {
        const here = { namespace: this.namespace, service: this.service };
        if (start === end) {
            go({ ...here, ...this.part, target: String(start) });
            return;
        }
        // A cell of many ports: the part of the range around it, and its first port for the keyboard to go on from.
        const from = Math.max(this.map.start, Math.floor((start - this.map.start) / PART) * PART + this.map.start);
        go({ ...here, from, to: Math.min(this.map.end, from + PART - 1) });
        this.drawn.cursor = start - from;
        this.drawn.draw();
    }

    /** The stretches of the map, for readers without eyes for the canvas. */
    #showRuns() {
        if (!this.runs.open || !this.map) return;
        const rows = this.map.runs.slice(0, this.rows ?? ROWS);
        const more = this.map.runs.length - rows.length;
        const body = rows.map(({ start, end, state }) =>
            el(
                'tr',
                {},
                el('td', {}, port(this, start), start === end ? null : '–', start === end ? null : port(this, end)),
                el('td', { class: 'number', text: number(end - start + 1) }),
                el('td', { text: state }),
            ),
        );
        const button =
            more > 0
                ? el('button', { type: 'button', 'data-key': 'more-runs' }, `Show more of the other ${number(more)}`)
                : null;
        button?.addEventListener('click', () => {
            this.rows = (this.rows ?? ROWS) + 10 * ROWS;
            this.#showRuns();
        });
        replace(this.runs, this.runs.querySelector('summary'), table(['Ports', 'How many', 'State'], body), button);
    }

    /** The lists of ports and offers, page by page. */
    async #showHolders() {
        const read = this.read;
        this.isStale = () => this.read !== read && this.shownHolders <= ROWS;
        this.shownHolders = 0;
        const body = el('tbody');
        const status = el('p', { class: 'faint', role: 'status' }, 'reading');
        const button = el('button', { type: 'button', hidden: true }, 'Show more');
        const shown = table(['Port', 'Name', 'Owner', 'Until'], [], body);
        const walk = this.#walk();
        const next = async () => {
            button.hidden = true;
            try {
                const { value, done } = await walk.next();
                if (value) {
                    body.append(...value.map((holder) => this.#holder(holder)));
                    this.shownHolders += value.length;
                }
                status.textContent = `${number(this.shownHolders)} ${done ? 'in all' : 'so far'}`;
                button.hidden = Boolean(done);
            } catch (error) {
                if (error.name !== 'AbortError') status.textContent = error.message;
            }
        };
        button.addEventListener('click', next);
        await next();
        replace(this.holders, this.holders.querySelector('summary'), shown, status, button);
    }

    async *#walk() {
        const options = { query: [['limit', String(ROWS)]], signal: this.stop.signal };
        for (const [list, state] of [
            [path.offers, 'offered'],
            [path.ports, 'allocated'],
        ]) {
            for await (const { items } of pages(list(this.namespace, this.service), options)) {
                if (items.length > 0) yield items.map((item) => ({ ...item, state }));
            }
        }
    }

    #holder(holder) {
        const until = holder.expires_at ? when(holder.expires_at) : el('span', { text: 'it is released' });
        return el(
            'tr',
            {},
            el('td', {}, port(this, holder.port)),
            el(
                'td',
                {},
                el('span', { text: holder.name }),
                holder.state === 'offered' ? el('span', { class: 'faint', text: ' (offered)' }) : null,
            ),
            el('td', { text: holder.owner ?? '' }),
            el('td', {}, until),
        );
    }
}

const port = ({ namespace, service }, target) =>
    el('a', { href: link({ namespace, service, target: String(target) }) }, String(target));

const inTime = (text) => {
    const left = time(text) - Date.now();
    return left > 0 ? span(left) : 'now';
};

/** A table that can be scrolled to the side on a phone. */
export function table(heads, rows, body = el('tbody')) {
    body.append(...rows);
    const head = el('thead', {}, el('tr', {}, ...heads.map((text) => el('th', { scope: 'col', text }))));
    return el(
        'div',
        { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': heads.join(', ') },
        el('table', {}, head, body),
    );
}
