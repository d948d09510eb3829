import assert from 'node:assert/strict';
import { test } from 'node:test';

import { choose, regionOf } from '../src/aws/credentials.js';

const KEYS = { AWS_ACCESS_KEY_ID: 'AKID', AWS_SECRET_ACCESS_KEY: 'hidden', AWS_SESSION_TOKEN: 'token' };
const TOKEN = { ACTIONS_ID_TOKEN_REQUEST_URL: 'https://issuer.example/', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'hidden' };
const API = 'https://abc123.execute-api.eu-west-1.amazonaws.com';
const of = (url, environment, more = {}) =>
    choose({ url, owner: 'gh/o/r', role: '', region: '', ...more }, environment, () => {});

test('only an API on AWS is signed by itself', () => {
    assert.equal(regionOf(new URL(API)), 'eu-west-1');
    assert.equal(regionOf(new URL('https://a.execute-api.cn-north-1.amazonaws.com.cn/x')), 'cn-north-1');
    for (const url of [
        'http://abc123.execute-api.eu-west-1.amazonaws.com',
        'https://ports.example.com',
        'https://execute-api.eu-west-1.amazonaws.com',
        'https://a.execute-api.eu-west-1.amazonaws.com.example.com',
        'http://127.0.0.1:8080',
    ]) {
        assert.equal(of(url, KEYS), undefined, url);
    }
    assert.equal(of(API, KEYS).region, 'eu-west-1');
});

test('a role or a region says that requests are signed', async () => {
    const mine = of('https://ports.example.com', KEYS, { region: 'eu-central-1' });
    assert.equal(mine.region, 'eu-central-1');
    assert.deepEqual(await mine.get(1000), { accessKeyId: 'AKID', secretAccessKey: 'hidden', sessionToken: 'token' });
    assert.equal(mine.forget(), false, 'there are no others');
    assert.equal(
        of('https://ports.example.com', { ...TOKEN, AWS_REGION: 'eu-west-3' }, { role: 'arn:r' }).region,
        'eu-west-3',
    );
    assert.equal(of('http://127.0.0.1:8080', KEYS, { region: 'eu-west-1' }).region, 'eu-west-1');
});

test('what cannot be signed is refused, with what to do', () => {
    assert.throws(() => of(API, {}), /no AWS credentials.*role-to-assume.*configure-aws-credentials/);
    assert.throws(() => of(API, KEYS, { role: 'arn:r' }), /id-token: write/);
    assert.throws(() => of('https://ports.example.com', TOKEN, { role: 'arn:r' }), /Which region.*aws-region/);
    assert.throws(
        () => of('https://ports.example.com', TOKEN, { role: 'arn:r', region: 'evil.example/' }),
        /Which region/,
    );
    assert.throws(() => of('http://10.0.0.1:8080', KEYS, { region: 'eu-west-1' }), /plain http on another machine/);
});
