import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { test } from 'node:test';

import { exchange, isLoopback } from '../src/registry/exchange.js';
import { assume, endpoint, sessionName } from '../src/aws/sts.js';
import { requestToken } from '../src/aws/token.js';

/** Runs a server for as long as a function takes. */
async function serving(answer, use) {
    const server = http.createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
        return await use(new URL(`http://127.0.0.1:${server.address().port}/`));
    } finally {
        server.closeAllConnections();
        server.close();
    }
}
const get = (url, more = {}) => exchange({ method: 'GET', url, headers: {}, body: '', timeout: 60_000, ...more });

test('an answer is read whatever its status, and nothing is followed', async () => {
    const answer = (request, response) =>
        response.writeHead(302, { location: 'http://evil.example/' }).end(request.method);
    const { status, body } = await serving(answer, (url) => get(url));
    assert.deepEqual([status, body], [302, 'GET']);
});

test('an answer that has no end is given up', async () => {
    const endless = (_, response) => {
        const more = () => response.write('x'.repeat(1 << 16), () => response.destroyed || setImmediate(more));
        more();
    };
    await assert.rejects(
        serving(endless, (url) => get(url)),
        /more than 1048576 bytes/,
    );
});

test('silence and a broken connection are failures that pass', async () => {
    await assert.rejects(
        serving(
            () => {},
            (url) => get(url, { timeout: 50 }),
        ),
        { passes: true, message: /no answer in time/ },
    );
    const broken = (request) => request.socket.destroy();
    await assert.rejects(
        serving(broken, (url) => get(url)),
        { passes: true, what: 'unreachable' },
    );
    const given = AbortSignal.abort();
    await assert.rejects(
        serving(
            () => {},
            (url) => get(url, { signal: given }),
        ),
        { what: 'unreachable' },
    );
});

test('this machine is not reached through a proxy, whatever the environment says', async () => {
    process.env.HTTP_PROXY = process.env.http_proxy = 'http://127.0.0.1:9';
    try {
        assert.equal(
            (
                await serving(
                    (_, response) => response.end('x'),
                    (url) => get(url),
                )
            ).body,
            'x',
        );
    } finally {
        delete process.env.HTTP_PROXY;
        delete process.env.http_proxy;
    }
});

test('other machines are', async () => {
    const seen = [];
    const proxy = (request, response) => {
        seen.push(request.url);
        response.end('proxied');
    };
    const body = await serving(proxy, async (url) => {
        process.env.http_proxy = url.href;
        try {
            return (await get(new URL('http://ports.example.com/v1'))).body;
        } finally {
            delete process.env.http_proxy;
        }
    });
    assert.deepEqual([body, seen], ['proxied', ['http://ports.example.com/v1']]);
});

test('only this machine is this machine', () => {
    for (const here of [
        'http://127.0.0.1',
        'http://127.9.9.9',
        'http://[::1]:8080',
        'http://localhost',
        'http://a.localhost',
        'http://2130706433',
    ]) {
        assert.ok(isLoopback(new URL(here)), here);
    }
    for (const there of [
        'http://10.0.0.1',
        'http://127.0.0.1.example.com',
        'http://localhost.example.com',
        'http://[::2]',
        'http://0.0.0.0',
    ]) {
        assert.ok(!isLoopback(new URL(there)), there);
    }
});

test('the token service is that of the region, and not one in the clear', () => {
    assert.equal(endpoint('eu-west-1', undefined).href, 'https://sts.eu-west-1.amazonaws.com/');
    assert.equal(endpoint('cn-north-1', undefined).href, 'https://sts.cn-north-1.amazonaws.com.cn/');
    assert.equal(endpoint('eu-west-1', 'http://127.0.0.1:4566').href, 'http://127.0.0.1:4566/');
    assert.throws(() => endpoint('eu-west-1', 'http://sts.example.com'), /not a URL of https/);
});

test('a session has the name that the command line gives it', () => {
    assert.equal(sessionName('gh/our-org/shop/1234567/deploy/0'), 'gh-our-org-shop-1234567-deploy-0');
    const long = sessionName(`gh/${'a'.repeat(100)}/1234567/deploy/0`);
    assert.ok(long.length <= 64 && long.endsWith('-1234567-deploy-0'), long);
    assert.deepEqual(['', 'ü', 'x'].map(sessionName), ['portmaster', 'portmaster', 'portmaster-x']);
});

test('a refusal of the token service is told without the token', async () => {
    const refusal = '<Error><Code>AccessDenied</Code><Message>Not &lt;you&gt;: hidden.token</Message></Error>';
    const wanted = { role: 'arn:r', session: 's', token: 'hidden.token' };
    const answer = (_, response) => response.writeHead(403).end(refusal);
    await assert.rejects(
        serving(answer, (url) => assume(wanted, url, 60_000)),
        ({ message, passes }) =>
            !passes && message.includes('AccessDenied: Not <you>: (the token)') && !message.includes('hidden'),
    );
    const empty = (_, response) => response.end('<Credentials></Credentials>');
    await assert.rejects(
        serving(empty, (url) => assume(wanted, url, 60_000)),
        /gave no keys/,
    );
});

test('what allows to ask for a token is not sent in the clear, nor told', async () => {
    const environment = (url) => ({ ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'hidden' });
    await assert.rejects(
        requestToken(environment('http://issuer.example/'), 60_000),
        ({ message }) => message.includes('not one of https') && !message.includes('hidden'),
    );
    const refuses = (_, response) => response.writeHead(403).end('hidden');
    await assert.rejects(
        serving(refuses, (url) => requestToken(environment(url.href), 60_000)),
        ({ message, passes }) => !passes && message.includes('id-token: write') && !message.includes('hidden'),
    );
    const wrong = (_, response) => response.end('{"value": "hidden');
    await assert.rejects(
        serving(wrong, (url) => requestToken(environment(url.href), 60_000)),
        ({ message }) => message.includes('no identity token') && !message.includes('hidden'),
    );
});
