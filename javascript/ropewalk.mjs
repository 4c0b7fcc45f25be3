// Ropewalk in JavaScript: the C interface (ropewalk.h), compiled to WebAssembly, as classes. Data carries the names of
// ropewalk.h, functions are JavaScript's; ropewalk.d.mts has the types, docs/javascript.md the tour. No dependency, no
// build step: this file and ropewalk.wasm are all there is.

/** What the library refuses: `message` is its one line, "path: want ..., got ...". */
export class RopewalkError extends Error {
  constructor(line, status = 'invalid') {
    super(line);
    this.name = 'RopewalkError';
    this.status = status;
    this.path = line.includes(': ') ? line.slice(0, line.indexOf(': ')) : '';
  }
}

// ---- the structs of ropewalk.h ---------------------------------------------------------------------------------------
// Field by field as there, struct_size left out (every struct begins with it). `f64[] x` is a pointer and x_count,
// `*rw_y x` a pointer to a struct, a word of ENUMS its int32_t; flag is an int32_t, 0 or 1. has_x says whether x is there.

const ENUMS = {
  layout: { interleaved: 0, half: 1, unset: 255 },
  numerics: ['exact', 'fp32'],
  ntk_form: ['base', 'fixed', 'mixed'],
  growth: ['running_length', 'full_length'],
  mscale_rule: ['both', 'numerator'],
  ramp_guard: ['nudge', 'floor'],
  longrope_policy: ['by_length', 'short', 'long'],
  direction: ['forward', 'inverse', 'transpose', 'shift'],
  role: ['unset', 'query', 'key'],
  order: ['unset', 'interleaved', 'concatenated', 'interleaved_cos_first', 'concatenated_cos_first'],
  exponent: ['unset', 'paper', 'tensor2tensor'],
};

const STRUCTS = {
  rw_linear: 'f64 factor=1',
  rw_ntk: 'f64 factor=1, ntk_form form, i32 reserved, f64 mixed_b=0.625',
  rw_dynamic_ntk: 'f64 factor=1, i64 trained_context, growth growth, i32 reserved',
  rw_yarn:
    'f64 factor=1, i64 trained_context, f64 beta_fast=32, f64 beta_slow=1, flag truncate=1, flag has_attention_factor, ' +
    'f64 attention_factor, f64 mscale, f64 mscale_all_dim, mscale_rule mscale_rule, ramp_guard ramp_guard, ' +
    'f64 mscale_coefficient=0.1, f64 extrapolation_factor=1, flag scale_softmax, i32 reserved',
  rw_longrope:
    'f64[] short_factor, f64[] long_factor, i64 trained_context, f64 factor=1, flag has_attention_factor, ' +
    'flag has_short_mscale, flag has_long_mscale, longrope_policy policy, f64 attention_factor, f64 short_mscale, ' +
    'f64 long_mscale',
  rw_llama3: 'f64 factor=8, f64 low_freq_factor=1, f64 high_freq_factor=4, i64 trained_context',
  rw_proportional: 'f64 fraction=1, f64 factor=1',
  rw_divisors: 'f64[] divisors, f64 factor=1, f64 attention_factor=1',
  rw_given: 'i32 heads=1, i32 axes=1, f64[] inv_freq',
  rw_second_angle: 'i32[] rung_of_pair, u8[] axis_of_pair',
  rw_xpos: 'f64 scale_base=512, f64 gamma=0.4, flag centre_above, i32 reserved',
  rw_fourier_mix: 'i32 heads=1, i32 tones, i32 outputs, i32 reserved, f64[] cos_mix, f64[] sin_mix',
  rw_query_temperature: 'f64 beta, i64 context=1, i64 offset',
  rw_spec_fields:
    'i32 head_dim, i32 rotary_dim, i32 rotary_offset, i32 frequency_dim, layout layout=unset, ' +
    'layout output_layout=unset, numerics numerics, flag clockwise, f64 theta, f64 position_scale=1, ' +
    'f64 softmax_scale_multiplier=1, i32[] rung_of_pair, u8[] axis_of_pair, f64[] frequency_multipliers, ' +
    'i32[] pair_blocks, *rw_linear linear, *rw_ntk ntk, *rw_dynamic_ntk dynamic_ntk, *rw_yarn yarn, ' +
    '*rw_longrope longrope, *rw_llama3 llama3, *rw_proportional proportional, *rw_divisors divisors, *rw_given given, ' +
    '*rw_second_angle second, *rw_xpos xpos, *rw_fourier_mix fourier, *rw_query_temperature query_temperature',
  rw_frequencies_fields:
    'ptr count, ptr inv_freq, ptr turns_per_token, ptr inv_freq_fp32, ptr second_inv_freq, ' +
    'ptr second_turns_per_token, ptr second_inv_freq_fp32, f64 attention_factor=1, f64 softmax_scale_multiplier=1, ' +
    'i64 centre',
  rw_positions_view:
    'ptr data, i32 axes=1, i32 reserved, i64 batch=1, i64 tokens, i64 axis_stride, i64 batch_stride, i64 token_stride=1',
  rw_heads_view:
    'ptr data, i32 dtype, i32 reserved, i64 batch=1, i64 tokens, i64 heads, i64 head_dim, i64 batch_stride, ' +
    'i64 token_stride, i64 head_stride',
  rw_operand: 'ptr in, ptr out, role role, i32 reserved',
  rw_call: 'direction direction, i32 threads=1, flag checked, i32 reserved, ptr run, ptr pool',
  rw_cos_sin_table: 'ptr cos, ptr sin, i64 rows, i64 row_stride',
  rw_read_options: 'str family, str part, numerics numerics, i32 reserved',
  rw_checkpoint_fields:
    'str source, str model_type, str family, str part, str[] parts, i64 trained_context, i64 max_context, ' +
    'i32 layer_count, i32 reserved, ptr kinds_count, ptr provenance_count, str[] keys_used, str[] keys_ignored, ' +
    'str[] notes',
  rw_layer_kind:
    'str name, i32[] layers, ptr spec, str[] streams, *rw_query_temperature query_temperature, i32 head_dim, ' +
    'i32 reserved',
  rw_provenance: 'str what, str value, str from',
  rw_hazard: 'str kind, str message',
  rw_sinusoidal_fields:
    'i32 dim, i32 axes=1, f64 theta=10000, order order, exponent exponent, flag sines_of_all_axes_first, ' +
    'flag has_zero_position, i64 position_offset, i64 zero_position, f64 gain=1',
  rw_alibi: 'i32 heads, flag symmetric, f64 bias_max=8, f64[] slopes',
  rw_t5: 'i32 heads, flag causal, i32 num_buckets=32, i32 reserved, i64 max_distance=128, f32[] table',
};

