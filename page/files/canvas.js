// The map: a cell for each port, or for each block of ports in a large range. One canvas, since tens of thousands of
// elements would be slow; the table below it has the same for those who cannot see it.

import { number } from './dom.js';
import { LETTERS, STATES, cell, colours, isTaken } from './states.js';

/** As many cells are shown at most. A larger range is shown in blocks. */
export const MOST = 5000;

/** The sizes of blocks: those in which people count. */
const BLOCKS = [1, 2, 5, 10, 20, 50];

const COLUMNS = [100, 50, 40, 25, 20, 10];
const SMALLEST = 13;
const LARGEST = 26;

/** How many ports a cell has in a range of so many. */
export const blockOf = (size) => BLOCKS.find((block) => size / block <= MOST) ?? 50;

export class Canvas {
    /**
     * @param {HTMLCanvasElement} canvas
     * @param {{opened: (start: number, end: number) => void, pointed: (text: string, byKey: boolean) => void}}
     *     listeners
     */
    constructor(canvas, listeners) {
        Object.assign(this, {
            canvas,
            listeners,
            ports: new Uint8Array(0),
            start: 0,
            block: 1,
            cursor: 0,
            chosen: null,
        });
        canvas.addEventListener('keydown', (event) => this.#key(event));
        canvas.addEventListener('click', (event) => this.#click(event));
        canvas.addEventListener('pointermove', (event) => this.#hover(event));
        canvas.addEventListener('focus', () => {
            this.#point(true);
            this.mark();
        });
        canvas.addEventListener('blur', () => this.mark());
        new ResizeObserver(() => this.#layout() && this.draw()).observe(canvas.parentElement);
    }

    /** Shows these ports: places in `STATES`, the first for `start`. `chosen` is the port whose panel is open. */
    show(start, ports, chosen) {
        if (start !== this.start || ports.length !== this.ports.length) this.cursor = 0;
        Object.assign(this, { start, ports, chosen, block: blockOf(ports.length) });
        if (chosen !== null) this.cursor = this.#cellOf(chosen) ?? this.cursor;
        this.#layout();
        this.draw();
    }

    /** Marks a port as the one that is open. */
    choose(port) {
        this.chosen = port;
        if (port !== null) this.cursor = this.#cellOf(port) ?? this.cursor;
        this.mark();
    }

    get cells() {
        return Math.ceil(this.ports.length / this.block);
    }

    #cellOf(port) {
        const at = Math.floor((port - this.start) / this.block);
        return at >= 0 && at < this.cells ? at : null;
    }

    /** The ports of a cell. */
    #within(at) {
        const start = this.start + at * this.block;
        return [start, Math.min(start + this.block - 1, this.start + this.ports.length - 1)];
    }

    #layout() {
        const width = this.canvas.parentElement.clientWidth;
        if (width === 0) return false;
        // The first port of each row stands before it.
        this.gutter = 46;
        const room = width - this.gutter;
        this.columns =
            COLUMNS.find((columns) => room / columns >= SMALLEST && columns <= Math.max(10, this.cells * 2)) ?? 10;
        this.size = Math.max(8, Math.min(LARGEST, Math.floor(room / this.columns)));
        this.rows = Math.max(1, Math.ceil(this.cells / this.columns));
        const height = this.rows * this.size + 4;
        const scale = Math.min(2, devicePixelRatio || 1);
        const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
        if (this.canvas.width !== wide || this.canvas.height !== high) {
            Object.assign(this.canvas, { width: wide, height: high });
            this.canvas.style.height = `${height}px`;
        }
        this.scale = scale;
        // Where a cell is, for tests and for extensions.
        Object.assign(this.canvas.dataset, { columns: this.columns, size: this.size, gutter: this.gutter });
        return true;
    }

    /** Draws the ports anew. */
    draw() {
        if (!this.columns) return;
        const { size, columns, gutter, block, cells } = this;
        this.layer ??= document.createElement('canvas');
        Object.assign(this.layer, { width: this.canvas.width, height: this.canvas.height });
        const paint = this.layer.getContext('2d');
        paint.setTransform(this.scale, 0, 0, this.scale, 0, 0);
        paint.font = '11px system-ui, sans-serif';
        paint.textBaseline = 'middle';
        paint.textAlign = 'right';
        paint.fillStyle = colours().faint;
        for (let row = 0; row < this.rows; row += 1) {
            paint.fillText(String(this.start + row * columns * block), gutter - 6, row * size + size / 2 + 2);
        }
        for (let at = 0; at < cells; at += 1) {
            const x = gutter + (at % columns) * size;
            const y = 2 + Math.floor(at / columns) * size;
            if (block === 1) cell(paint, STATES[this.ports[at]], x, y, size);
            else this.#block(paint, at, x, y);
        }
        this.mark();
    }

    /** Draws only where the keyboard and the open port are: the ports are copied, which is much faster. */
    mark() {
        if (!this.layer) return;
        const paint = this.canvas.getContext('2d');
        const { text, focus } = colours();
        paint.setTransform(1, 0, 0, 1, 0, 0);
        paint.clearRect(0, 0, this.canvas.width, this.canvas.height);
        paint.drawImage(this.layer, 0, 0);
        paint.setTransform(this.scale, 0, 0, this.scale, 0, 0);
        const isFocused = document.activeElement === this.canvas;
        if (isFocused) this.#ring(paint, this.cursor, focus, 2);
        if (this.chosen !== null) {
            const at = this.#cellOf(this.chosen);
            if (at !== null) this.#ring(paint, at, text, isFocused && at === this.cursor ? 0 : 2);
        }
    }

    /** A block is filled from below as far as it is taken, and has a mark if a port of it is in quarantine. */
    #block(paint, at, x, y) {
        const { states, line } = colours();
        const counts = this.#counts(at);
        const inner = this.size - 2;
        const all = counts.reduce((sum, count) => sum + count, 0);
        paint.fillStyle = states.free.fill;
        paint.fillRect(x + 1, y + 1, inner, inner);
        let bottom = y + 1 + inner;
        for (const state of ['allocated', 'offered', 'cooling', 'quarantined']) {
            const count = counts[STATES.indexOf(state)];
            if (count === 0) continue;
            const height = (inner * count) / all;
            paint.fillStyle = states[state].fill;
            paint.fillRect(x + 1, bottom - height, inner, height);
            bottom -= height;
        }
        paint.strokeStyle = line;
        paint.lineWidth = 1;
        paint.strokeRect(x + 1.5, y + 1.5, inner - 1, inner - 1);
        if (counts[STATES.indexOf('quarantined')] > 0) {
            paint.strokeStyle = states.quarantined.ink;
            paint.lineWidth = 1.5;
            paint.beginPath();
            paint.moveTo(x + 3, y + 3);
            paint.lineTo(x + this.size - 3, y + this.size - 3);
            paint.moveTo(x + this.size - 3, y + 3);
            paint.lineTo(x + 3, y + this.size - 3);
            paint.stroke();
        }
    }

