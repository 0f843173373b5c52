// What is to be known, in words: whole, over the picture, as long as it is news; in short in the status line as long as
// it lasts; and the last of it in a list, which a tap on the line opens.

import { button, named } from "./parts.js";

const LEAST = 6000; // ms that something is news
const READING = 60; // ms more a letter
const TOGETHER = 2; // pieces of news at once
const KEPT = 12; // in the list

export class Messages {
  #news;
  #list;
  #lasting = []; // what the instrument warned of last
  #fresh = new Map(); // text -> the timer that ends it, the newest last
  #said = new Set(); // of those, what the instrument does not tell again by itself
  #past = []; // {text, at}, the newest first

  /** `news` is where it stands while it is new, `list` the list. */
  constructor(news, list) {
    this.#news = news;
    this.#list = list;
    this.line = button("warning", "", () => this.#open(list.hidden));
    this.line.setAttribute("aria-controls", list.id);
    this.#open(false);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#open(false));
    document.addEventListener("pointerdown", ({ target }) => {
      if (!list.contains(target) && !this.line.contains(target)) this.#open(false);
    });
  }

  /** All that the instrument warns of now, the newest last. */
  report(warnings) {
    if (warnings.join("\n") === this.#lasting.join("\n")) return;
    const before = this.#lasting;
    this.#lasting = warnings;
    for (const text of warnings) if (!before.includes(text)) this.#add(text);
    this.#draw();
  }

  /** One thing that is told once. */
  say(text) {
    this.#said.add(text);
    this.#add(text);
    this.#draw();
  }

  #add(text) {
    clearTimeout(this.#fresh.get(text));
    this.#fresh.delete(text); // so that it comes last
    this.#fresh.set(text, setTimeout(() => {
      this.#fresh.delete(text);
      this.#said.delete(text);
      this.#draw();
    }, LEAST + READING * text.length));
    this.#past = [{ text, at: new Date() }, ...this.#past.filter((each) => each.text !== text)].slice(0, KEPT);
  }

  #draw() {
    const news = [...this.#fresh.keys()].toReversed().slice(0, TOGETHER);
    const shown = [...this.#news.children];
    for (const each of shown) if (!news.includes(each.textContent)) each.remove();
    news.forEach((text, i) => {
      const there = shown.find((each) => each.textContent === text) ?? named("p", "", text);
      if (this.#news.children[i] !== there) this.#news.insertBefore(there, this.#news.children[i] ?? null);
    });
    const now = [...this.#said, ...this.#lasting].toReversed(); // the newest is not cut off
    this.line.textContent = now.join(" · ") || (this.#past.length ? "earlier" : "");
    this.line.classList.toggle("past", !now.length);
    if (!this.#list.hidden) this.#fill();
  }

  #open(wanted) {
    this.#list.hidden = !wanted;
    this.line.setAttribute("aria-expanded", wanted);
    if (!wanted) return;
    this.#list.style.bottom = `${innerHeight - this.line.parentElement.getBoundingClientRect().top}px`;
    this.#fill();
  }

  #fill() {
    const items = this.#past.map(({ text, at }) => {
      const item = named("li", "");
      const time = named("time", "", at.toTimeString().slice(0, 8));
      item.append(time, named("span", this.#lasting.includes(text) ? "lasts" : "", text));
      return item;
    });
    const list = document.createElement("ol");
    list.append(...items);
    this.#list.replaceChildren(list);
  }
}