// What has to be said, although C has a default for it: a stretch by 1 is no scaling, a beta of 0 no temperature.
const REQUIRED = {
  rw_linear: ['factor'], rw_ntk: ['factor'], rw_dynamic_ntk: ['factor'], rw_yarn: ['factor'],
  rw_query_temperature: ['beta', 'context'],
};

const ARRAYS = { f64: Float64Array, f32: Float32Array, i32: Int32Array, u8: Uint8Array, i64: BigInt64Array, u64: BigUint64Array };
const SCALINGS = ['linear', 'ntk', 'dynamic_ntk', 'yarn', 'longrope', 'llama3', 'proportional', 'divisors'];

/** Where C puts the fields: 32-bit addresses, every number aligned to its size. */
function layOut(text) {
  const fields = [];
  let at = 4, alignment = 4;
  for (const item of text.split(', ')) {
    const [, type, name, initial] = /^(\S+) (\w+)(?:=(.*))?$/.exec(item);
    const size = type === 'f64' || type === 'i64' ? 8 : 4;
    alignment = Math.max(alignment, size);
    at = Math.ceil(at / size) * size;
    fields.push({ type, name, at, initial });
    at += type.endsWith('[]') ? 8 : size;
  }
  return { fields, size: Math.ceil(at / alignment) * alignment };
}
const LAYOUTS = Object.fromEntries(Object.entries(STRUCTS).map(([name, text]) => [name, layOut(text)]));

/** Where each field of a struct of ropewalk.h is taken to stand; for tests. */
export const structLayouts = LAYOUTS;

