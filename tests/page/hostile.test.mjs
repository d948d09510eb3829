// Names, labels, owners and whatever else a registry sends are other people's texts. None of them does anything here.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { browser, open, registry } from './harness.mjs';

let chromium;
let server;

before(async () => {
    chromium = await browser();
    server = await registry('--page', 'write');
});

after(async () => {
    await chromium.close();
    await server.stop();
});

/** What would run, if anything did: each sets this, or asks for a file of this name. */
const RUNS = [
    '<img src=x onerror=window.hacked=1>',
    '<svg onload=window.hacked=1>',
    '<script>window.hacked=1</script>',
    '<iframe src="javascript:parent.hacked=1">',
    '"><a href="javascript:window.hacked=1" autofocus onfocus=window.hacked=1>',
    "'};window.hacked=1;//",
    '${window.hacked=1}{{window.hacked=1}}',
    '</script><style>*{background:url(/hacked)}</style>',
    'javascript:window.hacked=1',
    '--><!--<img src=/hacked>',
];

async function isHarmless(page) {
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    const odd = await page.evaluate(() => {
        const found = [
            ...document.querySelectorAll('img, iframe, svg, object, embed, style, script, base, [style*=url]'),
        ];
        const links = [...document.querySelectorAll('a, area')].filter(({ href }) => {
            const { protocol, host, origin } = new URL(href);
            return protocol !== 'https:' ? origin !== location.origin : !['github.com', 'gitlab.com'].includes(host);
        });
        const handlers = [...document.querySelectorAll('*')].filter((element) =>
            [...element.attributes].some(({ name }) => name.startsWith('on')),
        );
        const own = (element) => element.matches('script[type=module][src="page/main.js"]');
        return [...found.filter((element) => !own(element)), ...links, ...handlers].map(({ outerHTML }) => outerHTML);
    });
    assert.deepEqual(odd, []);
}

test('what the registry lets through is shown as it is', async () => {
    await server.service('web', 5000, 5099, { description: RUNS.join(' '), cooldown_seconds: 60 });
    await server.call('PUT', '/v1/namespaces/team', { description: RUNS[0] });
    for (const [at, text] of RUNS.entries()) {
        const labels = {
            a: text.slice(0, 64),
            b: `gh/${text}`.slice(0, 64),
            ci: 'github',
            run: `1${text}`.slice(0, 64),
        };
        await server.take('web', `job-${at}`, { owner: text, labels });
    }
    // Owners that look like a run, and are none.
    const owners = [
        'gh/javascript:alert(1)/x/1/j/0',
        'gh/..%2f..%2f/x/1/j/0',
        'gh/../../1/j/0',
        'gh/a@evil.example/x/1/j/0',
        'gl/evil.example:80/x/1/j/0',
        'gl/a/b?x=1/7/j/0',
        'gh/a/b#c/7/j/0',
        'gh/a/b/7"onclick="x/j/0',
    ];
    for (const [at, owner] of owners.entries()) await server.take('web', `run-${at}`, { owner });
    const { page, context, wrong } = await open(chromium, server.url);
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    await isHarmless(page);
    await page.goto(`${server.url}/#/default/web`);
    await page.waitForSelector('#map');
    for (const summary of await page.locator('main summary').all()) await summary.click();
    await page.waitForFunction(() => document.querySelectorAll('main tbody tr').length > 18);
    await isHarmless(page);
    for (let port = 5000; port < 5018; port += 1) {
        await page.goto(`${server.url}/#/default/web/${port}`);
        await page.waitForFunction(
            (wanted) =>
                document.querySelector('#panel dl') &&
                document.querySelector('#panel h2').textContent === `Port ${wanted}`,
            port,
        );
        const { owner } = await server.call('GET', `/v1/ports/${port}`);
        assert.ok((await page.locator('#panel').innerText()).includes(owner.trim()), owner);
        assert.equal(await page.locator('#panel dl a.outside').count(), 0, `a link for ${owner}`);
        await page.click('#panel button.danger');
        assert.ok((await page.locator('#ask').innerText()).includes(owner.trim()), owner);
        await isHarmless(page);
        await page.click('#ask-no');
    }
    for (const text of [...RUNS, 'job']) {
        await page.fill('#query', text);
        await page.press('#query', 'Enter');
        await page.waitForFunction(
            (wanted) =>
                document.querySelector('main h2 q')?.textContent === wanted &&
                /^(\d|Nothing)/.test(document.querySelector('main [role=status]').textContent),
            text,
        );
        await isHarmless(page);
    }
    assert.ok(
        requests.every((url) => url.startsWith(server.url) && !url.endsWith('/hacked')),
        requests.join('\n'),
    );
    assert.deepEqual(wrong, []);
    await context.close();
});

