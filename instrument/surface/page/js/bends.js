// The bends of the patch: one strip each with what its first knob turns, on and solo; below, everything of the one looked
// at. Bends come and go here while it plays.

import { detail } from "./bend.js";
import { Controls } from "./control.js";
import { onPress } from "./finger.js";
import { button, named } from "./parts.js";
import { SITES } from "./network.js";

/** Builds the view in `root`; returns how to end it. */
export function bends(store, root) {
  const view = new Bends(store, root);
  return () => view.end();
}

class Bends {
  #store;
  #root;
  #list = named("div", "strips");
  #pane = named("div", "pane");
  #outer;
  #strips;
  #endDetail = () => {};
  #shown = ""; // what the strips were made of
  #below = ""; // what the detail was made of
  #choosing = false;
  #known = null; // names of the bends when another was asked for; it is looked at as soon as it is there
  #add = button("quiet", "add", () => {
    this.#choosing = !this.#choosing;
    this.#draw();
  });

  constructor(store, root) {
    this.#store = store;
    this.#root = root;
    this.#outer = new Controls(store);
    this.#strips = new Controls(store);
    this.#list.setAttribute("role", "group");
    this.#list.setAttribute("aria-label", "Bends");
    root.replaceChildren(this.#list, this.#pane);
    this.#outer.hear("structure", () => {
      this.#shown = this.#below = "";
      this.#draw();
    });
    this.#outer.hear("state", (changes) => {
      if ("bends" in changes || "network" in changes || "levers" in changes) this.#draw();
    });
    this.#outer.hear("refused", () => {
      if (!this.#known) return;
      this.#known = null;
      this.#choosing = true; // to choose again
      this.#draw();
    });
    this.#outer.hear("selected", () => {
      this.#choosing = false;
      this.#mark();
      this.#open();
    });
    this.#draw();
  }

  end() {
    this.#outer.end();
    this.#strips.end();
    this.#endDetail();
    this.#root.replaceChildren();
  }

  get #all() {
    return (this.#store.state.bends ?? []).filter((bend) => this.#store.has(`${bend.name}.on`));
  }

  #draw() {
    const there = this.#all;
    const come = this.#known && there.find((bend) => !this.#known.has(bend.name));
    if (come) {
      this.#known = null;
      this.#store.select(come.name);
    } else if (!there.some((bend) => bend.name === this.#store.selected)) this.#store.select(there[0]?.name ?? "");
    if (JSON.stringify(there) !== this.#shown) this.#drawStrips(there);
    this.#add.setAttribute("aria-expanded", this.#choosing);
    this.#add.textContent = this.#choosing ? "cancel" : "add";
    this.#mark();
    this.#open();
    if (come) this.#list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  }

  #drawStrips(there) {
    this.#shown = JSON.stringify(there);
    const focused = document.activeElement?.getAttribute("aria-label");
    this.#strips.end();
    this.#strips = new Controls(this.#store);
    this.#list.replaceChildren(...there.map((bend) => strip(this.#store, this.#strips, bend)));
    if (focused) this.#list.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #mark() {
    for (const element of this.#list.querySelectorAll(".strip")) {
      const chosen = element.dataset.bend === this.#store.selected && !this.#choosing;
      element.classList.toggle("chosen", chosen);
      element.querySelector(".site").setAttribute("aria-pressed", chosen);
    }
  }

  /** Below the strips: the bend looked at, or the levers to choose from; built anew only when that is another. */
  #open() {
    const store = this.#store;
    const bend = this.#all.find((each) => each.name === store.selected);
    const fields = store.params.filter((param) => param.id.startsWith(`${store.selected}.`)).map((param) => param.id);
    const levers = `levers ${store.state.levers?.length}`;
    const key = this.#choosing ? levers : JSON.stringify([bend, fields, store.state.network]);
    if (key === this.#below) return;
    const kept = key.slice(0, 40) === this.#below.slice(0, 40) ? this.#pane.scrollTop : 0;
    this.#below = key;
    this.#endDetail();
    this.#endDetail = () => {};
    this.#pane.replaceChildren();
    if (this.#choosing) chooser(store, this.#pane, this.#add, () => this.#wait());
    else if (bend) this.#endDetail = detail(store, this.#pane, bend, this.#add);
    else this.#pane.append(heading("no bends yet", "add one"), this.#add);
    this.#pane.scrollTop = kept;
  }

  #wait() {
    this.#choosing = false;
    this.#known = new Set(this.#all.map((bend) => bend.name));
    this.#draw();
  }
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
  onPress(main, look);
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
