// Puts the page together: connection, store, picture, views, status, and the few keys that work everywhere.

import { all } from "./all.js";
import { bends } from "./bends.js";
import { engine } from "./engine.js";
import { Heat } from "./heat.js";
import { inside } from "./inside.js";
import { Insight } from "./insight.js";
import { Link } from "./link.js";
import { Messages } from "./messages.js";
import { modulators } from "./modulators.js";
import { Picture } from "./picture.js";
import { snapshots } from "./snapshots.js";
import { learner, stage } from "./stage.js";
import { Status } from "./status.js";
import { Store } from "./store.js";
import { Views } from "./views.js";

const PIN_NEEDED = 4401; // why a connection was ended: see surface/guard.py
const find = (id) => document.getElementById(id);
const veil = find("veil");
const frame = find("frame");
const filter = find("filter");
const picture = new Picture(find("picture"));
const status = new Status(find("status"), new Messages(find("news"), find("messages")));
const store = new Store();
const insight = new Insight();
const heat = new Heat(insight, find("over"));

const link = new Link({
  open: () => document.body.classList.add("linked"),
  closed: (code) => {
    document.body.classList.remove("linked");
    veil.textContent = "no connection to the instrument; trying again";
    if (code === PIN_NEEDED) location.assign("/pin");
  },
  structure: (params) => store.describe(params),
  numbers: (places, values) => store.numbers(places, values),
  moving: (places, values) => store.moving(places, values),
  words: (values) => store.words(values),
  picture: (bytes) => picture.show(bytes),
  play: (changes) => store.play(changes),
  status: (values) => {
    status.show(values);
    store.report(values);
  },
  error: (text) => {
    status.error(text);
    store.dispatchEvent(new CustomEvent("refused", { detail: text }));
  },
});
store.connect(link);

const learning = learner(store, status);
stage(store, find("front"), learning.toggle);

// One line for each view: what builds it in its section, and returns how to end it.
const views = new Views(find("tabs"), {
  bends: (root) => bends(store, root),
  pads: (root) => snapshots(store, root),
  modulators: (root) => modulators(store, root),
  engine: (root) => engine(store, root),
  inside: (root) => inside({ store, insight, heat }, root),
  all: (root) => all(store, root),
});

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else frame.requestFullscreen?.().catch(() => status.error("this browser does not allow full screen here"));
}

find("whole").addEventListener("click", fullScreen);
find("picture").addEventListener("dblclick", fullScreen);

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select")) {
    if (event.key === "Escape" && event.target === filter) {
      filter.value = "";
      filter.dispatchEvent(new Event("input"));
      filter.blur();
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    views.show("all");
    filter.focus();
  } else if (event.key === "f" || event.key === "F") fullScreen();
  else if (event.key === "l" || event.key === "L") learning.teaching(!document.body.classList.contains("teaching"));
  else if (event.key === "Escape") learning.teaching(false);
});
