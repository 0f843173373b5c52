// The line at the foot: what is being recorded, how it plays, and what went wrong.

import { named } from "./parts.js";

const SHOWN = [
  ["fps", "made", " fps", 1],
  ["fps_sent", "sent", " fps", 1],
  ["latency_ms", "knob to frame", " ms", 0],
  ["step_ms", "step", " ms", 0],
];

/** 75 -> "1:15". */
export function lasted(seconds) {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  const two = (number) => `${number}`.padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A file's name without its folders. */
export const bare = (path) => path.split(/[\\/]/).pop();

export class Status extends EventTarget {
  #line;
  #messages;
  #facts = new Map();

  constructor(line, messages) {
    super();
    this.#line = line;
    this.#messages = messages;
    line.append(messages.line);
  }

  show(status) {
    this.#record(status.outputs ?? []);
    for (const [key, name, unit, digits] of SHOWN) {
      if (!(key in status)) continue;
      const value = status[key];
      this.#fact(key, name, typeof value === "number" ? value.toFixed(digits) + unit : "–");
    }
    if (typeof status.cache === "string") this.#fact("cache", "cache", status.cache);
    this.#messages.report(status.warnings ?? []);
  }

  /** What is recorded, first in the line; nothing where nothing is. */
  #record(outputs) {
    const takes = outputs.filter((output) => output.writing);
    if (takes.length) {
      const more = takes.length > 1 ? ` and ${takes.length - 1} more` : "";
      this.#fact("recording", "rec", `${lasted(takes[0].seconds)} ${bare(takes[0].writing)}${more}`);
      const element = this.#facts.get("recording").parentElement;
      if (this.#line.firstChild !== element) this.#line.prepend(element);
    } else {
      this.#facts.get("recording")?.parentElement.remove();
      this.#facts.delete("recording");
    }
  }

  #fact(key, name, text) {
    if (!this.#facts.has(key)) {
      const element = named("span", key, `${name} `);
      this.#facts.set(key, element.appendChild(document.createElement("b")));
      this.#line.append(element);
      this.#line.append(this.#messages.line);
    }
    const value = this.#facts.get(key);
    if (value.textContent !== text) value.textContent = text;
  }

  error(text) {
    this.dispatchEvent(new CustomEvent("error", { detail: text }));
    this.#messages.say(text);
  }
}
