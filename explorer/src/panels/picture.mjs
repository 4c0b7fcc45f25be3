// Patches of a picture: how alike the rotation makes each to the one under the pointer.

import { diverging } from "../draw.mjs";
import { THETAS } from "../state.mjs";

export const html = `
<p>In a picture a patch has a row and a column. Axial: half of the pairs follow the row, half the column. Mixed: every pair follows a direction of its own
(Heo et al. 2024), here drawn by chance. The score of equal vectors against the patch under the pointer.</p>
<div class="choices">
  <label><input type="radio" name="turning" value="axial"> axial</label>
  <label><input type="radio" name="turning" value="mixed"> mixed</label>
  <label><input type="radio" name="size" value="1"> 1x: 16 &times; 16 patches</label>
  <label><input type="radio" name="size" value="2"> 2x: 32 &times; 32</label>
  <label><input type="checkbox" name="stretch"> positions stretched to those of 1x</label>
  <label>theta <input type="number" name="theta" min="1.01" max="100000" step="any"></label>
</div>
<figure><canvas class="canvas map" tabindex="0" role="application" aria-label="Similarity of every patch to the chosen one; the arrow keys move it"></canvas><figcaption></figcaption></figure>
<p class="reading" aria-live="polite"></p>`;

const SIDE = 16;

export function make(element, { library, store, attempt, bounded, settled }) {
  const canvas = element.querySelector("canvas"), reading = element.querySelector(".reading"), caption = element.querySelector("figcaption");
  const change = (patch) => store.set({ picture: { ...store.state.picture, ...patch } });
  for (const radio of element.querySelectorAll("[name=turning]")) radio.addEventListener("change", () => change({ turning: radio.value }));
  for (const radio of element.querySelectorAll("[name=size]"))
    radio.addEventListener("change", () => change({ size: Number(radio.value), at: store.state.picture.at.map((one) => Math.floor((one * Number(radio.value)) / store.state.picture.size)) }));
  const stretch = element.querySelector("[name=stretch]"), theta = element.querySelector("[name=theta]");
  stretch.addEventListener("change", () => change({ stretch: stretch.checked }));
  theta.addEventListener("change", () => attempt(() => change({ theta: bounded(theta, "theta", THETAS) }), "picture-theta"));
  const side = () => SIDE * store.state.picture.size;
  const choose = (row, column) => {
    const most = side() - 1, at = [Math.max(0, Math.min(most, row)), Math.max(0, Math.min(most, column))];
    if (at.join() !== store.state.picture.at.join()) change({ at });
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    choose(Math.floor(((event.clientY - box.top) / box.height) * side()), Math.floor(((event.clientX - box.left) / box.width) * side()));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(store.state.picture.at[0] + step[0], store.state.picture.at[1] + step[1]);
  });

  const similarity = ({ picture }) => {
    const n = SIDE * picture.size, { pairs, turns } = library.grid(n, picture);
    const out = new Float64Array(n * n), chosen = picture.at[0] * n + picture.at[1];
    for (let t = 0; t < n * n; t++) {
      let sum = 0;
      for (let j = 0; j < pairs; j++) sum += turns.cos[t * pairs + j] * turns.cos[chosen * pairs + j] + turns.sin[t * pairs + j] * turns.sin[chosen * pairs + j];
      out[t] = sum / pairs;
    }
    return { n, out };
  };

  store.listen(["picture"], (state) => {
    const { picture } = state;
    for (const radio of element.querySelectorAll("[name=turning]")) radio.checked = radio.value === picture.turning;
    for (const radio of element.querySelectorAll("[name=size]")) radio.checked = Number(radio.value) === picture.size;
    stretch.checked = picture.stretch;
    stretch.disabled = picture.size === 1;
    if (document.activeElement !== theta) {
      theta.value = picture.theta;
      settled("picture-theta");
    }
    const { n, out } = similarity(state), shade = diverging();
    canvas.width = canvas.height = n;
    const context = canvas.getContext("2d"), image = context.createImageData(n, n);
    out.forEach((value, t) => image.data.set([...shade(value), 255], 4 * t));
    context.putImageData(image, 0, 0);
    const [row, column] = picture.at, corner = out[0];
    let diagonal = 0, straight = 0, counted = 0;
    for (let step = 3; step <= 6; step++)
      for (const [dr, dc] of [[1, 1], [1, -1], [-1, 1], [-1, -1]]) {
        const r = Math.round(row + (dr * step) / Math.SQRT2), c = Math.round(column + (dc * step) / Math.SQRT2), along = dr === dc ? [row + dr * step, column] : [row, column + dc * step];
        if ([r, c, ...along].some((one) => one < 0 || one >= n)) continue;
        diagonal += out[r * n + c];
        straight += out[along[0] * n + along[1]];
        counted++;
      }
    caption.textContent = `Patch (${row}, ${column}) of ${n} x ${n}; warm is alike, cold is opposite.`;
    reading.textContent = counted ? `Three to six patches away it is ${(straight / counted).toFixed(3)} along rows and columns and ${(diagonal / counted).toFixed(3)} on the diagonals, on average.` : "";
    canvas.dataset.corner = corner;
  });

  return {
    csv: (state) => {
      const { n, out } = similarity(state);
      return { head: ["row", ...Array.from({ length: n }, (_, c) => "column " + c)], rows: Array.from({ length: n }, (_, r) => [r, ...out.subarray(r * n, (r + 1) * n)]) };
    },
  };
}
