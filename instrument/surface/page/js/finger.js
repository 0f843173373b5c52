// What a finger means on a control: a press that may turn out to be scrolling, two taps that mean the default, and a
// press that must last because a slip would cost too much.

export const SLOP = 6; // pixels a finger moves sideways before a control follows it

const TWICE = 350; // ms within which two taps are a double tap
const NEAR = 24; // pixels apart, at most
const HOLD = 500; // ms; `.holding` in choose.css lasts as long

export const isFinger = (event) => event.pointerType === "touch";

/** Call `act()` when a hand means this element: a mouse that presses, or a finger that has not scrolled. */
export function onPress(element, act) {
  element.addEventListener("pointerdown", (event) => !isFinger(event) && act());
  element.addEventListener("pointerup", (event) => isFinger(event) && act());
}

/** Call `act()` on a double-click, or on two taps of a finger, which not every browser calls one. */
export function onTwice(element, act) {
  let down = null;
  let before = null;
  const far = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) > NEAR;
  element.addEventListener("pointerdown", (event) => (down = isFinger(event) && event.isPrimary ? event : null));
  element.addEventListener("pointercancel", () => (down = null));
  element.addEventListener("pointerup", (event) => {
    if (!down || down.pointerId !== event.pointerId) return;
    const tapped = Math.abs(event.clientX - down.clientX) < SLOP && !far(event, down);
    const twice = tapped && before && event.timeStamp - before.timeStamp < TWICE && !far(event, before);
    before = tapped && !twice ? event : null;
    down = null;
    if (twice) act();
  });
  element.addEventListener("dblclick", act);
}

/** Call `act()` when a button is held; or pressed in a way that is no hand's slip: by a key, or by what reads aloud. */
export function onHold(button, act) {
  let waiting = 0;
  button.classList.add("lasting");
  const end = () => {
    clearTimeout(waiting);
    button.classList.remove("holding");
  };
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    end();
    button.classList.add("holding");
    waiting = setTimeout(() => {
      end();
      if (button.isConnected) act(); // else nobody would have seen the hand let go
    }, HOLD);
  });
  for (const type of ["pointerup", "pointercancel", "pointerleave"]) button.addEventListener(type, end);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
  button.addEventListener("click", (event) => event.detail === 0 && act());
}
