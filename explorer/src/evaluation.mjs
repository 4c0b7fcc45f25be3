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
  const series = new Map();
  points.forEach((point, i) => {
    const { series: label, length, perplexity } = point ?? {};
    const want = (field, what, is) => is || refuse(`perplexity[${i}].${field}: want ${what}, got ${(JSON.stringify(point?.[field]) ?? "null").slice(0, 80)}`);
    want("series", "a string", typeof label === "string");
    want("length", "a whole number of tokens", Number.isInteger(length) && length > 0);
    want("perplexity", "a number", typeof perplexity === "number");
    if (!series.has(label)) series.set(label, { label, points: [] });
    series.get(label).points.push({ x: length, y: perplexity });
  });
  const lengths = [...new Set(points.map(({ length }) => length))].sort((a, b) => a - b);
  for (const { points: some } of series.values()) some.sort((a, b) => a.x - b.x);
  const { model, text } = data;
  return {
    lengths, series: [...series.values()], trained: model?.trained_context ?? 0,
    title: `${model?.name ?? "A model"} on ${text?.tokens ? grouped(text.tokens) : "?"} tokens of text, ${data.dtype ?? ""}, ${data.processor ?? ""}, ${data.date ?? ""}`,
  };
}