function shown(value) {
  const cut = (text) => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return cut(JSON.stringify(value));
  if (typeof value !== 'object' || value === null) return cut(String(value));
  if (isList(value) && !Array.isArray(value)) return `an array of ${value.length}`;
  if (!Array.isArray(value) && !isPlain(value)) return `a ${value.constructor?.name ?? 'class'}`;
  const inner = (_, one) => (typeof one === 'bigint' || (typeof one === 'number' && !Number.isFinite(one)) ? String(one) : one);
  try {
    return cut(JSON.stringify(value, inner));
  } catch {
    return Array.isArray(value) ? 'a list' : 'an object';
  }
}
const refuse = (path, want, got) => {
  throw new RopewalkError(`${path}: want ${want}, got ${shown(got)}`);
};
function isPlain(value) {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

const numbersOf = (words) => (Array.isArray(words) ? Object.fromEntries(words.map((word, i) => [word, i])) : words);
function enumNumber(kind, word, path) {
  const numbers = numbersOf(ENUMS[kind]);
  if (typeof word !== 'string' || !Object.hasOwn(numbers, word)) {
    refuse(path, `one of ${Object.keys(numbers).filter((one) => one !== 'unset').join(', ')}`, word);
  }
  return numbers[word];
}
const enumWord = (kind, number) => Object.entries(numbersOf(ENUMS[kind])).find(([, one]) => one === number)?.[0] ?? number;

/** A number or a bigint as an int64. A number must be one whose neighbours are whole too. */
function int64(value, path) {
  if (typeof value === 'bigint') {
    if (BigInt.asIntN(64, value) !== value) refuse(path, 'a whole number in [-2^63, 2^63 - 1]', value);
    return value;
  }
  if (!Number.isSafeInteger(value)) refuse(path, 'a whole number, from 2^53 on as a bigint', value);
  return BigInt(value);
}
function int32(value, path) {
  if (!Number.isInteger(value) || value !== (value | 0)) refuse(path, 'a whole number in [-2^31, 2^31 - 1]', value);
  return value;
}
const aboveZero = (value, path) => (int32(value, path) > 0 ? value : refuse(path, 'a whole number > 0', value));
const flag = (value, path) => (typeof value === 'boolean' ? value : refuse(path, 'true or false', value));
const number = (value, path) => (typeof value === 'number' ? value : refuse(path, 'a number', value));
const isList = (value) => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
/** A typed array whose buffer went elsewhere has length 0, and nothing else says so before ES2024. */
function attached(array, path) {
  if (array.length === 0 && ArrayBuffer.isView(array)) {
    try {
      new Uint8Array(array.buffer, 0, 0);
    } catch {
      throw new RopewalkError(`${path}: want an array that has its buffer, got a detached one`);
    }
  }
  return array;
}

/** Whole numbers in words of 64 bits, a list or one of them. */
function int64List(values, path) {
  if (values instanceof BigInt64Array) return attached(values, path);
  if (typeof values === 'number' || typeof values === 'bigint') return BigInt64Array.of(int64(values, path));
  if (!isList(values)) refuse(path, 'a list of whole numbers', values);
  return BigInt64Array.from(attached(values, path), (value, i) => int64(value, `${path}[${i}]`));
}
const isNested = (positions) => Array.isArray(positions) && positions.some(isList);
const float32 = (x, path) => (x instanceof Float32Array ? attached(x, path) : refuse(path, 'a Float32Array', x));
const wantLength = (path, array, length) => array.length === length || refuse(`${path}.length`, String(length), array.length);

function wantFields(object, known, path) {
  if (typeof object !== 'object' || object === null || isList(object) || !isPlain(object)) refuse(path, 'an object', object);
  for (const name of Object.keys(object)) {
    if (!known.includes(name)) refuse(`${path}.${name}`, `one of ${known.join(', ')}`, object[name]);
  }
  return object;
}
/** The same for what fills a struct. */
function wantStruct(object, name, path) {
  wantFields(object, fieldsOf(name), path);
  for (const field of REQUIRED[name] ?? []) {
    if ((object[field] ?? null) === null) throw new RopewalkError(`${path}.${field}: want a number, got nothing`);
  }
  return object;
}
const wantOptions = (given, ...known) => wantFields(given, known, 'options');

// ---- memory ----------------------------------------------------------------------------------------------------------

const textDecoder = new TextDecoder();
const textEncoder = new TextEncoder();
const ERROR_SIZE = 1024;
const MOST_BYTES = 2 ** 31; // what the module's memory grows to

/** The module's functions and its memory. */
class Machine {
  constructor(exports) {
    this.exports = exports;
  }
  get bytes() {
    return new DataView(this.exports.memory.buffer);
  }
  /** A view that the next call may make useless, for the memory may grow. */
  view(type, address, count) {
    return new ARRAYS[type](this.exports.memory.buffer, address >>> 0, count);
  }
  copy(type, address, count) {
    return address === 0 ? null : this.view(type, address, count).slice();
  }
  string(address) {
    if (address === 0) return null;
    const bytes = new Uint8Array(this.exports.memory.buffer);
    return textDecoder.decode(bytes.subarray(address >>> 0, bytes.indexOf(0, address >>> 0)));
  }
  /** Runs body(room) and frees what it asked of the room. */
  within(body) {
    const room = new Room(this);
    try {
      return body(room);
    } finally {
      room.free();
    }
  }
  /** Calls a function that can fail; its error buffer comes last. */
  call(name, ...given) {
    this.within((room) => {
      const error = room.bytes(ERROR_SIZE);
      const status = this.exports[name](...given, error, ERROR_SIZE);
      if (status === 0) return;
      const line = this.string(error).replace(/^operands\[0\]\.role/, 'options.role');
      throw new RopewalkError(line, this.string(this.exports.rw_status_name(status)));
    });
  }
  /** The same for one that makes a handle: `given` may contain the word PLACE. */
  make(name, ...given) {
    return this.within((room) => {
      const place = room.bytes(4);
      this.call(name, ...given.map((one) => (one === PLACE ? place : one)));
      return this.bytes.getUint32(place, true);
    });
  }
  read(name, address) {
    const result = {}, bytes = this.bytes;
    for (const { type, name: field, at } of LAYOUTS[name].fields) {
      if (field === 'reserved') continue;
      result[field] = this.readField(bytes, type, address + at);
    }
    for (const field of Object.keys(result)) {
      if (!field.startsWith('has_')) continue;
      if (!result[field]) result[field.slice(4)] = null;
      delete result[field];
    }
    return result;
  }
  readField(bytes, type, at) {
    if (type === 'f64') return bytes.getFloat64(at, true);
    if (type === 'i64') {
      const value = bytes.getBigInt64(at, true), narrow = Number(value);
      return Number.isSafeInteger(narrow) ? narrow : value;
    }
    if (type === 'i32') return bytes.getInt32(at, true);
    if (type === 'flag') return bytes.getInt32(at, true) !== 0;
    const word = bytes.getUint32(at, true);
    if (type === 'ptr') return word;
    if (type === 'str') return this.string(word);
    if (type === 'str[]') return Array.from(this.view('i32', word, bytes.getUint32(at + 4, true)), (one) => this.string(one));
    if (type.endsWith('[]')) {
      const count = bytes.getUint32(at + 4, true);
      return count === 0 ? null : this.copy(type.slice(0, -2), word, count);
    }
    if (type.startsWith('*')) return word === 0 ? null : this.read(type.slice(1), word);
    return enumWord(type, bytes.getInt32(at, true));
  }
}
const PLACE = Symbol('where a handle goes');

/** What a call needs in the module's memory while it lasts. */
class Room {
  constructor(machine) {
    this.machine = machine;
    this.taken = [];
  }
  bytes(size) {
    const address = size < MOST_BYTES ? this.machine.exports.malloc(Math.max(size, 8)) >>> 0 : 0;
    if (address === 0) throw new RopewalkError(`memory: want room for ${size} bytes, got none`, 'no memory');
    this.taken.push(address);
    return address;
  }
  free() {
    for (const address of this.taken) this.machine.exports.free(address);
  }
  array(type, values, path) {
    if (!isList(values)) refuse(path, 'a list of numbers', values);
    const list = attached(values, path) instanceof ARRAYS[type] ? values : this.converted(type, values, path);
    const address = this.bytes(list.byteLength);
    this.machine.view(type, address, list.length).set(list);
    return { address, count: list.length };
  }
  converted(type, values, path) {
    if (type === 'i64') return int64List(values, path);
    const one = (value, i) => {
      const where = `${path}[${i}]`;
      if (type === 'f64' || type === 'f32') return number(value, where);
      const whole = int32(value, where);
      if (type === 'u8' && (whole < 0 || whole > 255)) refuse(where, 'a whole number in [0, 255]', value);
      return whole;
    };
    return ARRAYS[type].from(values, one);
  }
  string(text, path) {
    if (typeof text !== 'string') refuse(path, 'a string', text);
    const bytes = textEncoder.encode(`${text}\0`);
    const { address } = this.array('u8', bytes, path);
    return { address, size: bytes.length - 1 };
  }
  /** A struct with what is given of its fields, the others at their defaults. Its address. */
  struct(name, given = {}, path = name) {
    const { fields, size } = LAYOUTS[name];
    const address = this.bytes(size);
    this.machine.view('u8', address, size).fill(0);
    this.machine.bytes.setUint32(address, size, true);
    for (const { type, name: field, at, initial } of fields) {
      if (field.startsWith('has_')) {
        this.machine.bytes.setInt32(address + at, (given[field.slice(4)] ?? null) === null ? 0 : 1, true);
        continue;
      }
      const value = given[field] ?? null;
      if (value === null && initial === undefined) continue;
      this.field(type, value, initial, address + at, `${path}.${field}`);
    }
    return address;
  }
  field(type, value, initial, at, path) {
    const set = (method, what) => this.machine.bytes[method](at, what, true);
    if (type === 'f64') return set('setFloat64', value === null ? Number(initial) : number(value, path));
    if (type === 'i64') return set('setBigInt64', value === null ? BigInt(initial) : int64(value, path));
    if (type === 'i32') return set('setInt32', value === null ? Number(initial) : int32(value, path));
    if (type === 'ptr') return set('setUint32', value);
    if (type === 'flag') {
      return set('setInt32', Number(value === null ? initial : flag(value, path)));
    }
    if (type === 'str') return set('setUint32', this.string(value, path).address);
    if (type.startsWith('*')) {
      const inner = type.slice(1);
      return set('setUint32', this.struct(inner, wantStruct(value, inner, path), path));
    }
    if (type.endsWith('[]')) {
      const { address, count } = this.array(type.slice(0, -2), value, path);
      set('setUint32', address);
      return this.machine.bytes.setUint32(at + 4, count, true);
    }
    return set('setInt32', enumNumber(type, value ?? initial, path));
  }
  /** A view of positions: one list, or one for each axis. */
  positions(given) {
    const streams = isNested(given) ? given.map((one, axis) => int64List(one, `positions[${axis}]`)) : [int64List(given, 'positions')];
    const tokens = streams[0].length;
    const all = new BigInt64Array(streams.length * tokens);
    streams.forEach((stream, axis) => {
      wantLength(`positions[${axis}]`, stream, tokens);
      all.set(stream, axis * tokens);
    });
    const data = this.array('i64', all, 'positions').address;
    return { view: this.struct('rw_positions_view', { data, axes: streams.length, tokens, axis_stride: tokens }), tokens, streams };
  }
  /** Contiguous [tokens, heads, head_dim], with what is in `x`. */
  heads(x, tokens, heads, headDim) {
    const { address } = this.array('f32', x, 'x');
    const shape = { data: address, tokens, heads, head_dim: headDim, token_stride: heads * headDim, head_stride: headDim };
    return { address, view: this.struct('rw_heads_view', shape) };
  }
}

const fieldsOf = (name) =>
  LAYOUTS[name].fields.map((field) => field.name).filter((field) => field !== 'reserved' && !field.startsWith('has_'));

/** No caller has a machine: what takes one is for this file alone. */
function wantMachine(machine, name) {
  if (!(machine instanceof Machine)) throw new RopewalkError(`${name}: want one that Ropewalk.load() or its methods make, got new ${name}`);
  return machine;
}

/** A handle of the library; freed by free(), or some time after nobody knows it any more. */
class Handle {
  #address;
  #destroy;
  static #registry = new FinalizationRegistry((destroy) => destroy());

  constructor(machine, destroy, address) {
    wantMachine(machine, new.target.name);
    this.machine = machine;
    this.#address = address;
    this.#destroy = () => machine.exports[destroy](address);
    Handle.#registry.register(this, this.#destroy, this);
    Object.defineProperty(this, 'machine', { enumerable: false });
  }
  get address() {
    if (this.#address === 0) throw new RopewalkError(`${this.constructor.name}: want one that is in use, got a freed one`);
    return this.#address;
  }
  /** Gives the memory back now. May be called again. */
  free() {
    if (this.#address === 0) return;
    Handle.#registry.unregister(this);
    this.#address = 0;
    this.#destroy();
  }
}

const running = (length, path = 'running_length') => int64(length ?? 0, path);

function fingerprint(machine, name, address, length) {
  return machine.within((room) => {
    const text = room.bytes(17);
    machine.call(name, address, running(length), text);
    return machine.string(text);
  });
}

// ---- the faces -------------------------------------------------------------------------------------------------------

const SPEC_FIELDS = fieldsOf('rw_spec_fields').filter((name) => !SCALINGS.includes(name)).concat('scaling');

/** A rotary encoding: plain data, checked. */
export class Spec extends Handle {
  constructor(machine, address) {
    super(machine, 'rw_spec_destroy', address);
  }
  static from(machine, given) {
    const { scaling = null, ...fields } = wantFields(given, SPEC_FIELDS, 'spec');
    fields.rotary_dim ??= int32(fields.head_dim ?? 0, 'spec.head_dim') - int32(fields.rotary_offset ?? 0, 'spec.rotary_offset');
    if (scaling !== null) {
      const { kind, ...options } = wantFields(scaling, Object.keys(scaling), 'spec.scaling');
      if (!SCALINGS.includes(kind)) refuse('spec.scaling.kind', `one of ${SCALINGS.join(', ')}`, kind);
      fields[kind] = wantStruct(options, `rw_${kind}`, 'spec.scaling');
    }
    return machine.within(
      (room) => new Spec(machine, machine.make('rw_spec_create', room.struct('rw_spec_fields', fields, 'spec'), PLACE)),
    );
  }
  /** Of a spec that a checkpoint owns. */
  static copy(machine, address) {
    return machine.within((room) => {
      const fields = room.struct('rw_spec_fields');
      machine.call('rw_spec_get', address, fields);
      return new Spec(machine, machine.make('rw_spec_create', fields, PLACE));
    });
  }
  get fields() {
    const { machine, address } = this;
    const all = machine.within((room) => {
      const fields = room.struct('rw_spec_fields');
      machine.call('rw_spec_get', address, fields);
      return machine.read('rw_spec_fields', fields);
    });
    const kind = SCALINGS.find((name) => all[name] !== null);
    const scaling = kind === undefined ? null : { kind, ...all[kind] };
    for (const name of SCALINGS) delete all[name];
    return { ...all, scaling };
  }
  get text() {
    return this.machine.string(this.machine.exports.rw_spec_text(this.address));
  }
  get pairs() {
    return this.machine.exports.rw_spec_pairs(this.address);
  }
  get axes() {
    return this.machine.exports.rw_spec_axes(this.address);
  }
  get isRotation() {
    return this.machine.exports.rw_spec_is_rotation(this.address) !== 0;
  }
  get dependsOnLength() {
    return this.machine.exports.rw_spec_depends_on_length(this.address) !== 0;
  }
  fingerprint(runningLength = 0) {
    return fingerprint(this.machine, 'rw_spec_fingerprint', this.address, runningLength);
  }
  channels(pair) {
    return this.machine.within((room) => {
      const four = room.bytes(16);
      this.machine.call('rw_spec_channels', this.address, int32(pair, 'pair'), four);
      return this.machine.copy('i32', four, 4);
    });
  }
  frequencies(runningLength = 0) {
    const { machine, address } = this;
    const handle = machine.make('rw_frequencies_create', address, running(runningLength), PLACE);
    try {
      return machine.within((room) => {
        const fields = room.struct('rw_frequencies_fields');
        machine.call('rw_frequencies_get', handle, fields);
        const { count, ...all } = machine.read('rw_frequencies_fields', fields);
        for (const [name, type] of [['inv_freq', 'f64'], ['turns_per_token', 'u64'], ['inv_freq_fp32', 'f32']]) {
          for (const list of [name, `second_${name}`]) all[list] = machine.copy(type, all[list], count);
        }
        return all;
      });
    } finally {
      machine.exports.rw_frequencies_destroy(handle);
    }
  }
  rotary(runningLength = 0) {
    const { machine, address } = this;
    return new Rotary(machine, machine.make('rw_rotary_create', address, running(runningLength), PLACE), this.fields);
  }
  rerotation(to, lengths = {}) {
    const { from_running_length = 0, to_running_length = 0 } = wantOptions(lengths, 'from_running_length', 'to_running_length');
    if (!(to instanceof Spec)) refuse('to', 'a Spec', to);
    const { machine, address } = this;
    // An address means nothing in the memory of another instance.
    if (to.machine !== machine) throw new RopewalkError('to: want a Spec of the same instance, got one of another');
    const handle = machine.make('rw_rerotation_create', address, running(from_running_length, 'options.from_running_length'),
                                to.address, running(to_running_length, 'options.to_running_length'), PLACE);
    return new Rerotation(machine, handle, this.fields.head_dim);
  }
}

/** The prepared operator: made once from a spec, then applied to any tokens. */
export class Rotary extends Handle {
  constructor(machine, address, fields) {
    super(machine, 'rw_rotary_destroy', address);
    this.head_dim = fields.head_dim;
    this.pairs = fields.rotary_dim / 2;
  }
  turns(positions) {
    return this.machine.within((room) => {
      const { view, tokens } = room.positions(positions), count = tokens * this.pairs;
      const out = room.bytes(8 * count);
      this.machine.call('rw_rotary_fill_turns', this.address, view, out, count);
      return this.machine.copy('u64', out, count);
    });
  }
  table(positions, options = {}) {
    const { dtype = 'float32' } = wantOptions(options, 'dtype');
    if (dtype !== 'float32' && dtype !== 'bfloat16') refuse('options.dtype', 'float32 or bfloat16', dtype);
    return this.machine.within((room) => {
      const { view, tokens } = room.positions(positions), count = tokens * this.pairs;
      const cos = room.bytes(4 * count), sin = room.bytes(4 * count);
      this.machine.call('rw_rotary_fill_table', this.address, view, cos, count, sin, count);
      const table = { cos: this.machine.copy('f32', cos, count), sin: this.machine.copy('f32', sin, count) };
      if (dtype === 'bfloat16') [table.cos, table.sin].forEach(roundToBfloat16);
      return table;
    });
  }
  rotate(x, positions, options = {}) {
    const { heads = 1, direction = 'forward', role = 'unset' } = wantOptions(options, 'heads', 'direction', 'role');
    return this.#turned(x, positions, heads, role, (room, operand, view) => {
      const call = room.struct('rw_call', { direction }, 'options');
      this.machine.call('rw_rotary_apply', this.address, operand, 1, view, call);
    });
  }
  rotateByTable(x, table, options = {}) {
    const { heads = 1, direction = 'forward', rows = null } = wantOptions(options, 'heads', 'direction', 'rows');
    const { cos, sin } = wantFields(table, ['cos', 'sin'], 'table');
    const tableRows = float32(cos, 'table.cos').length / this.pairs;
    wantLength('table.sin', float32(sin, 'table.sin'), cos.length);
    if (!Number.isInteger(tableRows)) refuse('table.cos.length', `a multiple of ${this.pairs}`, cos.length);
    const where = int64List(rows ?? Array.from({ length: tableRows }, (_, row) => row), 'options.rows');
    where.forEach((row, i) => (row >= 0n && row < tableRows) || refuse(`options.rows[${i}]`, `a row in [0, ${tableRows - 1}]`, row));
    return this.#turned(x, where, heads, 'unset', (room, operand, view) => {
      const addresses = { cos: room.array('f32', cos, 'table.cos').address, sin: room.array('f32', sin, 'table.sin').address };
      const given = room.struct('rw_cos_sin_table', { ...addresses, rows: tableRows, row_stride: this.pairs });
      const call = room.struct('rw_call', { direction }, 'options');
      this.machine.call('rw_rotary_apply_table', this.address, operand, 1, given, view, call);
    });
  }
  #turned(x, positions, heads, role, apply) {
    return this.machine.within((room) => {
      const { view, tokens } = room.positions(positions);
      wantLength('x', float32(x, 'x'), tokens * aboveZero(heads, 'options.heads') * this.head_dim);
      const { address, view: shape } = room.heads(x, tokens, heads, this.head_dim);
      apply(room, room.struct('rw_operand', { in: shape, role }, 'options'), view);
      return this.machine.copy('f32', address, x.length);
    });
  }
}

