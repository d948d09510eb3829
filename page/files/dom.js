// Elements are only made here. Every text goes in as text: names, labels and owners are other people's.

/**
 * Makes an element.
 *
 * @param {string} tag
 * @param {object} [properties] `class`, `text`, `on` (listeners by event), and attributes. An `href` is one of this
 *   page's places (`#…`); links to elsewhere are made by `outside`.
 * @param {...(Node|string|null|undefined)} children texts and elements; nothing is left out
 */
export function el(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (value === undefined || value === null || value === false) continue;
        if (name === 'class') made.className = value;
        else if (name === 'text') made.textContent = String(value);
        else if (name === 'on')
            for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
        else if (name === 'href' && !String(value).startsWith('#')) throw new Error('not a place of this page');
        else made.setAttribute(name, value === true ? '' : String(value));
    }
    made.append(...children.filter((child) => child !== undefined && child !== null));
    return made;
}

/** A link to another host. `url` is a URL that this page has built itself, never a text from the registry. */
export function outside(url, text) {
    if (!(url instanceof URL) || url.protocol !== 'https:') throw new Error('not a link to elsewhere');
    const made = el('a', { class: 'outside', rel: 'noopener noreferrer', target: '_blank' }, text);
    made.href = url.href;
    return made;
}

/** The element of this id, which the page always has. */
export const byId = (id) => document.getElementById(id);

/** Replaces what is in an element, and keeps the focus on what has the same `data-key` afterwards. */
export function replace(parent, ...children) {
    const key = parent.contains(document.activeElement) && document.activeElement.dataset.key;
    parent.replaceChildren(...children.filter(Boolean));
    if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

const NUMBER = new Intl.NumberFormat('en');

/** A number with its thousands apart. */
export const number = (value) => NUMBER.format(value);

/** Reads a time of the registry; none if it is not one. */
export function time(text) {
    const millis = Date.parse(text ?? '');
    return Number.isNaN(millis) ? null : new Date(millis);
}

/** A time as people read it, in their own zone: the hour alone if it is today. */
export function clock(date) {
    const isToday = date.toDateString() === new Date().toDateString();
    const hour = date.toLocaleTimeString('en-GB');
    return isToday ? hour : `${date.toLocaleDateString('en-CA')} ${hour}`;
}

/** How long that is: two units at most. */
export function span(millis) {
    let left = Math.max(0, Math.round(millis / 1000));
    const parts = [];
    for (const [unit, seconds] of [
        ['d', 86400],
        ['h', 3600],
        ['min', 60],
        ['s', 1],
    ]) {
        if (left >= seconds && parts.length < 2) parts.push(`${Math.floor(left / seconds)} ${unit}`);
        left %= seconds;
    }
    return parts.join(' ') || '0 s';
}

/** A time that is shown in this zone and says in its title what the registry said. */
export function when(text) {
    const date = time(text);
    return date ? el('time', { datetime: text, title: text }, clock(date)) : el('span', { text: '–' });
}
