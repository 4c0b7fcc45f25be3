// Question:  what does the library cost in a browser, against the loop that people write?
// Opponent:  plain JavaScript: angle = position * inv_freq in double, Math.cos and Math.sin, rounded to float32; rotation
//            by such a table, in a loop.
// Expected:  tables about twice as fast as Math.cos or faster, ten times where its angles are large, with the error of a
//            float at every position; rotation, which copies x in and out, as fast as the loop, and half as fast for one
//            token, where the call itself counts.
//     node bench/javascript.mjs [build-wasm/javascript]
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';

const folder = path.resolve(process.argv[2] ?? 'build-wasm/javascript');
const { Ropewalk } = await import(pathToFileURL(path.join(folder, 'ropewalk.mjs')));
const rw = await Ropewalk.load();

const HEAD_DIM = 128, HEADS = 32, PAIRS = HEAD_DIM / 2, THETA = 500000, ROUNDS = 15;
const spec = rw.spec({ head_dim: HEAD_DIM, layout: 'half', theta: THETA });
const rotary = spec.rotary(), { inv_freq, turns_per_token } = spec.frequencies();

function tableInJavaScript(positions) {
  const cos = new Float32Array(positions.length * PAIRS), sin = new Float32Array(cos.length);
  for (let t = 0, at = 0; t < positions.length; ++t) {
    const position = positions[t];
    for (let j = 0; j < PAIRS; ++j, ++at) {
      const angle = position * inv_freq[j];
      cos[at] = Math.cos(angle);
      sin[at] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

function rotateInJavaScript(x, positions) {
  const { cos, sin } = tableInJavaScript(positions), y = new Float32Array(x.length);
  for (let t = 0; t < positions.length; ++t) {
    for (let h = 0; h < HEADS; ++h) {
      const at = (t * HEADS + h) * HEAD_DIM;
      for (let j = 0; j < PAIRS; ++j) {
        const c = cos[t * PAIRS + j], s = sin[t * PAIRS + j], a = x[at + j], b = x[at + j + PAIRS];
        y[at + j] = a * c - b * s;
        y[at + j + PAIRS] = b * c + a * s;
      }
    }
  }
  return y;
}

/** Median milliseconds of a call of each, the rounds in turns, and the median of the rounds' ratios with its quartiles. */
function against(...contestants) {
  const times = contestants.map(() => []);
  for (const body of contestants) for (let i = 0; i < 5; ++i) body();
  for (let round = 0; round < ROUNDS; ++round) {
    contestants.forEach((body, i) => {
      const began = performance.now();
      let calls = 0;
      do body(), ++calls;
      while (performance.now() - began < 20);
      times[i].push((performance.now() - began) / calls);
    });
  }
  const part = (list, share) => list.toSorted((a, b) => a - b)[Math.floor(list.length * share)];
  const ratios = times[1].map((t, i) => t / times[0][i]);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => part(ratios, share).toPrecision(2));
  return [...times.map((list) => part(list, 0.5)), `${middle}x (${low} to ${high})`];
}

/** Against the angle reduced exactly: the low bits of position * turns_per_token, in double from there. */
function errorOf({ cos, sin }, positions) {
  let worst = 0;
  positions.forEach((position, t) => {
    for (let j = 0; j < PAIRS; ++j) {
      const turns = BigInt.asIntN(64, BigInt(position) * turns_per_token[j]), angle = (Number(turns) * 2 * Math.PI) / 2 ** 64;
      worst = Math.max(worst, Math.abs(cos[t * PAIRS + j] - Math.cos(angle)), Math.abs(sin[t * PAIRS + j] - Math.sin(angle)));
    }
  });
  return worst.toExponential(1);
}

const bytes = readFileSync(path.join(folder, 'ropewalk.wasm'));
console.log(`${cpus()[0].model}, node ${process.version}, target ${rw.target}; ropewalk.wasm ${bytes.length} bytes, gzip -9 ${gzipSync(bytes, { level: 9 }).length}, base64 ${Math.ceil(bytes.length / 3) * 4}`);
console.log('| what | ropewalk, ms | JavaScript, ms | ropewalk is | error, ropewalk | error, JavaScript |');
console.log('|---|---|---|---|---|---|');
for (const [tokens, first] of [[1024, 0], [1024, 100000], [1024, 2 ** 36]]) {
  const list = Array.from({ length: tokens }, (_, i) => first + i), positions = BigInt64Array.from(list, BigInt);
  const [ours, theirs, ratio] = against(() => rotary.table(positions), () => tableInJavaScript(list));
  console.log(`| cos, sin of ${tokens} x ${PAIRS} from ${first} | ${ours.toFixed(3)} | ${theirs.toFixed(3)} | ${ratio} | ${errorOf(rotary.table(positions), list)} | ${errorOf(tableInJavaScript(list), list)} |`);
}
for (const tokens of [1, 64, 1024]) {
  const list = Array.from({ length: tokens }, (_, i) => 100000 + i), positions = BigInt64Array.from(list, BigInt);
  const x = Float32Array.from({ length: tokens * HEADS * HEAD_DIM }, (_, i) => Math.sin(i));
  const [ours, theirs, ratio] = against(() => rotary.rotate(x, positions, { heads: HEADS }), () => rotateInJavaScript(x, list));
  const one = rotary.rotate(x, positions, { heads: HEADS }), other = rotateInJavaScript(x, list);
  const apart = one.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0).toExponential(1);
  console.log(`| q [${tokens}, ${HEADS}, ${HEAD_DIM}] from 100000 | ${ours.toFixed(3)} | ${theirs.toFixed(3)} | ${ratio} | apart by ${apart} | |`);
}
