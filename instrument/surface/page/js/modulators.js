// What moves by itself: each modulator with its depth and what it gives now; below, everything of the one looked at. They
// come and go here while it plays.

import { Controls } from "./control.js";
import { newModulator } from "./newmodulator.js";
import { button, heading, named, rows } from "./parts.js";
import { Strips, small, strip } from "./strips.js";

const PATIENCE = 3000; // ms after which an answer is lost

/** Builds the view in `root`; returns how to end it. */
export function modulators(store, root) {
  const view = new Modulators(store, root);
  return () => view.end();
}

class Modulators {
  #store;
  #root;
  #pane = named("div", "pane");
  #outer;
  #strips;
  #below;
  #chosen = "";
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
    this.#strips = new Strips(store, "Modulators");
    this.#below = new Controls(store);
    root.replaceChildren(this.#strips.element, this.#pane);
    this.#outer.hear("structure", () => {
      this.#strips.forget();
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
    for (const part of [this.#outer, this.#strips, this.#below]) part.end();
    this.#root.replaceChildren();
  }

  get #all() {
    const all = Object.entries(this.#store.state.modulators ?? {}).map(([name, kind]) => ({ name, kind }));
    return all.filter(({ name }) => this.#store.has(`${name}.depth`));
  }

  #draw() {
    const there = this.#all;
    const come = this.#known && there.find(({ name }) => !this.#known.has(name));
    if (come) {
      this.#asked(null);
      this.#choosing = false;
      this.#chosen = come.name;
    } else if (!there.some(({ name }) => name === this.#chosen)) this.#chosen = there[0]?.name ?? "";
    this.#strips.show(there, (controls, modulator) => modulatorStrip(controls, modulator, (name) => this.#look(name)));
    this.#add.setAttribute("aria-expanded", this.#choosing);
    this.#add.textContent = this.#choosing ? "cancel" : "add";
    this.#strips.mark(this.#choosing ? "" : this.#chosen);
    this.#fill();
    this.#meter();
    if (come) this.#strips.rows.get(come.name).scrollIntoView({ block: "nearest" });
  }

  #look(name) {
    this.#choosing = false;
    this.#chosen = name;
    this.#draw();
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
    const names = () => new Set(this.#all.map(({ name }) => name));
    if (this.#choosing) newModulator(store, this.#pane, this.#add, () => this.#asked(names()));
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
    if (!name) return heading("no modulators yet", "add one", this.#add);
    return heading(
      name, store.state.modulators?.[name] ?? "", this.#add,
      button("quiet", "duplicate", () => store.set("modulator.duplicate", name)),
      button("quiet", "remove", () => store.set("modulator.remove", name)),
    );
  }

  #settings(name) {
    const placed = [`${name}.on`, `${name}.depth`]; // those stand in its strip
    const params = this.#store.params.filter((param) => param.id.startsWith(`${name}.`) && !placed.includes(param.id));
    return rows(name ? params.map((param) => this.#below.make(param.id)) : []);
  }

  #meter() {
    for (const [name, row] of this.#strips.rows) {
      const signal = this.#store.state.signals?.[name] ?? 0;
      row.querySelector(".meter i").style.transform = `scaleX(${Math.max(-1, Math.min(1, signal))})`;
    }
  }
}

function modulatorStrip(controls, { name, kind }, look) {
  const row = strip(controls, { name, kind, spoken: name, knob: `${name}.depth` }, () => look(name));
  row.dataset.modulator = name;
  const meter = named("span", "meter");
  meter.title = "what it gives now, -1 to 1";
  meter.append(named("i", ""));
  row.append(meter, small(controls, `${name}.on`, "on"));
  controls.watch(`${name}.to`, (to) => (row.querySelector("param-bar").title = `moves ${to || "nothing"}`));
  return row;
}
