import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Identity, legOf } from '../src/job/identity.js';
import { isInstance } from '../src/job/names.js';

const JOB = {
    GITHUB_REPOSITORY: 'our-org/shop',
    GITHUB_RUN_ID: '1234567',
    GITHUB_RUN_ATTEMPT: '2',
    GITHUB_JOB: 'deploy',
    GITHUB_ACTION: 'port',
};

test('a job begins as the command line names it', () => {
    const job = new Identity(JOB, '0', 'f'.repeat(16));
    assert.equal(job.owner, `gh/our-org/shop/1234567/deploy/0/2-${'f'.repeat(16)}`);
    assert.equal(job.names()[0], 'our-org-shop-1234567-deploy-0-port');
    const labels = {
        run: '1234567',
        job: 'deploy',
        index: '0',
        attempt: '2',
        repository: 'our-org/shop',
        ci: 'github',
    };
    assert.deepEqual(job.labels, labels);
});

test('an attempt has the names of the one before, and another owner', () => {
    const [first, second] = [new Identity({ ...JOB, GITHUB_RUN_ATTEMPT: '1' }, '0'), new Identity(JOB, '0')];
    assert.deepEqual(first.names().slice(0, -1), second.names().slice(0, -1));
    assert.notEqual(first.owner, second.owner);
    assert.notEqual(first.names().at(-1), second.names().at(-1), 'the last one nobody else has');
});

test('steps, jobs, runs and places in a matrix have names of their own', () => {
    const names = [
        new Identity(JOB, '0'),
        new Identity(JOB, '1'),
        new Identity({ ...JOB, GITHUB_ACTION: '__our-org_portmaster' }, '0'),
        new Identity({ ...JOB, GITHUB_ACTION: '__our-org_portmaster_2' }, '0'),
        new Identity({ ...JOB, GITHUB_RUN_ID: '1234568' }, '0'),
        new Identity({ ...JOB, GITHUB_JOB: 'test' }, '0'),
        new Identity({ ...JOB, GITHUB_REPOSITORY: 'our-org/shop2' }, '0'),
    ].flatMap((identity) => identity.names());
    assert.equal(new Set(names).size, names.length, String(names));
});

test('the random name of a step in a composite action does not count', () => {
    const of = (guid) => new Identity({ ...JOB, GITHUB_ACTION: `both.__${guid}` }, '0').names()[0];
    assert.equal(of('0f2f5f4e-6c0e-4d5f-9f7c-6a4f3f0b8f11'), of('1c9f2d8f-7e20-4b63-8a1b-4a6f3b2d8ca1'));
});

test('an earlier attempt is recognized, and nothing else', () => {
    const job = new Identity(JOB, '0');
    const end = '0123456789abcdef';
    assert.ok(job.isEarlier(`gh/our-org/shop/1234567/deploy/0/1-${end}`));
    for (const other of [
        job.owner,
        `gh/our-org/shop/1234567/deploy/0/2-${end}`,
        `gh/our-org/shop/1234567/deploy/0/3-${end}`,
        `gh/our-org/shop/1234567/deploy/1/1-${end}`,
        `gh/our-org/shop/1234567/deploy/01-${end}`,
        `gh/our-org/shop/123456/deploy/0/1-${end}`,
        'gh/our-org/shop/1234567/deploy/0',
        'gh/our-org/shop/1234567/deploy/0/1-',
        undefined,
        1,
    ]) {
        assert.ok(!job.isEarlier(other), String(other));
    }
});

test('whatever a runner says, the owner and the names are such', () => {
    for (const text of ['', 'ü'.repeat(100), 'a'.repeat(300), '\n::error::', ' ', '*', '/'.repeat(50)]) {
        const values = Object.fromEntries(Object.keys(JOB).map((name) => [name, text]));
        const job = new Identity(values, '0');
        assert.match(job.owner, /^[!-~]([ -~]*[!-~])?$/, text);
        assert.ok(job.owner.length <= 128, job.owner);
        assert.ok(job.names().every(isInstance), String(job.names()));
        const length = Object.entries(job.labels).flat().join('').length;
        assert.ok(
            length <= 256 && Object.values(job.labels).every((value) => /^[ -~]{1,64}$/.test(value)),
            String(job.labels),
        );
        assert.ok(new Identity({ ...values, GITHUB_RUN_ATTEMPT: '7' }, '0').isEarlier(job.owner), job.owner);
    }
});

test('the place in a matrix is its index, or else what is in it', () => {
    assert.equal(legOf('3', '{"a": 1}'), '3');
    const [one, two] = [legOf('', '{"a": 1}'), legOf('', '{"a": 2}')];
    assert.match(one, /^[0-9a-f]{8}$/);
    assert.notEqual(one, two);
    for (const none of ['', 'null', '{}', '{\n}']) {
        assert.equal(legOf('', none), '0');
    }
});
