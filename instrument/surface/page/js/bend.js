// Everything of one bend: its amounts, the picture of the network with its window over steps and layers, the words,
// neurons and heads that it holds, and whatever else its description lists.

import { Controls, label } from "./control.js";
import { NetworkPicture, lightIds } from "./network.js";
import { button, heading, named, rows } from "./parts.js";
import { showHeads, showWords } from "./scopes.js";
import { windowOf } from "./span.js";

const AXES = ["layers", "steps"];

/** Builds it in `root`; `add` is the button for another bend. Returns how to end it. */
export function detail(store, root, bend, add) {
  const controls = new Controls(store);
  const name = bend.name;
  const network = store.state.network ?? { steps: 1, layers: 1, heads: 1, neurons: 1 };
  const picture = new NetworkPicture(store, (steps, layers) => {
    store.set(`${name}.steps`, steps);
    store.set(`${name}.layers`, layers);
  });
  const others = bend.amounts.filter((amount) => amount !== bend.main); // that one stands in its strip
  const amounts = named("div", "rows");
  amounts.append(...others.map((amount) => controls.make(`${name}.${amount}`)).filter(Boolean));
  root.append(
    head(store, bend, add), holds(controls, store, name, network), amounts,
    where(controls, store, name, network, picture), rest(controls, store, bend),
  );
  const lit = new Set((store.state.bends ?? []).flatMap(lightIds).concat("master.mix"));
  for (const id of lit) controls.watch(id, () => picture.draw());
  controls.hear("state", () => picture.draw());
  picture.draw();
  return () => {
    controls.end();
    picture.end();
    root.replaceChildren();
  };
}

function head(store, bend, add) {
  const made = heading(
    bend.name, bend.lever, add,
    button("quiet", "duplicate", () => store.set("bend.duplicate", bend.name)),
    button("quiet", "remove", () => store.set("bend.remove", bend.name)),
  );
  made.dataset.site = bend.site;
  made.firstChild.title = store.state.levers?.find((lever) => lever.id === bend.lever)?.doc ?? "";
  return made;
}

/** The words, neurons and heads that it can be scoped to. */
function holds(controls, store, name, network) {
  const box = named("div", "holds");
  if (store.has(`${name}.tokens`)) box.append(tokens(controls, store, name));
  if (store.has(`${name}.band.center`)) box.append(neurons(controls, store, name, network.neurons));
  if (store.has(`${name}.heads`)) box.append(heads(controls, store, name, network.heads));
  return box;
}

/** The picture of the network, and the windows over its layers and steps. */
function where(controls, store, name, network, picture) {
  const box = named("div", "where");
  box.append(picture.element);
  for (const axis of AXES) {
    const last = Math.max(network[axis] - 1, 1);
    if (!store.has(`${name}.${axis}.center`)) continue;
    box.append(span(controls, store, { id: `${name}.${axis}`, label: axis, last, write: counted }));
  }
  return box;
}

/** Whatever else its description lists. */
function rest(controls, store, bend) {
  const windows = [...AXES, "band"].flatMap((axis) => [`${axis}.center`, `${axis}.width`]);
  const placed = new Set(["on", "solo", ...bend.amounts, ...windows].map((field) => `${bend.name}.${field}`));
  const left = store.params.filter((param) => param.id.startsWith(`${bend.name}.`) && !placed.has(param.id));
  return rows(left.map((param) => controls.make(param.id, label(param))));
}

const counted = (lo, hi) => {
  const [from, to] = [lo, hi].map((end) => (Number.isInteger(end) ? end : end.toFixed(1)));
  return from === to ? `${from}` : `${from} – ${to}`;
};

/** A window with two handles for `id.center`, `id.width` and, as its soft edge, `id.feather`. */
function span(controls, store, spec) {
  const bar = document.createElement("span-bar");
  const neutral = [0, spec.last];
  bar.setup({ ...spec, neutral }, (lo, hi) => store.set(spec.id, [lo, hi]));
  const show = () => bar.show(...windowOf(store, spec.id, spec.last), store.value(`${spec.id}.feather`) ?? 0);
  for (const part of ["center", "width", "feather"]) controls.watch(`${spec.id}.${part}`, show);
  return bar;
}

function titled(text, element) {
  const box = named("div", "hold");
  box.append(named("h3", "", text), element);
  return box;
}

function tokens(controls, store, name) {
  const chips = named("div", "chips");
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", `words ${name} holds`);
  const id = `${name}.tokens`;
  const show = () => {
    const { prompt, held, apart } = store.state;
    const now = { prompt, text: store.value(id), held: held?.[name] ?? [], apart: apart?.[name] ?? {} };
    showWords(chips, now, (text) => store.set(id, text));
  };
  controls.watch(id, show);
  controls.hear("state", (changes) => {
    if ("prompt" in changes || "held" in changes || "apart" in changes) show();
  });
  return titled("words", chips);
}

function heads(controls, store, name, count) {
  const dots = named("div", "dots");
  dots.setAttribute("role", "group");
  dots.setAttribute("aria-label", `heads ${name} holds`);
  const id = `${name}.heads`;
  controls.watch(id, (text) => showHeads(dots, text, count, (chosen) => store.set(id, chosen)));
  return titled("heads", dots);
}

function neurons(controls, store, name, count) {
  const write = (lo, hi) => {
    const [from, to] = [Math.round(lo * count), Math.max(Math.round(hi * count) - 1, Math.round(lo * count))];
    return `${from} – ${to}`;
  };
  return span(controls, store, { id: `${name}.band`, label: "neurons", last: 1, fine: true, write });
}
