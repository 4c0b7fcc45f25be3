// Words as made-up queries and keys, and the scores of a sentence that stands somewhere.

import { bfloat16, radians } from "./numbers.mjs";

export const MOST_WORDS = 16;
export const split = (words) => words.trim().split(/\s+/).filter(Boolean).slice(0, MOST_WORDS);

// A generator of 32 bits (mulberry32), begun by a word's hash (FNV-1a): the same word has the same numbers everywhere.
function uniform(text) {
  let seed = 2166136261;
  for (const byte of new TextEncoder().encode(text)) seed = Math.imul(seed ^ byte, 16777619) >>> 0;
  return () => {
    seed = (seed + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function normal(text, count) {
  const next = uniform(text), out = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next())), angle = 2 * Math.PI * next();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}

/// A word's query and key: normal numbers, the key partly the query's, so that a word finds its like.
export function vectors(word, headDim) {
  const lower = word.toLowerCase(), q = normal("q " + lower, headDim), other = normal("k " + lower, headDim);
  return { q, k: q.map((value, i) => 0.6 * value + 0.8 * other[i]) };
}

/// Scores of every word's query with every word's key, [words, words], the sentence standing at `position`.
///
/// exact: from the difference of two phases, which is the same integer wherever the sentence stands.
/// fp32, bf16: from cosines and sines as an engine forms or keeps them.
export function scores(library, spec, words, position, numerics) {
  const n = words.length, pairs = library.pairs(spec), length = Number(position) + n;
  const { attentionFactor, softmaxScaleMultiplier } = library.frequencies(spec, length);
  const where = words.map((_, i) => position + BigInt(i)), headDim = library.headDim(spec);
  const turns = library.turns(spec, where, numerics === "exact" ? "exact" : "fp32", length);
  const all = words.map((word) => vectors(word, headDim));
  const channels = library.channels(spec), turned = new Set(channels), rest = [];
  for (let c = 0; c < headDim; c++) if (!turned.has(c)) rest.push(c);
  const round = numerics === "bf16" ? bfloat16 : (value) => value;
  const cos = new Float64Array(n * pairs), sin = new Float64Array(n * pairs);
  if (numerics !== "exact")
    for (let i = 0; i < n * pairs; i++) {
      const angle = radians(turns[i]);
      cos[i] = round(attentionFactor * Math.cos(angle));
      sin[i] = round(attentionFactor * Math.sin(angle));
    }
  const scale = softmaxScaleMultiplier / Math.sqrt(headDim), square = attentionFactor * attentionFactor;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let m = 0; m < n; m++) {
      const { q } = all[i], { k } = all[m];
      let sum = 0;
      for (let j = 0; j < pairs; j++) {
        const a = channels[2 * j], b = channels[2 * j + 1];
        const re = q[a] * k[a] + q[b] * k[b], im = q[b] * k[a] - q[a] * k[b];  // q times the conjugate of k
        let c, s;
        if (numerics === "exact") {
          const angle = radians(BigInt.asUintN(64, turns[i * pairs + j] - turns[m * pairs + j]));
          c = square * Math.cos(angle);
          s = square * Math.sin(angle);
        } else {
          const x = i * pairs + j, y = m * pairs + j;
          c = cos[x] * cos[y] + sin[x] * sin[y];
          s = sin[x] * cos[y] - cos[x] * sin[y];
        }
        sum += re * c - im * s;
      }
      for (const c of rest) sum += q[c] * k[c];
      out[i * n + m] = sum * scale;
    }
  return out;
}

/// How far from the exact result each pair of length 1 is left at a position, and the furthest: what
/// `ropewalk compare --numerics exact,fp32 --at P` prints.
export function apart(library, spec, position, numerics) {
  const pairs = library.pairs(spec), length = Number(position) + 1, { attentionFactor } = library.frequencies(spec, length);
  const exact = library.turns(spec, [position], "exact", length);
  const theirs = library.turns(spec, [position], "fp32", length), out = new Float64Array(pairs);
  let furthest = 0;
  for (let j = 0; j < pairs; j++) {
    if (numerics === "fp32") out[j] = 2 * attentionFactor * Math.abs(Math.sin(radians(BigInt.asUintN(64, theirs[j] - exact[j])) / 2));
    if (numerics === "bf16") {
      const a = radians(exact[j]), b = radians(theirs[j]);
      out[j] = Math.hypot(attentionFactor * Math.cos(a) - bfloat16(attentionFactor * Math.cos(b)), attentionFactor * Math.sin(a) - bfloat16(attentionFactor * Math.sin(b)));
    }
    if (out[j] > out[furthest]) furthest = j;
  }
  return { pairs: out, furthest };
}
