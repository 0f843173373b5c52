// Snapshots as pads, morphs between them and the clock; and the set list, which setlist.js makes.

import { Controls, label } from "./control.js";
import { button, keepingFocus, named } from "./parts.js";
import { setList } from "./setlist.js";
import "./square.js";

/** Builds the view in `root`; returns how to end it. */
export function snapshots(store, root) {
  const outer = new Controls(store);
  let controls = new Controls(store);
  let timer = 0;

  function draw() {
    const scroll = root.firstChild?.scrollTop ?? 0;
    controls.end();
    controls = new Controls(store);
    const used = new Set();
    const make = (id, text) => {
      used.add(id);
      return controls.make(id, text);
    };
    const scroller = named("div", "pane");
    scroller.append(
      titled("snapshots", pads(store, controls, used)),
      titled("morph", morph(store, controls, make)),
      titled("set list", setList(store, controls, make)),
      titled("clock", clock(store, controls, make)),
    );
    const groups = ["snapshot", "morph", "patch", "clock"];
    const left = store.params.filter((param) => groups.includes(param.group) && !used.has(param.id));
    if (left.length) {
      const rows = named("div", "rows");
      rows.append(...left.map((param) => controls.make(param.id, `${param.group} ${label(param)}`)));
      scroller.append(titled("more", rows));
    }
    keepingFocus(root, () => root.replaceChildren(scroller));
    scroller.scrollTop = scroll;
  }

  outer.hear("structure", draw);
  draw();
  timer = setInterval(() => beat(store, root), 50);
  return () => {
    clearInterval(timer);
    outer.end();
    controls.end();
    root.replaceChildren();
  };
}

function titled(text, ...elements) {
  const section = named("section", "part");
  section.setAttribute("aria-label", text);
  section.append(named("h2", "", text), ...elements);
  return section;
}

/** Tap: recall. Shift, or the store switch first: store. A pad that holds something is lit. */
function pads(store, controls, used) {
  const grid = named("div", "pads");
  const keep = button("keep", "store", () => arm(keep.getAttribute("aria-pressed") !== "true"));
  const arm = (on) => {
    keep.setAttribute("aria-pressed", on);
    grid.classList.toggle("storing", on);
  };
  const slots = store.params.map((param) => param.id.match(/^snapshot\.(\d+)\.recall$/)?.[1]).filter(Boolean);
  const made = slots.map((slot) => {
    const [recall, take] = [`snapshot.${slot}.recall`, `snapshot.${slot}.store`];
    used.add(recall).add(take);
    const pad = button("pad", "", (event) => {
      const storing = event.shiftKey || grid.classList.contains("storing");
      store.trigger(storing ? take : recall);
      arm(false);
    });
    pad.dataset.id = recall;
    pad.append(named("b", "", slot), " ", named("span", "", ""));
    controls.teach(pad, recall);
    const flash = (count) => {
      if (pad.count !== undefined && pad.count !== count) {
        for (const other of grid.querySelectorAll(".now")) other.classList.remove("now");
        pad.classList.add("now");
      }
      pad.count = count;
    };
    controls.watch(recall, flash);
    return [slot, pad];
  });
  const show = () => {
    for (const [slot, pad] of made) {
      const name = store.state.snapshots?.[slot];
      pad.classList.toggle("full", name !== undefined);
      pad.lastChild.textContent = name === undefined ? "empty" : name === slot ? "stored" : name;
      pad.setAttribute("aria-label", `snapshot ${slot} ${pad.lastChild.textContent}`);
    }
  };
  controls.hear("state", show);
  arm(false);
  show();
  grid.append(...made.map(([, pad]) => pad), keep);
  return grid;
}

function morph(store, controls, make) {
  const box = named("div", "morph");
  const bars = named("div", "rows");
  bars.append(...["morph.position", "morph.from", "morph.to", "morph.seconds", "snapshot.goto"].map((id) =>
    make(id, { "morph.position": "fader", "morph.seconds": "over", "snapshot.goto": "recall" }[id])).filter(Boolean));
  bars.firstChild?.classList.add("wide", "fader");
  if (store.has("morph.x") && store.has("morph.y")) {
    const square = document.createElement("xy-square");
    square.setup((x, y) => {
      store.set("morph.x", x);
      store.set("morph.y", y);
    });
    const place = () => square.show(store.heard("morph.x"), store.heard("morph.y"));
    controls.watch("morph.x", place);
    controls.watch("morph.y", place);
    const names = () => square.name((store.value("morph.corners") ?? "").split(/\s+/).map((slot) =>
      store.state.snapshots?.[slot] ?? slot));
    controls.watch("morph.corners", names);
    controls.hear("state", names);
    box.append(square);
    bars.append(...["morph.x", "morph.y", "morph.corners"].map((id) => make(id, label(store.param(id)))).filter(Boolean));
  }
  box.append(bars);
  return box;
}

function clock(store, controls, make) {
  const box = named("div", "rows");
  const dots = named("div", "beats wide");
  dots.setAttribute("aria-hidden", "true");
  controls.watch("clock.bar", (count) => dots.replaceChildren(...Array.from({ length: count }, () => named("i", "", ""))));
  const ids = ["clock.tempo", "clock.tap", "clock.bar", "clock.downbeat", "clock.source", "clock.quantise"];
  box.append(dots, ...ids.map((id) => make(id)).filter(Boolean));
  controls.hear("status", (status) => {
    dots.told = { beat: status.beat, tempo: status.tempo, at: performance.now() };
  });
  return box;
}

/** Light the beat of the bar, between two reports by the tempo. */
function beat(store, root) {
  const dots = root.querySelector(".beats");
  if (!dots?.told || typeof dots.told.beat !== "number") return;
  const now = dots.told.beat + ((performance.now() - dots.told.at) / 60000) * dots.told.tempo;
  const lit = Math.floor(now) % dots.children.length;
  [...dots.children].forEach((dot, i) => dot.classList.toggle("on", i === lit));
}
