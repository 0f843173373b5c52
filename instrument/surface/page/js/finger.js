// What a finger means on a control: a press that may turn out to be scrolling, and two taps that mean the default.

export const SLOP = 6; // pixels a finger moves sideways before a control follows it

const TWICE = 350; // ms within which two taps are a double tap
const NEAR = 24; // pixels apart, at most

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
