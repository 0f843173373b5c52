// The control for any parameter, made from its description alone: a new kind of bend needs nothing here.

import "./bar.js";
import "./listed.js";
import "./pads.js";
import "./span.js";
import "./words.js";
import { teach } from "./learn.js";

const TAGS = {
  number: "param-bar", switch: "param-switch", choice: "param-choice", text: "param-words", trigger: "param-trigger",
};

/** What is written on a control: its id without its group. */
export function label(param) {
  const { id, group } = param;
  const own = group && id.startsWith(`${group}.`) ? id.slice(group.length + 1) : id;
  return (own === "text" ? group : own).replaceAll("_", " ").replaceAll(".", " ");
}

/** Controls of one view; `end` lets go of all of them. */
export class Controls {
  #store;
  #ends = [];

  constructor(store) {
    this.#store = store;
  }

  /** A control that shows and sets the parameter `id`, or null where there is none. */
  make(id, text) {
    const store = this.#store;
    const param = store.param(id);
    if (!param) return null;
    const element = document.createElement(param.listed ? "param-listed" : TAGS[param.type]);
    const send = param.type === "trigger" ? () => store.trigger(id) : (value) => store.set(id, value);
    element.setup({ ...param, value: store.value(id), label: text ?? label(param) }, send);
    element.dataset.id = id;
    this.watch(id, (value, heard) => element.show(value, heard));
    if (param.type !== "text") this.teach(element, id);
    return element;
  }

  /** As `store.watch`, until the view ends. */
  watch(id, act) {
    this.#ends.push(this.#store.watch(id, act));
  }

  /** Let an element that is no parameter's own control be taught for one. */
  teach(element, id) {
    this.#ends.push(teach(this.#store, element, id));
  }

  /** Hear an event of the store until the view ends. */
  hear(type, act) {
    const listener = (event) => act(event.detail);
    this.#store.addEventListener(type, listener);
    this.#ends.push(() => this.#store.removeEventListener(type, listener));
  }

  end() {
    for (const end of this.#ends.splice(0)) end();
  }
}
