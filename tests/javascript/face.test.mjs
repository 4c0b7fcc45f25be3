// The JavaScript face: against the golden files, the header, plain formulas, and whatever else may be handed in.
//     ROPEWALK_JAVASCRIPT=build-wasm/javascript node --test tests/javascript
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const repository = path.join(here, '..', '..');
const built = path.resolve(process.env.ROPEWALK_JAVASCRIPT ?? path.join(repository, 'build-wasm', 'javascript'));
const face = await import(pathToFileURL(path.join(built, 'ropewalk.mjs')));
const { Ropewalk, RopewalkError, roundToBfloat16, structLayouts } = face;
const rw = await Ropewalk.load();

const plain = { head_dim: 64, layout: 'half', theta: 10000 };
const llama = {
  model_type: 'llama', hidden_size: 256, num_attention_heads: 4, num_hidden_layers: 2, max_position_embeddings: 4096,
  rope_theta: 500000.0,
};
const numbers = (count, seed = 1) => {
  let state = seed;
  return Float32Array.from({ length: count }, () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5);
};
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const near = (got, wanted, most, what) => {
  assert.equal(got.length, wanted.length, what);
  got.forEach((x, i) => assert.ok(Math.abs(x - wanted[i]) <= most * Math.max(1, Math.abs(wanted[i])), `${what}[${i}]: ${x}, want ${wanted[i]}`));
};
const refused = (body, line, status = 'invalid') =>
  assert.throws(body, (error) => {
    assert.ok(error instanceof RopewalkError, String(error));
    assert.ok(line instanceof RegExp ? line.test(error.message) : error.message === line, error.message);
    assert.equal(error.status, status);
    assert.equal(error.path, error.message.slice(0, error.message.indexOf(': ')));
    return true;
  });

test('the module is the library of this tree, on its vectors', () => {
  const header = readFileSync(path.join(repository, 'include', 'ropewalk', 'ropewalk.h'), 'utf8');
  assert.equal(rw.version, /#define RW_VERSION "(.*)"/.exec(header)[1]);
  assert.equal(rw.target, 'wasm128');
});

test('every struct is laid out as ropewalk.h has it', () => {
  const header = readFileSync(path.join(repository, 'include', 'ropewalk', 'ropewalk.h'), 'utf8').replace(/\/\/.*/g, '');
  const words = { double: 'f64', float: 'f32', int32_t: 'i32', int64_t: 'i64', uint64_t: 'u64', uint8_t: 'u8', size_t: 'ptr' };
  for (const [name, { fields }] of Object.entries(structLayouts)) {
    const body = new RegExp(`typedef struct ${name} \\{([^}]*)\\} ${name};`).exec(header)?.[1];
    assert.ok(body, name);
    const wanted = body.split(';').map((line) => line.trim().replace(/\s+/g, ' ')).filter(Boolean).slice(1);
    const got = [];
    for (const { type, name: field } of fields) {
      got.push(field);
      if (type.endsWith('[]')) got.push(`${field}_count`);
    }
    const names = wanted.map((line) => /(\w+)(?:\)\(.*\))?$/.exec(line.replace(/\(\*(\w+)\).*/, '*$1'))[1]);
    assert.deepEqual(got, names, name);
    for (const { type, name: field } of fields) {
      const line = wanted[names.indexOf(field)].replace(/^const /, '').replace(` ${field}`, '').replace(`(*${field})`, '*');
      const isPointer = line.includes('*');
      if (type === 'f64' || type === 'i64') assert.equal(words[line], type, `${name}.${field}`);
      else if (type.endsWith('[]') || type.startsWith('*') || type === 'str') assert.ok(isPointer, `${name}.${field}`);
      else if (type === 'ptr') assert.ok(isPointer || line === 'size_t', `${name}.${field}`);
      else assert.ok(line === 'int32_t' || line.startsWith('rw_'), `${name}.${field}: ${line}`);
    }
  }
});

