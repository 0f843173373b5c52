// Where the pictures go: every output with how it fares, to be taken away or added while it plays. What the show does not
// allow is refused by it, in words.

import { onHold } from "./finger.js";
import { button, field, named } from "./parts.js";
import { bare, lasted } from "./status.js";

const ADD = "out.add";
const REMOVE = "out.remove";

export const OWN = [ADD, REMOVE]; // parameters that stand here

/** Builds the part, or null where outputs are not told of. */
export function outputs(store, controls) {
  if (!store.has(ADD)) return null;
  const part = named("section", "part");
  part.setAttribute("aria-label", "outputs");
  const rows = named("div", "outputs");
  const known = new Map(); // name -> its row
  const show = () => {
    const there = store.status.outputs ?? [];
    for (const [name, row] of known) {
      if (there.some((output) => output.name === name)) continue;
      row.element.remove();
      known.delete(name);
    }
    for (const output of there) {
      if (!known.has(output.name)) known.set(output.name, outputRow(output.name, () => store.set(REMOVE, output.name)));
      const row = known.get(output.name);
      if (!row.element.isConnected) rows.append(row.element);
      row.show(output);
    }
    none.hidden = known.size > 0;
  };
  const none = named("p", "empty", "the page only");
  part.append(named("h2", "", "outputs"), none, rows, adding(store, controls));
  controls.hear("status", show);
  show();
  return part;
}

function outputRow(name, remove) {
  const element = named("div", "output");
  const [title, state] = [named("b"), named("span")];
  const away = button("quiet", "", () => {});
  const verb = named("span", "", "remove");
  away.append(verb);
  onHold(away, remove);
  element.append(title, state, away);
  const show = ({ writing, seconds, sent, dropped, error }) => {
    const lost = dropped ? `, ${dropped} dropped` : "";
    const what = writing ? `records ${lasted(seconds)} into ${writing}` : `plays, ${sent} frames sent`;
    write(title, writing ? bare(writing) : name);
    write(state, error || what + lost);
    write(verb, writing ? "stop" : "remove");
    away.setAttribute("aria-label", `${verb.textContent} output ${name}`);
    state.className = error ? "failing" : writing ? "records" : "";
  };
  return { element, show };
}

/** The form: what to add, and what came of it; or a recording at once, by a name of its own. */
function adding(store, controls) {
  const form = named("form", "add-output");
  const box = field("an output to add", "file:take.mp4, ndi, screen ...");
  const told = named("p");
  let asked = null; // the warnings there were when it was asked for
  const add = (spec) => {
    if (!spec) return;
    asked = new Set(store.status.warnings ?? []);
    write(told, "");
    store.set(ADD, spec);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    add(box.value.trim());
  });
  const submit = named("button", "quiet", "add");
  form.append(box, submit, button("quiet", "record", () => add(`file:${takeName(store)}`)), told);
  controls.watch(ADD, (spec) => spec && write(told, `opening ${spec}`));
  controls.hear("status", ({ warnings = [] }) => {
    const news = warnings.findLast((text) => asked && !asked.has(text) && /^out(put|\.)/.test(text));
    if (!news) return;
    write(told, news);
    if (news.endsWith(" added")) box.value = "";
  });
  return form;
}

/** What plays and when, as a file is called. */
function takeName(store) {
  const name = (store.state.patch?.name ?? "").replaceAll(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 60) || "take";
  const now = new Date();
  const two = (number) => `${number}`.padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  return `${/^[\p{L}\p{N}]/u.test(name) ? "" : "take"}${name} ${day} ${two(now.getHours())}.${two(now.getMinutes())}.mp4`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