test('what no registry would send does nothing either', async () => {
    // As if the registry, or something in front of it, were hostile itself.
    const { page, context, wrong } = await open(chromium, server.url);
    const evil = RUNS.join('');
    const json = (body, status = 200) => ({ status, contentType: 'application/json', body: JSON.stringify(body) });
    const port = { service: evil, name: evil, port: 5000, owner: evil, labels: { [evil]: evil }, created: evil };
    await page.route('**/v1/**', (route) => {
        const { pathname } = new URL(route.request().url());
        if (pathname.endsWith('/events')) return route.fulfill({ status: 404, body: evil });
        if (pathname.endsWith('/namespaces')) return route.fulfill(json([{ name: evil, description: evil }]));
        if (pathname.endsWith('/history')) {
            const tenure = { ...port, offered: evil, allocated: evil, ended: evil, end: evil, tenure: evil };
            return route.fulfill(json([tenure]));
        }
        if (pathname.endsWith('/map')) {
            const counts = { free: 9, offered: 0, allocated: 1, cooling: 0, quarantined: 0, reserved: 0 };
            const runs = [
                { start: 5000, end: 5000, state: evil },
                { start: 5001, end: 5009, state: 'free' },
            ];
            return route.fulfill(
                json({ service: evil, start: 5000, end: 5009, size: 10, counts, largest_free_run: 9, runs }),
            );
        }
        if (/\/ports\/\d+$/.test(pathname)) return route.fulfill(json({ ...port, state: evil, expires_at: evil }));
        if (/\/(ports|offers)$/.test(pathname)) return route.fulfill(json([port]));
        if (pathname.endsWith('/services')) {
            const usage = { as_of: evil, size: 10, counts: { free: 9 }, used_percent: 10, days_until_full: evil };
            return route.fulfill(json([{ name: evil, start: 5000, end: 5009, description: evil, usage }]));
        }
        return route.fulfill({ ...json({ type: evil, title: evil, detail: evil }, 409) });
    });
    for (const place of [
        '',
        `/${encodeURIComponent(evil)}`,
        '/default/web',
        '/default/web/5000',
        `/default/web/${encodeURIComponent(evil)}`,
    ]) {
        await page.goto(`${server.url}/?${Math.random()}#/${place.replace(/^\//, '')}`);
        await page.waitForTimeout(300);
        for (const summary of await page.locator('main summary').all()) await summary.click();
        await page.waitForTimeout(100);
        await isHarmless(page);
    }
    const policy = wrong.filter((text) => /Content Security Policy|hacked/.test(text));
    assert.deepEqual(policy, [], 'the page did not even try');
    await context.close();
});

test('the policy would stop what the page forgets', async () => {
    const { page, context } = await open(chromium, server.url);
    const violations = await page.evaluate(async () => {
        const seen = [];
        document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => seen.push(effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(script);
        const image = document.createElement('img');
        image.setAttribute('onerror', 'window.hacked = 1');
        image.src = 'https://evil.example/x';
        document.body.append(image);
        const frame = document.createElement('iframe');
        frame.src = 'https://evil.example/';
        document.body.append(frame);
        await fetch('https://evil.example/').catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 300));
        return seen;
    });
    for (const directive of ['script-src-elem', 'img-src', 'frame-src', 'connect-src', 'script-src-attr']) {
        assert.ok(violations.includes(directive), `${directive}: ${violations}`);
    }
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    await context.close();
});
