// The page: one state, its controls, and the panels that show it.

import { csv, grouped } from "./numbers.mjs";
import { readEvaluation } from "./evaluation.mjs";
import { open } from "./library.mjs";
import { PRESETS } from "./presets.mjs";
import { METHODS, withScaling } from "./scalings.mjs";
import { fromFragment, MOST, Store, toFragment } from "./state.mjs";
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

function refuse(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

/// Runs something that may be refused; what it refuses is shown, and what the page showed stays.
function attempt(work) {
  try {
    work();
    refuse("");
  } catch (error) {
    refuse(error.message);
  }
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
  $("back").addEventListener("click", () => go(store.state.p - 1n));
  $("on").addEventListener("click", () => go(store.state.p + 1n));
  $("position").addEventListener("change", () => {
    const text = $("position").value.replace(/[\s\u202f_,]/g, "");
    attempt(() => {
      if (!/^\d+$/.test(text) || BigInt(text) > MOST) throw new Error(`position: want a whole number from 0 to ${MOST}, got "${$("position").value}"`);
      go(BigInt(text));
    });
  });
  store.listen(["p"], ({ p }) => {
    if (atStep(Number($("slider").value)) !== p) $("slider").value = stepOf(p);
    $("slider").setAttribute("aria-valuetext", `position ${p}`);
    $("position").value = grouped(p);
  });
}

function bindSpec(store, library, kindsOf) {
  const { state } = store;
  for (const name of Object.keys(PRESETS)) $("preset").append(new Option(name));
  $("preset").prepend(new Option("these numbers", ""));
  for (const [key, { name }] of Object.entries(METHODS)) $("scaling").append(new Option(name, key));

  const show = (kind) => store.set({ spec: kind.spec, name: kind.title, trained: kind.trained || store.state.trained });
  let kinds = kindsOf;
  const offer = (several) => {
    kinds = several;
    $("kind").replaceChildren(...several.map(({ name }, i) => new Option(name, i)));
    $("kind-label").hidden = several.length < 2;
  };
  const openCheckpoint = (text, title) => {
    const several = library.checkpoint(text, title).map((kind) => ({ ...kind, title: `${title}${kind.name === "default" ? "" : `, ${kind.name}`}` }));
    offer(several);
    show(several[0]);
  };
  $("preset").addEventListener("change", () => attempt(() => $("preset").value && openCheckpoint(JSON.stringify(PRESETS[$("preset").value]), $("preset").value)));
  $("kind").addEventListener("change", () => show(kinds[$("kind").value]));

  const edit = (id, read) => $(id).addEventListener("change", () => attempt(() => {
    const { spec, trained } = store.state, patch = read($(id), spec, trained);
    library.check(patch.spec ?? spec);
    store.set({ ...patch, name: "" });
  }));
  const whole = (field, id, low) => {
    const value = Number(field.value);
    if (!Number.isInteger(value) || value < low) throw new Error(`${id}: want a whole number >= ${low}, got "${field.value}"`);
    return value;
  };
  edit("head_dim", (field, spec) => {
    const headDim = whole(field, "head_dim", 2);
    return { spec: { ...spec, head_dim: headDim, rotary_dim: spec.rotary_dim === spec.head_dim ? headDim : Math.min(spec.rotary_dim, headDim) } };
  });
  edit("rotary_dim", (field, spec) => ({ spec: { ...spec, rotary_dim: whole(field, "rotary_dim", 2) } }));
  edit("theta", (field, spec) => ({ spec: { ...spec, theta: Number(field.value) } }));
  edit("layout", (field, spec) => ({ spec: { ...spec, layout: field.value } }));
  edit("scaling", (field, spec, trained) => {
    const scaled = withScaling(spec, field.value, Number($("factor").value) || 4, trained);
    if (!scaled) throw new Error("scaling: want another than LongRoPE, whose divisors come with a checkpoint, got LongRoPE");
    return { spec: scaled };
  });
  edit("factor", (field, spec, trained) => ({ spec: { ...spec, scaling: { ...spec.scaling, factor: Number(field.value) } } }));
  edit("trained", (field, spec) => {
    const trained = whole(field, "trained", 1), { scaling } = spec;
    return { trained, spec: scaling?.trained_context ? { ...spec, scaling: { ...scaling, trained_context: trained } } : spec };
  });

  const openFile = async (file) => {
    const text = await file.text();
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
  $("file").addEventListener("change", () => $("file").files[0] && openFile($("file").files[0]));
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

  store.listen(["spec", "trained", "name"], ({ spec, trained, name }) => {
    $("preset").value = name in PRESETS ? name : "";
    const scaling = spec.scaling?.kind ?? "none";
    for (const [id, value] of [["head_dim", spec.head_dim], ["rotary_dim", spec.rotary_dim], ["theta", spec.theta], ["layout", spec.layout], ["trained", trained], ["factor", spec.scaling?.factor ?? ""]])
      $(id).value = value ?? "";
    $("scaling").value = scaling in METHODS ? scaling : "";
    $("factor-label").hidden = spec.scaling?.factor === undefined;
    $("text").textContent = `${name ? name + ": " : ""}${library.text(spec)}`;
    $("beyond").hidden = library.isRotation(spec);
    if (name === "" && kinds.length) offer([]);
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
    const made = panel.make(place, { library, store });
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
      try {
        await navigator.clipboard.writeText(text());
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
    spec: first.spec, name: first.title, trained: first.trained || 4096, p: 0n, numerics: "exact", words: "The pig chased the dog", pair: 0,
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
  const store = new Store(checked(location.hash));
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
