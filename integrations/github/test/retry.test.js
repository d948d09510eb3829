import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Failure } from '../src/failure.js';
import { keep, pause, renewal } from '../src/lease.js';
import { leaseOf } from '../src/claim.js';
import { repeated, wait } from '../src/registry/retry.js';

const passing = (retryAfter) => new Failure('unexpected', 'busy', { status: 503, passes: true, retryAfter });
const final = new Failure('problem', 'no', { status: 409, kind: 'name-taken' });

test('what passes is repeated four times, ever more slowly, and no sooner than the answer says', () => {
    assert.deepEqual(
        [0, 1, 2, 3, 4].map((repetition) => wait(passing(), repetition, 0)),
        [150, 300, 600, 1200, undefined],
    );
    assert.equal(wait(passing(), 0, 1), 300, 'up to twice as long by chance');
    assert.equal(wait(passing(7000), 0, 0), 7000);
    assert.equal(wait(final, 0, 0), undefined);
});

test('a call is made until it succeeds, or fails for good', async () => {
    let calls = 0;
    const succeeds = async () => {
        calls += 1;
        if (calls < 3) {
            throw passing(0);
        }
        return calls;
    };
    assert.equal(await repeated(succeeds, 60_000), 3);
    calls = 0;
    const fails = async () => {
        calls += 1;
        throw final;
    };
    await assert.rejects(repeated(fails, 60_000), final);
    assert.equal(calls, 1);
});

test('a wait that is longer than the time is not begun', async () => {
    let calls = 0;
    await assert.rejects(
        repeated(async () => {
            calls += 1;
            throw passing(3_600_000);
        }, 60_000),
        /busy/,
    );
    assert.equal(calls, 1);
});

test('a mistake of the program is not repeated', async () => {
    await assert.rejects(
        repeated(async () => {
            throw new TypeError('oh');
        }, 60_000),
        TypeError,
    );
});

test('a lease is renewed by a third', () => {
    assert.deepEqual([renewal(1000, 900, 0), renewal(1000, 900, 1)], [1240, 1300]);
});

test('a renewal that nobody answers is repeated ever more slowly, and often enough for a short lease', () => {
    assert.deepEqual(
        [1, 2, 3, 20].map((failed) => pause(failed, 900_000, undefined, 0)),
        [250, 500, 1000, 15_000],
    );
    assert.equal(pause(20, 3000, undefined, 0), 300);
    assert.equal(pause(1, 900_000, 4000, 0), 4000, 'or as the answer says');
});

test('a lease is as long as the registry says, by its own clock, and no longer than was asked for', () => {
    const created = Date.parse('2026-11-30T10:00:00Z');
    const port = (seconds) => ({ name: 'a', port: 5000, created, expiresAt: created + seconds * 1000 });
    assert.equal(leaseOf(port(900), created, 900_000), 900_000);
    assert.equal(leaseOf(port(60), created, 900_000), 60_000, 'the service allows no more');
    assert.equal(leaseOf(port(1800), created + 900_000, 3_600_000), 900_000, 'an older port');
    assert.equal(leaseOf(port(1), created + 900_000, 900_000), 900_000, 'clocks that differ');
    assert.equal(leaseOf({ name: 'a', port: 5000, created }, created, 900_000), 0, 'no lease');
});

test('a lease is lost when the registry says so, and not before', async () => {
    const said = [];
    // As if its time had come long ago, so that nothing waits.
    const lease = { since: performance.now() - 3_600_000, length: 60_000 };
    const answers = [passing(0), passing(0), 0, new Failure('problem', 'over', { status: 410, kind: 'lease-expired' })];
    const renew = async () => {
        const answer = answers.shift();
        if (answer instanceof Failure) {
            throw answer;
        }
        return answer;
    };
    assert.equal(await keep(lease, renew, (text) => said.push(text), new AbortController().signal), 'over');
    assert.equal(said.length, 2, String(said));
    assert.match(said[0], /could not be renewed yet.*busy/);
    assert.equal(said[1], 'the lease is renewed again');
});

test('keeping a lease ends when the job does', async () => {
    const over = new AbortController();
    const kept = keep(
        { since: performance.now(), length: 3_600_000 },
        async () => 1,
        () => {},
        over.signal,
    );
    over.abort(new Error('the job is over'));
    await assert.rejects(kept, /the job is over/);
});
