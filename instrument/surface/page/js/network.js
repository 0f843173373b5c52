// The network as a picture: three lanes (self, cross, ffn), in each its denoising steps and the cache pass over all
// layers. It lights where bends act: the one looked at in full, the others faintly. Drag over it to set its window.

import { SLOP, isFinger } from "./finger.js";
import { clamp } from "./scale.js";
import { named } from "./parts.js";
import { weight } from "./span.js";

export const SITES = ["self", "cross", "ffn"];
const COLOURS = { self: [178, 158, 255], cross: [130, 214, 200], ffn: [255, 190, 96] };
const GUTTER = 46; // pixels for the names of the lanes
const ROW = 11;
const THIN = 4; // the cache pass
const GAP = 8;

/** The values a bend's light depends on. */
export const lightIds = (bend) => [
  ...["steps", "layers"].flatMap((axis) => ["center", "width", "feather"].map((part) => `${bend.name}.${axis}.${part}`)),
  `${bend.name}.on`, `${bend.name}.solo`, `${bend.name}.persist`, ...bend.amounts.map((amount) => `${bend.name}.${amount}`),
];

export class NetworkPicture {
  #store;
  #pen;
  #brush = null;
  #due = 0;

  /** `onBrush(steps, layers)`: both [lo, hi]. */
  constructor(store, onBrush) {
    this.#store = store;
    this.element = named("div", "network");
    this.canvas = this.element.appendChild(document.createElement("canvas"));
    this.canvas.setAttribute("role", "img");
    this.#pen = this.canvas.getContext("2d");
    this.onBrush = onBrush;
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    this.canvas.addEventListener("pointerup", (event) => this.#release(event));
    this.canvas.addEventListener("pointercancel", () => (this.#brush = null));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.element);
  }

  end() {
    this.watcher.disconnect();
    cancelAnimationFrame(this.#due);
  }

  /** Draw at the next picture, once however often it is asked for. */
  draw() {
    if (!this.#due) {
      this.#due = requestAnimationFrame(() => {
        this.#due = 0;
        this.#paint();
      });
    }
  }

  get #net() {
    return this.#store.state.network ?? { steps: 1, layers: 1 };
  }

  #laneHeight() {
    return this.#net.steps * ROW + THIN + 1;
  }

  #paint() {
    const width = this.element.clientWidth;
    if (!width) return;
    this.#fit(width);
    const bends = this.#store.state.bends ?? [];
    const chosen = bends.find((bend) => bend.name === this.#store.selected);
    const solo = bends.some((bend) => this.#store.heard(`${bend.name}.solo`));
    const sounding = new Set(bends.filter((bend) => this.#sounds(bend, solo)));
    SITES.forEach((site, lane) => {
      const own = chosen?.site === site ? chosen : null;
      const others = bends.filter((bend) => bend.site === site && bend !== chosen && sounding.has(bend));
      this.#lane(site, lane * (this.#laneHeight() + GAP), width, { own, others, sounds: sounding.has(own) });
    });
    const { steps, layers } = this.#net;
    const does = sounding.has(chosen) ? "acts in" : "does nothing now, and would act in";
    const what = chosen ? `: ${chosen.name} ${does} the lit cells of ${chosen.site}` : "";
    this.canvas.setAttribute("aria-label", `The network, ${steps} steps by ${layers} layers${what}`);
  }

  /** Make the canvas as large as it is shown, and empty. */
  #fit(width) {
    const height = SITES.length * (this.#laneHeight() + GAP) - GAP;
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.height = `${height}px`;
    }
    this.#pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.#pen.clearRect(0, 0, width, height);
    this.#pen.font = "12px system-ui, sans-serif";
    this.#pen.textBaseline = "middle";
  }

  /** One site's cells, steps down and layers across, the cache pass thinly at the foot. */
  #lane(site, top, width, { own, others, sounds }) {
    const { steps, layers } = this.#net;
    const pen = this.#pen;
    const cell = (width - GUTTER) / layers;
    pen.fillStyle = own ? "#f1f2f4" : "#a7adb8";
    pen.fillText(site, 0, top + this.#laneHeight() / 2);
    for (let step = 0; step <= steps; step++) {
      const y = top + step * ROW + (step === steps ? 1 : 0);
      const tall = step === steps ? THIN : ROW - 1;
      for (let layer = 0; layer < layers; layer++) {
        const mine = own ? this.#weight(own, step, layer) : 0;
        const theirs = Math.max(0, ...others.map((bend) => this.#weight(bend, step, layer)));
        pen.fillStyle = this.#colour(site, mine, sounds, theirs);
        pen.fillRect(GUTTER + layer * cell, y, Math.max(cell - 1, 1), tall);
      }
    }
  }

  /** Dark where nothing acts; half lit where the bend looked at would act, but is neutral or off, or holds nothing. */
  #colour(site, own, sounds, others) {
    const [r, g, b] = COLOURS[site];
    const light = Math.max(own * (sounds ? 0.95 : 0.38), others * 0.24);
    return light ? `rgba(${r},${g},${b},${light})` : "#1a1d23";
  }

  /** Whether a bend does anything now: on, heard, off its neutral, and with something in its scope. */
  #sounds(bend, solo) {
    const heard = (field) => this.#store.heard(`${bend.name}.${field}`);
    if (!heard("on") || (solo && !heard("solo")) || this.#store.heard("master.mix") === 0) return false;
    if (this.#store.state.idle?.includes(bend.name)) return false;
    return bend.acts.some((amount) => heard(amount) !== this.#store.param(`${bend.name}.${amount}`)?.default);
  }

  #weight(bend, step, layer) {
    const span = (axis, place) => {
      const [center, width, feather] = ["center", "width", "feather"].map((part) =>
        this.#store.heard(`${bend.name}.${axis}.${part}`));
      return weight(center, width, feather, place);
    };
    const kept = this.#store.value(`${bend.name}.persist`) === "cache" ? 1 : 0;
    return (step === this.#net.steps ? kept : span("steps", step)) * span("layers", layer);
  }

  // --- the hand ---

  #cell(event) {
    const box = this.canvas.getBoundingClientRect();
    const { steps, layers } = this.#net;
    const inLane = (event.clientY - box.top) % (this.#laneHeight() + GAP);
    return {
      step: clamp(Math.floor(inLane / ROW), 0, steps - 1),
      layer: clamp(Math.floor(((event.clientX - box.left - GUTTER) / (box.width - GUTTER)) * layers), 0, layers - 1),
    };
  }

  #press(event) {
    if (event.button !== 0 || this.#brush || document.body.classList.contains("teaching")) return;
    this.canvas.setPointerCapture(event.pointerId);
    const { pointerId, clientX } = event;
    this.#brush = { ...this.#cell(event), pointerId, clientX, moving: !isFinger(event) };
    this.#move(event);
  }

  /** A finger must move sideways first, or be lifted where it was put, so that scrolling past changes nothing. */
  #move(event) {
    if (this.#brush?.pointerId !== event.pointerId) return;
    this.#brush.moving ||= Math.abs(event.clientX - this.#brush.clientX) >= SLOP;
    if (!this.#brush.moving) return;
    const { step, layer } = this.#cell(event);
    const sorted = (a, b) => (a < b ? [a, b] : [b, a]);
    this.onBrush(sorted(this.#brush.step, step), sorted(this.#brush.layer, layer));
  }

  #release(event) {
    if (this.#brush?.pointerId !== event.pointerId) return;
    this.#brush.moving = true;
    this.#move(event);
    this.#brush = null;
  }
}
