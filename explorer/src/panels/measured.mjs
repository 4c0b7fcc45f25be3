// The curves that `ropewalk eval` measured.

import { Curves, powers } from "../charts.mjs";
import { grouped, short, tokens } from "../numbers.mjs";

export const html = `
<p id="eval-none">Open the JSON of <code>ropewalk eval --json</code> above (or give it to <code>ropewalk explore --eval</code>) to see how far a real model's positions carried.</p>
<div id="eval-some" hidden>
<p id="eval-said"></p>
<div class="plot"><canvas role="img" aria-label="Perplexity against context length, one curve a scaling; the table has the numbers"></canvas></div>
<div class="scroll"><table id="perplexity"><caption>Perplexity by context length and scaling</caption><thead></thead><tbody></tbody></table></div>
</div>`;

export function make(element, { store }) {
  const curves = new Curves(element.querySelector("canvas")), table = element.querySelector("table");
  const [head, body] = ["thead", "tbody"].map((name) => table.querySelector(name));
  const cell = (name, text) => Object.assign(document.createElement(name), { textContent: text, ...(name === "th" ? { scope: "col" } : {}) });

  store.listen(["measured"], ({ measured }) => {
    element.querySelector("#eval-none").hidden = Boolean(measured);
    element.querySelector("#eval-some").hidden = !measured;
    if (!measured) return;
    const { lengths, series, title } = measured;
    element.querySelector("#eval-said").textContent = title;
    const values = series.flatMap(({ points }) => points.map(({ y }) => y)), explodes = Math.max(...values) > 6 * Math.min(...values);
    curves.show({
      sets: series.map(({ label, points }) => ({ label, points, dots: true })),
      x: { title: "context, tokens", type: "logarithmic", min: lengths[0] / 1.06, max: lengths.at(-1) * 1.06, afterBuildTicks: (scale) => (scale.ticks = lengths.map((value) => ({ value }))), ticks: { callback: (value) => tokens(value), autoSkip: false } },
      y: { title: "perplexity", type: explodes ? "logarithmic" : "linear", ...(explodes ? { afterBuildTicks: powers(10) } : {}) },
      marks: measured.trained ? [{ x: measured.trained, label: `trained to ${grouped(measured.trained)} tokens` }] : [],
      tip: { title: (items) => (items.length ? `${tokens(items[0].parsed.x)} tokens` : ""), label: (item) => ` ${item.dataset.label}: ${short(item.parsed.y)}` },
    });
    const row = document.createElement("tr");
    row.append(cell("th", "context"), ...series.map(({ label }) => cell("th", label)));
    head.replaceChildren(row);
    body.replaceChildren(...lengths.map((length) => {
      const line = document.createElement("tr");
      line.append(Object.assign(cell("th", grouped(length)), { scope: "row" }), ...series.map(({ points }) => {
        const point = points.find(({ x }) => x === length);
        return cell("td", point ? (point.y < 1e5 ? point.y.toFixed(point.y < 100 ? 2 : 1) : point.y.toExponential(1)) : "-");
      }));
      return line;
    }));
  });

  return {
    csv: ({ measured }) => measured ? { head: ["context", ...measured.series.map(({ label }) => label)], rows: measured.lengths.map((length) => [length, ...measured.series.map(({ points }) => points.find(({ x }) => x === length)?.y ?? "")]) } : null,
  };
}
