// What can be done with the page: by keyboard, on a phone, where writing is allowed, and while things happen.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { browser, cellOf, open, registry, registryAt, shot, ui, watch } from './harness.mjs';

let chromium;

before(async () => {
    chromium = await browser();
});

after(() => chromium.close());

test('everything can be done by keyboard', async () => {
    const server = await registry('--page', 'write');
    await server.eachState();
    const { page, context, wrong } = await open(chromium, server.url);
    const focused = () =>
        page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim().split('\n')[0]);
    // From the top: past the search to the first service, and into it.
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'skip');
    const seen = [];
    for (let at = 0; at < 12 && !(await focused()).startsWith('django'); at += 1) {
        await page.keyboard.press('Tab');
        seen.push(await focused());
    }
    assert.deepEqual(seen.slice(0, 3), ['home', 'query', 'Search']);
    await page.keyboard.press('Enter');
    await page.waitForSelector('#map');
    await page.waitForFunction(() => document.querySelector('.legend')?.textContent.includes('free'));
    for (let at = 0; at < 12 && (await focused()) !== 'map'; at += 1) await page.keyboard.press('Tab');
    assert.equal(await focused(), 'map');
    const pointed = () => page.locator('#pointed').innerText();
    assert.match(await pointed(), /^Port 5000: free/);
    for (const [key, expected] of [
        ['ArrowRight', '5001: offered'],
        ['ArrowLeft', '5000: free'],
        ['n', '5001: offered'],
        ['n', '5002: allocated'],
        ['p', '5001: offered'],
        ['Control+End', '5099: free'],
        ['ArrowRight', '5099: free'],
        ['Control+Home', '5000: free'],
        ['ArrowUp', '5000: free'],
    ]) {
        await page.keyboard.press(key);
        assert.match(await pointed(), new RegExp(`^Port ${expected}`), key);
    }
    await page.keyboard.press('End');
    const end = Number(/\d+/.exec(await pointed())[0]);
    await page.keyboard.press('ArrowDown');
    const below = Number(/\d+/.exec(await pointed())[0]);
    assert.equal(below - end, end - 5000 + 1, 'the cell below is a row further');
    await page.keyboard.press('Control+Home');
    await page.keyboard.press('n');
    await page.keyboard.press('n');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#panel .badge.allocated');
    // The panel takes the focus: the next thing in it is reached with Tab, and Escape leads back to the map.
    assert.equal(await focused(), 'panel-title');
    await page.keyboard.press('Escape');
    await page.waitForSelector('#panel', { state: 'hidden' });
    assert.equal(await focused(), 'map');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#panel .badge.allocated');
    for (let at = 0; at < 8 && !(await focused()).startsWith('Release'); at += 1) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    // The harmless answer has the focus, and Escape is another one.
    assert.equal(await focused(), 'ask-no');
    await page.keyboard.press('Escape');
    await page.waitForSelector('#ask', { state: 'hidden' });
    assert.match(await focused(), /^Release/);
    await page.keyboard.press('/');
    assert.equal(await focused(), 'query');
    // The page hears later that the question is closed. A focus that has moved on by then stays where it is.
    await page.click('#panel button.danger');
    await page.evaluate(
        () =>
            new Promise((resolve) => {
                document.getElementById('ask').addEventListener('close', () => requestAnimationFrame(resolve));
                document.getElementById('ask-no').click();
                document.getElementById('query').focus();
            }),
    );
    assert.equal(await focused(), 'query');
    assert.deepEqual(wrong, []);
    await context.close();
    await server.stop();
});

