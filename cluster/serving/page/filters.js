// Controls made of the catalogue's own attributes: chips for few values, a list to type in for many, two ends for numbers.

import { el, fill } from "./dom.js";
import { own } from "./own.js";

const FIRST = ["genre", "platform", "maturity", "year"];
const FEW_VALUES = 32;
const FEW_NUMBERS = 8;
const RANGES = new Set(["year"]); // numbers that every endpoint takes as a range

const isNumber = (value) => /^-?\d+(\.\d+)?$/.test(value);
const label = (attribute) => attribute.replaceAll("_", " ");

/** Builds the controls of `attributes` (name -> values) in `form`; `onChange` gets the filters after every change. */
export function makeFilters(form, attributes, onChange) {
  const names = Object.keys(attributes).filter((name) => attributes[name].length > 1);
  names.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  const controls = new Map(names.map((name) => [name, control(name, attributes[name], changed)]).filter(([, made]) => made));
  fill(form, [...controls.values()].map((made) => made.node));
  form.addEventListener("submit", (event) => event.preventDefault());

  function changed() {
    const asked = [...controls].map(([name, made]) => [name, made.get()]).filter(([, value]) => value);
    onChange(Object.fromEntries(asked));
  }
  return { show: (filters) => controls.forEach((made, name) => made.set(own(filters, name))) };
}

const place = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

function control(name, values, changed) {
  if (values.length > FEW_NUMBERS && values.every(isNumber)) return RANGES.has(name) ? between(name, values, changed) : null;
  return values.length <= FEW_VALUES ? chips(name, values, changed) : typed(name, values, changed);
}

function chips(name, values, changed) {
  const boxes = values.map((value) => el("input", { type: "checkbox", name, value, on: { change: changed } }));
  const node = el("fieldset", { class: "chips" },
    el("legend", {}, label(name)),
    el("div", {}, boxes.map((box) => el("label", {}, box, el("span", {}, box.value)))));
  return {
    node,
    get: () => some(boxes.filter((box) => box.checked).map((box) => box.value)),
    set: (asked = []) => boxes.forEach((box) => { box.checked = asked.includes(box.value); }),
  };
}

/** For many values: typing offers them, choosing adds a chip. */
function typed(name, values, changed) {
  const known = new Set(values);
  let chosen = [];
  const list = el("datalist", { id: `values-${name}` }, values.map((value) => el("option", { value })));
  const input = el("input", { list: list.id, "aria-label": `Add ${label(name)}`, placeholder: "type to choose", on: { change: add } });
  const box = el("div");
  const node = el("fieldset", { class: "chips" }, el("legend", {}, label(name)), box, input, list);

  function add() {
    if (known.has(input.value) && !chosen.includes(input.value)) {
      set([...chosen, input.value]);
      changed();
    }
    input.value = "";
  }
  function set(asked = []) {
    chosen = asked;
    fill(box, chosen.map((value) =>
      el("button", { type: "button", class: "chosen", "aria-label": `Remove ${value}`, on: { click: () => drop(value) } }, value, " ×")));
  }
  function drop(value) {
    set(chosen.filter((other) => other !== value));
    changed();
  }
  return { node, get: () => some(chosen), set };
}

function between(name, values, changed) {
  const numbers = values.map(Number);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  const end = (word, hint) =>
    el("input", { type: "number", name: `${name}-${word}`, min: least, max: most, placeholder: hint, inputmode: "numeric",
      "aria-label": `${label(name)} ${word}`, on: { change: changed } });
  const [from, to] = [end("from", least), end("to", most)];
  const number = (input) => (input.value === "" || Number.isNaN(Number(input.value)) ? undefined : Number(input.value));
  return {
    node: el("fieldset", { class: "between" }, el("legend", {}, label(name)), el("div", {}, from, el("span", {}, "to"), to)),
    get() {
      const [min, max] = [number(from), number(to)];
      return min === undefined && max === undefined ? null : { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
    },
    set(asked = {}) {
      from.value = asked?.min ?? "";
      to.value = asked?.max ?? "";
    },
  };
}

const some = (list) => (list.length ? list : null);

/** The filters in words: ["Drama", "1990 to 1999"]. */
export function inWords(filters) {
  return Object.entries(filters).flatMap(([name, asked]) =>
    Array.isArray(asked) ? asked : `${label(name)} ${asked.min ?? "…"} to ${asked.max ?? "…"}`);
}
