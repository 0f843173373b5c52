// A number as a bar: drag it, Shift for fine, double-click or two taps for the default, wheel and arrow keys when it has the focus,
// Enter or a digit to type a value. A finger must move sideways first, so that scrolling past changes nothing.

import { SLOP, isFinger, onTwice } from "./finger.js";
import { clamp, format, map, snap, unmap } from "./scale.js";
import { named, well } from "./parts.js";

const FINE = 0.1; // of the usual movement
const STEP = 0.01; // of the travel, for an arrow key
const PAGE = 0.1;
const REST = 150; // ms after letting go during which the hand's own value stays

export class ParamBar extends HTMLElement {
  #param;
  #send;
  #heard; // the last value the instrument told
  #travel = 0;
  #drag = null;
  #resting = 0;

  setup(param, send) {
    this.#param = param;
    this.#send = send;
    this.well = well("div");
    this.fill = named("span", "fill");
    this.hand = named("span", "hand");
    this.mark = named("span", "mark");
    this.ghost = named("span", "ghost"); // where it is heard, when something moves it
    this.ghost.hidden = true;
    this.value = named("span", "value");
    this.number = this.value.appendChild(document.createTextNode(""));
    if (param.unit) this.value.append(named("span", "unit", param.unit));
    this.mark.style.left = `${100 * unmap(param, param.default)}%`;
    this.zero = param.lo < 0 && param.hi > 0 ? unmap(param, 0) : 0; // where the fill begins
    this.well.append(this.fill, this.ghost, this.hand, this.mark, named("span", "name", param.label), this.value);
    this.append(this.well);
    this.#describe();
    this.#listen();
    this.show(param.value);
  }

