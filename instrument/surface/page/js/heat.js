// Attention as heat over the picture: where the chosen pieces of the prompt act, each in a colour of its own. It stays
// while other views are open. Only ratios show: the strongest place of late is the brightest.

export const COLOURS = [[143, 211, 200], [255, 160, 122], [180, 160, 255], [255, 214, 102], [120, 190, 255], [240, 140, 200]];
const STRENGTH = 0.75; // opacity of the brightest
const CONTRAST = 1.4; // the faint everywhere makes less fog
const FADE = 0.98; // what is left of the brightest of late, a look later

export class Heat extends EventTarget {
  place = { layer: null, step: null, head: null }; // null: the mean of all
  #insight;
  #canvas = document.createElement("canvas");
  #chosen = new Map(); // index of a token -> its colour
  #peak = 0;
  #tokens = "";

  constructor(insight, over) {
    super();
    this.#insight = insight;
    this.#canvas.className = "heat";
    this.#canvas.hidden = true;
    over.append(this.#canvas);
    insight.hear("facts", (facts) => this.#follow(facts));
    insight.hear("map", (map) => this.#draw(map));
  }

  /** The colour of a chosen token as [r, g, b]; undefined for one that is not. */
  colour(token) {
    return this.#chosen.get(token);
  }

  get any() {
    return this.#chosen.size > 0;
  }

  toggle(token) {
    if (!this.#chosen.delete(token)) {
      const taken = [...this.#chosen.values()];
      this.#chosen.set(token, COLOURS.find((colour) => !taken.includes(colour)) ?? COLOURS[token % COLOURS.length]);
    }
    this.#changed();
  }

  clear() {
    this.#chosen.clear();
    this.#changed();
  }

  /** Look at this layer, step or head; null is the mean of all. */
  look(part, value) {
    this.place = { ...this.place, [part]: value };
    this.#changed();
  }

  #changed() {
    this.#peak = 0;
    if (!this.any) this.#canvas.hidden = true;
    this.#insight.want("heat", this.any ? { map: this.place } : null);
    this.dispatchEvent(new Event("chosen"));
  }

  /** Another prompt has other pieces: what was chosen stays chosen where the same word is there. */
  #follow({ tokens, layers, heads, steps }) {
    const before = this.#tokens.split("\n");
    const now = tokens.join("\n");
    if (this.#tokens && now !== this.#tokens) {
      const kept = [...this.#chosen].map(([token, colour]) => [tokens.indexOf(before[token]), colour]);
      this.#chosen = new Map(kept.filter(([token]) => token >= 0));
    }
    const last = { layer: layers, head: heads, step: steps };
    const place = Object.entries(this.place).map(([part, at]) => [part, typeof at === "number" && at >= last[part] ? null : at]);
    const moved = place.some(([part, at]) => at !== this.place[part]);
    const changed = moved || (this.#tokens && now !== this.#tokens);
    this.#tokens = now;
    this.place = Object.fromEntries(place);
    if (changed) this.#changed();
  }

  #draw({ tokens, rows, columns, shades, peaks }) {
    const chosen = [...this.#chosen].filter(([token]) => token < tokens);
    this.#canvas.hidden = !chosen.length;
    if (!chosen.length) return;
    if (this.#canvas.width !== columns || this.#canvas.height !== rows) [this.#canvas.width, this.#canvas.height] = [columns, rows];
    this.#peak = Math.max(this.#peak * FADE, ...chosen.map(([token]) => peaks[token]), 1e-9);
    const pen = this.#canvas.getContext("2d");
    const image = pen.createImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) {
      let [r, g, b, sum, most] = [0, 0, 0, 0, 0];
      for (const [token, colour] of chosen) {
        const heat = (shades[token * rows * columns + i] / 255) * (peaks[token] / this.#peak);
        r += heat * colour[0];
        g += heat * colour[1];
        b += heat * colour[2];
        sum += heat;
        most = Math.max(most, heat);
      }
      const opacity = 255 * STRENGTH * most ** CONTRAST;
      image.data.set(sum ? [r / sum, g / sum, b / sum, opacity] : [0, 0, 0, 0], 4 * i);
    }
    pen.putImageData(image, 0, 0);
  }
}
