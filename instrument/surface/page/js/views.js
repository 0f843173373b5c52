// The views beside the picture, one at a time. A view that is not looked at is not in the page: `open(root)` builds it,
// what that returns ends it. So only what can be seen costs anything.

const KEPT = "bender view"; // where the browser remembers which was open

export class Views {
  #tabs;
  #makers;
  #end = null;
  #open = "";

  /** `makers`: the id of a section -> (section) => how to end it. */
  constructor(list, makers) {
    this.#tabs = [...list.querySelectorAll("[role=tab]")];
    this.#makers = makers;
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.show(nameOf(tab)));
      tab.addEventListener("keydown", (event) => this.#key(event, tab));
    }
    const kept = localStorage.getItem(KEPT);
    this.show(this.#tabs.some((tab) => nameOf(tab) === kept) ? kept : nameOf(this.#tabs[0]));
  }

  get open() {
    return this.#open;
  }

  show(name) {
    if (name === this.#open) return;
    this.#end?.();
    this.#open = name;
    localStorage.setItem(KEPT, name);
    for (const tab of this.#tabs) {
      const chosen = nameOf(tab) === name;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(nameOf(tab)).hidden = !chosen;
    }
    this.#end = this.#makers[name]?.(document.getElementById(name)) ?? null;
  }

  #key(event, tab) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const count = this.#tabs.length;
    const next = this.#tabs[(this.#tabs.indexOf(tab) + way + count) % count];
    next.focus();
    this.show(nameOf(next));
  }
}

const nameOf = (tab) => tab.getAttribute("aria-controls");
