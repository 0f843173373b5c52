// Every parameter there is, a group at a time, and a search over all of them.

import { Controls } from "./control.js";
import { keepingFocus, named } from "./parts.js";

const MOST_FOUND = 60; // controls shown for a search

/** Builds the view in `root`; returns how to end it. */
export function all(store, root) {
  const outer = new Controls(store);
  let shown = new Controls(store);
  let group = "";
  const filter = root.querySelector("#filter");
  const groups = root.querySelector("#groups");
  const chips = named("div", "chips");
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", "Groups");
  const list = named("div", "rows");
  groups.replaceChildren(chips, list);

  function names() {
    return [...new Set(store.params.map((param) => param.group || "other"))];
  }

  function chosen() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return store.params.filter((param) => (param.group || "other") === group);
    return store.params.filter((param) => words.every((word) => `${param.id} ${param.group}`.toLowerCase().includes(word)));
  }

  function draw() {
    if (!names().includes(group)) group = names()[0] ?? "";
    chips.hidden = Boolean(filter.value.trim());
    chips.replaceChildren(...names().map((name) => {
      const chip = named("button", "chip", name);
      chip.type = "button";
      chip.setAttribute("aria-pressed", name === group);
      chip.addEventListener("click", () => {
        group = name;
        keepingFocus(document, draw);
      });
      return chip;
    }));
    shown.end();
    shown = new Controls(store);
    const found = chosen();
    const controls = found.slice(0, MOST_FOUND).map((param) => shown.make(param.id, filter.value.trim() ? param.id : undefined));
    list.replaceChildren(...controls);
    const left = found.length - controls.length;
    if (left > 0) list.append(named("p", "empty wide", `and ${left} more; write more of the name`));
    if (!found.length) list.append(named("p", "empty wide", "no parameter has this in its name"));
  }

  const redraw = () => keepingFocus(document, draw);
  filter.addEventListener("input", redraw);
  outer.hear("structure", redraw);
  redraw();
  return () => {
    filter.removeEventListener("input", redraw);
    outer.end();
    shown.end();
    groups.replaceChildren();
  };
}