/** Carries keys that were turned under one spec over to another. */
export class Rerotation extends Handle {
  constructor(machine, address, headDim) {
    super(machine, 'rw_rerotation_destroy', address);
    this.head_dim = headDim;
  }
  get gain() {
    return this.machine.exports.rw_rerotation_gain(this.address);
  }
  apply(keys, positions, options = {}) {
    const { heads = 1 } = wantOptions(options, 'heads');
    return this.machine.within((room) => {
      const { view, tokens } = room.positions(positions);
      wantLength('keys', float32(keys, 'keys'), tokens * aboveZero(heads, 'options.heads') * this.head_dim);
      const { address, view: shape } = room.heads(keys, tokens, heads, this.head_dim);
      this.machine.call('rw_rerotation_apply_heads', this.address, shape, view, 0);
      return this.machine.copy('f32', address, keys.length);
    });
  }
}

/** What a checkpoint's positions do, as read from its own words. */
export class Checkpoint extends Handle {
  constructor(machine, address) {
    super(machine, 'rw_checkpoint_destroy', address);
    const get = (name, call) =>
      machine.within((room) => {
        const struct = room.struct(name);
        call(struct);
        return machine.read(name, struct);
      });
    const { kinds_count, provenance_count, ...fields } = get('rw_checkpoint_fields', (to) => machine.call('rw_checkpoint_get', address, to));
    Object.assign(this, fields);
    this.provenance = Array.from({ length: provenance_count }, (_, i) =>
      get('rw_provenance', (to) => machine.call('rw_checkpoint_provenance', address, i, to)));
    this.kinds = Array.from({ length: kinds_count }, (_, i) => {
      const kind = get('rw_layer_kind', (to) => machine.call('rw_checkpoint_kind', address, i, to));
      return { ...kind, layers: kind.layers ?? new Int32Array(), spec: kind.spec === 0 ? null : Spec.copy(machine, kind.spec) };
    });
  }
  free() {
    for (const kind of this.kinds) kind.spec?.free();
    super.free();
  }
  fingerprint(runningLength = 0) {
    return fingerprint(this.machine, 'rw_checkpoint_fingerprint', this.address, runningLength);
  }
  hazards(length = 0) {
    const { machine, address } = this;
    const handle = machine.make('rw_checkpoint_hazards', address, running(length, 'length'), PLACE);
    try {
      return Array.from({ length: machine.exports.rw_hazards_count(handle) }, (_, i) =>
        machine.within((room) => {
          const hazard = room.struct('rw_hazard');
          machine.call('rw_hazards_get', handle, i, hazard);
          return machine.read('rw_hazard', hazard);
        }));
    } finally {
      machine.exports.rw_hazards_destroy(handle);
    }
  }
}

