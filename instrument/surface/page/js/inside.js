// The view of the inside: attention, neurons, memory, pace. What is not open is not asked for.

import { attention } from "./attention.js";
import { memory } from "./memory.js";
import { neurons } from "./neurons.js";
import { named } from "./parts.js";
import { pace } from "./plots.js";

const PARTS = [
  ["Attention", "where the words act", attention],
  ["Neurons", "how loud they are, band by band", neurons],
  ["Memory", "the frames that are remembered, oldest first", memory],
  ["Pace", "the last half minute", pace],
];

/** Builds the view in `root`; returns how to end it. */
export function inside({ store, insight, heat }, root) {
  const list = named("div", "inside");
  const ends = PARTS.map(([title, what, make]) => {
    const part = named("section", "part");
    const head = named("h2", "", title);
    head.id = `inside-${title.toLowerCase()}`;
    head.append(named("span", "what", what));
    part.setAttribute("aria-labelledby", head.id);
    part.append(head);
    list.append(part);
    return make({ store, insight, heat }, part);
  });
  root.replaceChildren(list);
  return () => {
    for (const end of ends) end();
    root.replaceChildren();
  };
}
