// What a port can be. Each state has a colour, a shape and a letter: the map can be read without the colours.

/** The states, in the order of the legend. A map of a range is an array of places in this list. */
export const STATES = ['free', 'offered', 'allocated', 'cooling', 'quarantined', 'reserved'];

/** The letter of each. */
export const LETTERS = { free: '·', offered: 'O', allocated: 'A', cooling: 'C', quarantined: 'Q', reserved: 'R' };

/** What each means, in a sentence. */
export const MEANINGS = {
    free: 'Anybody can have it.',
    offered: 'Somebody tries it, and accepts or rejects it.',
    allocated: 'A name has it.',
    cooling: 'It was given back, and only the same name may have it for now.',
    quarantined: 'Something outside the registry used it. Nobody gets it for now.',
    reserved: 'It is free, and only given to a caller that asks for it by number.',
};

/** Whether nobody else can have it at this moment. */
export const isTaken = (state) => state !== 'free' && state !== 'reserved';

const PALETTES = new Map();
const DARK = matchMedia('(prefers-color-scheme: dark)');

/** How full a range with so many ports in each state is, in percent of those that anybody may have. */
export function usedPercent({ free, reserved, ...others }) {
    const taken = Object.values(others).reduce((sum, count) => sum + count, 0);
    return taken + free === 0 ? 100 : Math.round((1000 * taken) / (taken + free)) / 10;
}

/** The colours of the page's style, as the browser has them now: light or dark. */
export function colours() {
    const dark = DARK.matches;
    if (!PALETTES.has(dark)) {
        const style = getComputedStyle(document.documentElement);
        const of = (name) => style.getPropertyValue(`--${name}`).trim();
        const states = Object.fromEntries(STATES.map((state) => [state, { fill: of(state), ink: of(`${state}-ink`) }]));
        PALETTES.set(dark, {
            states,
            line: of('line'),
            text: of('text'),
            faint: of('faint'),
            focus: of('focus'),
            back: of('back'),
        });
    }
    return PALETTES.get(dark);
}

/**
 * Draws a cell. The shape is: nothing, a half, the whole, lines, a cross, a dot.
 *
 * @param {CanvasRenderingContext2D} paint
 * @param {string} state
 * @param {number} x left edge
 * @param {number} y upper edge
 * @param {number} size of the square, with the gap to its neighbour
 */
export function cell(paint, state, x, y, size) {
    const { states, line } = colours();
    const { fill, ink } = states[state];
    const gap = size > 7 ? 1 : 0.5;
    const inner = size - 2 * gap;
    const [left, top] = [x + gap, y + gap];
    paint.fillStyle = fill;
    paint.fillRect(left, top, inner, inner);
    paint.strokeStyle = state === 'free' || state === 'reserved' ? line : ink;
    paint.lineWidth = 1;
    if (state === 'free' || state === 'reserved') paint.strokeRect(left + 0.5, top + 0.5, inner - 1, inner - 1);
    paint.fillStyle = ink;
    const mark = Math.max(1, Math.round(size / 10));
    paint.beginPath();
    switch (state) {
        case 'offered':
            paint.moveTo(left, top + inner);
            paint.lineTo(left + inner, top);
            paint.lineTo(left + inner, top + inner);
            paint.fill();
            break;
        case 'cooling':
            for (const at of [0.25, 0.5, 0.75]) {
                paint.fillRect(left + inner * 0.15, Math.round(top + inner * at - mark / 2), inner * 0.7, mark);
            }
            break;
        case 'quarantined':
            paint.lineWidth = mark + 0.5;
            paint.moveTo(left + inner * 0.2, top + inner * 0.2);
            paint.lineTo(left + inner * 0.8, top + inner * 0.8);
            paint.moveTo(left + inner * 0.8, top + inner * 0.2);
            paint.lineTo(left + inner * 0.2, top + inner * 0.8);
            paint.stroke();
            break;
        case 'reserved':
            paint.arc(left + inner / 2, top + inner / 2, Math.max(1, inner * 0.18), 0, 2 * Math.PI);
            paint.fill();
            break;
        default:
    }
}
