// Small pieces that all controls are made of.

export function named(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** The box a control lives in: a div, or a button for what is pressed. */
export function well(tag) {
  const element = named(tag, tag === "button" ? "well press" : "well");
  if (tag === "button") element.type = "button";
  return element;
}

/** A button that does something of the page's own. */
export function button(className, text, act) {
  const element = named("button", className, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/** A box for one line of text. */
export function field(spoken, placeholder, value = "") {
  const box = document.createElement("input");
  box.className = "field";
  box.placeholder = placeholder;
  box.value = value;
  box.spellcheck = false;
  box.setAttribute("aria-label", spoken);
  return box;
}

/** A box for what something new is called, and what was written in it, as names are. */
export function nameField(spoken) {
  const box = field(spoken, "a name, if you like");
  box.maxLength = 64;
  return box;
}

export const nameIn = (box) => box.value.trim().replaceAll(/\W+/g, "_");

/** What stands above a pane: what it is of, a word more below it, and its buttons. */
export function heading(text, small, ...buttons) {
  const head = named("header", "bend-head");
  const title = named("h2", "", text);
  title.append(named("span", "", small));
  head.append(title, ...buttons);
  return head;
}

/** Controls beside each other; those that need the whole width come last. */
export function rows(controls) {
  const isWide = (control) => control.classList.contains("wide");
  const box = named("div", "rows");
  box.append(...controls.filter((control) => !isWide(control)), ...controls.filter(isWide));
  return box;
}

/** Build something in `root` anew; what had the focus has it again, if it is there again. */
export function keepingFocus(root, build) {
  const focused = document.activeElement?.getAttribute("aria-label");
  build();
  if (focused) root.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

/** What hovering tells: the id, and what it does. */
export const hint = (param) => [param.id, param.doc].filter(Boolean).join("\n");

/** What a control is called aloud: its id, after what is written on it where the id does not have that in it. */
export const spoken = ({ id, label }) => (id.toLowerCase().includes(label.toLowerCase()) ? id : `${label}, ${id}`);
