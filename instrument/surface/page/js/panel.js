// One control for every parameter, made from its description. Groups named in FRONT stand under the picture, the others at its side; those in BELOW after the bends.

import "./bar.js";
import "./pads.js";
import "./words.js";
import { named } from "./parts.js";

const TAGS = {
  number: "param-bar", switch: "param-switch", choice: "param-choice", text: "param-words", trigger: "param-trigger",
};
const FRONT = ["prompt", "engine"];
const BELOW = ["snapshot", "morph", "clock", "patch", "mapping", "out"];

/** What is written on a control: its id without its group. */
function label(param) {
  const own = param.group && param.id.startsWith(`${param.group}.`) ? param.id.slice(param.group.length + 1) : param.id;
  return (own === "text" ? param.group : own).replaceAll("_", " ").replaceAll(".", " ");
}

export class Panel {
  #side;
  #front;
  #link;
  #places = []; // controls in the order of the description
  #ids = new Map();
  #filter = "";

  constructor(side, front, link) {
    this.#side = side;
    this.#front = front;
    this.#link = link;
  }

  /** Build everything anew; the scroll position and the focused control stay. */
  build(params) {
    const focused = document.activeElement?.getAttribute("aria-label");
    const scroll = this.#side.scrollTop;
    this.#places = [];
    this.#ids.clear();
    const groups = new Map();
    for (const param of params) {
      const control = this.#control({ ...param, label: label(param) });
      const name = param.group || "other";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(control);
    }
    const sections = [...groups].map(([name, controls]) => [name, section(name, controls)]);
    const inFront = ([name]) => FRONT.includes(name);
    this.#front.replaceChildren(...sections.filter(inFront).map(([, element]) => element));
    const rank = ([name]) => BELOW.indexOf(name); // -1, before all others, for the bends
    const side = sections.filter((pair) => !inFront(pair)).sort((a, b) => rank(a) - rank(b));
    this.#side.replaceChildren(...side.map(([, element]) => element));
    this.filter(this.#filter);
    this.#side.scrollTop = scroll;
    if (focused) document.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #control(param) {
    const control = document.createElement(TAGS[param.type]);
    const send = param.type === "trigger" ? () => this.#link.trigger(param.id) : (value) => this.#link.set(param.id, value);
    control.setup(param, send);
    control.dataset.find = `${param.id} ${param.group}`.toLowerCase();
    this.#places.push(control);
    this.#ids.set(param.id, control);
    return control;
  }

  numbers(pairs) {
    for (const [place, value] of pairs) this.#places[place]?.show(value);
  }

  words(values) {
    for (const [id, value] of Object.entries(values)) this.#ids.get(id)?.show(value);
  }

  /** Show only controls whose id contains every word of `text`. */
  filter(text) {
    this.#filter = text;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of this.#side.children) {
      const controls = [...group.querySelectorAll("[data-find]")];
      for (const control of controls) control.hidden = !words.every((word) => control.dataset.find.includes(word));
      group.hidden = controls.every((control) => control.hidden);
    }
  }
}

function section(name, controls) {
  const element = named("section", "group");
  element.setAttribute("aria-label", name);
  const rows = named("div", "rows");
  const isWide = (control) => control.classList.contains("wide");
  rows.append(...controls.filter((control) => !isWide(control)), ...controls.filter(isWide));
  element.append(named("h2", "", name), rows);
  return element;
}
