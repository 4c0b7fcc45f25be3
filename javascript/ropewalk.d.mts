// Types of ropewalk.mjs. Units, domains and sources of every field stand in ropewalk.h, under the same names.

/** What the library refuses. `message` is its one line, "path: want ..., got ...". */
export class RopewalkError extends Error {
  readonly name: 'RopewalkError';
  /** "theta", "scaling.factor", "rope_parameters.rope_type", "positions[3]" */
  readonly path: string;
  readonly status: 'invalid' | 'unsupported' | 'unavailable' | 'format' | 'no memory' | 'internal';
  constructor(line: string, status?: string);
}

// A field that may be left out has the default of its struct in ropewalk.h; null is the same as leaving it out. Objects
// are plain ones: keys that are not listed here are refused, and so are instances of classes.

/** A whole number in [-2^63, 2^63 - 1]; from +-2^53 on a bigint. */
export type Integer = number | bigint;
/** Any typed array of numbers; where whole numbers are wanted, its entries are. */
export type NumberArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;
export type IntegerList = readonly Integer[] | NumberArray | BigInt64Array | BigUint64Array;
/** One position, or a list of them. */
export type Stream = Integer | IntegerList;
/** Positions of tokens: a list, or for a spec of several axes a list of as many for each. */
export type Positions = Stream | readonly IntegerList[];
export type Numbers = readonly number[] | NumberArray;
export type Integers = readonly number[] | NumberArray;

export type Layout = 'half' | 'interleaved';
export type Numerics = 'exact' | 'fp32';

export type Scaling =
  | { kind: 'linear'; factor: number }
  | { kind: 'ntk'; factor: number; form?: 'base' | 'fixed' | 'mixed'; mixed_b?: number }
  | { kind: 'dynamic_ntk'; factor: number; trained_context: Integer; growth?: 'running_length' | 'full_length' }
  | {
      kind: 'yarn';
      factor: number;
      trained_context: Integer;
      beta_fast?: number;
      beta_slow?: number;
      truncate?: boolean;
      /** null: it follows from the mscales, else mscale_coefficient * ln(factor) + 1 */
      attention_factor?: number | null;
      mscale?: number;
      mscale_all_dim?: number;
      mscale_rule?: 'both' | 'numerator';
      ramp_guard?: 'nudge' | 'floor';
      mscale_coefficient?: number;
      extrapolation_factor?: number;
      scale_softmax?: boolean;
    }
  | {
      kind: 'longrope';
      short_factor: Numbers;
      long_factor: Numbers;
      trained_context: Integer;
      factor?: number;
      attention_factor?: number | null;
      short_mscale?: number | null;
      long_mscale?: number | null;
      policy?: 'by_length' | 'short' | 'long';
    }
  | { kind: 'llama3'; factor?: number; low_freq_factor?: number; high_freq_factor?: number; trained_context: Integer }
  | { kind: 'proportional'; fraction?: number; factor?: number }
  | { kind: 'divisors'; divisors: Numbers; factor?: number; attention_factor?: number };

export interface QueryTemperature {
  beta: number;
  context: Integer;
  offset?: Integer;
}

/** A rotary encoding as plain data. */
export interface SpecFields {
  head_dim: number;
  /** Default: all behind rotary_offset. */
  rotary_dim?: number;
  rotary_offset?: number;
  frequency_dim?: number;
  layout: Layout;
  output_layout?: Layout | 'unset';
  numerics?: Numerics;
  clockwise?: boolean;
  /** Required, but for `given`. */
  theta?: number;
  position_scale?: number;
  softmax_scale_multiplier?: number;
  rung_of_pair?: Integers | null;
  axis_of_pair?: Integers | null;
  frequency_multipliers?: Numbers | null;
  pair_blocks?: Integers | null;
  scaling?: Scaling | null;
  given?: { heads?: number; axes?: number; inv_freq: Numbers } | null;
  second?: { rung_of_pair?: Integers | null; axis_of_pair?: Integers | null } | null;
  xpos?: { scale_base?: number; gamma?: number; centre_above?: boolean } | null;
  fourier?: { heads?: number; tones: number; outputs: number; cos_mix: Numbers; sin_mix: Numbers } | null;
  query_temperature?: QueryTemperature | null;
}

/** Lists have an entry a pair, or [heads, axes, pairs] for given frequencies; null: the spec has no such list. */
export interface Frequencies {
  /** Radians a token. */
  inv_freq: Float64Array;
  /** 2^64 to a turn, modulo a turn; null for numerics "fp32". */
  turns_per_token: BigUint64Array | null;
  inv_freq_fp32: Float32Array | null;
  second_inv_freq: Float64Array | null;
  second_turns_per_token: BigUint64Array | null;
  second_inv_freq_fp32: Float32Array | null;
  /** On cosines and sines, hence on a score by its square. */
  attention_factor: number;
  /** On 1 / sqrt(head_dim). */
  softmax_scale_multiplier: number;
  centre: Integer;
}

export type Direction = 'forward' | 'inverse' | 'transpose' | 'shift';

/** Something in the module's memory. */
export interface Handle {
  /** Gives the memory back now; otherwise it is some time after nobody knows the object any more. */
  free(): void;
}