/** Sines and cosines of positions, as they are added to embeddings. */
export class Sinusoidal extends Handle {
  #offset;

  constructor(machine, given) {
    wantMachine(machine, 'Sinusoidal');
    const make = (room) => machine.make('rw_sinusoidal_create', room.struct('rw_sinusoidal_fields', given, 'sinusoidal'), PLACE);
    wantStruct(given, 'rw_sinusoidal_fields', 'sinusoidal');
    super(machine, 'rw_sinusoidal_destroy', machine.within(make));
    this.dim = given.dim;
    this.#offset = int64(given.position_offset ?? 0, 'sinusoidal.position_offset');
  }
  get inv_freq() {
    return this.machine.within((room) => {
      const count = room.bytes(4);
      const list = this.machine.exports.rw_sinusoidal_inv_freq(this.address, count);
      return this.machine.copy('f64', list, this.machine.bytes.getUint32(count, true)) ?? new Float64Array();
    });
  }
  rows(positions) {
    return this.machine.within((room) => {
      const { view, tokens, streams } = room.positions(positions), count = tokens * this.dim;
      const sum = (position) => position + this.#offset, fits = (one) => BigInt.asIntN(64, one) === one;
      const place = streams.length > 1 ? (axis, i) => `positions[${axis}][${i}]` : (_, i) => `positions[${i}]`;
      if (this.#offset !== 0n) {
        streams.forEach((stream, axis) => stream.forEach((position, i) =>
          fits(sum(position)) || refuse(place(axis, i), 'a position that stays in 64 bits with position_offset', position)));
      }
      const out = room.bytes(4 * count);
      this.machine.call('rw_sinusoidal_fill', this.address, view, out, count);
      return this.machine.copy('f32', out, count);
    });
  }
}

