// One colour per kind (genre, say), the same on cards, legend and map. Kinds come from /v1/map/legend, most frequent first.

import { own } from "./own.js";

// [lightness, chroma, hue] in oklch, in the order of the legend; the first covers most of the map, so it is calm.
const COLOURS = [
  [0.66, 0.11, 255], [0.74, 0.15, 60], [0.84, 0.15, 95], [0.72, 0.11, 190], [0.66, 0.19, 27], [0.66, 0.17, 300],
  [0.76, 0.14, 352], [0.72, 0.16, 148], [0.58, 0.09, 70], [0.64, 0.2, 328], [0.82, 0.16, 122], [0.78, 0.1, 222],
  [0.56, 0.15, 278], [0.7, 0.1, 20],
];
const OTHER = [0.62, 0.015, 260];
const dark = matchMedia("(prefers-color-scheme: dark)");

let attribute = null;
let places = new Map();

export function setLegend(legend) {
  attribute = legend.attribute;
  places = new Map(legend.values.map(({ value }, code) => [value, code]));
}

/** Where an item's kind stands in the legend: the rarest of its values, as the server chooses for the map. */
export function codeOf(attributes) {
  const codes = (own(attributes, attribute) ?? []).map((value) => places.get(value) ?? -1);
  const code = Math.max(-1, ...codes);
  return code < 0 ? places.size : code;
}

/** An item's values of the coloured attribute. */
export const kindsOf = (attributes) => own(attributes, attribute) ?? [];
export const kindAttribute = () => attribute;

const entry = (code) => (code < places.size ? COLOURS[code % COLOURS.length] : OTHER);

/** CSS custom properties with which a card paints itself; `shade`, 0 to 1, keeps cards of one kind apart a little. */
export function paint(code, shade = 0.5) {
  const [, chroma, hue] = entry(code);
  return { hue: hue + 24 * (shade - 0.5), chroma, shade };
}

export function cssColour(code) {
  const [lightness, chroma, hue] = entry(code);
  return `oklch(${dark.matches ? lightness : lightness * 0.86} ${chroma} ${hue})`;
}

/** Colours for the legend's codes and "other" as numbers from 0 to 1: [[r, g, b], ...]. */
export function rgbColours() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  return Array.from({ length: places.size + 1 }, (_, code) => {
    pen.fillStyle = cssColour(code);
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((part) => part / 255);
  });
}

/** Calls `listener` when the reader switches between dark and light. */
export const onTheme = (listener) => dark.addEventListener("change", listener);
