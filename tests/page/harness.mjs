// What every test of the page has: a real registry, and a real browser.

import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const BINARIES = process.env.PORTMASTER_BINARIES ?? path.join(ROOT, 'target/debug');

/** Where screenshots go. `.ci/page --screenshots` takes those of the documents from here. */
export const SHOTS = process.env.PAGE_SHOTS ?? path.join(ROOT, 'target/page');

/** What is still running when the tests of a file are over: those of a test that failed. */
const running = new Set();

after(() => running.forEach((child) => child.kill()));

/** Starts a program, and waits until it has printed something that fits. Returns what fitted, and how to end it. */
async function start(program, args, pattern, env = {}) {
    const child = spawn(path.join(BINARIES, program), args, { env: { PATH: process.env.PATH, ...env } });
    const output = { stdout: '', stderr: '' };
    child.stderr.on('data', (text) => (output.stderr += text));
    const found = await new Promise((resolve, reject) => {
        child.stdout.on('data', (text) => {
            output.stdout += text;
            const match = pattern.exec(output.stdout);
            if (match) resolve(match[1]);
        });
        child.on('error', reject);
        child.on('exit', () => reject(new Error(`${program} has ended: ${output.stderr}`)));
    });
    const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
    running.add(child);
    ended.then(() => running.delete(child));
    const stop = async (signal = 'SIGTERM') => {
        child.kill(signal);
        return ended;
    };
    return { found, output, stop };
}

/** A registry in memory, and calls of its API. */
export const registry = (...args) => registryAt('127.0.0.1:0', ...args);

/** The same, at this address. */
export async function registryAt(address, ...args) {
    const options = ['--listen', address, '--in-memory', ...args];
    const { found: url, output, stop } = await start('portmasterd', options, /listens on (http:\S+)/);
    const call = async (method, target, body) => {
        const sent = body === undefined ? {} : { headers: { 'content-type': 'application/json' } };
        const answer = await fetch(url + target, { method, ...sent, body: body && JSON.stringify(body) });
        const text = await answer.text();
        if (!answer.ok) throw new Error(`${method} ${target}: ${answer.status} ${text}`);
        return text && JSON.parse(text);
    };
    return { url, output, stop, call, ...scene(call) };
}

/** What tests put into a registry. */
function scene(call) {
    const service = (name, start, end, more = {}, space = '/v1') =>
        call('PUT', `${space}/services/${name}`, { start, end, ...more });
    const take = (of, name, more = {}, space = '/v1') => call('PUT', `${space}/services/${of}/ports/${name}`, more);
    const release = (of, name, owner = '*') => call('DELETE', `/v1/services/${of}/ports/${name}?owner=${owner}`);
    /** Fills a range from its first port on, 200 ports at once. */
    const fill = async (of, start, count, owner = 'import') => {
        for (let at = 0; at < count; at += 200) {
            const ports = Array.from({ length: Math.min(200, count - at) }, (_, i) => start + at + i);
            const entries = ports.map((port) => ({ name: `n-${port}`, port, owner }));
            await call('POST', `/v1/services/${of}/import`, { ports: entries });
        }
    };
    /** One port in each state: 5000 to 5005, in the order of the legend. */
    const eachState = async () => {
        await service('django', 5000, 5099, { cooldown_seconds: 600, reserved: [5005], description: 'Web servers' });
        const offer = (name, port) => call('POST', '/v1/services/django/offers', { name, port, owner: `for ${name}` });
        await offer('tries', 5001);
        const labels = { ci: 'github', repository: 'our-org/shop', run: '1234567' };
        const owner = 'gh/our-org/shop/1234567/deploy/0';
        await take('django', 'web-01', { port: 5002, owner, labels, lease_seconds: 900 });
        await take('django', 'cools', { port: 5003, owner: 'ada' });
        await release('django', 'cools');
        const { secret } = await offer('probe', 5004);
        await call('POST', `/v1/services/django/offers/${secret}/reject`, { reason: 'in-use' });
    };
    return { service, take, release, fill, eachState };
}

/** `portmaster ui` for a registry. */
export const ui = (url, ...args) =>
    start('portmaster', ['ui', '--url', url, ...args], /(http:\S+)/, { HOME: '/nonexistent', USER: 'ada' });

/** `portmaster watch` for a registry, once it has printed something that fits. */
export const watch = (url, pattern, ...args) =>
    start('portmaster', ['watch', '--url', url, ...args], pattern, { HOME: '/nonexistent', USER: 'ada' });

/** The browser of all tests of a file. */
export async function browser() {
    const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium-headless-shell';
    // Without the sandbox only where it runs as root, as in a container.
    const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
    return chromium.launch({ executablePath, args });
}

/**
 * Opens the page, and waits until it is usable. What must not happen in any test is noted: an error in a script, and
 * anything that the content security policy has stopped.
 */
export async function open(browser, url, options = {}) {
    const { viewport = { width: 1280, height: 900 }, ...more } = options;
    const context = await browser.newContext({ viewport, reducedMotion: 'reduce', ...more });
    const page = await context.newPage();
    const wrong = [];
    page.on('pageerror', (error) => wrong.push(error.stack));
    page.on('dialog', (dialog) => {
        wrong.push(`a dialog of the browser: ${dialog.message()}`);
        dialog.dismiss();
    });
    page.on('console', (message) => {
        // A 404 is how a registry says that it has no such call.
        const isRefusal = message.text().startsWith('Failed to load resource');
        if (['error', 'warning'].includes(message.type()) && !isRefusal) wrong.push(message.text());
    });
    await page.goto(url);
    await page.waitForSelector('body[data-ready]');
    return { page, context, wrong };
}

/** Where a cell of the map is in the window. */
export async function cellOf(page, at) {
    return page.evaluate((index) => {
        const canvas = document.getElementById('map');
        const box = canvas.getBoundingClientRect();
        const { columns, size, gutter } = canvas.dataset;
        const [row, column] = [Math.floor(index / columns), index % columns];
        return {
            x: box.left + Number(gutter) + (column + 0.5) * size,
            y: box.top + 2 + (row + 0.5) * size,
        };
    }, at);
}

/** Takes a picture of what is to be seen. */
export async function shot(page, name, options = {}) {
    await mkdir(SHOTS, { recursive: true });
    await page.screenshot({ path: path.join(SHOTS, `${name}.png`), ...options });
}