/** A bias on the scores, by position alone. */
export class Bias extends Handle {
  constructor(machine, kind, given) {
    const name = `rw_${kind}`;
    wantMachine(machine, 'Bias');
    wantStruct(given, name, kind);
    super(machine, 'rw_bias_destroy', machine.within((room) => machine.make(`rw_bias_create_${kind}`, room.struct(name, given, kind), PLACE)));
    this.heads = machine.exports.rw_bias_heads(this.address);
  }
  block(queries, keys) {
    return this.machine.within((room) => {
      const q = room.array('i64', int64List(queries, 'queries'), 'queries'), k = room.array('i64', int64List(keys, 'keys'), 'keys');
      const count = this.heads * q.count * k.count;
      const out = room.bytes(4 * count);
      this.machine.call('rw_bias_fill', this.address, q.address, q.count, k.address, k.count, out, count);
      return this.machine.copy('f32', out, count);
    });
  }
}

/** Rounds every number to the nearest bfloat16, ties to even, in place; it stays a float. */
export function roundToBfloat16(x) {
  const bits = new Uint32Array(float32(x, 'x').buffer, x.byteOffset, x.length);
  for (let i = 0; i < bits.length; ++i) {
    if (x[i] === x[i]) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
  }
  return x;
}

/** Turns what goes wrong with a source into a refusal that keeps its cause. */
async function tried(want, status, work) {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof RopewalkError) throw cause;
    throw Object.assign(new RopewalkError(`source: want ${want}, got ${cause?.message ?? shown(cause)}`, status), { cause });
  }
}
const compiled = (bytes) => tried('a WebAssembly module', 'format', () => WebAssembly.compile(bytes));
const received = (work) => tried('what can be read', 'unavailable', work);

