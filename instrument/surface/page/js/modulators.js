// What moves by itself: each modulator with its depth and what it gives now; below, everything of the one looked at. They
// come and go here while it plays.

import { Controls } from "./control.js";
import { onPress } from "./finger.js";
import { newModulator } from "./newmodulator.js";
import { button, named } from "./parts.js";

const PATIENCE = 3000; // ms after which an answer is lost

/** Builds the view in `root`; returns how to end it. */
export function modulators(store, root) {
  const view = new Modulators(store, root);
  return () => view.end();
}

class Modulators {
  #store;
  #root;
  #list = named("div", "strips");
  #pane = named("div", "pane");
  #outer;
  #strips;
  #below;
  #chosen = "";
  #shown = ""; // what the strips were made of
  #open = ""; // what the pane was made of
  #choosing = false;
  #known = null; // names when another was asked for; it is looked at as soon as it is there
  #patience;
  #add = button("quiet", "add", () => {
    this.#choosing = !this.#choosing;
    this.#draw();
  });

  constructor(store, root) {
    this.#store = store;
    this.#root = root;
    this.#outer = new Controls(store);
    this.#strips = new Controls(store);
    this.#below = new Controls(store);
    this.#list.setAttribute("role", "group");
    this.#list.setAttribute("aria-label", "Modulators");
    root.replaceChildren(this.#list, this.#pane);
    this.#outer.hear("structure", () => {
      this.#shown = "";
      if (!this.#choosing) this.#open = ""; // what is being written in a form stays
      this.#draw();
    });
    this.#outer.hear("state", (changes) => {
      if ("modulators" in changes || ("kinds" in changes && this.#choosing)) this.#draw();
      if ("signals" in changes) this.#meter();
    });
    this.#outer.hear("refused", () => this.#asked(null)); // the form is still there, to be put right
    this.#draw();
  }

  end() {
    this.#asked(null);
    for (const controls of [this.#outer, this.#strips, this.#below]) controls.end();
    this.#root.replaceChildren();
  }

  get #all() {
    return Object.entries(this.#store.state.modulators ?? {}).filter(([name]) => this.#store.has(`${name}.depth`));
  }

  #draw() {
    const there = this.#all;
    const come = this.#known && there.find(([name]) => !this.#known.has(name));
    if (come) {
      this.#asked(null);
      this.#choosing = false;
      this.#chosen = come[0];
    } else if (!there.some(([name]) => name === this.#chosen)) this.#chosen = there[0]?.[0] ?? "";
    if (JSON.stringify(there) !== this.#shown) this.#drawStrips(there);
    this.#add.setAttribute("aria-expanded", this.#choosing);
    this.#add.textContent = this.#choosing ? "cancel" : "add";
    this.#mark();
    this.#fill();
    this.#meter();
    if (come) this.#list.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  }

  #drawStrips(there) {
    this.#shown = JSON.stringify(there);
    const focused = document.activeElement?.getAttribute("aria-label");
    this.#strips.end();
    this.#strips = new Controls(this.#store);
    const look = (name) => this.#look(name);
    this.#list.replaceChildren(...there.map(([name, kind]) => strip(this.#store, this.#strips, name, kind, look)));
    if (focused) this.#list.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #look(name) {
    this.#choosing = false;
    this.#chosen = name;
    this.#draw();
  }

  #mark() {
    for (const row of this.#list.querySelectorAll(".strip")) {
      const chosen = row.dataset.modulator === this.#chosen && !this.#choosing;
      row.classList.toggle("chosen", chosen);
      row.querySelector(".site").setAttribute("aria-pressed", chosen);
    }
  }

  /** Below the strips: everything of the one looked at, or the kinds to choose from; built anew only when that is another. */
  #fill() {
    const store = this.#store;
    const key = this.#choosing ? `kinds ${store.state.kinds?.length}` : `of ${this.#chosen}`;
    if (key === this.#open) return;
    this.#open = key;
    this.#below.end();
    this.#below = new Controls(store);
    this.#pane.replaceChildren();
    if (this.#choosing) newModulator(store, this.#pane, this.#add, () => this.#asked(new Set(this.#all.map(([name]) => name))));
    else this.#pane.append(this.#heading(this.#chosen), this.#settings(this.#chosen));
  }

  /** One was asked for, when these were known; it comes or is refused. Until then the form takes nothing more. */
  #asked(known) {
    this.#known = known;
    this.#pane.inert = known !== null;
    clearTimeout(this.#patience);
    if (known) this.#patience = setTimeout(() => (this.#pane.inert = false), PATIENCE);
  }

  #heading(name) {
    const store = this.#store;
    const head = named("header", "bend-head");
    const title = named("h2", "", name || "no modulators yet");
    title.append(named("span", "", name ? store.state.modulators?.[name] ?? "" : "add one"));
    head.append(title, this.#add);
    if (name) {
      head.append(
        button("quiet", "duplicate", () => store.set("modulator.duplicate", name)),
        button("quiet", "remove", () => store.set("modulator.remove", name)),
      );
    }
    return head;
  }

  #settings(name) {
    const placed = [`${name}.on`, `${name}.depth`]; // those stand in its strip
    const params = this.#store.params.filter((param) => param.id.startsWith(`${name}.`) && !placed.includes(param.id));
    const made = name ? params.map((param) => this.#below.make(param.id)) : [];
    const isWide = (control) => control.classList.contains("wide");
    const rows = named("div", "rows");
    rows.append(...made.filter((control) => !isWide(control)), ...made.filter(isWide));
    return rows;
  }

  #meter() {
    for (const row of this.#list.querySelectorAll(".strip")) {
      const signal = this.#store.state.signals?.[row.dataset.modulator] ?? 0;
      row.querySelector(".meter i").style.transform = `scaleX(${Math.max(-1, Math.min(1, signal))})`;
    }
  }
}

function strip(store, controls, name, kind, look) {
  const row = named("div", "strip");
  row.dataset.modulator = name;
  const site = button("site", kind, () => look(name));
  site.setAttribute("aria-label", `look at ${name}`);
  const depth = controls.make(`${name}.depth`, name);
  onPress(depth, () => look(name));
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
