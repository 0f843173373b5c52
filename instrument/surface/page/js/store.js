// What the page knows of the instrument: every parameter with its latest value, the state of play, the status. Views
// watch what they show and nothing else. Knows no element of the page.
//
// Events: "structure" (parameters came or went), "state" (detail: the keys that changed), "status", "selected" (another
// bend is looked at).

export class Store extends EventTarget {
  params = []; // descriptions, in the order of the instrument
  state = {}; // what is played: network, bends, prompt, snapshots, ...
  status = {};
  selected = ""; // the bend looked at
  #ids = new Map(); // id -> {param, value, heard, watchers}
  #link = null;

  connect(link) {
    this.#link = link;
  }

  /** New parameters; who watches an id that is still there goes on watching it. */
  describe(params) {
    const before = this.#ids;
    this.params = params;
    this.#ids = new Map();
    for (const param of params) {
      const watchers = before.get(param.id)?.watchers ?? new Set();
      this.#ids.set(param.id, { param, value: param.value, heard: null, watchers });
    }
    this.#tell("structure");
    for (const [id, entry] of this.#ids) if (before.has(id)) this.#call(entry);
  }

  has(id) {
    return this.#ids.has(id);
  }

  /** The description of a parameter; undefined where there is none. */
  param(id) {
    return this.#ids.get(id)?.param;
  }

  /** What the hand set. */
  value(id) {
    return this.#ids.get(id)?.value;
  }

  /** What is heard now: the value with what moves it. */
  heard(id) {
    const entry = this.#ids.get(id);
    return entry?.heard ?? entry?.value;
  }

  /** Call `act(value, heard)` now and whenever either changes; `heard` is null where nothing moves it. Returns how to end it. */
  watch(id, act) {
    const entry = this.#ids.get(id);
    if (!entry) return () => {};
    entry.watchers.add(act);
    act(entry.value, entry.heard);
    return () => entry.watchers.delete(act);
  }

  /** Values from the instrument, by place in the description. */
  numbers(places, values) {
    for (let i = 0; i < places.length; i++) {
      const entry = this.#ids.get(this.params[places[i]]?.id);
      if (!entry) continue;
      const { type } = entry.param;
      entry.value = type === "switch" ? values[i] >= 0.5 : values[i];
      this.#call(entry);
    }
  }

  /** What is heard of the parameters that move by themselves, by place; NaN: it rests. */
  moving(places, values) {
    for (let i = 0; i < places.length; i++) {
      const entry = this.#ids.get(this.params[places[i]]?.id);
      if (!entry) continue;
      entry.heard = Number.isNaN(values[i]) ? null : values[i];
      this.#call(entry);
    }
  }

  words(values) {
    for (const [id, value] of Object.entries(values)) {
      const entry = this.#ids.get(id);
      if (!entry) continue;
      entry.value = value;
      this.#call(entry);
    }
  }

  #call(entry) {
    for (const act of entry.watchers) act(entry.value, entry.heard);
  }

  // --- to the instrument ---

  set(id, value) {
    this.#link?.set(id, value);
  }

  trigger(id) {
    this.#link?.trigger(id);
  }

  /** Teach: the next control that is touched moves `id`; null gives up. */
  learn(id) {
    this.#link?.learn(id);
  }

  /** Unteach: what moves `id` by a binding of the player's own moves it no longer. */
  forget(id) {
    this.set("learn.forget", id);
    this.#tell("forget", id);
  }

  // --- what else is known ---

  play(changes) {
    Object.assign(this.state, changes);
    this.#tell("state", changes);
  }

  report(status) {
    this.status = status;
    this.#tell("status", status);
  }

  select(bend) {
    if (bend === this.selected) return;
    this.selected = bend;
    this.#tell("selected", bend);
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
