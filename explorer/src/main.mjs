// The page: one state, its controls, and the panels that show it.

import { csv, grouped } from "./numbers.mjs";
import { readEvaluation } from "./evaluation.mjs";
import { MOST_CHANNELS, open } from "./library.mjs";
import { PRESETS } from "./presets.mjs";
import { METHODS, withScaling } from "./scalings.mjs";
import { cut, fromFragment, MOST, MOST_TRAINED, Store, toFragment, trainedOf } from "./state.mjs";
import * as clocks from "./panels/clocks.mjs";
import * as decay from "./panels/decay.mjs";
import * as measured from "./panels/measured.mjs";
import * as picture from "./panels/picture.mjs";
import * as sentence from "./panels/sentence.mjs";
import * as tables from "./panels/tables.mjs";
import * as wavelengths from "./panels/wavelengths.mjs";

const PANELS = { clocks, sentence, decay, wavelengths, tables, picture, measured };
const $ = (id) => document.getElementById(id);

// Of the slider: 100 steps a doubling.
const atStep = (step) => (step <= 0 ? 0n : BigInt(Math.min(Number(MOST), Math.round(2 ** (step / 100)))));
const stepOf = (position) => (position <= 0n ? 0 : Math.max(1, Math.round(100 * Math.log2(Number(position)))));

// The line of what was refused last, and of which control it speaks.
let refusedOf = "";
function refuse(message, of = "") {
  refusedOf = of;
  $("error").textContent = message;
  $("error").hidden = !message;
}

/// Runs something that may be refused; what it refuses is shown, and what the page showed stays. Returns whether it ran.
///
/// of   the control, if its line is to go once the control shows what holds again: `settled`
function attempt(work, of) {
  try {
    work();
    refuse("");
    return true;
  } catch (error) {
    refuse(error.message, of);
    return false;
  }
}

const settled = (of) => refusedOf === of && refuse("");

/// The number in a field, or an Error of one line.
function bounded(field, name, [low, high]) {
  const value = Number(field.value);
  if (!field.value || !(value >= low && value <= high)) throw new Error(`${name}: want a number from ${low} to ${high}, got "${field.value}"`);
  return value;
}

function bindTheme(store) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  $("theme").addEventListener("change", () => {
    if ($("theme").value) document.documentElement.dataset.theme = $("theme").value;
    else delete document.documentElement.dataset.theme;
    store.all();
  });
  system.addEventListener("change", () => store.all());
  let width = 0, waiting = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    const first = width === 0;
    width = document.body.clientWidth;
    clearTimeout(waiting);
    if (!first) waiting = setTimeout(() => store.all(), 100);
  }).observe(document.body);
}

function bindPosition(store) {
  const go = (position) => store.set({ p: position < 0n ? 0n : position > MOST ? MOST : position });
  $("slider").addEventListener("input", () => go(atStep(Number($("slider").value))));
  // Near 0 a step is less than a token: a key moves by one at least.
  $("slider").addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, PageUp: 100, ArrowLeft: -1, ArrowDown: -1, PageDown: -100 }[event.key], { p } = store.state;
    if (steps === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const to = atStep(stepOf(p) + steps);
    go(steps > 0 ? (to > p ? to : p + 1n) : to < p ? to : p - 1n);
  });
  $("back").addEventListener("click", () => go(store.state.p - 1n));
  $("on").addEventListener("click", () => go(store.state.p + 1n));
  $("position").addEventListener("change", () => {
    const text = $("position").value.replace(/[\s\u202f_,]/g, "");
    attempt(() => {
      if (!/^\d+$/.test(text) || BigInt(text) > MOST) throw new Error(`position: want a whole number from 0 to ${MOST}, got "${$("position").value}"`);
      go(BigInt(text));
    }, "position");
  });
  store.listen(["p"], ({ p }) => {
    if (atStep(Number($("slider").value)) !== p) $("slider").value = stepOf(p);
    $("slider").setAttribute("aria-valuetext", `position ${p}`);
    $("position").value = grouped(p);
    settled("position");
  });
}

