// Choosing a new modulator: what it moves, how far, and every kind there is, as the instrument describes them.

import "./bar.js";
import { button, field, heading, nameField, nameIn, named } from "./parts.js";

const DEPTH = {
  id: "depth of the new modulator", label: "depth", doc: "how far it moves its target, in knob travel",
  lo: -1, hi: 1, default: 0.3, step: 0, warp: "linear", unit: "",
};
const MOVED = ["number", "switch", "choice"];

/** Builds the form in `pane`; `cancel` is the button that gives it up, `done()` is told when one was asked for. */
export function newModulator(store, pane, cancel, done) {
  const target = field("what the new modulator moves", "what it moves", firstTarget(store));
  target.setAttribute("list", "modulated");
  const ids = named("datalist", "");
  ids.id = "modulated";
  ids.append(...store.params.filter((param) => MOVED.includes(param.type)).map((param) => new Option(param.id)));
  const name = nameField("name of the new modulator");
  const depth = document.createElement("param-bar");
  let deep = DEPTH.default;
  depth.setup({ ...DEPTH, value: deep }, (value) => (deep = value));

  /** As a patch has it; text in quotes, which YAML reads as JSON does. */
  function ask(kind, what) {
    const line = { [kind]: what, to: target.value.trim(), depth: +deep.toFixed(4) };
    const called = nameIn(name);
    if (called) line.name = called;
    store.set("modulator.add", JSON.stringify(line));
    done();
  }

  const head = heading("a new modulator", "what it moves, how far, and what it is", cancel);
  const rows = named("div", "rows");
  rows.append(target, ids, depth, name);
  pane.append(head, rows, ...(store.state.kinds ?? []).map((kind) => section(kind, ask)));
}

/** One kind: its choices as chips, or a box to name what it takes. */
function section({ kind, doc, options, first }, ask) {
  const part = named("section", "part");
  part.setAttribute("aria-label", kind);
  const chips = named("div", "chips");
  if (options.length) chips.append(...options.map((option) => choice(kind, option, () => ask(kind, option))));
  else {
    const what = field(`what the new ${kind} takes`, "a modulator, audio.level, or a parameter's id", first);
    what.setAttribute("list", "modulated");
    chips.append(what, choice(kind, "add", () => ask(kind, what.value.trim())));
  }
  const title = named("h2", "", kind);
  title.append(named("span", "", doc));
  part.append(title, chips);
  return part;
}

function choice(kind, text, act) {
  const chip = button("chip", text, act);
  chip.setAttribute("aria-label", `${text}: a new ${kind}`);
  return chip;
}

/** The first amount of the bend looked at, or of the first bend. */
function firstTarget(store) {
  const bends = store.state.bends ?? [];
  const bend = bends.find((each) => each.name === store.selected) ?? bends[0];
  return bend ? `${bend.name}.${bend.main}` : "";
}
