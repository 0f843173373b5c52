// A square to move over: four snapshots in its corners, a puck between them. Arrow keys move it too.

import { clamp } from "./scale.js";
import { named } from "./parts.js";

const STEP = 0.02;

export class XYSquare extends HTMLElement {
  #send;
  #held = null; // the pointer that holds the puck

  setup(send) {
    this.#send = send;
    this.corners = ["bl", "br", "tl", "tr"].map((corner) => this.appendChild(named("span", `corner ${corner}`)));
    this.puck = this.appendChild(named("span", "puck"));
    this.tabIndex = 0;
    this.setAttribute("role", "application");
    this.setAttribute("aria-label", "square of four snapshots; arrow keys move");
    this.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.#held !== null) return;
      this.setPointerCapture(event.pointerId);
      this.#held = event.pointerId;
      this.#to(event);
    });
    this.addEventListener("pointermove", (event) => this.#held === event.pointerId && this.#to(event));
    for (const type of ["pointerup", "pointercancel"]) {
      this.addEventListener(type, (event) => this.#held === event.pointerId && (this.#held = null));
    }
    this.addEventListener("keydown", (event) => {
      const by = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!by) return;
      event.preventDefault();
      const step = event.shiftKey ? STEP / 10 : STEP;
      this.#set(this.x + by[0] * step, this.y + by[1] * step);
    });
  }

  /** What the four corners are called: bottom left, bottom right, top left, top right. */
  name(names) {
    this.corners.forEach((corner, i) => (corner.textContent = names[i] ?? ""));
  }

  show(x, y) {
    if (this.#held === null) this.#draw(x, y);
  }

  #draw(x, y) {
    [this.x, this.y] = [x, y];
    this.puck.style.left = `${100 * x}%`;
    this.puck.style.bottom = `${100 * y}%`;
  }

  #set(x, y) {
    this.#draw(clamp(x, 0, 1), clamp(y, 0, 1));
    this.#send(this.x, this.y);
  }

  #to(event) {
    const box = this.getBoundingClientRect();
    this.#set((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
  }
}

customElements.define("xy-square", XYSquare);