function bindSpec(store, library, kindsOf) {
  const { state } = store;
  for (const name of Object.keys(PRESETS)) $("preset").append(new Option(name));
  $("preset").prepend(new Option("these numbers", ""));
  for (const [key, { name }] of Object.entries(METHODS)) $("scaling").append(new Option(name, key));

  const show = (kind) => {
    brought = null;
    store.set({ spec: kind.spec, name: cut(kind.title), trained: kind.trained || null });
  };
  let kinds = kindsOf;
  const offer = (several) => {
    kinds = several;
    $("kind").replaceChildren(...several.map(({ name }, i) => new Option(name, i)));
  };
  const turning = (spec) => spec.rotary_dim || spec.head_dim;
  // A scaling that only a checkpoint can bring, so that choosing another is no farewell.
  let brought = null;
  const fits = (spec) => brought && !spec.given && turning(spec) === brought.turning && (spec.scaling?.kind ?? "none") !== brought.scaling.kind;
  const openCheckpoint = (text, title) => {
    const several = library.checkpoint(text, title).map((kind) => ({ ...kind, title: `${title}${kind.name === "default" ? "" : `, ${kind.name}`}` }));
    offer(several);
    show(several[0]);
  };
  $("preset").addEventListener("change", () => attempt(() => $("preset").value && openCheckpoint(JSON.stringify(PRESETS[$("preset").value]), $("preset").value)));
  $("kind").addEventListener("change", () => show(kinds[$("kind").value]));

  const edit = (id, read) => $(id).addEventListener("change", () => {
    const done = attempt(() => {
      const { spec } = store.state, patch = read($(id), spec, trainedOf(store.state));
      library.check(patch.spec ?? spec);
      store.set({ ...patch, name: "" });
    }, "spec");
    if (!done && $(id).tagName === "SELECT") fill(store.state);  // a list shows what holds, a field what was typed
  });
  const whole = (field, id, low, high) => {
    const value = Number(field.value);
    if (!Number.isInteger(value) || value < low || value > high) throw new Error(`${id}: want a whole number from ${low} to ${high}, got "${field.value}"`);
    return value;
  };
  edit("head_dim", (field, spec) => {
    const headDim = whole(field, "head_dim", 2, MOST_CHANNELS);
    return { spec: { ...spec, head_dim: headDim, rotary_dim: turning(spec) === spec.head_dim ? headDim : Math.min(turning(spec), headDim) } };
  });
  edit("rotary_dim", (field, spec) => ({ spec: { ...spec, rotary_dim: whole(field, "rotary_dim", 2, MOST_CHANNELS) } }));
  edit("theta", (field, spec) => ({ spec: { ...spec, theta: Number(field.value) } }));
  edit("layout", (field, spec) => ({ spec: { ...spec, layout: field.value } }));
  edit("scaling", (field, spec, trained) => {
    if (fits(spec) && field.value === brought.scaling.kind) return { spec: { ...spec, scaling: brought.scaling } };
    const scaled = withScaling(spec, field.value, Number($("factor").value) || 4, trained);
    if (!scaled && spec.given) throw new Error(`scaling: want none for frequencies that are given, got ${METHODS[field.value].name}`);
    if (!scaled) throw new Error("scaling: want another than LongRoPE, whose divisors come with a checkpoint, got LongRoPE");
    return { spec: scaled };
  });
  edit("factor", (field, spec, trained) => ({ spec: { ...spec, scaling: { ...spec.scaling, factor: Number(field.value) } } }));
  edit("trained", (field, spec) => {
    const trained = whole(field, "trained", 1, MOST_TRAINED), { scaling } = spec;
    return { trained, spec: scaling?.trained_context ? { ...spec, scaling: { ...scaling, trained_context: trained } } : spec };
  });

  const openFile = async (file) => {
    let text;
    try {
      text = await file.text();
    } catch {
      refuse(`${file.name}: want a file that can be read, got none`);  // a folder, most of the time
      return;
    }
    attempt(() => {
      let data;
      try {
        data = JSON.parse(text);
      } catch {
        data = undefined;  // the library says what is wrong with it
      }
      if (data?.perplexity && !data.model_type) store.set({ measured: readEvaluation(data, file.name) });
      else openCheckpoint(text, file.name);
    });
  };
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    $("file").value = "";  // or the same file, edited, would be no change
    if (file) openFile(file);
  });
  for (const kind of ["dragenter", "dragover"])
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });

  const fill = ({ spec, trained, name }) => {
    $("preset").value = name in PRESETS ? name : "";
    const scaling = spec.scaling?.kind ?? "none";
    if (scaling === "longrope" || !(scaling in METHODS)) brought = { scaling: spec.scaling, turning: turning(spec) };
    for (const one of [...$("scaling").options]) if (!(one.value in METHODS)) one.remove();
    const own = fits(spec) ? brought.scaling.kind : scaling;
    if (!(own in METHODS)) $("scaling").append(new Option(own, own));
    for (const [id, value] of [["head_dim", spec.head_dim], ["rotary_dim", turning(spec)], ["theta", spec.theta], ["layout", spec.layout], ["trained", trained], ["factor", spec.scaling?.factor ?? ""]])
      $(id).value = value ?? "";
    $("scaling").value = scaling;
    $("factor-label").hidden = spec.scaling?.factor === undefined;
    $("text").textContent = `${name ? name + ": " : ""}${library.text(spec)}`;
    $("beyond").hidden = library.isRotation(spec);
    const at = kinds.findIndex((kind) => JSON.stringify(kind.spec) === JSON.stringify(spec));
    $("kind").value = at;
    $("kind-label").hidden = kinds.length < 2 || at < 0;
  };
  store.listen(["spec", "trained", "name"], (state) => {
    fill(state);
    settled("spec");
  });
  offer(kinds);
  return state;
}

