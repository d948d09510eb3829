import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { end, isThere, isWanted, log, makeFolder, noteLoss } from '../src/background.js';

test('what a renewal leaves behind is told once, and its folder goes', () => {
    const parent = mkdtempSync(join(tmpdir(), 'portmaster-test-'));
    const folder = makeFolder(join(parent, 'temp'));
    writeFileSync(join(folder, 'renewing'), '');
    assert.ok(isWanted(folder));
    log(folder, 'one\ntwo');
    noteLoss(folder, 'a: gone\n::error::');
    const left = end(folder);
    assert.deepEqual(left.lost, ['a: gone ::error::']);
    assert.equal(left.log.length, 2);
    assert.match(left.log[0], /^20\S+Z one two$/);
    assert.ok(!isWanted(folder) && !existsSync(folder));
    // The process may be a little later than post.
    log(folder, 'late');
    noteLoss(folder, 'late');
    assert.deepEqual(end(folder), { lost: [], log: [] });
    rmSync(parent, { recursive: true });
});

test('a process is known by its number and by when it was started', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    after(() => child.kill('SIGKILL'));
    const found = { pid: child.pid, started: '' };
    assert.ok(isThere(found), 'where the system does not say more');
    assert.ok(process.platform !== 'linux' || !isThere({ ...found, started: '1' }), 'another process of its number');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok(!isThere(found));
});

const onLinux = { skip: process.platform !== 'linux' };

test('the runner is behind what it may have put before a step', onLinux, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portmaster-test-'));
    const script = join(folder, 'main.mjs');
    const source = JSON.stringify(new URL('../src/background.js', import.meta.url).href);
    writeFileSync(script, `import { runner } from ${source};\nconsole.log(JSON.stringify(runner()));\n`);
    const wrapper = `require('node:child_process').spawnSync(process.execPath, [process.argv[1]], { stdio: 'inherit' })`;
    const befores = {
        nothing: [process.execPath, [script]],
        // Two commands, so that the shell stays.
        'a shell': ['sh', ['-c', '"$0" "$1"; true', process.execPath, script]],
        'a program that starts Node': [process.execPath, ['-e', wrapper, script]],
    };
    for (const [what, [program, line]] of Object.entries(befores)) {
        const started = spawn(program, line);
        let text = '';
        started.stdout.on('data', (part) => {
            text += part;
        });
        await once(started, 'close');
        assert.equal(JSON.parse(text).pid, process.pid, what);
        assert.ok(isThere(JSON.parse(text)), what);
    }
    rmSync(folder, { recursive: true });
});

test('a folder that was there before is not one of ours', () => {
    const parent = mkdtempSync(join(tmpdir(), 'portmaster-test-'));
    mkdirSync(join(parent, 'portmaster-x'));
    assert.notEqual(makeFolder(parent), makeFolder(parent));
    rmSync(parent, { recursive: true });
});