test('a release and the end of a quarantine have a question first, which names the owner', async () => {
    const server = await registry('--page', 'write');
    await server.eachState();
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/django/5002`);
    await page.click('#panel button.danger');
    const question = await page.locator('#ask').innerText();
    for (const shown of ['Release port 5002?', 'web-01 of django', 'the owner gh/our-org/shop/1234567/deploy/0']) {
        assert.ok(question.includes(shown), question);
    }
    await shot(page, 'page-release');
    await page.click('#ask-no');
    await page.waitForSelector('#ask', { state: 'hidden' });
    assert.equal((await server.call('GET', '/v1/ports/5002')).state, 'allocated');

    // Somebody else has got the port while the question was open: nothing happens to it, and the page says so.
    await page.click('#panel button.danger');
    await server.release('django', 'web-01');
    await server.take('django', 'web-01', { owner: 'somebody else', port: 5002 });
    await page.click('#ask-yes');
    await page.waitForSelector('#ask-problem:not([hidden])');
    assert.match(await page.locator('#ask-problem').innerText(), /as the owner somebody else/);
    assert.equal((await server.call('GET', '/v1/ports/5002')).owner, 'somebody else');
    await page.click('#ask-no');
    await page.reload();
    await page.waitForFunction(() => document.getElementById('panel').textContent.includes('somebody else'));
    await page.click('#panel button.danger');
    await page.click('#ask-yes');
    await page.waitForSelector('#panel .badge.cooling');
    await page.click('#panel button.danger');
    assert.match(await page.locator('#ask').innerText(), /End the cool-down of port 5002\?/);
    await page.click('#ask-yes');
    await page.waitForSelector('#panel .badge.free');
    await page.goto(`${server.url}/#/default/django/5004`);
    await page.waitForSelector('#panel .badge.quarantined');
    await page.click('#panel button.danger');
    assert.match(await page.locator('#ask').innerText(), /End the quarantine of port 5004\?/);
    await page.click('#ask-yes');
    await page.waitForSelector('#panel .badge.free');
    await page.waitForFunction(() =>
        /97 free/.test(document.querySelector('.legend').textContent.replace(/\s+/g, ' ')),
    );
    assert.deepEqual(wrong, []);
    await context.close();
    await server.stop();
});

test('48,128 ports are shown soon, and can be moved in', async (t) => {
    const server = await registry();
    await server.service('all', 1024, 49151);
    // Islands of different sizes, so that the map has some thousands of runs.
    for (let at = 0; at < 47_000; at += 940) await server.fill('all', 1024 + at, 200 + ((at / 940) % 20) * 20);
    for (let at = 0; at < 190; at += 2) await server.release('all', `n-${1024 + at}`);
    const address = `${server.url}/#/default/all`;
    const { page, context, wrong } = await open(chromium, address);
    await page.reload();
    await page.waitForSelector('body[data-ready]');
    const took = await page.evaluate(() => ({
        shown: performance.getEntriesByName('map-shown')[0].startTime,
        ready: performance.getEntriesByName('ready')[0].startTime,
    }));
    const long = await page.evaluate(async () => {
        const tasks = [];
        new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
            type: 'longtask',
            buffered: true,
        });
        await new Promise((resolve) => setTimeout(resolve, 200));
        return Math.round(Math.max(0, ...tasks));
    });
    // A key is answered with the next picture.
    await page.focus('#map');
    const key = await page.evaluate(async () => {
        const canvas = document.getElementById('map');
        const times = [];
        for (let at = 0; at < 50; at += 1) {
            const began = performance.now();
            canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true, cancelable: true }));
            times.push(performance.now() - began);
        }
        return times.sort((one, other) => one - other)[25];
    });
    t.diagnostic(
        `48,128 ports: the map is shown after ${Math.round(took.shown)} ms, the page is ready after ` +
            `${Math.round(took.ready)} ms; the longest task takes ${long} ms, a key ${key.toFixed(1)} ms`,
    );
    assert.match(await page.locator('.parts').innerText(), /Each cell is 10 ports/);
    assert.match(await page.locator('#pointed').innerText(), /^Ports 1524–1533: /);
    await shot(page, 'page-all');
    // A cell of the whole range leads to a part of it, and a port there to its panel.
    await page.keyboard.press('Control+Home');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => location.hash.endsWith('?from=1024&to=2023'));
    const { x, y } = await cellOf(page, 1);
    await page.mouse.click(x, y);
    await page.waitForSelector('#panel .badge.allocated');
    assert.equal(await page.locator('#panel h2').innerText(), 'Port 1025');
    await page.goBack();
    await page.goBack();
    await page.waitForFunction(() => document.querySelector('.parts').textContent.includes('10 ports'));
    // A search goes through all of them.
    await page.fill('#query', 'n-4710');
    await page.press('#query', 'Enter');
    await page.waitForFunction(() =>
        /^\d+ found/.test(document.querySelector('main [role=status]')?.textContent ?? ''),
    );
    assert.equal(await page.locator('main tbody tr').count(), 10);
    assert.deepEqual(wrong, []);
    await context.close();
    await server.stop();
});

