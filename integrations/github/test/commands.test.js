import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { escapeData, plain } from '../src/runner/commands.js';
import { entry, setOutput } from '../src/runner/files.js';
import { input, state } from '../src/runner/inputs.js';

test('a text of many lines is one command', () => {
    assert.equal(escapeData('100%\r\n::set-output name=a::b'), '100%25%0D%0A::set-output name=a::b');
});

test('a text from outside is one line, and no command', () => {
    assert.equal(plain('a\nb\r\n::warning::c'), 'a b ::warning::c');
    assert.equal(plain('::error::c'), ': :error::c');
    assert.equal(plain('\n ::error::c'), ': :error::c');
    assert.equal(plain('port ##[set-output name=a]b'), 'port ## [set-output name=a]b');
    assert.equal(plain('a\u0000\u001b[31m\u2028b'), 'a [31m b');
});

test('a value cannot end its entry, nor begin another one', () => {
    const text = entry('name', 'a\nb\nghadelimiter_x\nPATH=/evil');
    const [, delimiter] = /^name<<(ghadelimiter_[0-9a-f-]{36})\n/.exec(text);
    assert.equal(text, `name<<${delimiter}\na\nb\nghadelimiter_x\nPATH=/evil\n${delimiter}\n`);
    assert.notEqual(entry('name', ''), entry('name', ''), 'each delimiter is another one');
});

test('outputs are added to the file that the runner names', () => {
    const folder = mkdtempSync(join(tmpdir(), 'portmaster-test-'));
    try {
        process.env.GITHUB_OUTPUT = join(folder, 'output');
        setOutput('a', '1');
        setOutput('b', '2');
        assert.match(readFileSync(process.env.GITHUB_OUTPUT, 'utf8'), /^a<<(\S+)\n1\n\1\nb<<(\S+)\n2\n\2\n$/);
        delete process.env.GITHUB_OUTPUT;
        assert.throws(() => setOutput('a', '1'), /GITHUB_OUTPUT is not set/);
    } finally {
        rmSync(folder, { recursive: true });
    }
});

test('inputs and state are variables', () => {
    assert.equal(input({ 'INPUT_AWS-REGION': ' eu-west-1\n' }, 'aws-region'), 'eu-west-1');
    assert.equal(input({}, 'name'), '');
    assert.equal(state({ STATE_holding: '{}' }, 'holding'), '{}');
});
