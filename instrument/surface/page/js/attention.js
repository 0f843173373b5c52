// A strip of what every piece of the prompt does: a small map each. A click puts it over the picture.

import { chooser, counted } from "./chooser.js";
import { named } from "./parts.js";

const INK = [143, 211, 200];

/** Builds the part in `root`; returns how to end it. */
export function attention({ insight, heat }, root) {
  const where = named("div", "choosers");
  const strip = named("div", "strip");
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "Words of the prompt");
  const clear = named("button", "chip", "clear");
  clear.type = "button";
  clear.addEventListener("click", () => heat.clear());
  const parts = {
    layer: chooser("layer", counted(0, "mean"), null, (value) => look("layer", value)),
    step: chooser("step", counted(0, "mean"), null, (value) => look("step", value)),
    head: chooser("head", counted(0, "mean"), null, (value) => look("head", value)),
  };
  where.append(...Object.values(parts), clear);
  root.append(where, strip);
  let thumbs = [];

  function look(part, value) {
    heat.look(part, value);
    insight.want("strip", { map: heat.place });
  }

  function build(facts) {
    parts.layer.fill(counted(facts.layers, "mean"), heat.place.layer);
    parts.step.fill([...counted(facts.steps, "mean"), ["cache", "cache"]], heat.place.step);
    parts.head.fill(counted(facts.heads, "mean"), heat.place.head);
    thumbs = facts.tokens.map((word, token) => thumb(word, token));
    strip.replaceChildren(...thumbs.map(({ button }) => button));
    mark();
    insight.want("strip", { map: heat.place }); // what was wanted may not be there any more
  }

  function thumb(word, token) {
    const button = named("button", "thumb");
    button.type = "button";
    const canvas = document.createElement("canvas");
    const weight = named("span", "weight");
    button.append(canvas, named("span", "word", word), weight);
    button.addEventListener("click", () => heat.toggle(token));
    return { button, canvas, weight, word };
  }

  function mark() {
    thumbs.forEach(({ button }, token) => {
      const colour = heat.colour(token);
      button.setAttribute("aria-pressed", Boolean(colour));
      button.style.setProperty("--own", colour ? `rgb(${colour.join(" ")})` : "transparent");
    });
    clear.disabled = !heat.any;
  }

  function draw({ tokens, rows, columns, shades, means }) {
    if (tokens !== thumbs.length) return;
    const most = Math.max(...means, 1e-12);
    thumbs.forEach(({ canvas, weight }, token) => {
      if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
      const pen = canvas.getContext("2d");
      const image = pen.createImageData(columns, rows);
      for (let i = 0; i < rows * columns; i++) {
        const shade = shades[token * rows * columns + i];
        image.data.set([...(heat.colour(token) ?? INK), shade], 4 * i);
      }
      pen.putImageData(image, 0, 0);
      weight.style.transform = `scaleX(${means[token] / most})`;
    });
  }

  const ends = [insight.hear("facts", build), insight.hear("map", draw)];
  heat.addEventListener("chosen", mark);
  if (insight.facts) build(insight.facts);
  insight.want("strip", { map: heat.place });
  return () => {
    for (const end of ends) end();
    heat.removeEventListener("chosen", mark);
    insight.want("strip", null);
  };
}
