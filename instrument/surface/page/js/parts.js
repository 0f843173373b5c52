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

/** What hovering tells: the id, and what it does. */
export const hint = (param) => [param.id, param.doc].filter(Boolean).join("\n");

/** What a control is called aloud: its id, after what is written on it where the id does not have that in it. */
export const spoken = ({ id, label }) => (id.toLowerCase().includes(label.toLowerCase()) ? id : `${label}, ${id}`);
