// What the page shows, as plain data; every panel is a function of it, and the address holds it.

export const MOST = 2n ** 36n;

// Fields in the order of the address. `spec` is the encoding itself, in the words of the library's JavaScript face.
const FIELDS = {
  spec: { read: JSON.parse, write: JSON.stringify },
  name: {},
  trained: { read: Number, write: String },
  p: { read: BigInt, write: String },
  numerics: {},
  words: {},
  pair: { read: Number, write: String },
  decay: { read: JSON.parse, write: JSON.stringify },
  reach: { read: Number, write: String },
  order: {},
  bias: {},
  rows: { read: JSON.parse, write: JSON.stringify },
  picture: { read: JSON.parse, write: JSON.stringify },
};

/// The state of an address's fragment: what is not there, or is not what it should be, keeps its default.
export function fromFragment(fragment, defaults) {
  const state = { ...defaults };
  for (const [key, text] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const field = FIELDS[key];
    if (!field) continue;
    try {
      const value = field.read ? field.read(text) : text;
      if (typeof value === typeof defaults[key] && Array.isArray(value) === Array.isArray(defaults[key]) && value === value) state[key] = value;
    } catch {
      // An address cut short or typed by hand: the rest of it still counts.
    }
  }
  if (state.p < 0n || state.p > MOST) state.p = defaults.p;
  return state;
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