test('configs of the golden files are answered with their frequencies, factors and vectors', () => {
  // Of text, whose positions need no builder: `ropewalk conform` asks the library all of them.
  const families = [
    'plain_half', 'plain_interleaved', 'partial', 'linear', 'ntk_alpha', 'dynamic_ntk', 'yarn', 'yarn_mscale',
    'longrope', 'llama3', 'proportional', 'dual_theta', 'nope_layers', 'mla', 'deepseek_v4', 'mrope_blocked', 'mrope_interleaved',
  ];
  const folder = path.join(repository, 'tests', 'golden');
  let asked = 0, turned = 0;
  for (const file of families) {
    const golden = JSON.parse(readFileSync(path.join(folder, `${file}.json`), 'utf8'));
    for (const encoding of golden.encodings) {
      for (const { config, kind, layer } of encoding.asked_by) {
        const given = golden.configs[config].config;
        if (given.gguf !== undefined) continue;
        const checkpoint = rw.checkpoint(JSON.stringify(given));
        const { spec } = checkpoint.kinds.find((one) => one.layers.includes(layer)) ?? { spec: null };
        const what = `${file}, ${config}, ${kind}`, length = encoding.running_length ?? 0;
        if (spec === null) {
          assert.equal(encoding.inv_freq.length, 0, what);
          checkpoint.free();
          continue;
        }
        const frequencies = spec.frequencies(length);
        assert.equal(frequencies.attention_factor, encoding.attention_factor, what);
        assert.equal(frequencies.softmax_scale_multiplier, encoding.softmax_scale_multiplier, what);
        if (Array.isArray(encoding.inv_freq) && typeof encoding.inv_freq[0] === 'number') near(frequencies.inv_freq, encoding.inv_freq, 1e-15, what);
        ++asked;
        const where = encoding.turned_by ?? encoding.positions;
        if (where.every((stream) => stream.every(Number.isSafeInteger)) && encoding.query_scale === undefined) {
          const x = Float32Array.from({ length: where[0].length * encoding.head_dim }, (_, i) => encoding.x[i % encoding.head_dim]);
          const rotary = spec.rotary(length), direction = kind.endsWith(' output') ? 'inverse' : 'forward';
          const got = rotary.rotate(x, where.length === 1 ? where[0] : where, { direction, role: 'query' });
          // Where a family's own code writes its pairs in another layout, the suite leaves them where they were.
          const wanted = encoding.query.map((row) => {
            const written = row.slice();
            for (let j = 0; j < spec.pairs; ++j) {
              const [first, second, to_first, to_second] = spec.channels(j);
              [written[to_first], written[to_second]] = [row[first], row[second]];
            }
            return written;
          });
          near(got, wanted.flat(), 4e-6, what);
          rotary.free();
          ++turned;
        }
        checkpoint.free();
      }
    }
  }
  assert.ok(asked > 80 && turned > 60, `${asked} asked, ${turned} turned`);
});

test('phases are exact at every position', () => {
  const rotary = rw.spec(plain).rotary(), { turns_per_token } = rw.spec(plain).frequencies();
  const positions = [0n, 1n, -7n, 2n ** 36n + 1n, 2n ** 62n, -(2n ** 63n)];
  const turns = rotary.turns(positions);
  positions.forEach((position, t) =>
    turns_per_token.forEach((per_token, j) => assert.equal(turns[t * 32 + j], BigInt.asUintN(64, position * per_token))));
});

test('scores depend on distances alone in exact numerics, and drift in fp32 and in tables of bfloat16', () => {
  const q = numbers(64, 3), k = numbers(64, 5), shift = 2 ** 24 + 1;
  const score = (rotary, offset) => dot(rotary.rotate(q, offset + 17), rotary.rotate(k, offset + 5));
  const exact = rw.spec(plain).rotary(), fp32 = rw.spec({ ...plain, numerics: 'fp32' }).rotary();
  assert.ok(Math.abs(score(exact, shift) - score(exact, 0)) < 1e-5);
  assert.ok(Math.abs(score(fp32, shift) - score(fp32, 0)) > 1e-3);
  const table = (offset) => exact.table([offset + 17, offset + 5], { dtype: 'bfloat16' });
  const by_table = (offset) => {
    const turned = exact.rotateByTable(new Float32Array([...q, ...k]), table(offset));
    return dot(turned.subarray(0, 64), turned.subarray(64));
  };
  assert.ok(Math.abs(by_table(100000) - score(exact, 100000)) > 1e-4);
});

