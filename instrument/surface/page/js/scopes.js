// What a bend holds beside steps and layers: words as chips, heads as dots. Both are text parameters; here
// is the way between the text and what is clicked. The forms of the text are those of pipelines/bends/scope.py.

import { button, named } from "./parts.js";

const PLAIN = /^(all|prompt|\d+(\s*-\s*\d+)?)$/i;

/** The prompt's words: {text, tokens: indices of its pieces}, in order. */
export function wordsOf(prompt) {
  const found = [];
  for (const match of prompt.text.matchAll(/[^\s,，、]+/gu)) {
    const text = match[0].replace(/^[^\p{L}\p{N}_]+|[^\p{L}\p{N}_]+$/gu, "");
    if (!text) continue;
    const from = match.index + match[0].indexOf(text);
    const tokens = prompt.offsets.flatMap(([start, end], i) => (start < from + text.length && end > from ? [i] : []));
    found.push({ text, tokens });
  }
  return found;
}

const parts = (text) => text.split(/[,，、]/).map((part) => part.trim()).filter(Boolean);
const quoted = (word) => (PLAIN.test(word) ? `"${word}"` : word);
const plain = (part) => part.replaceAll('"', "").replaceAll(/\s+/g, " ").toLowerCase();
const same = (a, b) => plain(a) === plain(b);

/** The scope's text after a click on a word; `held`: indices of the tokens it holds now. */
export function toggled(text, word, words, held) {
  const own = parts(text);
  if (own.some((part) => /^(all|prompt)$/i.test(part))) return quoted(word.text);
  const isHeld = word.tokens.length > 0 && word.tokens.every((token) => held.includes(token));
  if (!isHeld) return [...own, quoted(word.text)].join(", ");
  const exact = own.filter((part) => !same(part, word.text));
  if (exact.length < own.length) return exact.join(", ");
  const left = words.filter((other) => !same(other.text, word.text) && other.tokens.some((token) => held.includes(token)));
  return [...new Set(left.map((other) => quoted(other.text)))].join(", ");
}

/** The scope's text without a word or phrase. */
export const without = (text, word) => parts(text).filter((part) => !same(part, word)).join(", ");

/** Make `element` hold one button for each of `labels`; those that are there stay, so that a click under way is not lost. */
function keep(element, labels, make) {
  const before = element.labels ?? [];
  element.labels = labels;
  const focused = [...element.children].indexOf(document.activeElement);
  labels.forEach((text, i) => {
    if (text === before[i]) return;
    if (i < before.length) element.children[i].replaceWith(make(text, i));
    else element.append(make(text, i));
  });
  while (element.children.length > labels.length) element.lastChild.remove();
  if (focused >= 0) element.children[Math.min(focused, labels.length - 1)]?.focus();
}

/** Chips in `element`: the prompt's words, and those the bend holds that are `apart` from it, {word: whether another
 *  prompt has it}, each with where it is. `pick(text)` takes the new scope. */
export function showWords(element, { prompt, text, held, apart }, pick) {
  const words = prompt ? wordsOf(prompt) : [];
  const away = Object.entries(apart);
  const every = /^\s*all\s*$/i.test(text);
  const first = 2 + words.length; // of those apart
  element.next = (i) => {
    if (i >= first) return without(text, away[i - first][0]);
    return i < 2 ? ["all", "prompt"][i] : toggled(text, words[i - 2], words, held);
  };
  const labels = ["all", "prompt", ...words.map((word) => word.text), ...away.map(([word, there]) => `${word}\t${there}`)];
  keep(element, labels, (label, i) => {
    const chip = button("chip", label.split("\t")[0], () => pick(element.next(i)));
    chip.title = ["every token, padding too", "every word of the prompt"][i] ?? "";
    if (i >= first) {
      const there = away[i - first][1];
      chip.classList.toggle("absent", !there);
      chip.append(" ", named("small", "", there ? "in another prompt" : "not in the prompt"));
    }
    return chip;
  });
  const isHeld = (word) => !every && word.tokens.length > 0 && word.tokens.every((token) => held.includes(token));
  const pressed = [every, /^\s*prompt\s*$/i.test(text), ...words.map(isHeld), ...away.map(() => true)];
  pressed.forEach((on, i) => element.children[i].setAttribute("aria-pressed", on));
}

/** "0-3, 7" -> a list of true and false; null where it cannot be read. */
export function readRanges(text, count) {
  if (/^\s*all\s*$/i.test(text)) return Array(count).fill(true);
  const chosen = Array(count).fill(false);
  for (const part of parts(text)) {
    const match = part.match(/^(\d+)(?:\s*-\s*(\d+))?$/);
    if (!match) return null;
    for (let i = Number(match[1]); i <= Number(match[2] ?? match[1]) && i < count; i++) chosen[i] = true;
  }
  return chosen;
}

export function writeRanges(chosen) {
  if (chosen.every(Boolean)) return "all";
  const found = [];
  for (let i = 0; i < chosen.length; i++) {
    if (!chosen[i]) continue;
    const start = i;
    while (chosen[i + 1]) i++;
    found.push(start === i ? `${i}` : `${start}-${i}`);
  }
  return found.join(", ");
}

/** One dot a head in `element`; a click takes one away or back, a click while all are held keeps that one alone. */
export function showHeads(element, text, count, pick) {
  const chosen = readRanges(text, count) ?? Array(count).fill(false);
  element.next = (head) => {
    const next = chosen.every(Boolean) ? chosen.map((_, i) => i === head) : chosen.map((was, i) => (i === head ? !was : was));
    return next.some(Boolean) ? writeRanges(next) : "all";
  };
  keep(element, chosen.map((_, head) => `head ${head}`), (label, head) => {
    const dot = button("dot", "", () => pick(element.next(head)));
    dot.title = label;
    dot.setAttribute("aria-label", label);
    return dot;
  });
  chosen.forEach((on, head) => element.children[head].setAttribute("aria-pressed", on));
}
