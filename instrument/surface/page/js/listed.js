// Text that is one of some names: a tap on the box opens the list of them, which filters as one types. Enter sends what is
// written, or the name that the arrow keys stand on; a tap on a name sends that one; Escape closes the list, and takes
// back what was not sent. After a comma the next name is looked for.

import { button, field, hint, named } from "./parts.js";

const MOST = 100; // names shown at once

const begun = (text) => text.slice(0, text.lastIndexOf(",") + 1); // the names before the one being written
const written = (text) => text.slice(text.lastIndexOf(",") + 1).trim().toLowerCase();

export class ParamListed extends HTMLElement {
  #heard = "";
  #names = [];
  #at = -1; // of the options, the one the arrow keys stand on
  #typed = false; // since the list was opened
  #wanted = false; // the list is, whether any name matches or not
  #id;
  #send;

  setup(param, send) {
    this.#send = send;
    this.#id = param.id;
    this.classList.add("wide");
    const name = named("span", "name");
    name.append(named("span", "", param.label), named("span", "hint", "Enter sends"));
    this.box = field(param.id, "");
    this.box.title = hint(param);
    this.box.autocomplete = "off";
    this.box.maxLength = 400;
    this.list = named("div", "names");
    this.list.id = `names of ${param.id}`.replaceAll(/\W/g, "-");
    this.list.hidden = true;
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", `names for ${param.id}`);
    const told = { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.list.id };
    for (const [key, value] of Object.entries(told)) this.box.setAttribute(key, value);
    this.box.addEventListener("click", () => this.list.hidden && this.#ask());
    this.box.addEventListener("blur", () => this.#open(false));
    this.box.addEventListener("input", () => {
      const first = !this.#wanted;
      this.#typed = true;
      this.#compare();
      if (first) this.#fetch();
      else this.#open(true);
    });
    this.box.addEventListener("keydown", (event) => this.#key(event));
    const label = document.createElement("label");
    label.append(name, this.box);
    this.append(label, this.list);
    this.show(param.value);
  }

  show(value) {
    const untouched = this.box.value === this.#heard;
    this.#heard = value;
    if (untouched) this.box.value = value;
    this.#compare();
  }

  #compare() {
    this.classList.toggle("changed", this.box.value !== this.#heard);
  }

  /** All names there are, to choose one instead of what is written. */
  #ask() {
    this.#typed = false;
    this.box.select();
    this.#fetch();
  }

  /** Get the names and open their list, if that is still wanted when they are there. */
  async #fetch() {
    this.#wanted = true;
    const answer = await fetch(`/api/names?id=${encodeURIComponent(this.#id)}`).catch(() => null);
    if (answer?.ok) this.#names = await answer.json(); // without them it is a box as any other
    if (this.#wanted) this.#open(true);
  }

  /** Show what matches, or close. */
  #open(wanted) {
    const words = this.#typed ? written(this.box.value).split(/\s+/) : [];
    const found = this.#names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
    const open = wanted && found.length > 0;
    this.#at = -1;
    this.#wanted = wanted;
    if (open) this.list.replaceChildren(...found.slice(0, MOST).map((name, i) => this.#option(name, i)));
    this.list.hidden = !open;
    this.box.setAttribute("aria-expanded", open);
    this.box.removeAttribute("aria-activedescendant");
    if (open) this.list.scrollIntoView({ block: "nearest" });
  }

  #option(name, i) {
    const option = button("", name, () => this.#choose(name));
    option.id = `${this.list.id}-${i}`;
    option.tabIndex = -1; // the keys stay in the box
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", this.#heard.split(",").some((each) => each.trim() === name));
    option.addEventListener("pointerdown", (event) => event.preventDefault());
    return option;
  }

  #choose(name) {
    const before = this.#typed ? begun(this.box.value) : "";
    this.#enter(before ? `${before} ${name}` : name);
  }

  #enter(text) {
    this.box.value = this.#heard = text;
    this.#send(text);
    this.#compare();
    this.#open(false);
  }

  #key(event) {
    const options = this.list.hidden ? [] : [...this.list.children];
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (way && options.length) this.#stand(options, Math.min(Math.max(this.#at + way, 0), options.length - 1));
    else if (way) this.#ask();
    else if (event.key === "Enter" && !event.isComposing) {
      const meant = options[this.#at] ?? (options.length === 1 ? options[0] : null); // the only one left
      if (meant) this.#choose(meant.textContent);
      else this.#enter(this.box.value);
    } else if (event.key === "Escape") {
      if (this.list.hidden) this.box.value = this.#heard;
      this.#compare();
      this.#open(false);
    } else return;
    event.preventDefault();
  }

  #stand(options, at) {
    this.#at = at;
    options.forEach((option, i) => option.classList.toggle("at", i === at));
    options[at].scrollIntoView({ block: "nearest" });
    this.box.setAttribute("aria-activedescendant", options[at].id);
  }
}

customElements.define("param-listed", ParamListed);