test('rotations are the formula, in both layouts and all directions', () => {
  for (const layout of ['half', 'interleaved']) {
    const spec = rw.spec({ head_dim: 10, rotary_dim: 8, layout, theta: 100 }), rotary = spec.rotary();
    const x = numbers(3 * 2 * 10), positions = [0, 5, -3], got = rotary.rotate(x, positions, { heads: 2 });
    const { cos, sin } = rotary.table(positions);
    for (let t = 0; t < 3; ++t) {
      for (let h = 0; h < 2; ++h) {
        const at = (t * 2 + h) * 10, wanted = x.slice(at, at + 10);
        for (let j = 0; j < 4; ++j) {
          const [a, b] = spec.channels(j), angle = positions[t] * 100 ** (-j / 4);
          assert.ok(Math.abs(cos[t * 4 + j] - Math.cos(angle)) < 1e-6 && Math.abs(sin[t * 4 + j] - Math.sin(angle)) < 1e-6);
          wanted[a] = x[at + a] * Math.cos(angle) - x[at + b] * Math.sin(angle);
          wanted[b] = x[at + b] * Math.cos(angle) + x[at + a] * Math.sin(angle);
        }
        near(got.subarray(at, at + 10), wanted, 1e-6, `${layout} ${t} ${h}`);
      }
    }
    near(rotary.rotate(got, positions, { heads: 2, direction: 'inverse' }), x, 1e-6, 'there and back');
    assert.deepEqual(rotary.rotateByTable(x, { cos, sin }, { heads: 2 }), got);
    assert.deepEqual(rotary.rotateByTable(x, { cos, sin }, { heads: 2, rows: [0, 1, 2] }), got);
  }
});

test('keys are carried from one scaling to another', () => {
  const scaled = { ...plain, scaling: { kind: 'yarn', factor: 4, trained_context: 4096 } };
  const from = rw.spec(plain), to = rw.spec(scaled), keys = numbers(2 * 3 * 64), positions = [1000, 5000];
  const rerotation = from.rerotation(to);
  const carried = rerotation.apply(from.rotary().rotate(keys, positions, { heads: 3 }), positions, { heads: 3 });
  near(carried, to.rotary().rotate(keys, positions, { heads: 3 }), 2e-6, 'carried');
  assert.equal(rerotation.gain, to.frequencies().attention_factor);
});

test('a spec gives its fields back, and they make the same spec', () => {
  const scalings = [
    null,
    { kind: 'linear', factor: 2 },
    { kind: 'ntk', factor: 2, form: 'mixed', mixed_b: 0.5 },
    { kind: 'dynamic_ntk', factor: 2, trained_context: 4096 },
    { kind: 'yarn', factor: 4, trained_context: 4096n, attention_factor: 1.5, truncate: false },
    { kind: 'longrope', short_factor: Array(32).fill(1), long_factor: Array(32).fill(2), trained_context: 4096, long_mscale: 1.25 },
    { kind: 'llama3', trained_context: 8192 },
    { kind: 'proportional', fraction: 0.5 },
    { kind: 'divisors', divisors: new Float64Array(32).fill(3) },
  ];
  const seen = new Set();
  for (const scaling of scalings) {
    const spec = rw.spec({ ...plain, scaling, axis_of_pair: Array.from({ length: 32 }, (_, j) => j % 2) }), again = rw.spec(spec.fields);
    assert.equal(again.text, spec.text);
    assert.equal(again.fingerprint(10000), spec.fingerprint(10000));
    assert.deepEqual(again.fields, spec.fields);
    assert.equal(spec.fields.scaling?.kind, scaling?.kind);
    assert.equal(spec.axes, 2);
    seen.add(spec.fingerprint(10000));
  }
  assert.equal(seen.size, scalings.length);
});

