// What the model remembers: the latent frames its cache holds, oldest first, how old each is, which are pinned, and in
// colours the bends that each was made under.

import { named } from "./parts.js";

const COLOURS = ["#8fd3c8", "#ffa07a", "#b4a0ff", "#ffd666", "#78beff", "#f08cc8", "#a8e06c", "#ff8a7a"];

/** Builds the part in `root`; returns how to end it. */
export function memory({ store, insight }, root) {
  const list = named("ol", "held-frames");
  const legend = named("ul", "legend");
  root.append(list, legend);
  const colours = new Map(); // bend -> colour, in the order they were met
  let cells = [];

  function colour(bend) {
    if (!colours.has(bend)) colours.set(bend, COLOURS[colours.size % COLOURS.length]);
    return colours.get(bend);
  }

  function draw(frames) {
    const window = Math.max(insight.facts?.window ?? 0, frames.length);
    while (cells.length < window) cells.push(cell());
    list.replaceChildren(...cells.slice(0, window).map(({ item }) => item));
    cells.slice(0, window).forEach((own, i) => fill(own, frames[i]));
    const bends = [...new Set(frames.flatMap((frame) => frame.bends))].sort();
    legend.replaceChildren(...(bends.length ? bends.map(entry) : [named("li", "", "made with every bend at neutral")]));
  }

  function cell() {
    const item = named("li", "frame-held");
    const stripes = named("span", "stripes");
    const age = named("span", "age");
    item.append(stripes, age);
    return { item, stripes, age };
  }

  function fill({ item, stripes, age }, frame) {
    item.classList.toggle("sink", Boolean(frame?.sink));
    item.classList.toggle("free", !frame);
    age.textContent = frame ? `${frame.age}` : "";
    stripes.replaceChildren(...(frame?.bends ?? []).map((bend) => {
      const stripe = named("span", "");
      stripe.style.background = colour(bend);
      return stripe;
    }));
    item.title = frame ? words(frame) : "free";
    item.setAttribute("aria-label", item.title);
  }

  function words({ age, sink, bends }) {
    const { fps } = store.status;
    const pictures = insight.facts?.pictures; // in a latent frame
    const ago = fps && pictures ? ` (${((age * pictures) / fps).toFixed(1)} s ago)` : "";
    return `${age} frames old${ago}${sink ? ", kept for good" : ""}, ${bends.length ? `under ${bends.join(", ")}` : "unbent"}`;
  }

  function entry(bend) {
    const item = named("li", "");
    const swatch = named("span", "swatch");
    swatch.style.background = colour(bend);
    item.append(swatch, bend);
    return item;
  }

  const end = insight.hear("memory", draw);
  insight.want("memory", { memory: true });
  return () => {
    end();
    insight.want("memory", null);
  };
}
