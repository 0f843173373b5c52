// Text: Enter sends, Shift+Enter makes a line, Escape takes back what was not sent. Words that arrive from elsewhere wait
// while something unsent is in the box, and so does what was sent but not taken.

import { hint, named } from "./parts.js";

export class ParamWords extends HTMLElement {
  #heard = "";
  #sent = null; // and not answered yet

  setup(param, send) {
    this.classList.add("wide");
    this.classList.toggle("tall", param.id.startsWith("prompt"));
    const label = document.createElement("label");
    const name = named("span", "name");
    name.append(named("span", "", param.label), named("span", "hint", "Enter sends"));
    this.box = document.createElement("textarea");
    this.box.rows = 1;
    this.box.maxLength = param.longest;
    this.box.setAttribute("aria-label", param.id);
    this.box.title = hint(param);
    this.box.spellcheck = false;
    this.box.addEventListener("input", () => this.#compare());
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.box.value = this.#heard;
      else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#sent = this.box.value;
        send(this.box.value);
      } else return;
      this.#compare();
    });
    label.append(name, this.box);
    this.append(label);
    this.show(param.value);
  }

  show(value) {
    const untouched = this.box.value === this.#heard;
    this.#heard = value;
    this.#sent = null;
    if (untouched) this.box.value = value;
    this.#compare();
  }

  #compare() {
    this.classList.toggle("changed", ![this.#heard, this.#sent].includes(this.box.value));
  }
}

customElements.define("param-words", ParamWords);
