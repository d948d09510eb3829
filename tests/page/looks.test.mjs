// What the page shows: services, the map, a port, in each of its states.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { browser, cellOf, open, registry, shot } from './harness.mjs';

let chromium;
let server;

before(async () => {
    chromium = await browser();
    server = await registry();
    await server.eachState();
    await server.service('celery', 6000, 6009);
    await server.fill('celery', 6000, 9);
    await server.call('PUT', '/v1/namespaces/team-a', { description: 'The hosts of team A' });
    await server.service('cache', 7000, 7009, {}, '/v1/namespaces/team-a');
    await server.take('cache', 'redis', { labels: { env: 'prod' } }, '/v1/namespaces/team-a');
});

after(async () => {
    await chromium.close();
    await server.stop();
});

test('the services are listed by how full they are', async () => {
    const { page, context, wrong } = await open(chromium, server.url);
    const rows = await page.locator('#services section').allInnerTexts();
    assert.match(rows[0], /^default\s+celery\s+90 %\s+6000–6009: 1 free\s+django\s+4 %/);
    assert.match(rows[1], /^team-a\s+cache\s+10 %/);
    assert.match(
        await page.locator('main').innerText(),
        /3\s+services\s+14 of 120\s+ports taken\s+1\s+at 90 % or more/,
    );
    assert.deepEqual(wrong, []);
    await context.close();
});

test('each state has its own word, letter and shape', async () => {
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/django`);
    const legend = await page.locator('.legend li').allInnerTexts();
    const words = legend.map((text) => text.replace(/\s+/g, ' ').trim());
    assert.deepEqual(words, [
        '95 free ·',
        '1 offered O',
        '1 allocated A',
        '1 cooling C',
        '1 quarantined Q',
        '1 reserved R',
    ]);
    const states = ['free', 'offered', 'allocated', 'cooling', 'quarantined', 'reserved'];
    for (const [at, state] of states.entries()) {
        const { x, y } = await cellOf(page, at);
        await page.mouse.move(x, y);
        assert.match(await page.locator('#pointed').innerText(), new RegExp(`^Port ${5000 + at}: ${state} `));
    }
    // Without colours: no two states look alike in grey, each pixel being compared.
    const shapes = await page.evaluate(() =>
        [...document.querySelectorAll('.legend canvas')].map((canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const dark = [];
            for (let at = 0; at < data.length; at += 4) {
                dark.push(
                    data[at] * 0.3 + data[at + 1] * 0.59 + data[at + 2] * 0.11 < 150 && data[at + 3] > 0 ? '#' : '.',
                );
            }
            return dark.join('');
        }),
    );
    assert.equal(new Set(shapes).size, states.length, 'two states have the same shape');
    assert.deepEqual(wrong, []);
    await context.close();
});

test('a port that is open has its holder, its run, its lease; and a link', async () => {
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/django`);
    const { x, y } = await cellOf(page, 2);
    await page.mouse.click(x, y);
    await page.waitForSelector('#panel dl');
    assert.match(page.url(), /#\/default\/django\/5002$/);
    const text = await page.locator('#panel').innerText();
    for (const shown of ['Port 5002', 'allocated', 'web-01', 'gh/our-org/shop/1234567/deploy/0', 'run: 1234567']) {
        assert.ok(text.includes(shown), `${shown}: ${text}`);
    }
    assert.match(text, /1[45] min( \d+ s)? left, until/);
    const link = page.locator('#panel a.outside').first();
    assert.equal(await link.getAttribute('href'), 'https://github.com/our-org/shop/actions/runs/1234567');
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer');
    // It is read only: nothing to press but what closes it, and what the history has.
    assert.equal(await page.locator('#panel button.danger').count(), 0);

    for (const [target, title, state] of [
        ['5000', 'Port 5000', 'free'],
        ['5001', 'Port 5001', 'offered'],
        ['5003', 'Port 5003', 'cooling'],
        ['5004', 'Port 5004', 'quarantined'],
        ['5005', 'Port 5005', 'reserved'],
        ['web-01', 'Port 5002', 'allocated'],
    ]) {
        await page.goto(`${server.url}/#/default/django/${target}`);
        await page.waitForSelector(`#panel .badge.${state}`);
        assert.equal(await page.locator('#panel h2').innerText(), title);
    }
    await page.goto(`${server.url}/#/default/django/nobody`);
    await page.waitForSelector('#panel .badge.none');
    assert.match(await page.locator('#panel').innerText(), /no allocated port nobody/);
    await page.goBack();
    await page.waitForSelector('#panel .badge.allocated');
    await page.goBack();
    await page.waitForSelector('#panel .badge.reserved');
    assert.deepEqual(wrong, []);
    await context.close();
});