    #counts(at) {
        const counts = new Array(STATES.length).fill(0);
        const end = Math.min((at + 1) * this.block, this.ports.length);
        for (let port = at * this.block; port < end; port += 1) counts[this.ports[port]] += 1;
        return counts;
    }

    #ring(paint, at, colour, width) {
        if (width === 0) return;
        paint.strokeStyle = colour;
        paint.lineWidth = width;
        const x = this.gutter + (at % this.columns) * this.size;
        paint.strokeRect(x, 2 + Math.floor(at / this.columns) * this.size, this.size, this.size);
    }

    /** What a cell is, in words. */
    #words(at) {
        const [start, end] = this.#within(at);
        if (this.block === 1) return `Port ${start}: ${STATES[this.ports[at]]} (${LETTERS[STATES[this.ports[at]]]})`;
        const counts = this.#counts(at).map((count, state) => count > 0 && `${number(count)} ${STATES[state]}`);
        return `Ports ${start}–${end}: ${counts.filter(Boolean).join(', ')}`;
    }

    #point(byKey, at = this.cursor) {
        if (this.cells > 0) this.listeners.pointed(this.#words(at), byKey);
    }

    #at(event) {
        const box = this.canvas.getBoundingClientRect();
        const column = Math.floor((event.clientX - box.left - this.gutter) / this.size);
        const at = Math.floor((event.clientY - box.top - 2) / this.size) * this.columns + column;
        return column >= 0 && column < this.columns && at >= 0 && at < this.cells ? at : null;
    }

    #hover(event) {
        const at = this.#at(event);
        this.canvas.classList.toggle('pointing', at !== null);
        if (at !== null) this.#point(false, at);
    }

    #click(event) {
        const at = this.#at(event);
        if (at === null) return;
        this.cursor = at;
        this.#open();
    }

    #open() {
        this.mark();
        this.listeners.opened(...this.#within(this.cursor));
    }

    #key(event) {
        if (event.altKey || event.metaKey) return;
        const { columns, cells } = this;
        const row = this.cursor - (this.cursor % columns);
        const moves = {
            ArrowLeft: this.cursor - 1,
            ArrowRight: this.cursor + 1,
            ArrowUp: this.cursor - columns,
            ArrowDown: this.cursor + columns,
            Home: event.ctrlKey ? 0 : row,
            End: event.ctrlKey ? cells - 1 : Math.min(row + columns, cells) - 1,
            PageUp: Math.max(this.cursor - 10 * columns, this.cursor % columns),
            PageDown: this.cursor + 10 * columns < cells ? this.cursor + 10 * columns : cells - 1,
            n: this.#next(1),
            p: this.#next(-1),
        };
        if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            this.#open();
        } else if (Object.hasOwn(moves, event.key) && cells > 0) {
            event.preventDefault();
            const to = moves[event.key];
            if (to !== null && to >= 0 && to < cells) this.cursor = to;
            this.#scroll();
            this.#point(true);
            this.mark();
        }
    }

    /** The next cell with a port that is taken. */
    #next(step) {
        for (let at = this.cursor + step; at >= 0 && at < this.cells; at += step) {
            const end = Math.min((at + 1) * this.block, this.ports.length);
            for (let port = at * this.block; port < end; port += 1) {
                if (isTaken(STATES[this.ports[port]])) return at;
            }
        }
        return null;
    }

    /** Keeps the cursor where it can be seen. */
    #scroll() {
        const box = this.canvas.getBoundingClientRect();
        const top = box.top + Math.floor(this.cursor / this.columns) * this.size;
        const margin = 3 * this.size;
        if (top < margin) scrollBy(0, top - margin - 40);
        else if (top + this.size > innerHeight - margin) scrollBy(0, top + this.size - innerHeight + margin);
    }
}
