// Learning: switch it on, click a control, touch a knob. While it is on, a click teaches instead of playing; with Shift,
// or the Delete key, the control forgets what moves it.

const FREE = ["Tab", "Escape", "l", "L"]; // keys that mean what they always mean

/** Let `element` be taught; returns how to end it. */
export function teach(store, element, id) {
  const take = (event) => {
    if (!document.body.classList.contains("teaching") || FREE.includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const touched = event.type === "pointerdown";
    if ((touched && event.shiftKey) || event.key === "Delete") store.forget(id);
    else if (touched || event.key === "Enter") store.learn(id);
  };
  const types = ["pointerdown", "click", "dblclick", "keydown"];
  for (const type of types) element.addEventListener(type, take, true);
  return () => types.forEach((type) => element.removeEventListener(type, take, true));
}