function buildPanels(store, library) {
  for (const [id, panel] of Object.entries(PANELS)) {
    const section = $(id), place = section.querySelector(".content");
    place.innerHTML = panel.html;
    // Wide tables are moved by keys, too.
    for (const wide of place.querySelectorAll(".scroll")) {
      wide.tabIndex = 0;
      wide.setAttribute("role", "group");
      wide.setAttribute("aria-label", "Table, may be wider than the page");
    }
    // A listener that throws leaves its panel with a line instead of numbers that hold no longer.
    const line = Object.assign(document.createElement("p"), { className: "error", hidden: true }), failures = new Map();
    line.setAttribute("role", "alert");
    place.before(line);
    const tell = () => {
      [line.textContent = ""] = failures.values();
      line.hidden = !failures.size;
      section.classList.toggle("failed", failures.size > 0);
    };
    const listen = (keys, listener) => store.listen(keys, (state, changed) => {
      failures.delete(listener);
      tell();
      listener(state, changed);
    }, (error) => {
      failures.set(listener, error.message);
      tell();
    });
    const made = panel.make(place, { library, attempt, bounded, settled, store: { listen, set: (patch) => store.set(patch), get state() { return store.state; } } });
    const tools = document.createElement("div"), copy = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy the numbers (CSV)" });
    const said = Object.assign(document.createElement("span"), { className: "soft", role: "status" });
    tools.className = "tools";
    tools.append(copy, said);
    section.append(tools);
    const text = () => {
      const numbers = made.csv(store.state);
      return numbers ? csv(numbers.head, numbers.rows) : "";
    };
    section.csv = text;
    copy.addEventListener("click", async () => {
      let numbers;
      try {
        numbers = text();
      } catch (error) {
        said.textContent = error.message;
        return;
      }
      try {
        await navigator.clipboard.writeText(numbers);
        said.textContent = "copied";
      } catch {
        said.textContent = "the browser did not allow it";
      }
    });
  }
}

async function start() {
  const begin = performance.now(), library = await open($("wasm").textContent), given = JSON.parse($("given").textContent), evaluation = JSON.parse($("evaluation").textContent);
  let kinds = given.kinds ?? [];
  if (!kinds.length) kinds = library.checkpoint(JSON.stringify(PRESETS["Llama 3.1 8B"]), "Llama 3.1 8B").map((kind) => ({ ...kind, title: "Llama 3.1 8B" }));
  const [first] = kinds;
  const defaults = {
    spec: first.spec, name: cut(first.title), trained: first.trained || null, p: 0n, numerics: "exact", words: "The pig chased the dog", pair: 0,
    decay: { what: "mean", kept: [] }, reach: 4096, order: "interleaved", bias: "0",
    rows: { methods: ["none", "linear", "ntk", "dynamic_ntk", "yarn", "longrope", "llama3"], factor: 4, what: "ratio" },
    picture: { turning: "axial", size: 1, stretch: false, theta: 100, at: [5, 8] },
    measured: evaluation ? readEvaluation(evaluation, "--eval") : null,
  };
  const checked = (fragment) => {
    const { state, wrong } = fromFragment(fragment, defaults);
    refuse(wrong.length ? `address: want ${wrong.join(", ")} as this page writes it, got another` : "");
    try {
      library.check(state.spec);
      for (const spec of state.decay.kept) library.check(spec);
      return state;
    } catch (error) {
      refuse(`address: ${error.message}`);
      return { ...state, spec: defaults.spec, name: defaults.name, decay: defaults.decay };
    }
  };
  const store = new Store(checked(location.hash), (error) => refuse(error.message));
  bindSpec(store, library, kinds);
  bindPosition(store);
  buildPanels(store, library);
  bindTheme(store);

  let waiting = 0, written = location.hash;
  store.listen(undefined, (state) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      written = toFragment(state, defaults);
      history.replaceState(null, "", written);
    }, 150);
  });
  addEventListener("hashchange", () => location.hash !== written && store.set(checked(location.hash)));

  store.all();
  performance.measure("ropewalk:ready", { start: begin, end: performance.now() });
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => refuse(`The page did not start: ${error.message}`));
