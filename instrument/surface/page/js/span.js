// A window on a line with two handles: layers, steps, a band of neurons. Drag an end, drag the middle, or brush a new one
// beside it; two fingers drag both ends. Double-click or two taps: everywhere. Keys move the end that has the focus. Ends fall on whole places; Shift, or `fine`, lets them stand between.

import { SLOP, isFinger, onTwice } from "./finger.js";
import { clamp } from "./scale.js";
import { named } from "./parts.js";

const MOUSE_SLOP = 3; // pixels
const GRAB = 16; // pixels around an end that take hold of it
const REST = 150; // ms after letting go during which the hand's own window stays

export class SpanBar extends HTMLElement {
  #last; // the line is 0..last
  #send;
  #write;
  #fine;
  #lo = 0;
  #hi = 0;
  #drags = new Map(); // pointer -> what it holds
  #heard = null;
  #resting = 0;

  /** `spec`: {id, label, last, fine, write(lo, hi) -> text, neutral: [lo, hi]}; `send(lo, hi)`. */
  setup(spec, send) {
    this.#last = spec.last;
    this.#fine = spec.fine ?? false;
    this.#write = spec.write;
    this.#send = send;
    this.well = named("div", "well");
    this.soft = named("span", "soft-edge");
    this.fill = named("span", "fill");
    this.value = named("span", "value");
    this.ends = ["lo", "hi"].map((end, which) => {
      const handle = named("span", `end ${end}`);
      handle.tabIndex = 0;
      handle.setAttribute("role", "slider");
      handle.setAttribute("aria-label", `${spec.id} ${end === "lo" ? "from" : "to"}`);
      handle.setAttribute("aria-valuemin", 0);
      handle.setAttribute("aria-valuemax", spec.last);
      handle.addEventListener("keydown", (event) => this.#key(event, which));
      return handle;
    });
    this.well.append(this.soft, this.fill, named("span", "name", spec.label), this.value, ...this.ends);
    this.well.title = `${spec.id}\ndrag an end, the middle, or a new window; double-click: everywhere`;
    this.append(this.well);
    this.well.addEventListener("pointerdown", (event) => this.#press(event));
    this.well.addEventListener("pointermove", (event) => this.#move(event));
    this.well.addEventListener("pointerup", (event) => this.#release(event));
    this.well.addEventListener("pointercancel", (event) => this.#cancel(event));
    onTwice(this.well, () => this.#set(...spec.neutral));
  }

  /** The window as the instrument has it; `feather` softens its edges. */
  show(lo, hi, feather = 0) {
    this.#heard = [lo, hi, feather];
    if (!this.#drags.size && !this.#resting) this.#draw(lo, hi, feather);
  }

  /** Places are cells where they are counted, points where they are not. */
  #share(place, end) {
    return this.#fine ? place / this.#last : (place + end) / (this.#last + 1);
  }

  #draw(lo, hi, feather) {
    this.#lo = lo;
    this.#hi = hi;
    const [from, to] = [clamp(this.#share(lo, 0), 0, 1), clamp(this.#share(hi, 1), 0, 1)];
    const edge = feather / (this.#fine ? this.#last : this.#last + 1);
    this.fill.style.left = `${100 * from}%`;
    this.fill.style.width = `${100 * (to - from)}%`;
    this.soft.style.left = `${100 * Math.max(from - edge, 0)}%`;
    this.soft.style.width = `${100 * (Math.min(to + edge, 1) - Math.max(from - edge, 0))}%`;
    this.ends[0].style.left = `${100 * from}%`;
    this.ends[1].style.left = `${100 * to}%`;
    const text = this.#write(lo, hi);
    if (this.value.textContent === text) return;
    this.value.textContent = text;
    [lo, hi].forEach((value, which) => this.ends[which].setAttribute("aria-valuenow", +value.toFixed(3)));
  }

  #set(lo, hi) {
    this.#draw(lo, hi, this.#heard?.[2] ?? 0);
    this.#send(lo, hi);
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = 0;
      if (this.#heard && !this.#drags.size) this.#draw(...this.#heard);
    }, REST);
  }

  #place(event) {
    const box = this.well.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1);
  }

  #press(event) {
    if (event.button !== 0) return;
    this.well.setPointerCapture(event.pointerId);
    const at = this.#place(event);
    this.#drags.set(event.pointerId, { grip: this.#grip(at), at, lo: this.#lo, hi: this.#hi, moved: false });
    this.classList.add("held");
  }

  /** What a hand at this place takes hold of; a second finger takes the end that the first leaves. */
  #grip(at) {
    const ends = [this.#share(this.#lo, 0), this.#share(this.#hi, 1)];
    const away = ends.map((end) => Math.abs(end - at) * this.well.clientWidth);
    const nearest = away[0] < away[1] || (away[0] === away[1] && at < ends[0]) ? 0 : 1;
    const [other] = this.#drags.values();
    if (other) {
      if (typeof other.grip !== "number") other.grip = other.at > at ? 1 : 0;
      return 1 - other.grip;
    }
    if (away[nearest] <= GRAB) return nearest;
    return at > ends[0] && at < ends[1] && !this.#isWhole() ? "middle" : "brush";
  }

  #isWhole() {
    return this.#lo <= 0 && this.#hi >= this.#last;
  }

  #move(event) {
    const drag = this.#drags.get(event.pointerId);
    if (!drag) return;
    const at = this.#place(event);
    const slop = isFinger(event) ? SLOP : MOUSE_SLOP;
    if (!drag.moved && Math.abs(at - drag.at) * this.well.clientWidth < slop) return;
    drag.moved = true;
    const free = this.#fine || event.shiftKey;
    const cells = this.#fine ? this.#last : this.#last + 1;
    const cell = (share) => clamp(free ? share * cells - (this.#fine ? 0 : 0.5) : Math.floor(share * cells), 0, this.#last);
    if (drag.grip === "brush") this.#set(...[cell(drag.at), cell(at)].sort((a, b) => a - b));
    else if (drag.grip === "middle") {
      const by = (at - drag.at) * cells;
      const shift = clamp(free ? by : Math.round(by), -drag.lo, this.#last - drag.hi);
      this.#set(drag.lo + shift, drag.hi + shift);
    } else if (drag.grip === 0) this.#set(Math.min(cell(at), this.#hi), this.#hi);
    else this.#set(this.#lo, Math.max(cell(at), this.#lo));
  }

  #release(event) {
    this.#drags.delete(event.pointerId);
    if (!this.#drags.size) this.classList.remove("held");
  }

  /** The browser took the finger for scrolling: what it moved so far was not meant. */
  #cancel(event) {
    const drag = this.#drags.get(event.pointerId);
    this.#release(event);
    if (drag?.moved && isFinger(event)) this.#set(drag.lo, drag.hi);
  }

  #key(event, which) {
    const unit = this.#fine ? this.#last / 100 : 1;
    const step = event.shiftKey ? unit / 10 : unit;
    const far = this.#fine ? this.#last / 10 : Math.max(1, Math.round(this.#last / 4));
    const by = {
      ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step, PageUp: far, PageDown: -far,
      Home: -Infinity, End: Infinity,
    }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const ends = [this.#lo, this.#hi];
    ends[which] = which ? clamp(ends[1] + by, ends[0], this.#last) : clamp(ends[0] + by, 0, ends[1]);
    this.#set(...ends);
  }
}

customElements.define("span-bar", SpanBar);

/** The ends of the window that `id.center` and `id.width` make, within 0..last. */
export function windowOf(store, id, last, read = (each) => store.value(each)) {
  const [center, width] = [read(`${id}.center`), read(`${id}.width`)];
  return [clamp(center - width / 2, 0, last), clamp(center + width / 2, 0, last)];
}

/** How far a place lies in a window, 0..1; as pipelines/bends/scope.py has it. */
export function weight(center, width, feather, place) {
  const least = feather > 0 ? 0 : 0.5;
  const outside = Math.abs(place - center) - Math.max(width / 2, least);
  if (outside <= 1e-6) return 1;
  return feather > 0 ? Math.max(0, 1 - outside / feather) : 0;
}
