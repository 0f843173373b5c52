// Strips, one for each of some things that come and go: what kind it is, its first knob, its switches. One is looked at.

import { Controls } from "./control.js";
import { onPress } from "./finger.js";
import { button, keepingFocus, named } from "./parts.js";

export class Strips {
  element = named("div", "strips");
  #store;
  #controls;
  #made = ""; // what they were made of
  #rows = new Map(); // name -> element

  constructor(store, label) {
    this.#store = store;
    this.#controls = new Controls(store);
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", label);
  }

  get rows() {
    return this.#rows;
  }

  /** One for each of `things`, by their `name`; `make(controls, thing)` builds it. Built anew only when they are others. */
  show(things, make) {
    const made = JSON.stringify(things);
    if (made === this.#made) return;
    this.#made = made;
    this.#controls.end();
    this.#controls = new Controls(this.#store);
    this.#rows = new Map(things.map((thing) => [thing.name, make(this.#controls, thing)]));
    keepingFocus(this.element, () => this.element.replaceChildren(...this.#rows.values()));
  }

  /** Their parameters may be others: build them anew the next time. */
  forget() {
    this.#made = "";
  }

  /** Mark the one looked at, "" for none. */
  mark(name) {
    for (const [each, row] of this.#rows) {
      row.classList.toggle("chosen", each === name);
      row.querySelector(".site").setAttribute("aria-pressed", each === name);
    }
  }

  end() {
    this.#controls.end();
  }
}

/** A strip of the bend or modulator `name`, with `knob` as the first of its parameters; touching either looks at it. */
export function strip(controls, { name, kind, spoken, knob }, look) {
  const row = named("div", "strip");
  const site = button("site", kind, look);
  site.setAttribute("aria-label", `look at ${spoken}`);
  const main = controls.make(knob, name);
  onPress(main, look);
  main.addEventListener("focusin", look);
  row.append(site, main);
  controls.watch(`${name}.on`, (on) => row.classList.toggle("muted", !on));
  return row;
}

/** A switch that has only a word's room. */
export function small(controls, id, text) {
  const toggle = controls.make(id, text);
  toggle?.classList.add("small", id.split(".").at(-1));
  return toggle;
}
