// The namespaces and services, with how full they are, the fullest first.

import { pages, path, read } from './api.js';
import { byId, el, number, replace, span, time } from './dom.js';
import { link } from './place.js';
import { usedPercent } from './states.js';

/** How many namespaces are read by themselves. The others are read when they are opened. */
const NAMESPACES = 50;

/** How many maps are read for services whose usage the registry does not know yet. */
const MAPS = 24;

/** How many requests are under way at once. */
const AT_ONCE = 4;

/** What is known: the namespaces by name, each with its services, or without if they have not been read. */
const known = new Map();

/** The services of a namespace, as far as they are known. */
export const servicesOf = (namespace) => known.get(namespace)?.services ?? [];

/** All services that are known, with their namespaces. */
export const allServices = () =>
    [...known].flatMap(([namespace, { services }]) => (services ?? []).map((service) => ({ namespace, service })));

/** The names of all namespaces. */
export const namespaces = () => [...known.keys()];

/** Reads everything again, and shows it. */
export async function refresh(current) {
    const names = ['default'];
    for await (const { items } of pages(path.namespaces(), { query: [['limit', '1000']] })) {
        names.push(...items.map(({ name }) => name).filter((name) => name !== 'default'));
    }
    for (const gone of [...known.keys()].filter((name) => !names.includes(name))) known.delete(gone);
    const wanted = names.filter((name, at) => at < NAMESPACES || name === current || known.get(name)?.services);
    for (const name of names) if (!known.has(name)) known.set(name, {});
    await inTurn(wanted, readServices);
    const unknown = allServices()
        .filter(({ service }) => !service.usage)
        .slice(0, MAPS);
    await inTurn(unknown, async ({ namespace, service }) => {
        const map = await read(path.map(namespace, service.name)).catch(() => null);
        if (map) noteMap(namespace, map);
    });
}

async function readServices(namespace) {
    const services = [];
    try {
        for await (const { items } of pages(path.services(namespace), {
            query: [
                ['usage', 'true'],
                ['limit', '1000'],
            ],
        })) {
            services.push(...items);
        }
    } catch (error) {
        // Deleted meanwhile, or not for this reader.
        known.set(namespace, { services: [], problem: error.message });
        if (error.status === 0) throw error;
        return;
    }
    // What a map has said is newer than what the reconciler has.
    for (const service of services) {
        const before = known.get(namespace)?.services?.find(({ name }) => name === service.name)?.usage;
        if (before?.isNow && !(time(service.usage?.as_of) > time(before.as_of))) service.usage = before;
    }
    known.set(namespace, { services });
}

/** Takes how full a service is from its map. */
export function noteMap(namespace, map) {
    const service = servicesOf(namespace).find(({ name }) => name === map.service);
    if (!service) return;
    const usage = { as_of: new Date().toISOString(), size: map.size, counts: map.counts, isNow: true };
    usage.used_percent = usedPercent(map.counts);
    usage.days_until_full = service.usage?.days_until_full;
    service.usage = usage;
}

async function inTurn(items, work) {
    const left = [...items];
    const worker = async () => {
        while (left.length > 0) await work(left.shift());
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const used = ({ usage }) => usage?.used_percent ?? -1;
const fullest = (services) => Math.max(-1, ...services.map(used));

/** Shows the list, with the place that is open. */
export function show(here) {
    const groups = [...known].map(([name, group]) => ({ name, ...group }));
    groups.sort(
        (one, other) => fullest(other.services ?? []) - fullest(one.services ?? []) || compare(one.name, other.name),
    );
    const sections = groups.map((group) => section(group, here, groups.length > 1));
    replace(byId('services'), ...sections);
}

const compare = (one, other) => (one < other ? -1 : Number(one > other));

function section({ name, services, problem }, here, isOneOfMany) {
    const head = el('h2', {}, isOneOfMany ? name : 'Services');
    if (!services) {
        const open = el('a', { href: link({ namespace: name }), 'data-key': name }, 'Show its services');
        return el('section', {}, head, el('p', {}, open));
    }
    const sorted = [...services].sort((one, other) => used(other) - used(one) || compare(one.name, other.name));
    const empty = problem ?? 'No services yet.';
    const list =
        sorted.length === 0
            ? el('p', { class: 'faint', text: empty })
            : el('ul', {}, ...sorted.map((service) => row(name, service, here)));
    return el('section', {}, head, list);
}

function row(namespace, service, here) {
    const isOpen = here.namespace === namespace && here.service === service.name;
    const bar = el('span', { class: `bar ${level(service)}`, 'aria-hidden': 'true' }, el('span'));
    // A style that a script sets is allowed by the policy; one in the HTML would not be.
    bar.firstChild.style.width = `${Math.max(0, used(service))}%`;
    return el(
        'li',
        {},
        el(
            'a',
            {
                href: link({ namespace, service: service.name }),
                'aria-current': isOpen && 'page',
                'data-key': `${namespace}/${service.name}`,
                title: service.description || undefined,
            },
            el('span', { class: 'name', text: service.name }),
            el('span', { class: 'percent', text: service.usage ? `${service.usage.used_percent} %` : '' }),
            bar,
            el('span', { class: 'faint', text: summary(service) }),
        ),
    );
}

/** Three levels, which the text beside them says as well. */
function level(service) {
    const percent = used(service);
    if (percent >= 90) return 'high';
    return percent >= 70 ? 'middle' : 'low';
}

function summary({ start, end, usage }) {
    const range = `${start}–${end}`;
    if (!usage) return range;
    const age = usage.isNow ? '' : `, ${span(Date.now() - time(usage.as_of))} ago`;
    const days = usage.days_until_full === undefined ? '' : `, full in ${usage.days_until_full} days`;
    return `${range}: ${number(usage.counts.free)} free${days}${age}`;
}

/** What is in the middle when no service is open: the numbers of all of them. */
export function home(feed) {
    const all = allServices();
    const sum = (of) => all.reduce((total, { service }) => total + (service.usage ? of(service.usage) : 0), 0);
    const size = all.reduce((total, { service }) => total + service.end - service.start + 1, 0);
    const taken = sum(({ counts, size: of }) => of - counts.free - counts.reserved);
    const full = all.filter(({ service }) => used(service) >= 90).length;
    const fact = (value, text) => el('div', { class: 'fact' }, el('dd', { text: value }), el('dt', { text }));
    const start =
        all.length === 0
            ? el(
                  'p',
                  {},
                  'There are no services yet. A service has a range of ports: ',
                  el('code', { text: 'portmaster service put django --start 5000 --end 5999' }),
                  ' makes one.',
              )
            : el('p', {
                  class: 'faint',
                  text: 'Choose a service to see its range, or search for a port, a name, an owner or a label.',
              });
    return [
        el('h2', { text: 'All services' }),
        el(
            'dl',
            { class: 'facts' },
            fact(number(all.length), all.length === 1 ? 'service' : 'services'),
            fact(`${number(taken)} of ${number(size)}`, 'ports taken'),
            fact(number(full), 'at 90 % or more'),
        ),
        start,
        feed,
    ];
}
