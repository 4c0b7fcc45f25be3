// The sentence that is moved: in exact arithmetic no score changes, in the others they drift.

import { css, diverging, inkOn } from "../draw.mjs";
import { grouped, short } from "../numbers.mjs";
import { apart, MOST_WORDS, scores, split } from "../sentence.mjs";
import { cut } from "../state.mjs";

export const html = `
<p>Each word has a made-up query and key, the same for the same word. The grid is every query's score with every key. The position above is where the first word
stands: move it, and what attention sees should not change, since only distances count.</p>
<div class="choices"><label>Sentence <input type="text" id="words" size="36" maxlength="200"></label></div>
<div class="choices" role="radiogroup" aria-label="Arithmetic">
  <label><input type="radio" name="sentence-numerics" value="exact"> exact</label>
  <label><input type="radio" name="sentence-numerics" value="fp32"> float32 phase</label>
  <label><input type="radio" name="sentence-numerics" value="bf16"> bfloat16 table</label>
</div>
<div class="scroll"><table id="scores"><caption></caption><thead></thead><tbody></tbody></table></div>
<p class="reading" id="moved" aria-live="polite"></p>
<p class="soft" id="apart"></p>`;

const NAMES = { exact: "exact arithmetic", fp32: "a float32 phase", bf16: "a bfloat16 table" };

export function make(element, { library, store }) {
  const input = element.querySelector("#words"), table = element.querySelector("table");
  const [caption, head, body] = ["caption", "thead", "tbody"].map((name) => table.querySelector(name));
  const moved = element.querySelector("#moved"), distance = element.querySelector("#apart");
  input.addEventListener("input", () => store.set({ words: cut(input.value) }));
  for (const radio of element.querySelectorAll("[type=radio]")) radio.addEventListener("change", () => store.set({ numerics: radio.value }));

  let built = "";
  const build = (words) => {
    const cells = words.map((word) => Object.assign(document.createElement("th"), { scope: "col", textContent: word }));
    const corner = Object.assign(document.createElement("th"), { textContent: "query \\ key", scope: "col" });
    const row = document.createElement("tr");
    row.append(corner, ...cells);
    head.replaceChildren(row);
    body.replaceChildren(...words.map((word) => {
      const line = document.createElement("tr");
      line.append(Object.assign(document.createElement("th"), { scope: "row", textContent: word }), ...words.map(() => document.createElement("td")));
      return line;
    }));
  };

  // What the grid was where the sentence stood first: it changes with everything but the position.
  let first, firstOf = "";
  store.listen(["spec", "p", "numerics", "words"], (state, changed) => {
    for (const radio of element.querySelectorAll("[type=radio]")) radio.checked = radio.value === state.numerics;
    if (input.value !== state.words) input.value = state.words;
    const words = split(state.words), of = JSON.stringify([state.spec, state.numerics, words]);
    if (JSON.stringify(words) !== built) build(words);
    built = JSON.stringify(words);
    if (of !== firstOf) first = scores(library, state.spec, words, 0n, state.numerics);
    firstOf = of;
    const now = scores(library, state.spec, words, state.p, state.numerics);
    const most = Math.max(1e-9, ...first.map(Math.abs)), shade = diverging(), cells = body.querySelectorAll("td");
    let largest = 0;
    now.forEach((value, i) => {
      const colour = shade(value / most), cell = cells[i];
      largest = Math.max(largest, Math.abs(value - first[i]));
      cell.textContent = value.toFixed(4);
      cell.style.backgroundColor = `rgb(${colour})`;
      cell.style.color = inkOn(colour);
      cell.dataset.score = value;
    });
    caption.textContent = `Scores in ${NAMES[state.numerics]}, the first word at ${grouped(state.p)}${words.length === MOST_WORDS ? ` (the first ${MOST_WORDS} words)` : ""}`;
    moved.innerHTML = `Largest change since the sentence stood at 0: <strong data-value="moved">${largest === 0 ? "0, not a digit" : short(largest)}</strong>`;
    moved.dataset.moved = largest;
    if (state.numerics === "exact") {
      distance.textContent = "The phase is an integer of 64 bits to a turn, so that the difference of two phases is the same integer wherever they are.";
      delete distance.dataset.apart;
    } else {
      const { pairs, furthest } = apart(library, state.spec, state.p, state.numerics);
      distance.textContent = `At ${grouped(state.p)} pair ${furthest} is ${short(pairs[furthest])} of its length from where it should be: ropewalk compare --numerics exact,${state.numerics} --at ${state.p}.`;
      distance.dataset.apart = pairs[furthest];
      distance.dataset.pair = furthest;
    }
    table.style.setProperty("--ink", css("--ink"));
  });

  return {
    csv: (state) => {
      const words = split(state.words), now = scores(library, state.spec, words, state.p, state.numerics), n = words.length;
      return { head: ["query", ...words], rows: words.map((word, i) => [word, ...now.subarray(i * n, (i + 1) * n)]) };
    },
  };
}
