// Wavelengths against the trained length, and what each scaling makes of them.

import { Curves, powers } from "../charts.mjs";
import { grouped, short, tokens } from "../numbers.mjs";
import { METHODS, shownScaling } from "../scalings.mjs";
import { FACTORS, trainedOf } from "../state.mjs";

export const html = `
<p>A pair whose wavelength is longer than the training never finished a turn there: beyond it, it points where the model has never seen it point. Each scaling
answers in another way; all of them are drawn with the factor chosen here.</p>
<div class="choices" id="methods" role="group" aria-label="Scalings shown"></div>
<div class="choices"><label>factor <input id="rows-factor" type="number" min="1" max="1024" step="any"></label>
<label><input type="radio" name="wave-what" value="wavelength"> wavelengths</label>
<label><input type="radio" name="wave-what" value="ratio"> share of the unscaled frequency</label></div>
<div class="plot"><canvas role="img" aria-label="Wavelength of each pair under each scaling; the table has how many never finish a turn"></canvas></div>
<div class="scroll"><table id="turns"><caption></caption><thead><tr><th scope="col">scaling</th><th scope="col">never finish a turn</th><th scope="col">shortest</th><th scope="col">longest wavelength</th><th scope="col">on cos and sin</th></tr></thead><tbody></tbody></table></div>
<p class="reading"></p>`;

export function make(element, { library, store, attempt, bounded, settled }) {
  const curves = new Curves(element.querySelector("canvas")), [caption, body] = ["caption", "tbody"].map((name) => element.querySelector(name));
  const reading = element.querySelector(".reading"), factor = element.querySelector("#rows-factor"), boxes = new Map();
  for (const [key, { name }] of Object.entries(METHODS)) {
    const label = document.createElement("label"), box = Object.assign(document.createElement("input"), { type: "checkbox", name: "method" });
    label.append(box, name);
    element.querySelector("#methods").append(label);
    boxes.set(key, box);
    box.addEventListener("change", () => store.set({ rows: { ...store.state.rows, methods: [...boxes].filter(([, one]) => one.checked).map(([one]) => one) } }));
  }
  factor.addEventListener("change", () => attempt(() => store.set({ rows: { ...store.state.rows, factor: bounded(factor, "factor", FACTORS) } }), "rows-factor"));
  for (const radio of element.querySelectorAll("[name=wave-what]")) radio.addEventListener("change", () => store.set({ rows: { ...store.state.rows, what: radio.value } }));

  const nameOf = (key, spec) => METHODS[key].name + (key === "longrope" && spec.scaling?.kind !== "longrope" ? " (made up)" : "");
  // One row a scaling: the encoding as it is at the trained length, as `ropewalk explain` has it, then each method on its
  // own ladder at the length of its factor. Where the length matters, the label has it.
  const rows = (state) => {
    const trained = trainedOf(state), length = Math.round(trained * state.rows.factor), out = [{ label: "as it is", spec: state.spec, length: 0, at: trained }];
    for (const key of state.rows.methods) {
      const spec = shownScaling(library, state.spec, key, state.rows.factor, trained);
      if (spec) out.push({ label: nameOf(key, state.spec), spec, length, at: length });
    }
    return out.map(({ label, spec, length: asked, at }) => ({
      label: library.dependsOnLength(spec) ? `${label} at ${tokens(at)} tokens` : label, frequencies: library.frequencies(spec, asked),
    }));
  };
  const wavelength = (frequency) => (2 * Math.PI) / Math.abs(frequency);
  const within = (state) => `${grouped(trainedOf(state))} tokens${state.trained === null ? ", taken since the trained length is unknown" : ""}`;

  store.listen(["spec", "trained", "rows", "pair"], (state, changed) => {
    const trained = trainedOf(state);
    for (const [key, box] of boxes) {
      box.checked = state.rows.methods.includes(key);
      box.disabled = shownScaling(library, state.spec, key, 2, trained) === null;
    }
    if (document.activeElement !== factor) {
      factor.value = state.rows.factor;
      settled("rows-factor");
    }
    for (const radio of element.querySelectorAll("[name=wave-what]")) radio.checked = radio.value === state.rows.what;
    const all = rows(state), plain = library.frequencies(shownScaling(library, state.spec, "none", 1, trained) ?? state.spec, 0).invFreq;
    const ratio = state.rows.what === "ratio";
    curves.show({
      sets: all.map(({ label, frequencies }) => ({
        label, dots: true,
        points: [...frequencies.invFreq].map((f, j) => ({ x: j, y: ratio ? f / plain[j] : wavelength(f) })).filter(({ y }) => Number.isFinite(y)),
      })),
      x: { title: "pair", min: 0, max: library.pairs(state.spec) - 1 },
      y: ratio ? { title: "share of the frequency", min: 0 }
        : { title: "wavelength, tokens", type: "logarithmic", afterBuildTicks: powers(10), ticks: { callback: (value) => (value >= 1e6 ? value.toExponential(0).replace("+", "") : grouped(value)) } },
      marks: [...(ratio ? [] : [{ y: trained, label: state.trained === null ? `${tokens(trained)} tokens, taken: unknown` : `trained on ${tokens(trained)} tokens` }]), { x: Math.min(state.pair, library.pairs(state.spec) - 1), label: "the chosen pair" }],
      tip: { title: (items) => (items.length ? `pair ${items[0].parsed.x}` : ""), label: (item) => ` ${item.dataset.label}: ${short(item.parsed.y)}` },
    });
    if (changed.size === 1 && changed.has("pair")) return;
    caption.textContent = `Of ${library.pairs(state.spec)} pairs within ${within(state)}; scalings at ${grouped(Math.round(trained * state.rows.factor))} tokens, as it is at ${grouped(trained)}`;
    body.replaceChildren(...all.map(({ label, frequencies }) => {
      const lengths = [...frequencies.invFreq].filter(Boolean).map(wavelength), never = lengths.filter((one) => one > trained).length, row = document.createElement("tr");
      row.dataset.never = never;
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: label }),
        ...[never, short(Math.min(...lengths)), short(Math.max(...lengths)), short(frequencies.attentionFactor)].map((text) => Object.assign(document.createElement("td"), { textContent: text })));
      return row;
    }));
  });
  store.listen(["spec", "trained", "rows", "p"], (state) => {
    reading.textContent = `${body.rows[0].dataset.never} of ${library.pairs(state.spec)} pairs never finish a turn within ${within(state)}${state.p >= trainedOf(state) ? "; the position above is beyond that" : ""}.`;
  });

  return {
    csv: (state) => {
      const all = rows(state);
      return { head: ["pair", ...all.map(({ label }) => label + " wavelength")], rows: [...all[0].frequencies.invFreq].map((_, j) => [j, ...all.map(({ frequencies }) => wavelength(frequencies.invFreq[j]))]) };
    },
  };
}