export interface Spec extends Handle {
  /** All fields, defaults included. */
  readonly fields: Required<SpecFields>;
  /** One line in the words of config.json. */
  readonly text: string;
  readonly pairs: number;
  readonly axes: number;
  /** Norms are kept (attention factor aside) and scores depend on distances alone. */
  readonly isRotation: boolean;
  readonly dependsOnLength: boolean;
  /** 16 hexadecimal digits; equal for two spellings of one encoding. */
  fingerprint(runningLength?: Integer): string;
  /** [4]: first and second channel read, first and second written. */
  channels(pair: number): Int32Array;
  /** runningLength: tokens the sequence reaches, for scalings that depend on it; 0: the trained length. */
  frequencies(runningLength?: Integer): Frequencies;
  rotary(runningLength?: Integer): Rotary;
  /** Carries keys that were turned under this spec over to `to`, a spec of the same instance. */
  rerotation(to: Spec, lengths?: { from_running_length?: Integer; to_running_length?: Integer }): Rerotation;
}

/** Cosines and sines times the attention factor, [tokens, pairs] each. */
export interface Table {
  cos: Float32Array;
  sin: Float32Array;
}

export interface Rotary extends Handle {
  readonly head_dim: number;
  readonly pairs: number;
  /** How far each pair has turned, modulo a turn, 2^64 to a turn: [tokens, pairs]. At every int64 the product of the position and
   * turns_per_token to the bit, which is within |position| * 2^-65 turns of the formula over real numbers. */
  turns(positions: Positions): BigUint64Array;
  /** dtype "bfloat16": rounded as a table of that type holds them. */
  table(positions: Positions, options?: { dtype?: 'float32' | 'bfloat16' }): Table;
  /** x: [tokens, heads, head_dim]. A new array. */
  rotate(
    x: Float32Array,
    positions: Positions,
    options?: { heads?: number; direction?: Direction; role?: 'unset' | 'query' | 'key' },
  ): Float32Array;
  /** The same with cosines and sines of the caller's; rows: which row each token uses, by default 0, 1, 2, ... */
  rotateByTable(
    x: Float32Array,
    table: Table,
    options?: { heads?: number; direction?: 'forward' | 'transpose'; rows?: Stream | null },
  ): Float32Array;
}

export interface Rerotation extends Handle {
  readonly head_dim: number;
  /** What keys grow by. */
  readonly gain: number;
  /** keys: [tokens, heads, head_dim]. A new array. */
  apply(keys: Float32Array, positions: Positions, options?: { heads?: number }): Float32Array;
}

export interface LayerKind {
  name: string;
  layers: Int32Array;
  /** null: this kind does not rotate. */
  spec: Spec | null;
  streams: string[];
  query_temperature: QueryTemperature | null;
  head_dim: number;
}

/** What a config.json asks for, and where each number came from. */
export interface Checkpoint extends Handle {
  readonly source: string;
  readonly model_type: string;
  readonly family: string;
  readonly part: string;
  readonly parts: string[];
  /** Tokens; 0 if unknown. */
  readonly trained_context: Integer;
  readonly max_context: Integer;
  readonly layer_count: number;
  readonly kinds: LayerKind[];
  readonly provenance: { what: string; value: string; from: string }[];
  readonly keys_used: string[];
  readonly keys_ignored: string[];
  readonly notes: string[];
  fingerprint(runningLength?: Integer): string;
  /** length: tokens; 0: max_context. */
  hazards(length?: Integer): { kind: string; message: string }[];
}

export interface SinusoidalFields {
  dim: number;
  axes?: number;
  theta?: number;
  order: 'interleaved' | 'concatenated' | 'interleaved_cos_first' | 'concatenated_cos_first';
  exponent: 'paper' | 'tensor2tensor';
  sines_of_all_axes_first?: boolean;
  position_offset?: Integer;
  zero_position?: Integer | null;
  gain?: number;
}

export interface Sinusoidal extends Handle {
  readonly dim: number;
  readonly inv_freq: Float64Array;
  /** [tokens, dim]. A position that leaves 64 bits once position_offset is added is refused. */
  rows(positions: Positions): Float32Array;
}

export interface Bias extends Handle {
  readonly heads: number;
  /** [heads, queries, keys]. A distance beyond 64 bits counts as the largest one of its sign. */
  block(queries: Stream, keys: Stream): Float32Array;
}

export interface AlibiFields {
  heads: number;
  symmetric?: boolean;
  bias_max?: number;
  slopes?: Numbers;
}

export interface T5Fields {
  heads: number;
  causal?: boolean;
  num_buckets?: number;
  max_distance?: Integer;
  /** [num_buckets, heads] */
  table: Numbers;
}

type Bytes = ArrayBuffer | ArrayBufferView;
type Source = Bytes | URL | string | Response | WebAssembly.Module;

export class Ropewalk {
  private constructor();
  /** By default from ropewalk.wasm beside ropewalk.mjs. What is not that is refused, a Response that is not ok too. */
  static load(source?: Source | Promise<Source>): Promise<Ropewalk>;
  readonly version: string;
  /** "wasm128" */
  readonly target: string;
  /** Bytes that the module has taken so far. */
  readonly memory: number;
  spec(fields: SpecFields): Spec;
  /** json: the text of a config.json; source: its name in messages. */
  checkpoint(json: string, options?: { source?: string; family?: string; part?: string; numerics?: Numerics }): Checkpoint;
  sinusoidal(fields: SinusoidalFields): Sinusoidal;
  alibi(fields: AlibiFields): Bias;
  t5(fields: T5Fields): Bias;
  alibiSlopes(heads: number, bias_max?: number): Float64Array;
  /** Rows of T5's table for distances n = query - key. */
  t5Buckets(distances: Stream, options?: { num_buckets?: number; max_distance?: Integer; causal?: boolean }): Int32Array;
}

/** Rounds every number to the nearest bfloat16, ties to even, in place. */
export function roundToBfloat16(x: Float32Array): Float32Array;

/** Where each field of a struct of ropewalk.h is taken to stand; for tests. */
export const structLayouts: Record<string, { size: number; fields: { type: string; name: string; at: number; initial?: string }[] }>;