test('on a phone nothing is wider than the screen, and each thing leads to the next', async () => {
    const server = await registry();
    await server.eachState();
    await server.service(`x${'long'.repeat(15)}`, 6000, 6999);
    await server.take('django', 'n'.repeat(64), {
        owner: 'o'.repeat(128),
        labels: { ['k'.repeat(32)]: 'v'.repeat(64) },
    });
    for (const colorScheme of ['light', 'dark']) {
        const viewport = { width: 360, height: 740 };
        const options = { viewport, hasTouch: true, isMobile: true, colorScheme };
        const { page, context, wrong } = await open(chromium, server.url, options);
        const fits = async (where) => {
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(wide <= 360, `${where}: ${wide} pixels wide`);
        };
        await fits('the list');
        await page.tap('#services a:has-text("django")');
        await page.waitForSelector('#map');
        await page.waitForSelector('#services', { state: 'hidden' });
        await page.waitForFunction(() => document.querySelector('.legend')?.textContent.includes('free'));
        await fits('a service');
        await page.locator('#map').scrollIntoViewIfNeeded();
        const { x, y } = await cellOf(page, 2);
        await page.touchscreen.tap(x, y);
        await page.waitForSelector('#panel .badge.allocated');
        await fits('a port');
        await page.goto(`${server.url}/#/default/django/${'n'.repeat(64)}`);
        await page.waitForSelector('#panel .badge.allocated');
        await fits('a long name');
        await page.tap('#panel .close');
        await page.waitForSelector('#panel', { state: 'hidden' });
        await page.tap('.back a');
        await page.waitForSelector('#services', { state: 'visible' });
        await page.fill('#query', 'oooo');
        await page.press('#query', 'Enter');
        await page.waitForSelector('main tbody tr');
        await fits('a search');
        assert.deepEqual(wrong, []);
        await context.close();
    }
    await server.stop();
});

test('what happens is shown as it happens', async () => {
    const server = await registry();
    await server.service('web', 5000, 5099, { cooldown_seconds: 60 });
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/web`);
    const feed = (words) =>
        page.waitForFunction((text) => document.querySelector('.feed').textContent.includes(text), words);
    const legend = (words) =>
        page.waitForFunction((text) => document.querySelector('.legend').textContent.includes(text), words);
    await page.waitForSelector('#live[data-state=live]');
    await server.take('web', 'job-1', { owner: 'ada' });
    await feed('5000 given to job-1 of web (ada)');
    await legend('1 allocated');
    await server.release('web', 'job-1');
    await feed('5000 released by job-1');
    await legend('1 cooling');
    // Whoever reads the list can hold it still; the map goes on.
    await page.click('button:has-text("Pause")');
    await server.take('web', 'job-2');
    await legend('1 allocated');
    assert.doesNotMatch(await page.locator('.feed').innerText(), /job-2/);
    await page.click('button:has-text("Pause")');
    assert.match(await page.locator('.feed').innerText(), /job-2/);
    assert.deepEqual(wrong, []);
    await context.close();
    await server.stop();
});

test('without events, the page shows what two maps differ in', async () => {
    const server = await registry('--history-days', '0');
    await server.service('web', 5000, 5099);
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/web`);
    await page.waitForSelector('#live[data-state=polling]');
    assert.match(await page.locator('.now').innerText(), /sends no events/);
    await server.take('web', 'job-1');
    await page.waitForFunction(() => document.querySelector('.feed').textContent.includes('5000 free, now allocated'));
    assert.deepEqual(wrong, []);
    await context.close();
    await server.stop();
});

