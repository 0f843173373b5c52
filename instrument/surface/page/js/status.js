// The line at the foot: how it plays, and what went wrong.

import { named } from "./parts.js";

const SHOWN = [
  ["fps", "made", " fps", 1],
  ["fps_sent", "sent", " fps", 1],
  ["latency_ms", "knob to frame", " ms", 0],
  ["step_ms", "step", " ms", 0],
];
const LINGER = 5000; // ms an error stays

export class Status extends EventTarget {
  #line;
  #facts = new Map();
  #warning = named("span", "warning");
  #error = "";

  constructor(line) {
    super();
    this.#line = line;
    this.#warning.setAttribute("role", "status"); // told aloud; numbers that never rest are not
    line.append(this.#warning);
  }

  show(status) {
    for (const [key, name, unit, digits] of SHOWN) {
      if (!(key in status)) continue;
      const value = status[key];
      this.#fact(key, name, typeof value === "number" ? value.toFixed(digits) + unit : "–");
    }
    if (typeof status.cache === "string") this.#fact("cache", "cache", status.cache);
    this.#warn(this.#error || (status.warnings ?? []).toReversed().join(" · ")); // the newest is not cut off
  }

  #fact(key, name, text) {
    if (!this.#facts.has(key)) {
      const element = named("span", "", `${name} `);
      this.#facts.set(key, element.appendChild(document.createElement("b")));
      this.#line.append(element);
      this.#line.append(this.#warning);
    }
    const value = this.#facts.get(key);
    if (value.textContent !== text) value.textContent = text;
  }

  #warn(text) {
    if (this.#warning.textContent === text) return;
    this.#warning.textContent = this.#warning.title = text;
    if (!this.#warning.isConnected) this.#line.append(this.#warning);
  }

  error(text) {
    this.#error = text;
    this.dispatchEvent(new CustomEvent("error", { detail: text }));
    this.#warn(text);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.#error = "";
      this.#warn("");
    }, LINGER);
  }
}
