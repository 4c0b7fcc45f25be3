// The library inside the page: what the panels ask of it, with what was asked last kept, so that a slider asks once.

import { Ropewalk } from "ropewalk";

/// Channels of a head: more clocks than these have, no canvas holds.
export const MOST_CHANNELS = 1024;

/// bytes   the module in base64
export async function open(bytes) {
  const binary = Uint8Array.from(atob(bytes.trim()), (character) => character.charCodeAt(0));
  return new Library(await Ropewalk.load(binary));
}

// The last few answers by what was asked. `drop` gives back what an answer holds.
class Kept {
  #kept = new Map();
  constructor(most, drop = () => {}) {
    Object.assign(this, { most, drop });
  }
  of(key, make) {
    let found = this.#kept.get(key);
    if (found === undefined) found = make();
    this.#kept.delete(key);
    this.#kept.set(key, found);
    if (this.#kept.size > this.most) {
      const [oldest, value] = this.#kept.entries().next().value;
      this.#kept.delete(oldest);
      this.drop(value);
    }
    return found;
  }
}

class Library {
  #ropewalk;
  #specs = new Kept(64, (spec) => spec.free());
  #rotaries = new Kept(64, (rotary) => rotary.free());
  #frequencies = new Kept(256);
  #turns = new Kept(64);
  #grids = new Kept(8);
  #tables = new Kept(16);

  constructor(ropewalk) {
    this.#ropewalk = ropewalk;
  }

