// Small live plots of how it plays: one line each, its latest number beside its name.

import { named } from "./parts.js";

const POINTS = 300; // half a minute at ten a second
const SHOWN = [
  ["fps", "pictures made", "fps", 1],
  ["fps_sent", "pictures sent", "fps", 1],
  ["step_ms", "a step", "ms", 0],
  ["chunk_ms", "a chunk", "ms", 0],
  ["latency_ms", "knob to picture", "ms", 0],
];

/** Builds the part in `root`; returns how to end it. */
export function pace({ insight }, root) {
  const grid = named("div", "plots");
  const plots = SHOWN.map(([key, name, unit, digits]) => [key, plot(grid, name, unit, digits)]);
  root.append(grid);
  const end = insight.hear("pace", (numbers) => {
    for (const [key, push] of plots) push(numbers[key]);
  });
  insight.want("pace", { pace: true });
  return () => {
    end();
    insight.want("pace", null);
  };
}

/** One plot in `grid`; returns what takes its next number, or null for none. */
function plot(grid, name, unit, digits) {
  const figure = named("figure", "plot");
  const caption = named("figcaption", "", name);
  const value = caption.appendChild(named("b", ""));
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${name}, the last half minute`);
  figure.append(caption, canvas);
  grid.append(figure);
  const points = [];
  return (number) => {
    points.push(number ?? NaN);
    if (points.length > POINTS) points.shift();
    const text = Number.isFinite(number) ? `${number.toFixed(digits)} ${unit}` : "–";
    if (value.textContent !== text) value.textContent = text;
    draw(canvas, points);
  };
}

function draw(canvas, points) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const top = ceiling(Math.max(...points.filter(Number.isFinite), 0));
  pen.strokeStyle = "#8fd3c8";
  pen.lineWidth = 1.5 * scale;
  pen.beginPath();
  let drawing = false;
  points.forEach((number, i) => {
    if (!Number.isFinite(number)) {
      drawing = false;
      return;
    }
    const [x, y] = [((POINTS - points.length + i) / (POINTS - 1)) * width, (1 - number / top) * (height - 4 * scale) + 2 * scale];
    if (drawing) pen.lineTo(x, y);
    else pen.moveTo(x, y);
    drawing = true;
  });
  pen.stroke();
}

/** The end of the scale: 1, 2 or 5 times a power of ten. */
function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1e-3)));
  return power * ([1, 2, 5].find((step) => step * power >= most) ?? 10);
}