test('a checkpoint says what it read, from where, and what to fear', () => {
  const checkpoint = rw.checkpoint(JSON.stringify(llama));
  assert.equal(checkpoint.model_type, 'llama');
  assert.equal(checkpoint.trained_context, 4096);
  assert.deepEqual([...checkpoint.kinds[0].layers], [0, 1]);
  assert.equal(checkpoint.kinds[0].spec.fields.theta, 500000);
  assert.deepEqual(checkpoint.provenance.find((one) => one.what === 'theta'), { what: 'theta', value: '500000', from: 'rope_theta' });
  assert.ok(checkpoint.hazards(100000).some(({ message }) => /times the trained 4096/.test(message)));
  assert.equal(checkpoint.fingerprint(), rw.checkpoint(JSON.stringify(llama)).fingerprint());
  assert.equal(rw.checkpoint(JSON.stringify(llama), { numerics: 'fp32' }).kinds[0].spec.fields.numerics, 'fp32');
});

test('sinusoids stand in every published order', () => {
  const angle = (k, p, exponent) => p * 10000 ** -(exponent === 'paper' ? k / 4 : k / 3);
  for (const exponent of ['paper', 'tensor2tensor']) {
    const places = {
      interleaved: (k, c) => 2 * k + c, interleaved_cos_first: (k, c) => 2 * k + 1 - c,
      concatenated: (k, c) => k + 4 * c, concatenated_cos_first: (k, c) => k + 4 * (1 - c),
    };
    for (const [order, place] of Object.entries(places)) {
      const sinusoidal = rw.sinusoidal({ dim: 8, order, exponent }), rows = sinusoidal.rows([0, 3, 100]);
      near(sinusoidal.inv_freq, Array.from({ length: 4 }, (_, k) => angle(k, 1, exponent)), 1e-15, order);
      [0, 3, 100].forEach((p, t) => {
        for (let k = 0; k < 4; ++k) {
          assert.ok(Math.abs(rows[8 * t + place(k, 0)] - Math.sin(angle(k, p, exponent))) < 1e-6, order);
          assert.ok(Math.abs(rows[8 * t + place(k, 1)] - Math.cos(angle(k, p, exponent))) < 1e-6, order);
        }
      });
    }
  }
});

test('biases are those of ALiBi and T5', () => {
  near(rw.alibiSlopes(6), [2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3], 0, 'slopes');
  assert.deepEqual([...rw.alibi({ heads: 2 }).block([5, 6], [0, 6])], [-5 / 16, 0, -6 / 16, 0, -5 / 256, 0, -6 / 256, 0]);
  assert.deepEqual([...rw.alibi({ heads: 1, symmetric: true, slopes: [2] }).block(0, [3])], [-6]);
  // The floating formula, away from where it falls on either side.
  const bucket = (n) => {
    const side = n < 0 ? 16 : 0, a = Math.abs(n);
    return side + (a < 8 ? a : Math.min(15, 8 + Math.floor((Math.log(a / 8) / Math.log(16)) * 8 + 1e-9)));
  };
  const distances = Array.from({ length: 401 }, (_, i) => i - 200);
  const buckets = rw.t5Buckets(distances);
  distances.forEach((n, i) => assert.equal(buckets[i], bucket(n), `distance ${n}`));
  const table = numbers(64), block = rw.t5({ heads: 2, table }).block([7], [0, 9]);
  assert.deepEqual([...block], [table[2 * 7], table[2 * 18], table[2 * 7 + 1], table[2 * 18 + 1]]);
});

test('bfloat16 is rounded to nearest even', () => {
  const got = roundToBfloat16(Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -0, NaN, Infinity));
  assert.deepEqual([...got], [1, 1, 1 + 2 ** -6, 1 + 2 ** -7, -0, NaN, Infinity]);
});