test('portmaster ui: its address can be opened once, and its page does what it may', async () => {
    const server = await registry();
    await server.eachState();
    const { found: address, stop } = await ui(server.url);
    const { page, context, wrong } = await open(chromium, address);
    assert.doesNotMatch(page.url(), /token/, 'the token is not left in the address');
    // The events are passed on as they come.
    await page.waitForSelector('#live[data-state=live]');
    await server.take('django', 'seen', { owner: 'grace' });
    await page.waitForFunction(() =>
        document.querySelector('.feed').textContent.includes('given to seen of django (grace)'),
    );
    assert.ok((await page.locator('#registry').innerText()).includes(server.url));
    await page.click('#services a:has-text("django")');
    await page.waitForSelector('#map');
    await page.goto(`${new URL(address).origin}/#/default/django/5002`);
    await page.waitForSelector('#panel .badge.allocated');
    assert.equal(await page.locator('#panel button.danger').count(), 0, 'it only reads');
    await page.reload();
    await page.waitForSelector('#panel .badge.allocated');
    // Another tab has the session; another browser does not, and the token was used.
    const tab = await context.newPage();
    await tab.goto(new URL(address).origin);
    await tab.waitForSelector('#services a');
    const stranger = await (await chromium.newContext()).newPage();
    await stranger.goto(address);
    await stranger.waitForSelector('#alert:not([hidden])');
    assert.match(await stranger.locator('#alert').innerText(), /has no session/);
    assert.equal(await stranger.locator('#services a').count(), 0);
    assert.deepEqual(wrong, []);
    assert.equal(await stop('SIGINT'), 0);

    const writing = await ui(server.url, '--write');
    const second = await open(chromium, writing.found);
    await second.page.goto(`${new URL(writing.found).origin}/#/default/django/5002`);
    await second.page.click('#panel button.danger');
    await second.page.click('#ask-yes');
    await second.page.waitForSelector('#panel .badge.cooling');
    assert.deepEqual(second.wrong, []);
    await context.close();
    await second.context.close();
    await writing.stop();
    await server.stop();
});

test('portmaster watch prints what happens, and ends with ^C', async () => {
    const server = await registry();
    await server.service('web', 5000, 5099);
    await server.service('other', 6000, 6099);
    const pattern = /(\S+Z {2}port-allocated +5\d\d\d {3}web {2}job-\d+ {2}ada)/;
    const watching = watch(server.url, pattern, 'web');
    let seen = null;
    watching.then((watched) => (seen = watched));
    // Only what happens after it has begun to listen is printed.
    for (let at = 0; !seen && at < 90; at += 1) {
        await server.take('other', `job-${at}`, { owner: 'ada' });
        await server.take('web', `job-${at}`, { owner: 'ada' });
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const { output, stop } = await watching;
    assert.doesNotMatch(output.stdout, /other/);
    assert.equal(output.stderr, '');
    assert.equal(await stop('SIGINT'), 0);
    await server.stop();
});

test('a registry that is killed and comes back is listened to again, by the page and by portmaster watch', async () => {
    let server = await registry();
    const address = new URL(server.url).host;
    await server.service('web', 5000, 5499);
    const { page, context, wrong } = await open(chromium, `${server.url}/#/default/web`);
    const says = (state) => page.waitForSelector(`#live[data-state=${state}]`);
    const tells = (name) =>
        page.waitForFunction((wanted) => document.querySelector('.feed').textContent.includes(wanted), name);
    await says('live');
    const watching = watch(server.url, /port-allocated +5\d\d\d {3}web {2}(before-\d+)/, 'web', '-v');
    let seen = null;
    watching.then((watched) => (seen = watched));
    for (let at = 0; !seen && at < 90; at += 1) {
        await server.take('web', `before-${at}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const { output, stop } = await watching;
    await tells('before-0');

    await server.stop('SIGKILL');
    await says('lost');
    server = await registryAt(address);
    await server.service('web', 5000, 5499);
    await says('live');
    // They say that they may have missed something, and hear what comes.
    for (let at = 0; !output.stdout.includes('after-') && at < 300; at += 1) {
        await server.take('web', `after-${at}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.match(output.stdout, /port-allocated +5\d\d\d {3}web {2}after-\d+/);
    assert.match(output.stderr, /listening again/);
    assert.match(output.stderr, /the registry has not told some events/);
    await tells('after-');
    assert.deepEqual(
        wrong.filter((text) => !/ERR_|net::/.test(text)),
        [],
    );
    assert.equal(await stop('SIGINT'), 0);
    await context.close();
    await server.stop();
});
