// Curves, by Chart.js (a global of the page).
/* global Chart */

import { colour, css, DASHES } from "./draw.mjs";

const axis = ({ title, ticks, ...more }) => ({
  type: "linear",
  ...more,
  title: { display: true, text: title, color: css("--soft"), font: { size: 13 } },
  grid: { color: css("--line"), borderColor: css("--line") },
  ticks: { color: css("--soft"), ...ticks },
});

/// Only the powers of ten (of two, with base 2) of a logarithmic axis.
export const powers = (base) => (scale) => {
  const ticks = [], log = (value) => Math.log(value) / Math.log(base);
  let step = 1;
  while ((log(scale.max) - log(scale.min)) / step > 9) step++;
  for (let e = Math.ceil(log(scale.min) - 1e-9); e <= log(scale.max) + 1e-9; e++) if (e % step === 0) ticks.push({ value: base ** e });
  scale.ticks = ticks;
};

/// One chart that is made once and then given other data, so that a slider answers within a frame.
export class Curves {
  #canvas;
  #chart;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /// sets   [{label, points: [{x, y}], dots?, colour?}]
  /// x, y   {title, ...Chart.js's options of a scale}
  /// marks  [{x, label} or {y, label}]: lines across the chart
  show({ sets, x, y, marks = [], tip }) {
    const datasets = sets.map((set, i) => ({
      label: set.label, data: set.points, borderColor: colour(set.colour ?? i), backgroundColor: colour(set.colour ?? i),
      borderDash: DASHES[(set.colour ?? i) % DASHES.length], pointRadius: set.dots ? 2.5 : 0, pointHoverRadius: 5, borderWidth: 2, tension: 0, showLine: !set.onlyDots,
    }));
    const options = {
      responsive: true, maintainAspectRatio: false, animation: false, parsing: false, normalized: true, interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: { x: axis(x), y: axis(y) },
      plugins: {
        legend: { display: sets.length > 1, position: "bottom", labels: { color: css("--ink"), boxWidth: 40, boxHeight: 0, font: { size: 12 } } },
        tooltip: { callbacks: tip ?? {} },
      },
    };
    const lines = {
      id: "lines",
      afterDatasetsDraw: (chart) => {
        const { ctx, chartArea: area, scales } = chart;
        for (const mark of chart.marks ?? []) {
          const across = mark.y !== undefined, at = across ? scales.y.getPixelForValue(mark.y) : scales.x.getPixelForValue(mark.x);
          if (across ? at < area.top || at > area.bottom : at < area.left || at > area.right) continue;
          ctx.save();
          ctx.strokeStyle = ctx.fillStyle = css("--mark");
          ctx.setLineDash([4, 4]);
          ctx.beginPath();
          ctx.moveTo(across ? area.left : at, across ? at : area.top);
          ctx.lineTo(across ? area.right : at, across ? at : area.bottom);
          ctx.stroke();
          const late = !across && at > (area.left + area.right) / 2;
          ctx.font = "600 12px system-ui, sans-serif";
          ctx.textAlign = across || !late ? "left" : "right";
          // Over the curves, with a rim of the card's colour, at the bottom, where the fewest of them are.
          const where = [mark.label, across ? area.left + 6 : at + (late ? -6 : 6), across ? at - 5 : area.bottom - 8];
          ctx.setLineDash([]);
          ctx.lineWidth = 4;
          ctx.strokeStyle = css("--card");
          ctx.strokeText(...where);
          ctx.fillText(...where);
          ctx.restore();
        }
      },
    };
    if (!this.#chart) {
      this.#chart = new Chart(this.#canvas, { type: "line", data: { datasets }, options, plugins: [lines] });
    } else {
      this.#chart.data.datasets = datasets;
      this.#chart.options = options;
    }
    this.#chart.marks = marks;
    this.#chart.update("none");
  }
}