test('what is wrong is said in a line that begins where it is', () => {
  refused(() => rw.spec({ ...plain, theta: 0.5 }), 'theta: want a number > 1, got 0.5');
  refused(() => rw.spec({ ...plain, layout: 'neox' }), 'spec.layout: want one of interleaved, half, got "neox"');
  refused(() => rw.spec({ head_dim: 64, theta: 1e4 }), /^layout: want/);
  refused(() => rw.spec({ ...plain, base: 1 }), /^spec\.base: want one of head_dim, .*scaling, got 1$/);
  refused(() => rw.spec({ ...plain, head_dim: 2 ** 40 }), 'spec.head_dim: want a whole number in [-2^31, 2^31 - 1], got 1099511627776');
  refused(() => rw.spec({ ...plain, head_dim: 63 }), /^(rotary_dim|head_dim): want/);
  refused(() => rw.spec({ ...plain, theta: '1e4' }), 'spec.theta: want a number, got "1e4"');
  refused(() => rw.spec({ ...plain, scaling: { kind: 'yarm' } }), /^spec\.scaling\.kind: want one of linear, /);
  refused(() => rw.spec({ ...plain, scaling: { kind: 'yarn', factr: 2 } }), /^spec\.scaling\.factr: want one of factor, /);
  refused(() => rw.spec({ ...plain, scaling: { kind: 'yarn', factor: 2 } }), /^scaling\.(trained_context|original_max_position_embeddings): want/);
  refused(() => rw.spec({ ...plain, axis_of_pair: [300] }), 'spec.axis_of_pair[0]: want a whole number in [0, 255], got 300');
  refused(() => rw.spec(null), 'spec: want an object, got null');
  refused(() => rw.checkpoint('{'), /^config\.json: want JSON, got/, 'format');
  refused(() => rw.checkpoint('{"model_type": "nope"}', { source: 'theirs.json' }), /^model_type: want/, 'unsupported');
  refused(() => rw.checkpoint(JSON.stringify({ ...llama, rope_theta: -1 })), /^rope_theta: want/);
  refused(() => rw.checkpoint('['.repeat(200000)), /^config\.json: want/, 'format');
  refused(() => rw.checkpoint(undefined), 'text: want a string, got undefined');
  const rotary = rw.spec(plain).rotary(), x = numbers(64);
  refused(() => rotary.rotate(x, [1.5]), 'positions[0]: want a whole number, from 2^53 on as a bigint, got 1.5');
  refused(() => rotary.rotate(x, [2 ** 60]), /^positions\[0\]: want a whole number, from 2\^53 on as a bigint/);
  refused(() => rotary.rotate(x, [2n ** 63n]), 'positions[0]: want a whole number in [-2^63, 2^63 - 1], got 9223372036854775808');
  refused(() => rotary.rotate(x, [1, 2]), 'x.length: want 128, got 64');
  refused(() => rotary.rotate([1], [1]), 'x: want a Float32Array, got [1]');
  refused(() => rotary.rotate(x, [1], { direction: 'up' }), /direction: want one of forward, inverse, transpose, shift, got "up"$/);
  refused(() => rotary.rotate(x, [1], { direction: 1 }), /direction: want/);
  refused(() => rotary.rotateByTable(x, { cos: numbers(32), sin: numbers(32) }, { rows: [1] }), 'options.rows[0]: want a row in [0, 0], got 1');
  refused(() => rotary.rotateByTable(x, { cos: numbers(32), sin: numbers(31) }), 'table.sin.length: want 32, got 31');
  refused(() => rw.alibi({ heads: 0 }), /^alibi\.heads: want/);
  refused(() => rw.t5({ heads: 1, table: [1] }), /^t5\.table/);
  refused(() => rw.sinusoidal({ dim: 8, exponent: 'paper' }), /^order: want/);
  const spec = rw.spec(plain);
  spec.free();
  spec.free();
  refused(() => spec.text, 'Spec: want one that is in use, got a freed one');
  assert.equal(rw.spec(plain).pairs, 32); // and the library goes on
});

