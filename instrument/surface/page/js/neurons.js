// Hidden neurons: their loudness band by band, time running to the left, and the loudest by name. A click on one puts it
// into the scope of a bend; drawing over the bands sets the bend's band.

import { chooser, counted } from "./chooser.js";
import { named } from "./parts.js";

const COLUMNS = 160; // looks kept in sight
const FADE = 0.99; // how slowly the loudest and the quietest of late are forgotten
const NAMES_EVERY = 1000; // ms: names that changed with every look could not be hit
const NAMED = 12;
const ECHO = 1000; // ms in which the instrument tells what was set
const SHADES = Array.from({ length: 256 }, (_, i) => {
  const [low, high] = [Math.min(i / 150, 1), Math.max(0, (i - 150) / 105)];
  return [12 + 24 * low + 219 * high, 13 + 140 * low + 100 * high, 16 + 130 * low + 100 * high].map(Math.round);
});

/** Builds the part in `root`; returns how to end it. */
export function neurons({ store, insight }, root) {
  const place = { layer: null, step: null };
  let sent = { id: "" }; // the scope set last
  let into = ""; // the bend whose scope is set
  const where = named("div", "choosers");
  const layer = chooser("layer", counted(0, "all"), null, (value) => look("layer", value));
  const step = chooser("step", [[null, "last"]], null, (value) => look("step", value));
  const bend = chooser("scope of", [], "", (value) => (into = value));
  const whole = named("label", "tick", "and its layer");
  const alsoLayer = document.createElement("input");
  alsoLayer.type = "checkbox";
  whole.prepend(alsoLayer);
  where.append(layer, step, bend, whole);
  const canvas = named("canvas", "bands");
  canvas.setAttribute("role", "img");
  const top = named("div", "top");
  top.setAttribute("role", "group");
  top.setAttribute("aria-label", "Loudest neurons");
  const none = named("p", "empty", "No bend here has neurons in its scope; add one of ffn.hidden.");
  root.append(where, canvas, top, none);
  let latest = new Map(); // layer -> {bands, top, loudness}
  let span = new Map(); // layer -> [quietest, loudest] of late
  const buttons = Object.assign([], { at: -Infinity }); // the buttons of the loudest, and when they were named

  function look(part, value) {
    place[part] = value;
    latest = new Map();
    span = new Map();
    canvas.width = 0;
    buttons.at = -Infinity;
    canvas.setAttribute("aria-label", `Loudness of neurons, ${place.layer === null ? "all layers" : `layer ${place.layer}`}`);
    insight.want("neurons", { neurons: { ...place } });
  }

  function build(facts) {
    if (place.layer !== null && place.layer >= facts.layers) place.layer = null;
    if (typeof place.step === "number" && place.step >= facts.steps) place.step = null;
    layer.fill(counted(facts.layers, "all"), place.layer);
    step.fill([...counted(facts.steps, "last"), ["cache", "cache"]], place.step);
    latest = new Map();
    span = new Map();
    canvas.width = 0;
    insight.want("neurons", { neurons: { ...place } }); // what was wanted may not be there any more
  }

  /** Bends that can be scoped to neurons; the one looked at elsewhere is meant, if it is one. */
  function offer() {
    const bends = store.params.filter(({ id }) => id.endsWith(".neurons")).map(({ id }) => id.slice(0, -".neurons".length));
    if (bends.includes(store.selected)) into = store.selected;
    else if (!bends.includes(into)) into = bends[0] ?? "";
    bend.fill(bends.map((name) => [name, name]), into);
    bend.hidden = whole.hidden = !bends.length;
    none.hidden = Boolean(bends.length);
  }

  function draw(layers) {
    for (const seen of layers) latest.set(seen.layer, seen);
    const order = [...latest.keys()].sort((a, b) => a - b);
    const height = order.reduce((sum, at) => sum + latest.get(at).bands.length, 0);
    if (canvas.height !== height || canvas.width !== COLUMNS) [canvas.width, canvas.height] = [COLUMNS, height];
    const pen = canvas.getContext("2d");
    pen.drawImage(canvas, -1, 0);
    const image = pen.createImageData(1, height);
    let y = 0;
    for (const at of order) {
      const { bands } = latest.get(at);
      const [low, high] = [Math.min(...bands), Math.max(...bands)];
      const [before, after] = span.get(at) ?? [low, high];
      const [least, most] = [Math.min(low, before + (low - before) * (1 - FADE)), Math.max(high, after + (high - after) * (1 - FADE))];
      span.set(at, [least, most]);
      for (const loud of bands) {
        const shade = SHADES[Math.round((255 * (loud - least)) / Math.max(most - least, 1e-9))];
        image.data.set([...shade, 255], 4 * y++);
      }
    }
    pen.putImageData(image, COLUMNS - 1, 0);
    name(order);
  }

  /** The neurons that stand out most from their layer. They stay as they are while a hand is near. */
  function name(order) {
    const now = performance.now();
    if (now - buttons.at < NAMES_EVERY || top.matches(":hover, :focus-within")) return;
    buttons.at = now;
    const found = order.flatMap((at) => {
      const { bands, top, loudness } = latest.get(at);
      const usual = Math.sqrt(bands.reduce((sum, loud) => sum + loud * loud, 0) / bands.length) || 1;
      return top.map((neuron, i) => ({ at, neuron, share: loudness[i] / usual }));
    });
    found.sort((a, b) => b.share - a.share);
    found.splice(NAMED);
    while (buttons.length < found.length) buttons.push(button());
    top.replaceChildren(...buttons.slice(0, found.length).map((own) => own.button));
    found.forEach(({ at, neuron, share }, i) => {
      const own = buttons[i];
      own.seen = { at, neuron };
      own.text.data = place.layer === null ? `${at}·${neuron}` : `${neuron}`;
      own.button.setAttribute("aria-label", `${own.text.data}: neuron ${neuron} of layer ${at}`);
      own.loud.style.transform = `scaleX(${share / found[0].share})`;
    });
  }

  function button() {
    const own = { button: named("button", "neuron"), loud: named("span", "weight"), seen: null };
    own.text = document.createTextNode("");
    own.button.type = "button";
    own.button.append(own.text, own.loud);
    own.button.addEventListener("click", () => put(own.seen));
    return own;
  }

  /** Into the scope, or out of it again where it is there already. "all" gives way to the first one. */
  function put({ at, neuron }) {
    const id = `${into}.neurons`;
    if (!store.has(id)) return;
    const before = store.value(id);
    // What was sent a moment ago may not have come back yet.
    const unheard = sent.id === id && sent.before === before && performance.now() - sent.when < ECHO;
    const held = String(unheard ? sent.text : before).split(",").map((part) => part.trim()).filter((part) => part && part !== "all");
    const others = held.filter((part) => part !== `${neuron}`);
    const now = others.length < held.length ? others : [...held, `${neuron}`];
    sent = { id, before, text: now.length ? now.join(", ") : "all", when: performance.now() };
    store.set(id, sent.text);
    if (alsoLayer.checked) {
      store.set(`${into}.layers.center`, at);
      store.set(`${into}.layers.width`, 0);
    }
  }

  /** Drawing up or down over the bands of one layer sets the band; a click takes one band. */
  function brush(event) {
    if (!latest.size || !store.has(`${into}.band.center`)) return;
    const box = canvas.getBoundingClientRect();
    const bands = latest.values().next().value.bands.length;
    const row = (y) => Math.min(Math.max(Math.floor(((y - box.top) / box.height) * canvas.height), 0), canvas.height - 1);
    const start = row(event.clientY);
    const first = start - (start % bands); // of the layer begun on
    const move = ({ clientY, pointerId }) => {
      if (pointerId !== event.pointerId) return; // another finger
      const [low, high] = [start, Math.min(Math.max(row(clientY), first), first + bands - 1)].sort((a, b) => a - b);
      store.set(`${into}.band.center`, ((low + high + 1) / 2 - first) / bands);
      store.set(`${into}.band.width`, (high - low + 1) / bands);
    };
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("lostpointercapture", () => canvas.removeEventListener("pointermove", move), { once: true });
    move(event);
  }

  canvas.addEventListener("pointerdown", brush);
  const ends = [insight.hear("facts", build), insight.hear("neurons", draw)];
  store.addEventListener("structure", offer);
  store.addEventListener("selected", offer);
  if (insight.facts) build(insight.facts);
  offer();
  look("layer", null);
  return () => {
    for (const end of ends) end();
    store.removeEventListener("structure", offer);
    store.removeEventListener("selected", offer);
    insight.want("neurons", null);
  };
}
