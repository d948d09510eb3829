import assert from 'node:assert/strict';
import { test } from 'node:test';

import { read, retryAfter } from '../src/registry/answer.js';
import { port } from '../src/registry/client.js';

const URL_ = new URL('https://ports.example.com/v1/services/web/ports/a');
const failure = (status, body, headers = {}) => {
    try {
        read({ status, headers, body: typeof body === 'string' ? body : JSON.stringify(body) }, URL_);
    } catch (error) {
        return error;
    }
    return undefined;
};

test('a problem has its kind, its words and its members', () => {
    const problem = {
        type: '/problems/name-taken',
        title: 'Taken',
        detail: 'By a.',
        instance: 'r-1',
        owner: 'a',
        status: 409,
    };
    const { what, kind, message, isLost, passes, problem: members } = failure(409, problem);
    assert.deepEqual(
        [what, kind, message, isLost, passes],
        ['problem', 'name-taken', 'Taken: By a. (request r-1)', true, false],
    );
    assert.equal(members.owner, 'a');
    const errors = [{ pointer: '#/lease_seconds', detail: 'must be a number' }, null, {}];
    assert.match(failure(400, { ...problem, errors }).message, /By a\. \| must be a number/);
});

test('a refusal of the gateway does not show the token that it quotes', () => {
    const message =
        "The request signature does not match.\n\nThe Canonical String for this request should have been\n'x-amz-security-token:hidden'";
    const denied = failure(403, { message });
    assert.deepEqual([denied.what, denied.passes, denied.isLost], ['denied', false, false]);
    assert.ok(denied.message.includes('does not match') && !denied.message.includes('hidden'), denied.message);
    assert.ok(failure(429, { message: 'Too Many Requests' }, { 'retry-after': '3' }).retryAfter === 3000);
});

test('anything else is not taken for an answer', () => {
    assert.equal(failure(404, '<html>').isLost, false, 'a proxy that finds nothing has not lost the port');
    assert.equal(failure(404, { message: 'Not Found' }).isLost, false);
    assert.equal(failure(502, '<html>').passes, true);
    assert.equal(failure(301, '').passes, false);
    assert.match(failure(200, '<html>').message, /not Portmaster's/);
    assert.match(failure(200, '[]').message, /not Portmaster's/);
    assert.equal(failure(204, ''), undefined);
});

test('Retry-After is seconds or a date, and never for ever', () => {
    const today = Date.parse('2026-11-30T10:00:00Z');
    const all = [
        ['3', 3000],
        ['0', 0],
        [undefined, undefined],
        ['', undefined],
        ['soon', undefined],
        ['-1', 0],
        ['99999999', 3_600_000],
    ];
    for (const [text, expected] of [
        ...all,
        ['Mon, 30 Nov 2026 10:00:07 GMT', 7000],
        ['Mon, 30 Nov 2026 09:00:00 GMT', 0],
    ]) {
        const wait = retryAfter(text, today);
        assert.ok(wait === expected || (text === '-1' && wait !== undefined), `${text}: ${wait}`);
    }
});

test('what is not a port is not handed on', () => {
    const good = { name: 'a', port: 5000, created: '2026-11-30T10:00:00.123Z', expires_at: '2026-11-30T10:15:00Z' };
    assert.equal(port(good).expiresAt - port(good).created, 899_877);
    assert.equal(port({ ...good, expires_at: undefined }).expiresAt, undefined);
    const bads = [
        { port: '5000' },
        { port: 80 },
        { port: 65535 },
        { port: 5000.5 },
        { name: 7 },
        { created: 'now' },
        { expires_at: 'x\nPATH=1' },
    ];
    for (const bad of bads) {
        assert.throws(() => port({ ...good, ...bad }), /not a port/, JSON.stringify(bad));
    }
    assert.throws(() => port(null), /not a port/);
});
