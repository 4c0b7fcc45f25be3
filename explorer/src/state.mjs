// What the page shows, as plain data; every panel is a function of it, and the address holds it.

import { METHODS } from "./scalings.mjs";

export const MOST = 2n ** 36n;
/// Trained lengths, in tokens: the most, as in a checkpoint, and the one taken where it is unknown (`trained` is null).
export const MOST_TRAINED = 2 ** 40;
const TAKEN = 4096;
export const trainedOf = ({ trained }) => trained ?? TAKEN;
/// Bounds of the wavelengths' factor and of the picture's theta.
export const FACTORS = [1, 1024], THETAS = [1.01, 1e5];
/// A sentence or a name as long as an address takes it.
export const cut = (text) => text.slice(0, 200).replace(/[\ud800-\udbff]$/, "");
/// Distances to which the decay is drawn.
export const REACHES = [6, 8, 10, 12, 14, 16, 18, 20, 22].map((e) => 2 ** e);

const one = (...words) => (value) => words.includes(value);
const whole = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;
const object = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const shortText = (value) => value.length <= 200;
const number = (low, high) => (value) => typeof value === "number" && value >= low && value <= high;

const UNKNOWN = "unknown";

// What another page may begin otherwise with: an address says it always, so that it is enough to send a view.
const ALWAYS = ["spec", "name", "trained"];

// Fields in the order of the address, each with what it has to be. `spec` is the encoding itself, in the words of the
// library's JavaScript face, which checks it.
const FIELDS = {
  spec: { read: JSON.parse, write: JSON.stringify, valid: object },
  name: { valid: shortText },
  trained: { read: (text) => (text === UNKNOWN ? null : Number(text)), write: (value) => String(value ?? UNKNOWN), valid: (value) => value === null || whole(1, MOST_TRAINED)(value) },
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
    valid: (value) => object(value) && Array.isArray(value.methods) && value.methods.every((key) => Object.hasOwn(METHODS, key)) && number(...FACTORS)(value.factor) && one("ratio", "wavelength")(value.what),
  },
  picture: {
    read: JSON.parse, write: JSON.stringify,
    valid: (value) => object(value) && one("axial", "mixed")(value.turning) && one(1, 2)(value.size) && typeof value.stretch === "boolean" && number(...THETAS)(value.theta) &&
      Array.isArray(value.at) && value.at.length === 2 && value.at.every(whole(0, 16 * value.size - 1)),
  },
};

/// The state of an address's fragment. What is not there keeps its default, and so does what is not as it should be,
/// whose names are `wrong`.
export function fromFragment(fragment, defaults) {
  const state = { ...defaults }, wrong = [];
  let named = false;
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
    named ||= key === "name";
  }
  if (state.spec !== defaults.spec && !named) state.name = "";  // the default is another encoding's
  return { state, wrong };
}

/// What is not as it should be is left out: no address that was written here is refused.
export function toFragment(state, defaults) {
  const out = new URLSearchParams();
  for (const [key, field] of Object.entries(FIELDS)) {
    const write = field.write ?? String;
    if (field.valid(state[key]) && (ALWAYS.includes(key) || write(state[key]) !== write(defaults[key]))) out.set(key, write(state[key]));
  }
  return "#" + out.toString();
}

/// Holds a state, tells whoever listens once a frame, and keeps how long that took (performance entry "ropewalk:frame").
export class Store {
  #state;
  #changed = new Set();
  #listeners = [];
  #frame = 0;

  /// failed   told what a listener throws that has no `failed` of its own
  constructor(state, failed) {
    this.#state = state;
    this.failed = failed;
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
  /// What it throws goes to `failed`, and the others are told all the same.
  listen(keys, listener, failed = this.failed) {
    this.#listeners.push({ keys, listener, failed });
  }

  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const changed = this.#changed;
    this.#changed = new Set();
    const begin = performance.now();
    for (const { keys, listener, failed } of this.#listeners) {
      if (keys && !keys.some((key) => changed.has(key))) continue;
      try {
        listener(this.#state, changed);
      } catch (error) {
        failed(error);
      }
    }
    performance.clearMeasures("ropewalk:frame");
    performance.measure("ropewalk:frame", { start: begin, end: performance.now(), detail: [...changed] });
  }

  /// Everything anew: the first time, or when the colours changed.
  all() {
    for (const { keys } of this.#listeners) for (const key of keys ?? Object.keys(this.#state)) this.#changed.add(key);
    this.flush();
  }
}
