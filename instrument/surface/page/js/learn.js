// Learning: switch it on, click a control, touch a knob. While it is on, a click teaches instead of playing.

/** Let `element` be taught; returns how to end it. */
export function teach(store, element, id) {
  const catchClick = (event) => {
    if (!document.body.classList.contains("teaching")) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.type === "pointerdown" || event.key === "Enter") store.learn(id);
  };
  const types = ["pointerdown", "click", "dblclick", "keydown"];
  for (const type of types) element.addEventListener(type, catchClick, true);
  return () => types.forEach((type) => element.removeEventListener(type, catchClick, true));
}
