// Puts the page together: connection, picture, parameters, status, and the few keys that work everywhere.

import { Link } from "./link.js";
import { Panel } from "./panel.js";
import { Picture } from "./picture.js";
import { Status } from "./status.js";

const find = (id) => document.getElementById(id);
const veil = find("veil");
const frame = find("frame");
const filter = find("filter");
const picture = new Picture(find("picture"));
const status = new Status(find("status"));

const link = new Link({
  open: () => document.body.classList.add("linked"),
  closed: () => {
    document.body.classList.remove("linked");
    veil.textContent = "no connection to the instrument; trying again";
  },
  structure: (params) => panel.build(params),
  numbers: (pairs) => panel.numbers(pairs),
  words: (values) => panel.words(values),
  picture: (bytes) => picture.show(bytes),
  status: (values) => status.show(values),
  error: (text) => status.error(text),
});
const panel = new Panel(find("groups"), find("front"), link);

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else frame.requestFullscreen?.().catch(() => status.error("this browser does not allow full screen here"));
}

find("whole").addEventListener("click", fullScreen);
find("picture").addEventListener("dblclick", fullScreen);
filter.addEventListener("input", () => panel.filter(filter.value));

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select")) {
    if (event.key === "Escape" && event.target === filter) {
      filter.value = "";
      panel.filter("");
      filter.blur();
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "f" || event.key === "F") fullScreen();
});
