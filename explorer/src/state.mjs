// What the page shows, as plain data; every panel is a function of it, and the address holds it.

import { METHODS } from "./scalings.mjs";

export const MOST = 2n ** 36n;
/// Distances to which the decay is drawn.
export const REACHES = [6, 8, 10, 12, 14, 16, 18, 20, 22].map((e) => 2 ** e);

const one = (...words) => (value) => words.includes(value);
const whole = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;
const object = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const shortText = (value) => value.length <= 200;
const number = (low, high) => (value) => typeof value === "number" && value >= low && value <= high;

// Fields in the order of the address, each with what it has to be. `spec` is the encoding itself, in the words of the
// library's JavaScript face, which checks it.
const FIELDS = {
  spec: { read: JSON.parse, write: JSON.stringify, valid: object },
  name: { valid: shortText },
  trained: { read: Number, valid: whole(1, 2 ** 53) },
  p: { read: BigInt, valid: (value) => value >= 0n && value <= MOST },
  numerics: { valid: one("exact", "fp32", "bf16") },
  words: { valid: shortText },
  pair: { read: Number, valid: whole(0, 2 ** 20) },
  decay: {
    read: JSON.parse, write: JSON.stringify,
    valid: (value) => object(value) && one("mean", "bound")(value.what) && Array.isArray(value.kept) && value.kept.length <= 7 && value.kept.every(object),
  },
  reach: { read: Number, valid: (value) => REACHES.includes(value) },
  order: { valid: one("interleaved", "halves") },
  bias: { valid: one(..."01234567") },
  rows: {
    read: JSON.parse, write: JSON.stringify,
    valid: (value) => object(value) && Array.isArray(value.methods) && value.methods.every((key) => Object.hasOwn(METHODS, key)) && number(1, 1024)(value.factor) && one("ratio", "wavelength")(value.what),
  },
  picture: {
    read: JSON.parse, write: JSON.stringify,
    valid: (value) => object(value) && one("axial", "mixed")(value.turning) && one(1, 2)(value.size) && typeof value.stretch === "boolean" && number(1.01, 1e5)(value.theta) &&
      Array.isArray(value.at) && value.at.length === 2 && value.at.every(whole(0, 16 * value.size - 1)),
  },
};

/// The state of an address's fragment. What is not there keeps its default, and so does what is not as it should be,
/// whose names are `wrong`.
export function fromFragment(fragment, defaults) {
  const state = { ...defaults }, wrong = [];
  for (const [key, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
    if (!field) continue;
    let value;
    try {
      value = field.read ? field.read(text) : text;
    } catch {
      // Cut short, or typed by hand.
    }
    if (value !== undefined && field.valid(value)) state[key] = value;
    else wrong.push(key);
  }
  return { state, wrong };
}

export function toFragment(state, defaults) {
  const out = new URLSearchParams();
  for (const [key, field] of Object.entries(FIELDS)) {
    const write = field.write ?? String;
    if (write(state[key]) !== write(defaults[key])) out.set(key, write(state[key]));
  }
  return "#" + out.toString();
}

/// Holds a state, tells whoever listens once a frame, and keeps how long that took (performance entry "ropewalk:frame").
export class Store {
  #state;
  #changed = new Set();
  #listeners = [];
  #frame = 0;

  constructor(state) {
    this.#state = state;
  }

  get state() {
    return this.#state;
  }

  set(patch) {
    for (const [key, value] of Object.entries(patch))
      if (this.#state[key] !== value) this.#changed.add(key);
    this.#state = { ...this.#state, ...patch };
    if (this.#changed.size && !this.#frame) this.#frame = requestAnimationFrame(() => this.flush());
  }

  /// keys: what the listener depends on; undefined: everything.
  listen(keys, listener) {
    this.#listeners.push({ keys, listener });
  }

  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const changed = this.#changed;
    this.#changed = new Set();
    const begin = performance.now();
    for (const { keys, listener } of this.#listeners)
      if (!keys || keys.some((key) => changed.has(key))) listener(this.#state, changed);
    performance.clearMeasures("ropewalk:frame");
    performance.measure("ropewalk:frame", { start: begin, end: performance.now(), detail: [...changed] });
  }

  /// Everything anew: the first time, or when the colours changed.
  all() {
    for (const { keys } of this.#listeners) for (const key of keys ?? Object.keys(this.#state)) this.#changed.add(key);
    this.flush();
  }
}
