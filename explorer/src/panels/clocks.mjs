// The pairs of a head as hands of clocks.

import { css, surface } from "../draw.mjs";
import { bfloat16, grouped, radians, short } from "../numbers.mjs";
import { apart } from "../sentence.mjs";

export const html = `
<p>One clock a pair. The hand is where the pair's two channels point after the turn by position &times; frequency; the first pairs are the fast ones. A second hand,
in orange, is where a float32 phase or a bfloat16 table leaves it.</p>
<div class="choices" role="radiogroup" aria-label="Arithmetic">
  <label><input type="radio" name="numerics" value="exact"> exact</label>
  <label><input type="radio" name="numerics" value="fp32"> float32 phase</label>
  <label><input type="radio" name="numerics" value="bf16"> bfloat16 table</label>
</div>
<div><canvas class="canvas" tabindex="0" role="slider" aria-valuemin="0" aria-label="Clocks, one a pair; the arrow keys choose a pair"></canvas></div>
<p class="reading"></p>`;

const SIZE = 46;  // CSS pixels of a clock's place

export function make(element, { library, store }) {
  const canvas = element.querySelector("canvas"), reading = element.querySelector(".reading");
  const columns = (width) => Math.max(1, Math.floor(width / SIZE));

  for (const radio of element.querySelectorAll("input")) radio.addEventListener("change", () => store.set({ numerics: radio.value }));
  const choose = (pair) => store.set({ pair: Math.max(0, Math.min(library.pairs(store.state.spec) - 1, pair)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect(), across = columns(box.width);
    const column = Math.floor(((event.clientX - box.left) / box.width) * across), row = Math.floor((event.clientY - box.top) / SIZE);
    if (row * across + column < library.pairs(store.state.spec)) choose(row * across + column);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(canvas.clientWidth), ArrowDown: columns(canvas.clientWidth), Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    choose(store.state.pair + step);
  });

  store.listen(["spec", "p", "numerics", "pair"], (state) => {
    for (const radio of element.querySelectorAll("input")) radio.checked = radio.value === state.numerics;
    const pairs = library.pairs(state.spec), length = Number(state.p) + 1;
    const exact = library.turns(state.spec, [state.p], "exact", length);
    const fp32 = state.numerics === "exact" ? null : library.turns(state.spec, [state.p], "fp32", length);
    const theirs = (pair) => {
      const angle = radians(fp32[pair]);
      return state.numerics === "fp32" ? angle : Math.atan2(bfloat16(Math.sin(angle)), bfloat16(Math.cos(angle)));
    };
    const across = columns(canvas.parentElement.clientWidth), rows = Math.ceil(pairs / across);
    const { context, width } = surface(canvas, rows * SIZE);
    context.clearRect(0, 0, width, rows * SIZE);
    const step = width / across, radius = Math.min(step, SIZE) / 2 - 4;
    const ink = css("--ink"), line = css("--line"), mark = css("--mark"), cold = css("--cold");
    const hand = (x, y, angle, style, thick) => {
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x + radius * 0.86 * Math.cos(angle), y - radius * 0.86 * Math.sin(angle));
      context.stroke();
    };
    const chosen = Math.min(state.pair, pairs - 1);
    for (let j = 0; j < pairs; j++) {
      const x = ((j % across) + 0.5) * step, y = (Math.floor(j / across) + 0.5) * SIZE;
      context.strokeStyle = j === chosen ? cold : line;
      context.lineWidth = j === chosen ? 3 : 1.25;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
      hand(x, y, radians(exact[j]), ink, 2);
      if (fp32) hand(x, y, theirs(j), mark, 1.5);
    }
    const { invFreq } = library.frequencies(state.spec, length), frequency = invFreq[chosen];
    const turns = (Number(state.p) * frequency) / (2 * Math.PI), angle = radians(exact[chosen]);
    reading.innerHTML = `Pair <b>${chosen}</b>: a turn every <b data-value="wavelength">${frequency ? short((2 * Math.PI) / Math.abs(frequency)) : "never"}</b> tokens; at ${grouped(state.p)}
      it has made ${short(turns)} turns and points at <b data-value="angle">${angle.toFixed(6)}</b> rad` +
      (fp32 ? `; in ${state.numerics === "fp32" ? "float32" : "a bfloat16 table"} at <b>${theirs(chosen).toFixed(6)}</b>, <strong data-value="apart">${short(apart(library, state.spec, state.p, state.numerics).pairs[chosen])}</strong> of its length away.` : ".");
    canvas.dataset.pairs = pairs;
    canvas.setAttribute("aria-valuemax", pairs - 1);
    canvas.setAttribute("aria-valuenow", chosen);
    canvas.setAttribute("aria-valuetext", `pair ${chosen}, ${angle.toFixed(3)} radians`);
  });

  return {
    csv: (state) => {
      const length = Number(state.p) + 1, { invFreq } = library.frequencies(state.spec, length);
      const exact = library.turns(state.spec, [state.p], "exact", length), fp32 = library.turns(state.spec, [state.p], "fp32", length);
      return { head: ["pair", "inv_freq", "angle", "angle_fp32"], rows: [...invFreq].map((f, j) => [j, f, radians(exact[j]), radians(fp32[j])]) };
    },
  };
}
