// What moves by itself: each modulator with its depth and what it gives now; below, everything of the one looked at.

import { Controls } from "./control.js";
import { button, named } from "./parts.js";

/** Builds the view in `root`; returns how to end it. */
export function modulators(store, root) {
  const outer = new Controls(store);
  let strips = new Controls(store);
  let below = new Controls(store);
  let chosen = "";
  let shown = "";
  const list = named("div", "strips");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Modulators");
  const pane = named("div", "pane");
  root.replaceChildren(list, pane);

  const all = () => Object.entries(store.state.modulators ?? {}).filter(([name]) => store.has(`${name}.depth`));

  function draw() {
    const there = all();
    if (JSON.stringify(there) !== shown) {
      shown = JSON.stringify(there);
      strips.end();
      strips = new Controls(store);
      list.replaceChildren(...there.map(([name, kind]) => strip(store, strips, name, kind, look)));
      if (!there.length) list.append(named("p", "empty", "this patch has no modulators; write them in its file"));
    }
    look(there.some(([name]) => name === chosen) ? chosen : there[0]?.[0] ?? "");
    meter();
  }

  function look(name) {
    for (const row of list.querySelectorAll(".strip")) {
      row.classList.toggle("chosen", row.dataset.modulator === name);
      row.querySelector(".site").setAttribute("aria-pressed", row.dataset.modulator === name);
    }
    if (name === chosen && pane.firstChild) return;
    chosen = name;
    below.end();
    below = new Controls(store);
    const placed = [`${name}.on`, `${name}.depth`];
    const params = store.params.filter((param) => param.id.startsWith(`${name}.`) && !placed.includes(param.id));
    const rows = named("div", "rows");
    const made = params.map((param) => below.make(param.id));
    const isWide = (control) => control.classList.contains("wide");
    rows.append(...made.filter((control) => !isWide(control)), ...made.filter(isWide));
    const head = named("header", "bend-head");
    const title = named("h2", "", name);
    title.append(named("span", "", store.state.modulators?.[name] ?? ""));
    head.append(title);
    pane.replaceChildren(...(name ? [head, rows] : []));
  }

  function meter() {
    for (const row of list.querySelectorAll(".strip")) {
      const signal = store.state.signals?.[row.dataset.modulator] ?? 0;
      row.querySelector(".meter i").style.transform = `scaleX(${Math.max(-1, Math.min(1, signal))})`;
    }
  }

  outer.hear("structure", () => {
    shown = "";
    pane.replaceChildren();
    draw();
  });
  outer.hear("state", (changes) => {
    if ("modulators" in changes) draw();
    if ("signals" in changes) meter();
  });
  draw();
  return () => {
    for (const controls of [outer, strips, below]) controls.end();
    root.replaceChildren();
  };
}

function strip(store, controls, name, kind, look) {
  const row = named("div", "strip");
  row.dataset.modulator = name;
  const site = button("site", kind, () => look(name));
  site.setAttribute("aria-label", `look at ${name}`);
  const depth = controls.make(`${name}.depth`, name);
  depth.addEventListener("pointerdown", () => look(name));
  depth.addEventListener("focusin", () => look(name));
  const meter = named("span", "meter");
  meter.title = "what it gives now, -1 to 1";
  meter.append(named("i", ""));
  const on = controls.make(`${name}.on`, "on");
  on.classList.add("small", "on");
  row.append(site, depth, meter, on);
  controls.watch(`${name}.on`, (value) => row.classList.toggle("muted", !value));
  controls.watch(`${name}.to`, (to) => (depth.title = `moves ${to || "nothing"}`));
  return row;
}
