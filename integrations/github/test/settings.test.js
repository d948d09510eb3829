import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { seconds, settings } from '../src/job/settings.js';

const of = (inputs) => {
    const given = { url: 'https://ports.example.com/', service: 'web', ...inputs };
    return settings(
        Object.fromEntries(Object.entries(given).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value])),
    );
};

test('two inputs are enough', () => {
    const { url, service, namespace, name, parts, lease, wait, variables } = of({});
    assert.deepEqual(
        { url, service, namespace, name, parts, lease, wait, variables },
        {
            url: 'https://ports.example.com',
            service: 'web',
            namespace: 'default',
            name: '',
            parts: [],
            lease: 900,
            wait: 0,
            variables: [['PORT']],
        },
    );
});

test('several ports are a list, by commas or lines', () => {
    for (const ports of ['http,grpc', ' http , grpc\n', 'http\ngrpc\n']) {
        assert.deepEqual(of({ ports }).parts, ['http', 'grpc']);
    }
    assert.equal(of({ ports: 'a,b', contiguous: 'true' }).contiguous, true);
});

test('durations are those of the command line', () => {
    const all = [
        ['90', 90],
        ['90s', 90],
        ['15m', 900],
        ['1h30m', 5400],
        ['7d', 604800],
        ['0', 0],
    ];
    for (const [text, expected] of all) {
        assert.equal(seconds(text), expected, text);
    }
    for (const bad of ['', 'm', '1.5h', '-1', '1h 30m', '1y', '1m30', '١']) {
        assert.equal(seconds(bad), undefined, bad);
    }
});

test('all that is wrong is said at once, and no password with it', () => {
    const bad = {
        url: 'https://user:hidden@a.example',
        service: 'a b',
        lease: '31d',
        wait: 'long',
        contiguous: 'yes',
        env: '1A',
        name: '17',
    };
    assert.throws(
        () => of(bad),
        ({ message }) => {
            for (const part of [
                'url has a user',
                'service is not',
                'lease is not',
                'wait is not',
                'contiguous is',
                'env is',
                'name is not',
            ]) {
                assert.ok(message.includes(part), `${part}: ${message}`);
            }
            return !message.includes('hidden');
        },
    );
    assert.throws(() => of({ url: '', service: '' }), /url is missing.*service is missing/);
    assert.throws(() => of({ url: 'ftp://a.example' }), /not one of HTTP/);
    assert.throws(() => of({ url: 'https://a.example?x=1' }), /a query/);
    assert.throws(() => of({ ports: 'a.b,a-b' }), /would share the variable PORT_A_B/);
    assert.throws(() => of({ ports: 'a,a' }), /would share the variable PORT_A/);
    assert.throws(() => of({ ports: 'http,-' }), /no part of a name can be: -/);
    assert.throws(() => of({ contiguous: 'true' }), /several ports/);
    assert.throws(() => of({ lease: '0' }), /lease is not a duration from 1s to 30d/);
    assert.throws(() => of({ namespace: 'a/../b' }), /namespace is not a name/);
});

test('action.yml has every input that is read', () => {
    const action = readFileSync(new URL('../action.yml', import.meta.url), 'utf8');
    const source = readFileSync(new URL('../src/job/settings.js', import.meta.url), 'utf8');
    const read = [...source.matchAll(/given\('([a-z-]+)'\)/g)].map(([, name]) => name);
    const declared = [...action.split('outputs:')[0].matchAll(/^ {2}([a-z-]+):$/gm)].map(([, name]) => name);
    assert.deepEqual(new Set(read), new Set(declared));
});