async function moduleOf(source) {
  const given = await source;
  if (given instanceof WebAssembly.Module) return given;
  if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) return compiled(given);
  if (typeof Response === 'function' && given instanceof Response) {
    if (!given.ok) throw new RopewalkError(`source: want a Response with the module, got status ${given.status}`, 'unavailable');
    return compiled(await received(() => given.arrayBuffer()));
  }
  if (!(given instanceof URL) && typeof given !== 'string') refuse('source', 'bytes, an address, a Response or a WebAssembly.Module', given);
  const url = await tried('an address', 'invalid', () => new URL(given, import.meta.url));
  if (url.protocol === 'file:' && typeof process === 'object') {
    const { readFile } = await import('node:fs/promises');
    return compiled(await received(() => readFile(url)));
  }
  return moduleOf(received(() => fetch(url)));
}

/** The library, loaded. */
export class Ropewalk {
  #machine;

  constructor(machine) {
    this.#machine = wantMachine(machine, 'Ropewalk');
  }
  /** By default from ropewalk.wasm beside this file. */
  static async load(source = new URL('ropewalk.wasm', import.meta.url)) {
    let machine;
    const imports = {
      env: { emscripten_notify_memory_growth() {} },
      wasi_snapshot_preview1: {
        proc_exit(code) {
          throw new Error(`ropewalk.wasm ended with ${code}`);
        },
        // No environment: nothing names a target.
        environ_sizes_get(count, size) {
          machine.bytes.setUint32(count, 0, true);
          machine.bytes.setUint32(size, 0, true);
          return 0;
        },
        environ_get: () => 0,
      },
    };
    const module = await moduleOf(source), names = WebAssembly.Module.exports(module).map(({ name }) => name);
    const missing = ['memory', 'malloc', 'free', '_initialize', 'rw_version'].find((name) => !names.includes(name));
    if (missing !== undefined) throw new RopewalkError(`source: want ropewalk.wasm, got a module without ${missing}`, 'format');
    const { exports } = await tried('ropewalk.wasm', 'format', () => WebAssembly.instantiate(module, imports));
    machine = new Machine(exports);
    exports._initialize();
    return new Ropewalk(machine);
  }
  get version() {
    return this.#machine.string(this.#machine.exports.rw_version());
  }
  get target() {
    return this.#machine.string(this.#machine.exports.rw_target_name());
  }
  /** Bytes that the module has taken so far. */
  get memory() {
    return this.#machine.exports.memory.buffer.byteLength;
  }
  spec(fields) {
    return Spec.from(this.#machine, fields);
  }
  checkpoint(json, given = {}) {
    const machine = this.#machine, known = fieldsOf('rw_read_options');
    const { source = 'config.json', ...options } = wantOptions(given, 'source', ...known);
    return machine.within((room) => {
      const text = room.string(json, 'text'), read = room.struct('rw_read_options', options, 'options');
      const name = room.string(source, 'options.source').address;
      return new Checkpoint(machine, machine.make('rw_checkpoint_from_json', text.address, text.size, name, read, PLACE));
    });
  }
  sinusoidal(fields) {
    return new Sinusoidal(this.#machine, fields);
  }
  alibi(fields) {
    return new Bias(this.#machine, 'alibi', fields);
  }
  t5(fields) {
    return new Bias(this.#machine, 't5', fields);
  }
  alibiSlopes(heads, bias_max = 8) {
    return this.#machine.within((room) => {
      // No more room than for the most heads that the library takes: it says by itself what is too many.
      const wanted = aboveZero(heads, 'heads'), count = Math.min(wanted, 65536), out = room.bytes(8 * count);
      this.#machine.call('rw_alibi_slopes', wanted, number(bias_max, 'bias_max'), out, count);
      return this.#machine.copy('f64', out, count);
    });
  }
  t5Buckets(distances, options = {}) {
    const { num_buckets = 32, max_distance = 128, causal = false } = wantOptions(options, 'num_buckets', 'max_distance', 'causal');
    return this.#machine.within((room) => {
      const { address, count } = room.array('i64', int64List(distances, 'distances'), 'distances');
      const out = room.bytes(4 * count);
      this.#machine.call('rw_t5_buckets', int32(num_buckets, 'options.num_buckets'), int64(max_distance, 'options.max_distance'),
                         Number(flag(causal, 'options.causal')), address, count, out);
      return this.#machine.copy('i32', out, count);
    });
  }
}

/** The methods of a class say what they miss where they are called without their object. */
function wantObject(type) {
  for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(type.prototype))) {
    if (typeof method !== 'function' || name === 'constructor') continue;
    const called = function (...given) {
      if (!(this instanceof type)) throw new RopewalkError(`${name}: want a call on its ${type.name}, got one without`);
      return method.apply(this, given);
    };
    Object.defineProperty(type.prototype, name, { value: called, writable: true, configurable: true });
  }
}
[Handle, Spec, Rotary, Rerotation, Checkpoint, Sinusoidal, Bias, Ropewalk].forEach(wantObject);