  #describe() {
    const { well } = this;
    well.tabIndex = 0;
    well.setAttribute("role", "slider");
    well.setAttribute("aria-label", this.#param.id);
    well.setAttribute("aria-valuemin", this.#param.lo);
    well.setAttribute("aria-valuemax", this.#param.hi);
    well.title = [this.#param.id, this.#param.doc].filter(Boolean).join("\n");
  }

  /** A value from the instrument; while a hand is on the bar it is only remembered. `heard`: with what moves it, or null. */
  show(value, heard = null) {
    if (heard !== this.moved) {
      this.moved = heard;
      this.ghost.hidden = heard === null;
      if (heard !== null) this.ghost.style.transform = `translateX(${100 * unmap(this.#param, heard)}%)`;
    }
    if (value === this.#heard && value === this.current) return;
    this.#heard = value;
    if (!this.#drag?.moving && !this.#resting && !this.entry) this.#draw(value);
  }

  #draw(value) {
    this.current = value;
    this.#travel = unmap(this.#param, value);
    const from = Math.min(this.zero, this.#travel);
    this.fill.style.transform = `translateX(${100 * from}%) scaleX(${Math.abs(this.#travel - this.zero)})`;
    this.hand.style.transform = `translateX(calc(${100 * this.#travel}% - ${2 * this.#travel}px))`;
    const text = format(this.#param, value);
    if (text === this.number.data) return;
    this.number.data = text;
    this.well.setAttribute("aria-valuenow", +value.toPrecision(6));
    this.well.setAttribute("aria-valuetext", this.#param.unit ? `${text} ${this.#param.unit}` : text);
  }

  #set(value) {
    this.#draw(value);
    this.#send(value);
    this.#rest();
  }

  /** For a moment the hand's value stays, while the instrument's older ones still arrive. */
  #rest() {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = 0;
      this.show(this.#heard, this.moved);
    }, REST);
  }

  #listen() {
    const { well } = this;
    well.addEventListener("pointerdown", (event) => this.#press(event));
    well.addEventListener("pointermove", (event) => this.#move(event));
    well.addEventListener("pointerup", (event) => this.#release(event));
    well.addEventListener("pointercancel", (event) => this.#cancel(event));
    onTwice(well, () => this.#set(this.#param.default));
    well.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    well.addEventListener("keydown", (event) => this.#key(event));
  }

  #press(event) {
    if (event.button !== 0 || event.target === this.entry || this.#drag) return;
    const { pointerId, clientX } = event;
    this.well.setPointerCapture(pointerId);
    this.#drag = {
      pointerId, x: clientX, start: clientX, travel: this.#travel, before: this.current, moving: !isFinger(event),
    };
    if (isFinger(event)) return;
    this.classList.add("held");
    if (!event.shiftKey) this.#jump(event.clientX);
  }

  #jump(x) {
    const box = this.well.getBoundingClientRect();
    this.#drag.travel = clamp((x - box.left) / box.width, 0, 1);
    this.#set(map(this.#param, this.#drag.travel));
  }

  #move(event) {
    const drag = this.#drag;
    if (drag?.pointerId !== event.pointerId) return;
    if (!drag.moving) {
      if (Math.abs(event.clientX - drag.start) < SLOP) return;
      drag.moving = true;
      drag.x = event.clientX;
      this.classList.add("held");
    }
    const speed = (event.shiftKey ? FINE : 1) / this.well.clientWidth;
    drag.travel = clamp(drag.travel + (event.clientX - drag.x) * speed, 0, 1);
    drag.x = event.clientX;
    this.#set(map(this.#param, drag.travel));
  }

  #release(event) {
    if (this.#drag?.pointerId !== event.pointerId) return;
    this.#drag = null;
    this.classList.remove("held");
  }

  /** The browser took the finger for scrolling: what it moved so far was not meant. */
  #cancel(event) {
    const drag = this.#drag;
    this.#release(event);
    if (!this.#drag && drag?.moving && isFinger(event)) this.#set(drag.before);
  }

  #wheel(event) {
    if (document.activeElement !== this.well) return; // else the list scrolls
    event.preventDefault();
    const size = Math.abs(event.deltaY) || Math.abs(event.deltaX);
    const direction = -Math.sign(event.deltaY || event.deltaX);
    this.#nudge(direction * STEP * clamp(size / 100, 0.1, 2) * (event.shiftKey ? FINE : 1));
  }

  #key(event) {
    if (event.target === this.entry || event.ctrlKey || event.metaKey || event.altKey) return;
    const fine = event.shiftKey ? FINE : 1;
    const actions = {
      ArrowRight: () => this.#nudge(STEP * fine),
      ArrowUp: () => this.#nudge(STEP * fine),
      ArrowLeft: () => this.#nudge(-STEP * fine),
      ArrowDown: () => this.#nudge(-STEP * fine),
      PageUp: () => this.#nudge(PAGE),
      PageDown: () => this.#nudge(-PAGE),
      Home: () => this.#set(this.#param.lo),
      End: () => this.#set(this.#param.hi),
      Delete: () => this.#set(this.#param.default),
      Backspace: () => this.#set(this.#param.default),
      Enter: () => this.#type(this.number.data.replace("−", "-")),
    };
    const digit = /^[-0-9.,]$/.test(event.key) ? () => this.#type(event.key, false) : null;
    const action = actions[event.key] ?? digit;
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Move by a share of the travel, at least one step of a stepped parameter. */
  #nudge(amount) {
    const { step } = this.#param;
    const before = this.current;
    let after = map(this.#param, this.#travel + amount);
    if (step > 0 && Math.abs(after - before) < step / 2) after = snap(this.#param, before + Math.sign(amount) * step);
    this.#set(after);
  }

  #type(text, select = true) {
    const entry = named("input", "entry");
    this.entry = entry;
    entry.inputMode = "decimal";
    entry.setAttribute("aria-label", `value of ${this.#param.id}`);
    entry.value = text;
    const finish = (keep) => {
      if (!this.entry) return;
      this.entry = null;
      const value = Number.parseFloat(entry.value.replace(",", ".").replace("−", "-"));
      const hadFocus = document.activeElement === entry;
      entry.remove();
      if (hadFocus) this.well.focus();
      if (keep && Number.isFinite(value)) this.#set(snap(this.#param, value));
      else this.show(this.#heard, this.moved);
    };
    entry.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") finish(false);
    });
    entry.addEventListener("blur", () => finish(true));
    this.well.append(entry);
    entry.focus();
    if (select) entry.select();
  }
}

customElements.define("param-bar", ParamBar);
