// The instrument itself: outputs, engine, cache, video, and any group of parameters that no other view has.

import { Controls } from "./control.js";
import { keepingFocus, named } from "./parts.js";
import { OWN, outputs } from "./outputs.js";
import { HAND } from "./stage.js";

const ELSEWHERE = ["prompt", "snapshot", "morph", "patch", "clock", "bend", "modulator"];

/** Builds the view in `root`; returns how to end it. */
export function engine(store, root) {
  const outer = new Controls(store);
  let controls = new Controls(store);

  function draw() {
    const played = new Set([...(store.state.bends ?? []).map((bend) => bend.name), ...Object.keys(store.state.modulators ?? {})]);
    const groups = new Map();
    for (const param of store.params) {
      const name = param.group || "other";
      if (ELSEWHERE.includes(name) || played.has(name) || HAND.includes(param.id) || OWN.includes(param.id)) continue;
      groups.set(name, [...(groups.get(name) ?? []), param.id]);
    }
    const scroll = root.firstChild?.scrollTop ?? 0;
    controls.end();
    controls = new Controls(store);
    const pane = named("div", "pane");
    pane.append(...[outputs(store, controls)].filter(Boolean), ...[...groups].map(([name, ids]) => {
      const part = named("section", "part");
      part.setAttribute("aria-label", name);
      const rows = named("div", "rows");
      rows.append(...ids.map((id) => controls.make(id)));
      part.append(named("h2", "", name), rows);
      return part;
    }));
    keepingFocus(root, () => root.replaceChildren(pane));
    pane.scrollTop = scroll;
  }

  outer.hear("structure", draw);
  outer.hear("state", (changes) => ("bends" in changes || "modulators" in changes) && draw());
  draw();
  return () => {
    outer.end();
    controls.end();
    root.replaceChildren();
  };
}
