// What is pressed or chosen: switches, choices and triggers.

import { onHold } from "./finger.js";
import { hint, named, spoken, well } from "./parts.js";

const FLASH = 160; // ms a fired trigger stays lit
const FEW = 4; // options that fit side by side
const HELD = ["patch.next", "patch.previous", "patch.reload"]; // another patch takes the place of what was played

export class ParamSwitch extends HTMLElement {
  setup(param, send) {
    this.button = well("button");
    this.button.setAttribute("role", "switch");
    this.button.setAttribute("aria-label", spoken(param));
    this.button.title = hint(param);
    this.button.append(named("span", "name", param.label), named("span", "lamp"));
    this.button.addEventListener("click", () => {
      this.show(!this.on);
      send(this.on);
    });
    this.append(this.button);
    this.show(param.value);
  }

  show(value) {
    this.on = Boolean(value);
    this.button.setAttribute("aria-checked", this.on);
  }
}

export class ParamChoice extends HTMLElement {
  setup(param, send) {
    const few = param.options.length <= FEW && param.options.join("").length <= 28;
    if (few) this.#buttons(param, send);
    else this.#menu(param, send);
    this.show(param.value);
  }

  #buttons(param, send) {
    this.classList.add("wide");
    const row = named("div", "options");
    row.setAttribute("role", "radiogroup");
    row.setAttribute("aria-label", param.id);
    row.title = hint(param);
    const buttons = param.options.map((option) => {
      const button = named("button", "", option);
      button.type = "button";
      button.setAttribute("role", "radio");
      button.addEventListener("click", () => {
        this.show(option);
        send(option);
      });
      return button;
    });
    row.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      const next = (param.options.indexOf(this.value) + way + buttons.length) % buttons.length;
      buttons[next].focus();
      buttons[next].click();
    });
    row.append(named("span", "name", param.label), ...buttons);
    this.append(row);
    this.mark = (value) => {
      for (const button of buttons) {
        const chosen = button.textContent === value;
        button.setAttribute("aria-checked", chosen);
        button.tabIndex = chosen ? 0 : -1;
      }
    };
  }

  #menu(param, send) {
    const label = well("label");
    const menu = document.createElement("select");
    menu.setAttribute("aria-label", param.id);
    menu.title = hint(param);
    for (const option of param.options) menu.add(new Option(option, option));
    menu.addEventListener("change", () => {
      this.value = menu.value;
      send(menu.value);
    });
    label.append(named("span", "name", param.label), menu);
    this.append(label);
    this.mark = (value) => {
      menu.value = value;
    };
  }

  show(value) {
    this.value = value;
    this.mark(value);
  }
}

export class ParamTrigger extends HTMLElement {
  #count;

  setup(param, send) {
    this.#count = param.value;
    if (param.id === "panic") this.classList.add("panic");
    this.button = well("button");
    this.button.append(named("span", "", param.label));
    this.button.title = hint(param);
    this.button.setAttribute("aria-label", spoken(param));
    if (HELD.includes(param.id)) onHold(this.button, send);
    else this.button.addEventListener("click", () => send());
    this.append(this.button);
  }

  /** `count`: how often it fired, by whatever hand; each new one is seen. */
  show(count) {
    if (count === this.#count) return;
    this.#count = count;
    this.classList.add("fired");
    clearTimeout(this.dark);
    this.dark = setTimeout(() => this.classList.remove("fired"), FLASH);
  }
}

customElements.define("param-switch", ParamSwitch);
customElements.define("param-choice", ParamChoice);
customElements.define("param-trigger", ParamTrigger);
