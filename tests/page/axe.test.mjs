// What axe says of each view: nothing.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { browser, open, registry } from './harness.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let chromium;
let server;

before(async () => {
    chromium = await browser();
    server = await registry('--page', 'write');
    await server.eachState();
    await server.service('celery', 6000, 6009, { description: 'Workers' });
    await server.fill('celery', 6000, 10);
    await server.service('all', 10_000, 40_000);
    await server.call('PUT', '/v1/namespaces/team-a', {});
});

after(async () => {
    await chromium.close();
    await server.stop();
});

const VIEWS = [
    ['home', '#/', '.facts'],
    ['service', '#/default/django', '.legend li'],
    ['blocks', '#/default/all', '.legend li'],
    ['port', '#/default/django/5002', '#panel .badge.allocated'],
    ['quarantine', '#/default/django/5004', '#panel .badge.quarantined'],
    ['search', '#/?q=n-600', 'main tbody tr'],
    ['nothing', '#/default/none', '#alert:not([hidden])'],
];

for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [
        [1280, 900],
        [390, 844],
    ]) {
        test(`${colorScheme}, ${width} pixels wide`, async (t) => {
            // The page's policy lets no other script in, so the tool is let in by the browser.
            const options = { colorScheme, viewport: { width, height }, bypassCSP: true };
            const { page, context } = await open(chromium, server.url, options);
            let rules = 0;
            for (const [name, place, selector] of VIEWS) {
                await page.goto(`${server.url}/?${name}${place}`);
                await page.waitForSelector('body[data-ready]');
                await page.waitForSelector(selector);
                for (const summary of await page.locator('main summary').all()) await summary.click();
                if (name === 'port') await page.click('#panel button.danger');
                await page.evaluate(axe);
                const { violations, passes, incomplete } = await page.evaluate(() =>
                    window.axe.run(document, {
                        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
                    }),
                );
                const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
                assert.deepEqual(said, [], `${name}, ${colorScheme}, ${width}`);
                rules += passes.length;
                if (incomplete.length > 0)
                    t.diagnostic(`${name}: to be looked at: ${incomplete.map(({ id }) => id).join(', ')}`);
            }
            t.diagnostic(`${VIEWS.length} views, ${rules} rules passed, no violations`);
            await context.close();
        });
    }
}
