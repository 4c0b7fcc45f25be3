// The sinusoidal table, and the biases that ALiBi and T5 add to scores.

import { heatMap } from "../draw.mjs";
import { short } from "../numbers.mjs";

export const html = `
<p>What rotation replaced. Sinusoids are added to the input, a row a position; two orders of their channels were published. A bias is added to the score
of a query with a key and knows nothing of what they are.</p>
<div class="choices" role="radiogroup" aria-label="Channel order">
  <label><input type="radio" name="order" value="interleaved"> sin, cos, sin, cos (Vaswani et al. 2017)</label>
  <label><input type="radio" name="order" value="halves"> all sin, then all cos (tensor2tensor)</label>
</div>
<figure><canvas class="canvas map" id="sinusoids" role="img" aria-label="Sinusoidal table, positions downwards and channels across"></canvas><figcaption></figcaption></figure>
<div class="choices"><label>Head <input type="range" id="bias-head" min="0" max="7" value="0"></label><span class="soft" id="bias-head-said"></span></div>
<div class="pair-of-maps">
<figure><canvas class="canvas map" id="alibi" role="img" aria-label="ALiBi's bias, queries downwards and keys across"></canvas><figcaption></figcaption></figure>
<figure><canvas class="canvas map" id="t5" role="img" aria-label="T5's buckets, queries downwards and keys across"></canvas><figcaption></figcaption></figure>
</div>`;

const POSITIONS = 64, CHANNELS = 64, TOKENS = 48, HEADS = 8, BUCKETS = 32, MOST_DISTANCE = 128;

export function make(element, { library, store }) {
  const figure = (id) => ({ canvas: element.querySelector("#" + id), caption: element.querySelector(`#${id} + figcaption`) });
  const sinusoids = figure("sinusoids"), alibi = figure("alibi"), t5 = figure("t5");
  const head = element.querySelector("#bias-head"), said = element.querySelector("#bias-head-said");
  for (const radio of element.querySelectorAll("[name=order]")) radio.addEventListener("change", () => store.set({ order: radio.value }));
  head.addEventListener("input", () => store.set({ bias: head.value }));

  const first = (state) => state.p - (state.p % BigInt(POSITIONS));
  store.listen(["order", "p"], (state) => {
    for (const radio of element.querySelectorAll("[name=order]")) radio.checked = radio.value === state.order;
    const table = library.sinusoids(CHANNELS, state.order, first(state), POSITIONS);
    heatMap(sinusoids.canvas, POSITIONS, CHANNELS, (r, c) => table[r * CHANNELS + c]);
    sinusoids.caption.textContent = `Positions ${first(state)} to ${first(state) + BigInt(POSITIONS - 1)} downwards, ${CHANNELS} channels across; warm is 1, cold is -1.`;
  });
  store.listen(["bias"], (state) => {
    head.value = state.bias;
    const h = Number(state.bias), slopes = library.alibi(HEADS, TOKENS), buckets = library.t5Buckets(TOKENS, BUCKETS, MOST_DISTANCE);
    const at = (q, k) => slopes[(h * TOKENS + q) * TOKENS + k], least = at(TOKENS - 1, 0);
    heatMap(alibi.canvas, TOKENS, TOKENS, (q, k) => (k > q ? 0 : at(q, k) / Math.abs(least)));
    heatMap(t5.canvas, TOKENS, TOKENS, (q, k) => (k > q ? 0 : 1 - (2 * buckets[q - k]) / (BUCKETS - 1)));
    said.textContent = `head ${h + 1} of ${HEADS}`;
    alibi.caption.textContent = `ALiBi: ${short(at(1, 0))} a token of distance in this head; ${short(least)} at ${TOKENS - 1}. Keys after the query are left out.`;
    t5.caption.textContent = `T5: ${BUCKETS} buckets of distance, one learned number each; ${buckets[TOKENS - 1] + 1} of them are used within ${TOKENS} tokens. Warm is bucket 0.`;
    alibi.canvas.dataset.slope = at(1, 0);
  });

  return {
    csv: (state) => {
      const table = library.sinusoids(CHANNELS, state.order, first(state), POSITIONS);
      return { head: ["position", ...Array.from({ length: CHANNELS }, (_, c) => "channel " + c)], rows: Array.from({ length: POSITIONS }, (_, r) => [first(state) + BigInt(r), ...table.subarray(r * CHANNELS, (r + 1) * CHANNELS)]) };
    },
  };
}
