// The example of docs/javascript.md runs, and prints what it is there for.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';

const repository = path.join(path.dirname(new URL(import.meta.url).pathname), '..', '..');
const built = path.resolve(process.env.ROPEWALK_JAVASCRIPT ?? path.join(repository, 'build-wasm', 'javascript'));

test('the example shows scores that stay in exact numerics and drift in fp32', () => {
  const lines = execFileSync(process.execPath, [path.join(repository, 'examples', 'javascript', 'scores.mjs'), built], { encoding: 'utf8' }).trim().split('\n');
  const scores = Object.fromEntries(lines.slice(1, 5).map((line) => [line.split(' ').slice(0, 2).join(' '), Number(line.split(' ')[2])]));
  assert.ok(Math.abs(scores['exact 0'] - scores['exact 16777217']) < 1e-3);
  assert.ok(Math.abs(scores['fp32 0'] - scores['fp32 16777217']) > 1e-2);
  assert.match(lines[5], /^\d+n$/);
});
