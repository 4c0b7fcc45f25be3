// The JSON of `ropewalk eval --json` as curves.

import { grouped } from "./numbers.mjs";

/// Throws an Error of one line, "source: path: want ..., got ...", for what is no such file: the line of
/// `ropewalk explore --eval` (cli/explore/explore.cpp).
export function readEvaluation(data, source) {
  const refuse = (line) => {
    throw new Error(`${source}: ${line}`);
  };
  const points = data?.perplexity;
  if (!Array.isArray(points) || !points.length) refuse("perplexity: want the measurements of ropewalk eval --json, got none");
  const want = (path, what, got, is) => is || refuse(`${path}: want ${what}, got ${(JSON.stringify(got) ?? "null").slice(0, 80)}`);
  const count = (value) => Number.isInteger(value) && value > 0 && value <= 2 ** 53;
  const series = new Map();
  points.forEach((point, i) => {
    const { series: label, length, perplexity } = point ?? {};
    want(`perplexity[${i}].series`, "a string", label, typeof label === "string");
    want(`perplexity[${i}].length`, "a whole number of tokens", length, count(length));
    want(`perplexity[${i}].perplexity`, "a number > 0", perplexity, Number.isFinite(perplexity) && perplexity > 0);
    if (!series.has(label)) series.set(label, { label, points: [] });
    want(`perplexity[${i}].length`, "another than the series has already", length, series.get(label).points.every(({ x }) => x !== length));
    series.get(label).points.push({ x: length, y: perplexity });
  });
  // What is missing is left out.
  const about = (path, what, is) => {
    let value = data;
    for (const key of path.split(".")) value = value?.[key] ?? undefined;
    if (value !== undefined) want(path, what, value, is(value));
    return value;
  };
  const string = (value) => typeof value === "string", object = (value) => typeof value === "object" && !Array.isArray(value);
  for (const path of ["model", "text"]) about(path, "an object", object);
  const name = about("model.name", "a string", string), trained = about("model.trained_context", "a whole number of tokens", (value) => value === 0 || count(value));
  const tokens = about("text.tokens", "a whole number of tokens", count), said = ["dtype", "processor", "date"].map((path) => about(path, "a string", string));
  const lengths = [...new Set(points.map(({ length }) => length))].sort((a, b) => a - b);
  for (const { points: some } of series.values()) some.sort((a, b) => a.x - b.x);
  return {
    lengths, series: [...series.values()], trained: trained ?? 0,
    title: [(name || "A model") + (tokens ? ` on ${grouped(tokens)} tokens of text` : ""), ...said].filter(Boolean).join(", "),
  };
}
