// The way between a value and its place on a bar, and how a value is written. The same curves as pipelines/spec.py.

const POWERS = { linear: 1, squared: 2, cubed: 3 };

export const clamp = (value, lo, hi) => Math.min(Math.max(value, lo), hi);

/** Travel 0..1 -> value in plain units, snapped to the parameter's step. */
export function map(param, travel) {
  const n = clamp(travel, 0, 1);
  const { lo, hi, warp } = param;
  const value = warp === "exponential" ? lo * (hi / lo) ** n : lo + (hi - lo) * n ** POWERS[warp];
  return snap(param, value);
}

/** Value -> travel 0..1. */
export function unmap(param, value) {
  const { lo, hi, warp } = param;
  const inside = clamp(value, lo, hi);
  if (warp === "exponential") return Math.log(inside / lo) / Math.log(hi / lo);
  return ((inside - lo) / (hi - lo)) ** (1 / POWERS[warp]);
}

/** The nearest value the parameter can have. */
export function snap(param, value) {
  const inside = clamp(value, param.lo, param.hi);
  if (!(param.step > 0)) return inside;
  return Math.min(param.lo + Math.round((inside - param.lo) / param.step) * param.step, param.hi);
}

/** As many decimals as the range and the step make useful. */
export function format(param, value) {
  if (!Number.isFinite(value)) return "–";
  const span = param.hi - param.lo;
  const byStep = param.step > 0 ? Math.max(0, Math.ceil(-Math.log10(param.step) - 1e-9)) : Infinity;
  const bySpan = clamp(2 - Math.floor(Math.log10(span) - 0.31), 0, 4);
  const text = value.toFixed(Math.min(byStep, bySpan));
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
