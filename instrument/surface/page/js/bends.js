// The bends of the patch, by site: one strip each with what its first knob turns, on and solo; below, everything of the
// one looked at. Bends come and go here while it plays.

import { detail } from "./bend.js";
import { Controls } from "./control.js";
import { button, heading, nameField, nameIn, named } from "./parts.js";
import { SITES } from "./network.js";
import { Strips, small, strip } from "./strips.js";

/** Builds the view in `root`; returns how to end it. */
export function bends(store, root) {
  const view = new Bends(store, root);
  return () => view.end();
}

class Bends {
  #store;
  #root;
  #pane = named("div", "pane");
  #outer;
  #strips;
  #endDetail = () => {};
  #below = ""; // what the detail was made of
  #choosing = false;
  #known = null; // names of the bends when another was asked for; it is looked at as soon as it is there
  #called = nameField("name of the new bend"); // stays where it was refused
  #add = button("quiet", "add", () => {
    this.#choosing = !this.#choosing;
    this.#draw();
  });

  constructor(store, root) {
    this.#store = store;
    this.#root = root;
    this.#outer = new Controls(store);
    this.#strips = new Strips(store, "Bends");
    root.replaceChildren(this.#strips.element, this.#pane);
    this.#outer.hear("structure", () => {
      this.#strips.forget();
      if (!this.#choosing) this.#below = ""; // what is being written in the form stays
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
    this.#outer.hear("selected", () => this.#look());
    this.#draw();
  }

  end() {
    this.#outer.end();
    this.#strips.end();
    this.#endDetail();
    this.#root.replaceChildren();
  }

  /** Those there are, grouped by site as the patch first has it; controllers may know them by their `place` in it. */
  get #all() {
    const there = (this.#store.state.bends ?? []).map((bend, index) => ({ ...bend, place: index + 1 }));
    const sites = there.map((bend) => bend.site);
    return there
      .filter((bend) => this.#store.has(`${bend.name}.on`))
      .sort((one, other) => sites.indexOf(one.site) - sites.indexOf(other.site));
  }

  #draw() {
    const there = this.#all;
    const come = this.#known && there.find((bend) => !this.#known.has(bend.name));
    if (come) {
      this.#known = null;
      this.#called.value = "";
      this.#store.select(come.name);
    } else if (!there.some((bend) => bend.name === this.#store.selected)) this.#store.select(there[0]?.name ?? "");
    this.#strips.show(there, (controls, bend) => bendStrip(controls, bend, (name) => this.#look(name)));
    this.#add.setAttribute("aria-expanded", this.#choosing);
    this.#add.textContent = this.#choosing ? "cancel" : "add";
    this.#strips.mark(this.#choosing ? "" : this.#store.selected);
    this.#open();
    if (come) this.#strips.rows.get(come.name).scrollIntoView({ block: "nearest" });
  }

  #look(name = this.#store.selected) {
    this.#choosing = false;
    if (name !== this.#store.selected) this.#store.select(name); // which is told to here too
    else this.#draw();
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
    if (this.#choosing) chooser(store, this.#pane, { add: this.#add, called: this.#called }, () => this.#wait());
    else if (bend) this.#endDetail = detail(store, this.#pane, bend, this.#add);
    else this.#pane.append(heading("no bends yet", "add one", this.#add));
    this.#pane.scrollTop = kept;
  }

  #wait() {
    this.#choosing = false;
    this.#known = new Set(this.#all.map((bend) => bend.name));
    this.#draw();
  }
}

function bendStrip(controls, { name, lever, site, main, place }, look) {
  const given = { name, kind: site, spoken: `${name}, ${lever}`, knob: `${name}.${main}` };
  const row = strip(controls, given, () => look(name));
  row.dataset.bend = name;
  row.dataset.site = site;
  row.firstChild.title = `${lever}, bend ${place} of the patch`;
  row.append(...[small(controls, `${name}.on`, "on"), small(controls, `${name}.solo`, "S")].filter(Boolean));
  return row;
}

/** Every lever there is; a click adds a bend of it, as it is `called`. */
function chooser(store, pane, { add, called }, done) {
  pane.append(heading("a new bend", "choose what it does", add), called);
  for (const site of SITES) {
    const levers = (store.state.levers ?? []).filter((lever) => lever.site === site);
    const rows = named("div", "levers");
    rows.dataset.site = site;
    rows.append(...levers.map((lever) => {
      const choice = button("lever", "", () => {
        store.set("bend.add", `${lever.id} ${nameIn(called)}`.trim());
        done();
      });
      choice.append(named("b", "", lever.id), named("span", "", lever.doc));
      return choice;
    }));
    pane.append(rows);
  }
}
