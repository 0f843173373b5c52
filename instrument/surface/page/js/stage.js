// Under the picture: what is asked for, and what must be at hand in every view.

import { Controls } from "./control.js";
import { button, keepingFocus, named } from "./parts.js";

export const HAND = ["master.mix", "panic", "out.blackout", "out.freeze", "cache.reset", "undo", "redo"];
const WORDS = { "master.mix": "wet", "out.blackout": "blackout", "out.freeze": "freeze", "cache.reset": "forget" };

/** Builds it in `root` and keeps it up to date as long as the page is open. */
export function stage(store, root, learning) {
  let controls = new Controls(store);
  const prompts = named("div", "prompts");
  const hand = named("div", "hand-row");
  root.replaceChildren(prompts, hand);

  function draw() {
    controls.end();
    controls = new Controls(store);
    prompts.replaceChildren(...promptRows(store, controls));
    const keys = HAND.map((id) => controls.make(id, WORDS[id])).filter(Boolean);
    hand.replaceChildren(...keys, learning);
    hand.querySelector("param-bar")?.classList.add("wet");
  }

  store.addEventListener("structure", () => keepingFocus(root, draw));
}

/** One row a prompt: its text, and its weight where several are blended; then what else there is of prompts. */
function promptRows(store, controls) {
  const ids = store.params.filter((param) => param.group === "prompt").map((param) => param.id);
  const texts = ids.filter((id) => id.endsWith(".text"));
  const used = new Set();
  const rows = texts.map((id) => {
    const row = named("div", "prompt-row");
    const weight = id === "prompt.text" ? "prompt.1.weight" : id.replace(".text", ".weight");
    const box = controls.make(id, texts.length > 1 ? id.replace(".text", "").replaceAll(".", " ") : "prompt");
    row.append(box);
    used.add(id);
    if (ids.includes(weight)) {
      row.append(controls.make(weight, "weight"));
      used.add(weight);
    }
    if (id !== "prompt.text") controls.watch(id, (text) => row.classList.toggle("unused", !text));
    return row;
  });
  const rest = ids.filter((id) => !used.has(id)).map((id) => controls.make(id));
  if (rest.length) {
    const row = named("div", "rows prompt-rest");
    row.append(...rest);
    rows.push(row);
  }
  if (rows.length < 2) return rows;
  const more = document.createElement("details");
  more.className = "more";
  more.open = sessionStorage.getItem("bender prompts") === "open";
  more.addEventListener("toggle", () => sessionStorage.setItem("bender prompts", more.open ? "open" : ""));
  more.append(named("summary", "", "blend"), ...rows.slice(1));
  return [rows[0], more];
}

/** The switch of learning, and the line that tells what comes of it. */
export function learner(store, status) {
  const toggle = button("learn", "learn", () => teaching(!document.body.classList.contains("teaching")));
  toggle.title = "learn (L): click a control, then touch a knob of the controller; Shift-click forgets";
  toggle.setAttribute("aria-pressed", false);
  const note = document.getElementById("note");
  let asked = ""; // what was clicked last

  function teaching(on) {
    document.body.classList.toggle("teaching", on);
    toggle.setAttribute("aria-pressed", on);
    if (!on && store.state.learn?.armed) store.learn(null);
    asked = "";
    say(on ? "click a control, then touch a knob" : "");
  }

  function say(text) {
    note.textContent = text;
    note.hidden = !text;
  }

  function light(id) {
    for (const element of document.querySelectorAll(".armed")) element.classList.remove("armed");
    if (id) for (const element of document.querySelectorAll(`[data-id="${CSS.escape(id)}"]`)) element.classList.add("armed");
  }

  store.addEventListener("state", ({ detail }) => {
    if (!("learn" in detail) || !document.body.classList.contains("teaching")) return;
    const { armed, target, caught, forgot, file, words, error } = detail.learn ?? {};
    light(armed);
    if (armed) asked = armed;
    if (armed) say(`${armed}: touch a knob`);
    else if (asked && target === asked && error) say(`${asked}: ${error}`);
    else if (asked && target === asked && caught) {
      say(`${asked}: ${caught}, written to ${file.split(/[\\/]/).pop()}${words ? `; ${words}` : ""}`);
    } else if (asked && target === asked && forgot) say(forgot);
  });
  store.addEventListener("forget", ({ detail }) => (asked = detail));
  status.addEventListener("error", ({ detail }) => {
    if (document.body.classList.contains("teaching")) say(detail);
  });
  return { toggle, teaching };
}
