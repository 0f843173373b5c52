// A labelled list to choose from, and what it is often filled with.

import { named } from "./parts.js";

/** A labelled list to choose from: `options` are [value, text]; `act(value)` hears the choice. */
export function chooser(name, options, chosen, act) {
  const label = named("label", "chooser");
  const select = document.createElement("select");
  label.append(named("span", "", name), select);
  const fill = (options, chosen) => {
    select.replaceChildren(...options.map(([value, text]) => {
      const option = named("option", "", text);
      option.value = JSON.stringify(value);
      option.selected = value === chosen;
      return option;
    }));
  };
  fill(options, chosen);
  select.addEventListener("change", () => act(JSON.parse(select.value)));
  return Object.assign(label, { fill });
}

/** Options for one of `count` things, or the mean of all. */
export const counted = (count, all) => [[null, all], ...Array.from({ length: count }, (_, i) => [i, `${i}`])];
