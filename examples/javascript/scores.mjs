// What a config.json asks for, and how its scores drift where phases are formed in float32.
//     node examples/javascript/scores.mjs build-wasm/javascript
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = path.resolve(process.argv[2] ?? 'build-wasm/javascript');
const { Ropewalk } = await import(pathToFileURL(path.join(folder, 'ropewalk.mjs')));

// region use
const rw = await Ropewalk.load(); // ropewalk.wasm beside ropewalk.mjs; or an address, a Response, bytes

const json = readFileSync(new URL('../c/config.json', import.meta.url), 'utf8');
const checkpoint = rw.checkpoint(json);
const { spec } = checkpoint.kinds[0];
console.log(spec.text);

const q = new Float32Array(spec.fields.head_dim).fill(1);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
for (const numerics of ['exact', 'fp32']) {
  const rotary = rw.spec({ ...spec.fields, numerics }).rotary();
  for (const shift of [0, 2 ** 24 + 1]) {
    const score = dot(rotary.rotate(q, shift + 17), rotary.rotate(q, shift + 5));
    console.log(numerics, shift, score.toFixed(4));
  }
}
console.log(spec.rotary().turns(2n ** 62n + 1n)[1]); // 2^64 to a turn, exact at any position
checkpoint.free();
// endregion
