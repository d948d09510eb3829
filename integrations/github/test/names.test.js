import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isInstance, isName, nameOf, nameOfPart, variables } from '../src/job/names.js';

test('a name is what the registry accepts', () => {
    for (const good of ['a', '7', 'web-01', 'a.b_c~d-e', 'x'.repeat(64)]) {
        assert.ok(isName(good), good);
    }
    for (const bad of ['', '-a', 'a-', 'a b', 'a/b', 'ä', 'a\n', 'x'.repeat(65), '.', '..', '*']) {
        assert.ok(!isName(bad), bad);
    }
    assert.ok(isInstance('job-17') && !isInstance('17'), 'digits alone are a port');
});

test('parts make the name that the command line makes of them', () => {
    assert.equal(nameOf(['our-org/shop', '1234567', 'deploy', '0']), 'our-org-shop-1234567-deploy-0');
    // The hash is that of `Parts::name` in cli/src/identity/parts.rs, without the system.
    const [first, second] = [nameOf(['p', '17', 'deploy: [a, b]']), nameOf(['p', '17', 'deploy: [a; b]'])];
    assert.match(first, /^p-17-deploy---a--b-[0-9a-f]{16}$/);
    assert.notEqual(first, second);
});

test('whatever the parts are, it is a name, and others have another', () => {
    const all = [
        [''],
        ['', ''],
        ['ü'],
        ['\n'],
        ['1', '2'],
        ['17'],
        ['a'.repeat(200)],
        ['a'.repeat(201)],
        ['-', '-'],
        ['..'],
    ];
    const names = all.map(nameOf);
    assert.ok(names.every(isInstance), String(names));
    assert.equal(new Set(names).size, all.length, String(names));
});

test('every name can have parts', () => {
    assert.equal(nameOfPart('job-17', 'http'), 'job-17-http');
    const long = `${'a'.repeat(40)}-${'b'.repeat(23)}`;
    const [http, grpc] = [nameOfPart(long, 'http'), nameOfPart(long, 'grpc')];
    assert.ok(isInstance(http) && isInstance(grpc) && http !== grpc && http.endsWith('-http'), http);
    assert.notEqual(nameOfPart(`${'a'.repeat(40)}-${'c'.repeat(23)}`, 'http'), http);
    assert.ok(!isInstance(nameOfPart('job', 'x'.repeat(64))));
});

test('the first port of several is the port', () => {
    assert.deepEqual(variables('PORT', []), [['PORT']]);
    assert.deepEqual(variables('PORT', ['http', 'grpc-web', 'v2.1']), [
        ['PORT_HTTP', 'PORT'],
        ['PORT_GRPC_WEB'],
        ['PORT_V2_1'],
    ]);
});
