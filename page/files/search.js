// A search: by port, or for a part of a name, an owner or a label.
//
// The registry's lists can only be filtered by the beginning of a name, a whole owner and a whole label, and a filtered
// list reads as many ports as the whole one. So the page reads the lists and looks at everything in them.

import { Refused, pages, path, read } from './api.js';
import { el, number, replace } from './dom.js';
import { allServices, namespaces } from './overview.js';
import { link } from './place.js';
import { table } from './range.js';

/** After so many finds it stops. */
const MOST = 200;

export class Search {
    constructor(query) {
        Object.assign(this, { query, stop: new AbortController(), looked: 0 });
        this.status = el('p', { class: 'faint', role: 'status' }, 'searching');
        this.body = el('tbody');
        this.table = table(['Port', 'Service', 'Name', 'Owner', 'Labels'], [], this.body);
        this.services = el('ul', { class: 'plain' });
        this.element = el(
            'div',
            {},
            el('p', { class: 'back' }, el('a', { href: '#/' }, 'All services')),
            el('h2', {}, 'Search for ', el('q', { text: query })),
            this.services,
            this.status,
            this.table,
        );
    }

    leave() {
        this.stop.abort();
    }

    async load() {
        const wanted = this.query.trim();
        const words = wanted.toLowerCase();
        try {
            this.#findServices(words);
            if (/^[0-9]{4,5}$/.test(wanted)) await this.#port(Number(wanted));
            else await this.#text(words);
            this.status.textContent = this.#count();
        } catch (error) {
            if (error.name !== 'AbortError') this.status.textContent = error.message;
        }
        return this.only;
    }

    #findServices(words) {
        const found = allServices().filter(({ service }) => service.name.toLowerCase().includes(words));
        replace(
            this.services,
            ...found
                .slice(0, 20)
                .map(({ namespace, service }) =>
                    el(
                        'li',
                        {},
                        'Service ',
                        el(
                            'a',
                            { href: link({ namespace, service: service.name }) },
                            namespace === 'default' ? service.name : `${namespace}/${service.name}`,
                        ),
                    ),
                ),
        );
    }

    #count() {
        const found = this.body.childElementCount;
        const looked = this.looked > 0 ? `, among ${number(this.looked)} ports and offers` : '';
        if (found >= MOST) return `The first ${MOST} are shown; search for something longer to see fewer.`;
        return found === 0 ? `Nothing found${looked}.` : `${number(found)} found${looked}.`;
    }

    /** The port, in each namespace; also where it is free, since its place on the map is of interest. */
    async #port(port) {
        const within = allServices().filter(({ service }) => service.start <= port && port <= service.end);
        for (const namespace of namespaces()) {
            const of = within.find((one) => one.namespace === namespace)?.service.name;
            let found = null;
            try {
                found = await read(path.find(namespace, port), { signal: this.stop.signal });
            } catch (error) {
                if (!(error instanceof Refused) || error.kind !== 'port-not-found') throw error;
                if (error.problem.state) found = error.problem;
            }
            if (found) this.#add(namespace, { ...found, service: found.service ?? of, port });
            else if (of) this.#add(namespace, { port, service: of, name: '', free: true });
        }
        const rows = this.body.childElementCount;
        if (rows === 1) this.only = this.latest;
    }

    async #text(words) {
        const [, key, value] = /^([a-z0-9._-]{1,32})[:=](.*)$/.exec(words) ?? [];
        const isLabel = ([its, text]) => its === key && text.toLowerCase().includes(value);
        const fits = ({ name, owner, labels = {} }) =>
            name.toLowerCase().includes(words) ||
            owner?.toLowerCase().includes(words) ||
            Object.entries(labels).some((label) =>
                key === undefined ? label[1].toLowerCase().includes(words) : isLabel(label),
            );
        for (const { namespace, service } of allServices()) {
            for (const list of [path.ports, path.offers]) {
                const options = { query: [['limit', '1000']], signal: this.stop.signal };
                for await (const { items } of pages(list(namespace, service.name), options)) {
                    this.looked += items.length;
                    for (const item of items.filter(fits)) {
                        this.#add(namespace, item);
                        if (this.body.childElementCount >= MOST) return;
                    }
                    this.status.textContent = `searching ${service.name}: ${this.#count()}`;
                }
            }
        }
    }

    #add(namespace, { port, service, name, owner, labels = {}, free }) {
        this.latest = { namespace, service, target: String(port) };
        const words = Object.entries(labels)
            .map(([key, value]) => `${key}: ${value}`)
            .join(', ');
        const of = namespace === 'default' ? service : `${namespace}/${service}`;
        const named = free ? el('span', { class: 'faint', text: 'nobody has it' }) : name;
        this.body.append(
            el(
                'tr',
                {},
                el('td', {}, el('a', { href: link(this.latest) }, String(port))),
                el('td', {}, el('a', { href: link({ namespace, service }) }, of)),
                el('td', {}, named),
                el('td', { text: owner ?? '' }),
                el('td', { text: words }),
            ),
        );
    }
}