test('a search finds a port, a name, an owner, a label, and stops at what is not there', async () => {
    const { page, context, wrong } = await open(chromium, server.url);
    const search = async (text) => {
        await page.fill('#query', text);
        await page.press('#query', 'Enter');
        await page.waitForFunction((wanted) => {
            const status = document.querySelector('main [role=status]')?.textContent ?? '';
            return (
                document.querySelector('main h2 q')?.textContent === wanted && /^(Nothing|The first|\d)/.test(status)
            );
        }, text);
        return (await page.locator('main tbody tr').allInnerTexts()).map((row) => row.replace(/\s+/g, ' ').trim());
    };
    assert.deepEqual(await search('redis'), ['7000 team-a/cache redis env: prod']);
    assert.deepEqual(await search('env:prod'), ['7000 team-a/cache redis env: prod']);
    assert.match((await search('1234567/deploy')).join(), /^5002 django web-01/);
    assert.equal((await search('n-600')).length, 9);
    assert.deepEqual(await search('nothing-like-it'), []);
    assert.match(await page.locator('main [role=status]').innerText(), /^Nothing found, among \d+ ports and offers/);
    // The one place that a number has is opened.
    await page.fill('#query', '7000');
    await page.press('#query', 'Enter');
    await page.waitForSelector('#panel .badge.allocated');
    assert.match(page.url(), /#\/team-a\/cache\/7000$/);
    assert.deepEqual(wrong, []);
    await context.close();
});

test('a registry without history or events, and one that is gone', async () => {
    const { page, context } = await open(chromium, server.url);
    for (const call of ['**/v1/events', '**/history*']) {
        const problem = { type: '/problems/not-found', title: '', status: 404, detail: 'No such path.' };
        const contentType = 'application/problem+json';
        await page.route(call, (route) => route.fulfill({ status: 404, contentType, body: JSON.stringify(problem) }));
    }
    await page.goto(`${server.url}/?again#/default/django/5002`);
    await page.waitForSelector('#panel .badge.allocated');
    await page.waitForFunction(() => document.getElementById('panel').textContent.includes('keeps no history'));
    assert.equal(await page.locator('#live').innerText(), 'refreshing now and then');
    await page.route('**/v1/**', (route) => route.abort());
    await page.goto(`${server.url}/?again#/default/celery`);
    await page.waitForSelector('#alert:not([hidden])');
    assert.match(await page.locator('#alert').innerText(), /does not answer/);
    await page.unroute('**/v1/**');
    await page.goto(`${server.url}/#/default/none`);
    await page.waitForFunction(() => document.getElementById('alert').textContent.includes('There is no service none'));
    await context.close();
});

test('the pictures of the documents', async () => {
    const busy = await registry('--page', 'write');
    await busy.eachState();
    await busy.service('celery', 20000, 20499, { lease_seconds: 3600 });
    await busy.fill('celery', 20000, 463);
    await busy.service('preview', 30000, 30999);
    await busy.fill('preview', 30000, 748);
    for (let at = 0; at < 28; at += 1) {
        const owner = `gh/our-org/shop/12345${String(at).padStart(2, '0')}/deploy/0`;
        await busy.take('django', `shop-${at}`, { owner, lease_seconds: 900 });
        if (at % 5 === 3) await busy.release('django', `shop-${at}`);
    }
    const { page, context } = await open(chromium, `${busy.url}/#/default/django/5002`, {
        viewport: { width: 1180, height: 760 },
    });
    await page.waitForSelector('#panel .badge.allocated');
    await shot(page, 'page');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize({ width: 390, height: 780 });
    await shot(page, 'page-phone-dark');
    await context.close();
    await busy.stop();
});
