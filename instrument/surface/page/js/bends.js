// The bends of the patch: one strip each with what its first knob turns, on and solo; below, everything of the one looked
// at. Bends come and go here while it plays.

import { detail } from "./bend.js";
import { Controls } from "./control.js";
import { button, named } from "./parts.js";
import { SITES } from "./network.js";

/** Builds the view in `root`; returns how to end it. */
export function bends(store, root) {
  const outer = new Controls(store);
  let strips = new Controls(store);
  let endDetail = () => {};
  let shown = ""; // what the strips were made of
  let below = ""; // what the detail was made of
  let choosing = false;
  const list = named("div", "strips");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Bends");
  const pane = named("div", "pane");
  const add = button("quiet", "add", () => {
    choosing = !choosing;
    draw();
  });
  root.replaceChildren(list, pane);

  function all() {
    return (store.state.bends ?? []).filter((bend) => store.has(`${bend.name}.on`));
  }

  function draw() {
    const there = all();
    const key = JSON.stringify(there);
    if (!there.some((bend) => bend.name === store.selected)) store.select(there[0]?.name ?? "");
    if (key !== shown) {
      shown = key;
      const focused = document.activeElement?.getAttribute("aria-label");
      strips.end();
      strips = new Controls(store);
      list.replaceChildren(...there.map((bend) => strip(store, strips, bend)));
      if (focused) list.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
    }
    add.setAttribute("aria-expanded", choosing);
    add.textContent = choosing ? "cancel" : "add";
    mark();
    open();
  }

  function mark() {
    for (const element of list.querySelectorAll(".strip")) {
      const chosen = element.dataset.bend === store.selected && !choosing;
      element.classList.toggle("chosen", chosen);
      element.querySelector(".site").setAttribute("aria-pressed", chosen);
    }
  }

  function open() {
    const bend = all().find((each) => each.name === store.selected);
    const fields = store.params.filter((param) => param.id.startsWith(`${store.selected}.`)).map((param) => param.id);
    const key = choosing ? `levers ${store.state.levers?.length}` : JSON.stringify([bend, fields, store.state.network]);
    if (key === below) return;
    const kept = key.slice(0, 40) === below.slice(0, 40) ? pane.scrollTop : 0;
    below = key;
    endDetail();
    endDetail = () => {};
    pane.replaceChildren();
    if (choosing) chooser(store, pane, add, close);
    else if (bend) endDetail = detail(store, pane, bend, add);
    else pane.append(heading("no bends yet", "add one"), add);
    pane.scrollTop = kept;
  }

  /** After a lever was chosen: the new bend is looked at as soon as it is there. */
  function close() {
    choosing = false;
    const before = new Set(all().map((bend) => bend.name));
    const look = () => {
      const come = all().find((bend) => !before.has(bend.name));
      if (!come) return;
      store.removeEventListener("state", look);
      store.removeEventListener("structure", look);
      store.select(come.name);
      draw();
      list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
    };
    for (const type of ["state", "structure"]) store.addEventListener(type, look);
    draw();
  }

  outer.hear("structure", () => {
    shown = below = "";
    draw();
  });
  outer.hear("state", (changes) => {
    if ("bends" in changes || "network" in changes || "levers" in changes) draw();
  });
  outer.hear("selected", () => {
    choosing = false;
    mark();
    open();
  });
  draw();
  return () => {
    outer.end();
    strips.end();
    endDetail();
    root.replaceChildren();
  };
}

function strip(store, controls, bend) {
  const row = named("div", "strip");
  row.dataset.bend = bend.name;
  row.dataset.site = bend.site;
  const look = () => store.select(bend.name);
  const site = button("site", bend.site, look);
  site.setAttribute("aria-label", `look at ${bend.name}, ${bend.lever}`);
  site.title = bend.lever;
  const main = controls.make(`${bend.name}.${bend.main}`, bend.name);
  main.addEventListener("pointerdown", look);
  main.addEventListener("focusin", look);
  const small = ["on", "solo"].map((field) => {
    const toggle = controls.make(`${bend.name}.${field}`, field === "solo" ? "S" : "on");
    toggle?.classList.add("small", field);
    return toggle;
  });
  row.append(site, main, ...small.filter(Boolean));
  controls.watch(`${bend.name}.on`, (on) => row.classList.toggle("muted", !on));
  return row;
}

function heading(text, small) {
  const head = named("header", "bend-head");
  const title = named("h2", "", text);
  title.append(named("span", "", small));
  head.append(title);
  return head;
}

/** Every lever there is; a click adds a bend of it. */
function chooser(store, pane, add, done) {
  const head = heading("a new bend", "choose what it does");
  head.append(add);
  const name = document.createElement("input");
  name.className = "field";
  name.placeholder = "a name, if you like";
  name.maxLength = 64;
  name.setAttribute("aria-label", "name of the new bend");
  pane.append(head, name);
  for (const site of SITES) {
    const levers = (store.state.levers ?? []).filter((lever) => lever.site === site);
    const rows = named("div", "levers");
    rows.dataset.site = site;
    rows.append(...levers.map((lever) => {
      const choice = button("lever", "", () => {
        store.set("bend.add", `${lever.id} ${name.value.trim().replaceAll(/\W+/g, "_")}`.trim());
        done();
      });
      choice.append(named("b", "", lever.id), named("span", "", lever.doc));
      return choice;
    }));
    pane.append(rows);
  }
}
