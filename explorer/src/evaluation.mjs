// The JSON of `ropewalk eval --json` as curves.

/// Throws an Error of one line, "path: want ..., got ...", for what is no such file.
export function readEvaluation(data) {
  const points = data?.perplexity;
  if (!Array.isArray(points) || !points.length) throw new Error('perplexity: want the measurements of ropewalk eval --json, got none');
  const series = new Map();
  points.forEach((point, i) => {
    const { series: label, length } = point ?? {}, perplexity = Number(point?.perplexity);
    if (typeof label !== "string") throw new Error(`perplexity[${i}].series: want a string, got ${JSON.stringify(label)}`);
    if (!Number.isInteger(length) || length < 1) throw new Error(`perplexity[${i}].length: want a whole number of tokens, got ${JSON.stringify(length)}`);
    if (Number.isNaN(perplexity)) throw new Error(`perplexity[${i}].perplexity: want a number, got ${JSON.stringify(point.perplexity)}`);
    if (!series.has(label)) series.set(label, { label, points: [] });
    if (Number.isFinite(perplexity)) series.get(label).points.push({ x: length, y: perplexity });
  });
  const lengths = [...new Set(points.map(({ length }) => length))].sort((a, b) => a - b);
  for (const { points: some } of series.values()) some.sort((a, b) => a.x - b.x);
  const { model, text } = data;
  return {
    lengths, series: [...series.values()], trained: model?.trained_context ?? 0,
    title: `${model?.name ?? "A model"} on ${text?.tokens ?? "?"} tokens of text, ${data.dtype ?? ""}, ${data.processor ?? ""}, ${data.date ?? ""}`,
  };
}
