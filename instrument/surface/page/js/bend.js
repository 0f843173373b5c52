// Everything of one bend: its amounts, the picture of the network with its window over steps and layers, the words,
// neurons and heads that it holds, and whatever else its description lists.

import { Controls, label } from "./control.js";
import { NetworkPicture, lightIds } from "./network.js";
import { button, named } from "./parts.js";
import { showHeads, showWords } from "./scopes.js";
import { windowOf } from "./span.js";

/** Builds it in `root`; `add` is the button for another bend. Returns how to end it. */
export function detail(store, root, bend, add) {
  const controls = new Controls(store);
  const name = bend.name;
  const network = store.state.network ?? { steps: 1, layers: 1, heads: 1, neurons: 1 };
  const placed = new Set(["on", "solo"].map((field) => `${name}.${field}`));
  const place = (...ids) => ids.forEach((id) => placed.add(id));

  const head = named("header", "bend-head");
  head.dataset.site = bend.site;
  const title = named("h2", "", name);
  title.append(named("span", "", bend.lever));
  title.title = store.state.levers?.find((lever) => lever.id === bend.lever)?.doc ?? "";
  head.append(
    title,
    add,
    button("quiet", "duplicate", () => store.set("bend.duplicate", name)),
    button("quiet", "remove", () => store.set("bend.remove", name)),
  );

  const amounts = named("div", "rows");
  const others = bend.amounts.filter((amount) => amount !== bend.main); // that one stands in its strip
  amounts.append(...others.map((amount) => controls.make(`${name}.${amount}`)).filter(Boolean));
  bend.amounts.forEach((amount) => place(`${name}.${amount}`));

  const where = named("div", "where");
  const spans = ["layers", "steps"].filter((axis) => store.has(`${name}.${axis}.center`));
  const picture = new NetworkPicture(store, (steps, layers) => {
    store.set(`${name}.steps`, steps);
    store.set(`${name}.layers`, layers);
  });
  where.append(picture.element);
  for (const axis of spans) {
    const last = Math.max(network[axis] - 1, 1);
    where.append(span(controls, store, { id: `${name}.${axis}`, label: axis, last, write: counted }));
    place(`${name}.${axis}.center`, `${name}.${axis}.width`);
  }
  const relight = () => picture.draw();
  const lit = new Set((store.state.bends ?? []).flatMap(lightIds).concat("master.mix"));
  for (const id of lit) controls.watch(id, relight);
  controls.hear("state", relight);

  const holds = named("div", "holds");
  if (store.has(`${name}.tokens`)) holds.append(tokens(controls, store, name));
  if (store.has(`${name}.band.center`)) holds.append(neurons(controls, store, name, network.neurons));
  if (store.has(`${name}.heads`)) holds.append(heads(controls, store, name, network.heads));
  place(`${name}.band.center`, `${name}.band.width`);

  const rest = named("div", "rows");
  const left = store.params.filter((param) => param.id.startsWith(`${name}.`) && !placed.has(param.id));
  const made = left.map((param) => controls.make(param.id, label(param)));
  rest.append(...made.filter((each) => !each.classList.contains("wide")), ...made.filter((each) => each.classList.contains("wide")));
  root.append(head, holds, amounts, where, rest);
  picture.draw();
  return () => {
    controls.end();
    picture.end();
    root.replaceChildren();
  };
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
    const { prompt, held } = store.state;
    showWords(chips, { prompt, text: store.value(id), held: held?.[name] ?? [] }, (text) => store.set(id, text));
  };
  controls.watch(id, show);
  controls.hear("state", (changes) => {
    if ("prompt" in changes || "held" in changes) show();
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
