// Score against distance.

import { Curves } from "../charts.mjs";
import { grouped, radians, short, tokens } from "../numbers.mjs";
import { REACHES } from "../state.mjs";

export const html = `
<p>What a query scores with a key equal to it, by how far apart they stand: the mean over pairs of the cosine of distance &times; frequency. It falls on average and
swings as it falls; a bound of the size of its partial sums (Su et al. 2021, section 3.4.3) falls without swinging.</p>
<div class="choices">
  <label>Shown <select id="decay-what"><option value="mean">equal query and key</option><option value="bound">bound, of the first distance</option></select></label>
  <label>to <select id="reach"></select> tokens</label>
  <button type="button" id="keep">Keep this curve</button>
  <button type="button" id="drop">Only this one</button>
</div>
<div class="plot"><canvas role="img" aria-label="Score against distance; the button below copies the numbers"></canvas></div>
<p class="reading"></p>`;

const POINTS = 400;

/// Distances 0, 1, ... spread evenly, whole.
export const distances = (reach) => {
  const out = [];
  for (let i = 0; i <= POINTS; i++) {
    const distance = Math.round((i * reach) / POINTS);
    if (out.at(-1) !== distance) out.push(distance);
  }
  return out;
};

/// Mean over pairs of cos(distance x frequency), and the mean size of partial sums in units of that of distance 0.
export function curve(library, spec, reach, what) {
  const where = distances(reach), pairs = library.pairs(spec), turns = library.turns(spec, where.map(BigInt), "exact", reach + 1);
  const bound = (of) => {
    let re = 0, im = 0, total = 0;
    for (let j = 0; j < pairs; j++) {
      re += Math.cos(of(j));
      im += Math.sin(of(j));
      total += Math.hypot(re, im);
    }
    return total / pairs;
  };
  const none = bound(() => 0);
  return where.map((distance, t) => {
    const angle = (j) => radians(turns[t * pairs + j]);
    if (what === "bound") return { x: distance, y: bound(angle) / none };
    let sum = 0;
    for (let j = 0; j < pairs; j++) sum += Math.cos(angle(j));
    return { x: distance, y: sum / pairs };
  });
}

export function make(element, { library, store }) {
  const curves = new Curves(element.querySelector("canvas")), reading = element.querySelector(".reading");
  const what = element.querySelector("#decay-what"), reach = element.querySelector("#reach");
  for (const most of REACHES) reach.append(new Option(tokens(most), most));
  what.addEventListener("change", () => store.set({ decay: { ...store.state.decay, what: what.value } }));
  reach.addEventListener("change", () => store.set({ reach: Number(reach.value) }));
  element.querySelector("#keep").addEventListener("click", () => {
    const { decay, spec } = store.state, label = library.label(spec);
    if (decay.kept.length < 7 && !decay.kept.some((one) => library.label(one) === label)) store.set({ decay: { ...decay, kept: [...decay.kept, spec] } });
  });
  element.querySelector("#drop").addEventListener("click", () => store.set({ decay: { ...store.state.decay, kept: [] } }));

  const sets = (state) => {
    const specs = [state.spec, ...state.decay.kept.filter((one) => library.label(one) !== library.label(state.spec))];
    return specs.map((spec) => ({ label: library.label(spec), points: curve(library, spec, state.reach, state.decay.what) }));
  };
  store.listen(["spec", "reach", "decay"], (state) => {
    what.value = state.decay.what;
    reach.value = state.reach;
    const shown = sets(state);
    curves.show({
      sets: shown, x: { title: "distance, tokens", min: 0, max: state.reach, ticks: { callback: (value) => grouped(value) } },
      y: { title: state.decay.what === "bound" ? "bound, of that at 0" : "score, of that at 0" },
      tip: { title: (items) => (items.length ? `distance ${grouped(items[0].parsed.x)}` : ""), label: (item) => ` ${item.dataset.label}: ${item.parsed.y.toFixed(4)}` },
    });
    const points = shown[0].points, far = points.slice(points.length >> 1), mean = far.reduce((sum, { y }) => sum + y, 0) / far.length;
    reading.textContent = `Over the farther half it is ${short(mean)} on average, between ${short(Math.min(...far.map(({ y }) => y)))} and ${short(Math.max(...far.map(({ y }) => y)))}.`;
  });

  return {
    csv: (state) => {
      const all = sets(state);
      return { head: ["distance", ...all.map(({ label }) => label)], rows: all[0].points.map(({ x }, i) => [x, ...all.map(({ points }) => points[i].y)]) };
    },
  };
}