  #spec(fields) {
    return this.#specs.of(JSON.stringify(fields), () => this.#ropewalk.spec(fields));
  }
  // Frequencies change with the length for two scalings alone.
  #length(fields, length) {
    return this.#spec(fields).dependsOnLength ? length : 0;
  }
  #rotary(fields, length) {
    const at = this.#length(fields, length);
    return this.#rotaries.of(`${at} ${JSON.stringify(fields)}`, () => {
      const spec = this.#ropewalk.spec(fields);
      try {
        return spec.rotary(at);
      } finally {
        spec.free();
      }
    });
  }

  /// Throws what the library refuses of a spec, or this page cannot draw.
  check(fields, length = 0) {
    if (fields.head_dim > MOST_CHANNELS) throw new Error(`head_dim: want at most ${MOST_CHANNELS} channels for a page, got ${fields.head_dim}`);
    this.#spec(fields).frequencies(this.#length(fields, length));
  }
  dependsOnLength = (fields) => this.#spec(fields).dependsOnLength;
  text = (fields) => this.#spec(fields).text;
  /// Whether scores depend on distances alone, norms on nothing.
  isRotation = (fields) => this.#spec(fields).isRotation;
  pairs = (fields) => this.#spec(fields).pairs;
  headDim = (fields) => fields.head_dim;
  /// A name for a curve: what tells specs apart at a glance.
  label(fields) {
    const { scaling, theta, head_dim: dim } = fields;
    return `${dim} channels, theta ${theta ?? "given"}${scaling ? `, ${scaling.kind} ${scaling.factor ?? ""}` : ""}`;
  }
  /// First and second channel of every pair, one after the other.
  channels(fields) {
    const spec = this.#spec(fields);
    return Array.from({ length: spec.pairs }, (_, pair) => [...spec.channels(pair).slice(0, 2)]).flat();
  }
  frequencies(fields, length) {
    const at = this.#length(fields, length);
    return this.#frequencies.of(`${at} ${JSON.stringify(fields)}`, () => {
      const { inv_freq: invFreq, attention_factor: attentionFactor, softmax_scale_multiplier: softmaxScaleMultiplier } = this.#spec(fields).frequencies(at);
      return { invFreq: invFreq.slice(0, this.pairs(fields)), attentionFactor, softmaxScaleMultiplier };
    });
  }
  /// [tokens, pairs], 2^64 to a turn; text's positions: every axis counts alike.
  turns(fields, positions, numerics, length) {
    const asked = { ...fields, numerics };
    return this.#turns.of(`${length} ${numerics} ${positions} ${JSON.stringify(fields)}`, () => {
      const list = BigInt64Array.from(positions), { axes } = this.#spec(asked);
      const turns = this.#rotary(asked, length).turns(axes > 1 ? Array.from({ length: axes }, () => list) : list);
      return fields.clockwise ? turns.map((turn) => -turn) : turns;
    });
  }
  /// Cosines and sines of every patch of an n x n grid, row by row.
  grid(n, { turning, theta, stretch, size }) {
    return this.#grids.of(JSON.stringify([n, turning, theta, stretch, size]), () => {
      const pairs = 32, axes = Array.from({ length: 2 }, () => []);
      // Axial: the first half of the pairs follows rows. Mixed: a direction of its own for every pair, drawn once.
      for (let j = 0; j < pairs; j++) {
        const speed = turning === "axial" ? theta ** (-(j % (pairs / 2)) / (pairs / 2)) : theta ** (-j / pairs);
        const direction = turning === "axial" ? (j < pairs / 2 ? 0 : Math.PI / 2) : (2 * Math.PI * ((j * 0.6180339887498949) % 1));
        axes[0].push(speed * Math.cos(direction));
        axes[1].push(turning === "axial" && j < pairs / 2 ? 0 : speed * Math.sin(direction));
        if (turning === "axial" && j >= pairs / 2) axes[0][j] = 0;
      }
      const scale = stretch && size === 2 ? 0.5 : 1;
      const spec = this.#ropewalk.spec({ head_dim: 2 * pairs, rotary_dim: 2 * pairs, layout: "half", position_scale: scale, given: { heads: 1, axes: 2, inv_freq: axes.flat() } });
      const rotary = spec.rotary(), rows = [], columns = [];
      for (let r = 0; r < n; r++)
        for (let c = 0; c < n; c++) {
          rows.push(r);
          columns.push(c);
        }
      const turns = rotary.table([rows, columns]);
      rotary.free();
      spec.free();
      return { pairs, turns };
    });
  }
  sinusoids(channels, order, first, count) {
    return this.#tables.of(`sinusoids ${channels} ${order} ${first} ${count}`, () => {
      const table = this.#ropewalk.sinusoidal({ dim: channels, order: order === "halves" ? "concatenated" : "interleaved", exponent: order === "halves" ? "tensor2tensor" : "paper" });
      const rows = table.rows(Array.from({ length: count }, (_, t) => first + BigInt(t)));
      table.free();
      return rows;
    });
  }
  /// [heads, tokens, tokens]
  alibi(heads, tokens) {
    return this.#tables.of(`alibi ${heads} ${tokens}`, () => {
      const bias = this.#ropewalk.alibi({ heads }), where = Array.from({ length: tokens }, (_, t) => t), block = bias.block(where, where);
      bias.free();
      return block;
    });
  }
  t5Buckets(distances, buckets, most) {
    return this.#tables.of(`t5 ${distances} ${buckets} ${most}`, () =>
      this.#ropewalk.t5Buckets(Array.from({ length: distances }, (_, n) => n), { num_buckets: buckets, max_distance: most, causal: true }));
  }
  /// The kinds of layers that rotate; `trained` is null where the checkpoint does not say.
  checkpoint(text, source) {
    const checkpoint = this.#ropewalk.checkpoint(text, { source });
    try {
      const trained = Number(checkpoint.trained_context) || Number(checkpoint.max_context) || null;
      const kinds = checkpoint.kinds.filter(({ spec }) => spec).map(({ name, spec }) => ({ name, trained, spec: plain(spec.fields) }));
      if (!kinds.length) throw new Error(`${source}: want a checkpoint that rotates, got one whose layers do not`);
      for (const { spec } of kinds)
        if (spec.head_dim > MOST_CHANNELS) throw new Error(`${source}: head_dim: want at most ${MOST_CHANNELS} channels for a page, got ${spec.head_dim}`);
      return kinds;
    } finally {
      checkpoint.free();
    }
  }
}

// Fields as plain lists and numbers, so that an address can hold them; what is none is left out.
function plain(fields) {
  return JSON.parse(JSON.stringify(fields, (_, value) => (ArrayBuffer.isView(value) ? [...value] : typeof value === "bigint" ? Number(value) : value === null ? undefined : value)));
}
