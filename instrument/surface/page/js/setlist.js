// The patches: the set list as chips, the patch that plays lit; the way along it; another by its name; saving.

import { button, named } from "./parts.js";

/** Builds it; `make(id, text)` makes a control. */
export function setList(store, controls, make) {
  const list = named("div", "chips");
  const show = () => {
    const { name = "", list: names = [] } = store.state.patch ?? {};
    const place = names[store.value("patch.goto") - 1] === name ? store.value("patch.goto") - 1 : -1;
    const chips = names.map((each, i) => patchChip(each, i === place, () => store.set("patch.goto", i + 1)));
    if (place < 0 && name) chips.push(other(name, names.length > 0));
    list.replaceChildren(...chips);
  };
  controls.hear("state", (changes) => "patch" in changes && show());
  if (store.has("patch.goto")) controls.watch("patch.goto", show);
  show();
  make("patch.goto");
  const box = named("div", "set-list");
  box.append(
    list,
    row("few", ["patch.previous", "patch.next", "patch.reload"], make),
    row("pair", ["patch.load"], make),
    row("pair saving", ["patch.name", "patch.save"], make),
  );
  return box;
}

function patchChip(name, plays, act) {
  const chip = button("chip", name, act);
  chip.setAttribute("aria-pressed", plays);
  return chip;
}

/** What plays and is no patch of the list: shown, with nothing to press. */
function other(name, beside) {
  const chip = named("span", "chip plays", name);
  if (beside) chip.append(" ", named("small", "", "plays, not in the list"));
  return chip;
}

function row(kind, ids, make) {
  const box = named("div", `rows ${kind}`);
  box.append(...ids.map((id) => make(id)).filter(Boolean));
  for (const control of box.children) control.classList.remove("wide");
  return box;
}