test('objects of another instance are refused, and objects that no method made', async () => {
  const other = await Ropewalk.load(), yarn = (factor) => ({ ...plain, scaling: { kind: 'yarn', factor, trained_context: 4096 } });
  const from = rw.spec(yarn(4)), theirs = other.spec(yarn(16));
  refused(() => from.rerotation(theirs), 'to: want a Spec of the same instance, got one of another');
  assert.notEqual(from.rerotation(rw.spec(theirs.fields)).gain, 1);
  refused(() => from.rerotation(plain), /^to: want a Spec, got \{"head_dim":64/);
  refused(() => from.rerotation(from.rotary()), 'to: want a Spec, got a Rotary');
  refused(() => rw.spec(from), 'spec: want an object, got a Spec');
  refused(() => new Ropewalk(), 'Ropewalk: want one that Ropewalk.load() or its methods make, got new Ropewalk');
  for (const [name, type] of Object.entries(face).filter(([, one]) => one.prototype?.free)) {
    refused(() => new type(), `${name}: want one that Ropewalk.load() or its methods make, got new ${name}`);
  }
});

test('methods say what they miss without their object', () => {
  const { spec, checkpoint } = rw, { rotate, free } = rw.spec(plain).rotary();
  refused(() => spec(plain), 'spec: want a call on its Ropewalk, got one without');
  refused(() => checkpoint('{}'), 'checkpoint: want a call on its Ropewalk, got one without');
  refused(() => rotate(numbers(64), 1), 'rotate: want a call on its Rotary, got one without');
  refused(() => free(), 'free: want a call on its Handle, got one without');
});

test('options that do not exist are refused, and what is no object', () => {
  const spec = rw.spec(plain), rotary = spec.rotary(), x = numbers(64), table = rotary.table(1);
  const calls = {
    rotate: [(options) => rotary.rotate(x, 1, options), 'heads, direction, role'],
    rotateByTable: [(options) => rotary.rotateByTable(x, table, options), 'heads, direction, rows'],
    table: [(options) => rotary.table(1, options), 'dtype'],
    rerotation: [(options) => spec.rerotation(spec, options), 'from_running_length, to_running_length'],
    apply: [(options) => spec.rerotation(spec).apply(x, 1, options), 'heads'],
    t5Buckets: [(options) => rw.t5Buckets(1, options), 'num_buckets, max_distance, causal'],
    checkpoint: [(options) => rw.checkpoint(JSON.stringify(llama), options), 'source, family, part, numerics'],
  };
  for (const [name, [call, known]] of Object.entries(calls)) {
    refused(() => call({ directon: 'inverse' }), `options.directon: want one of ${known}, got "inverse"`);
    refused(() => call({ head: 2 }), `options.head: want one of ${known}, got 2`);
    refused(() => call(5), 'options: want an object, got 5');
    refused(() => call(null), 'options: want an object, got null');
    refused(() => call(new Map([['heads', 2]])), 'options: want an object, got a Map');
    assert.ok(call({}) && call(undefined), name);
  }
  refused(() => rotary.rotate(x, 1, { heads: -1 }), 'options.heads: want a whole number > 0, got -1');
  refused(() => rotary.rotate(x, 1, { direction: 'up' }), 'options.direction: want one of forward, inverse, transpose, shift, got "up"');
  refused(() => rotary.rotate(x, 1, { role: 'value' }), 'options.role: want one of query, key, got "value"');
  refused(() => rw.spec({ ...plain, xpos: {} }).rotary().rotate(x, 1), 'options.role: want query or key for xPos, got none');
  refused(() => rotary.rotateByTable(x, table, { rows: [-1] }), 'options.rows[0]: want a row in [0, 0], got -1');
  refused(() => rotary.rotateByTable(x, table, { rows: [0.5] }), /^options\.rows\[0\]: want a whole number/);
  refused(() => rw.t5Buckets(1, { causal: 'no' }), 'options.causal: want true or false, got "no"');
  refused(() => rw.alibiSlopes(-1), 'heads: want a whole number > 0, got -1');
});

test('fields of another type, and fields that are not there, are said', () => {
  refused(() => rw.spec({ ...plain, head_dim: 8n }), 'spec.head_dim: want a whole number in [-2^31, 2^31 - 1], got 8');
  refused(() => rw.spec({ ...plain, theta: { a: 1n } }), 'spec.theta: want a number, got {"a":"1"}');
  refused(() => rw.spec({ ...plain, scaling: 'yarn' }), 'spec.scaling: want an object, got "yarn"');
  refused(() => rw.spec({ ...plain, head_dim: NaN }), /^spec\.head_dim: want .*, got NaN$/);
  refused(() => rw.spec(plain).rotary().turns([1, Infinity]), /^positions\[1\]: want .*, got Infinity$/);
  for (const kind of ['linear', 'ntk', 'dynamic_ntk', 'yarn']) {
    refused(() => rw.spec({ ...plain, scaling: { kind } }), 'spec.scaling.factor: want a number, got nothing');
  }
  refused(() => rw.spec({ ...plain, query_temperature: {} }), 'spec.query_temperature.beta: want a number, got nothing');
  refused(() => rw.spec({ ...plain, query_temperature: { beta: 1 } }), 'spec.query_temperature.context: want a number, got nothing');
  const circle = [];
  circle.push(circle);
  refused(() => rw.spec({ ...plain, theta: circle }), 'spec.theta: want a number, got a list');
});

test('arrays without their buffer are refused', () => {
  const rotary = rw.spec(plain).rotary(), gone = (array) => (structuredClone(array, { transfer: [array.buffer] }), array);
  const line = (name) => `${name}: want an array that has its buffer, got a detached one`;
  refused(() => rotary.rotate(gone(numbers(64)), [1]), line('x'));
  refused(() => rotary.rotate(numbers(64), gone(BigInt64Array.of(1n))), line('positions'));
  refused(() => rotary.turns(gone(Int32Array.of(1))), line('positions'));
  refused(() => rotary.rotate(new Float32Array(), gone(BigInt64Array.of(1n))), line('positions'));
  refused(() => roundToBfloat16(gone(numbers(1))), line('x'));
  refused(() => rw.spec({ ...plain, frequency_multipliers: gone(new Float64Array(32)) }), line('spec.frequency_multipliers'));
  assert.equal(rotary.rotate(new Float32Array(), []).length, 0);
});

test('results that no memory of 32 bits holds are refused before they wrap', () => {
  const where = new BigInt64Array(65536), million = new BigInt64Array(1e6), none = /^memory: want room for \d+ bytes, got none$/;
  refused(() => rw.alibi({ heads: 1 }).block(where, where), 'memory: want room for 17179869184 bytes, got none', 'no memory');
  refused(() => rw.sinusoidal({ dim: 65536, order: 'interleaved', exponent: 'paper' }).rows(million), none, 'no memory');
  const wide = rw.spec({ ...plain, head_dim: 2048 }).rotary();
  refused(() => wide.turns(million), none, 'no memory');
  refused(() => wide.table(million), none, 'no memory');
  const before = rw.memory;
  for (const heads of [65537, 1e8, 1e9]) refused(() => rw.alibiSlopes(heads), `heads: want a number in [1, 65536], got ${heads}`);
  assert.ok(rw.memory - before < 2 ** 20);
  assert.equal(rw.alibiSlopes(65536).length, 65536);
});

test('positions of sinusoids stay in 64 bits with their offset', () => {
  const shifted = rw.sinusoidal({ dim: 8, order: 'interleaved', exponent: 'paper', position_offset: 2 });
  const plainly = rw.sinusoidal({ dim: 8, order: 'interleaved', exponent: 'paper' });
  assert.deepEqual(shifted.rows([2n ** 63n - 3n]), plainly.rows([2n ** 63n - 1n]));
  refused(() => shifted.rows([0, 2n ** 63n - 2n]), 'positions[1]: want a position that stays in 64 bits with position_offset, got 9223372036854775806');
});

test('positions come in every typed array of whole numbers', () => {
  const rotary = rw.spec(plain).rotary(), wanted = rotary.turns([0, 1, 7]);
  for (const type of [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array]) {
    assert.deepEqual(rotary.turns(type.of(0, 1, 7)), wanted, type.name);
  }
  for (const type of [BigInt64Array, BigUint64Array]) assert.deepEqual(rotary.turns(type.of(0n, 1n, 7n)), wanted, type.name);
  refused(() => rotary.turns(BigUint64Array.of(2n ** 63n)), /^positions\[0\]: want a whole number in \[-2\^63/);
});

test('memory that was freed is used again', () => {
  const x = numbers(64 * 64);
  const once = () => {
    const checkpoint = rw.checkpoint(JSON.stringify(llama)), rotary = checkpoint.kinds[0].spec.rotary();
    rotary.rotate(x, Array.from({ length: 64 }, (_, i) => i));
    checkpoint.hazards(10000);
    rotary.free();
    checkpoint.free();
    try {
      rw.checkpoint('{"model_type": "nope"}');
    } catch {
      // its memory is what is asked about
    }
  };
  for (let i = 0; i < 20; ++i) once();
  const before = rw.memory;
  for (let i = 0; i < 500; ++i) once();
  assert.equal(rw.memory, before);
});

test('arrays of many megabytes make the memory grow, and what stood there stays', async () => {
  const own = await Ropewalk.load(), rotary = own.spec(plain).rotary(), tokens = 30000, x = numbers(tokens * 64), before = own.memory;
  const positions = Array.from({ length: tokens }, (_, i) => i), got = rotary.rotate(x, positions);
  assert.ok(own.memory > before);
  assert.deepEqual(got.subarray(29999 * 64), rotary.rotate(x.slice(29999 * 64), [29999]));
});

test('the module is loaded from bytes, an address, a Response and a compiled module', async () => {
  const file = path.join(built, 'ropewalk.wasm'), bytes = readFileSync(file);
  const base64 = Uint8Array.from(atob(bytes.toString('base64')), (c) => c.charCodeAt(0));
  const response = new Response(bytes, { headers: { 'Content-Type': 'application/wasm' } });
  for (const source of [bytes, base64, base64.buffer, pathToFileURL(file), pathToFileURL(file).href, response, Promise.resolve(bytes), new WebAssembly.Module(bytes)]) {
    assert.equal((await Ropewalk.load(source)).version, rw.version);
  }
  const failing = async (source, line, status) =>
    assert.rejects(Ropewalk.load(source), (error) => {
      assert.ok(error instanceof RopewalkError && line.test(error.message), String(error));
      assert.equal(error.status, status);
      return true;
    });
  await failing(17, /^source: want bytes, .*, got 17$/, 'invalid');
  await failing('http://[', /^source: want an address, got /, 'invalid');
  await failing(new Response(bytes, { status: 404 }), /^source: want a Response with the module, got status 404$/, 'unavailable');
  await failing(pathToFileURL(path.join(built, 'nowhere.wasm')), /^source: want what can be read, got ENOENT/, 'unavailable');
  await failing(Uint8Array.of(1, 2, 3), /^source: want a WebAssembly module, got /, 'format');
  await failing(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0), /^source: want ropewalk\.wasm, got a module without memory$/, 'format');
});

test('the list of exports is what the face calls', () => {
  const face = readFileSync(path.join(repository, 'javascript', 'ropewalk.mjs'), 'utf8');
  for (const name of readFileSync(path.join(repository, 'javascript', 'exports.txt'), 'utf8').split('\n').filter(Boolean)) {
    assert.ok(face.includes(name.replace(/_(alibi|t5)$/, name.startsWith('rw_bias_create') ? '_' : '_$1')), name);
  }
});
