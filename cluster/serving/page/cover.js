// A jacket for an item, over which its picture goes if it has one: its title, its colour, and a figure that its id decides.

import { el, svg } from "./dom.js";
import { codeOf, paint } from "./palette.js";
import { addPoster } from "./posters.js";

/** Title and year apart when the title ends in its own year: "Alien (1979)". */
export function titleParts({ title, attributes }) {
  const year = attributes?.year?.[0] ?? "";
  const end = ` (${year})`;
  return year && title.endsWith(end) ? { name: title.slice(0, -end.length), year } : { name: title, year };
}

export function cover(item) {
  const seed = hash(item.item_id);
  const { name, year } = titleParts(item);
  const size = name.length < 14 ? "short" : name.length < 34 ? "middle" : "long";
  const jacket = el("div", { class: `cover ${size}`, vars: paint(codeOf(item.attributes), (seed >>> 24) / 255) },
    figure(seed),
    el("span", { class: "cover-title" }, name),
    year && el("span", { class: "cover-year", "aria-hidden": "true" }, year));
  return addPoster(jacket, item);
}

/** 32 bits of an id: FNV-1a. */
function hash(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}

const range = (n) => Array.from({ length: n }, (_, i) => i);

/** Numbers from 0 to 1, one after the other, the same for the same id: mulberry32. */
function numbers(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Each draws on a square of 100 x 100.
const FIGURES = [
  function rings(next) {
    const [x, y, gap] = [20 + 70 * next(), 60 + 40 * next(), 7 + 6 * next()];
    return range(7).map((i) => svg("circle", { cx: x, cy: y, r: gap * (i + 1), class: "line" }));
  },
  function discs(next) {
    return range(3).map((i) =>
      svg("circle", { cx: 100 * next(), cy: 45 + 60 * next(), r: 34 - 9 * i, class: i % 2 ? "tint" : "shade" }));
  },
  function rays(next) {
    const [x, n] = [20 + 60 * next(), 9 + Math.floor(6 * next())];
    return range(n).filter((i) => i % 2 === 0).map((i) => {
      const [from, to] = [i, i + 1].map((j) => (-200 + (400 * j) / n) + x);
      return svg("path", { d: `M${x} 112L${from} -20L${to} -20Z`, class: "shade" });
    });
  },
  function tiles(next) {
    return range(16).map((i) => {
      const [x, y, turn] = [(i % 4) * 25, 25 * Math.floor(i / 4), Math.floor(4 * next())];
      const quarter = "M0 0A25 25 0 0 1 25 25L0 25Z";
      return svg("path", {
        d: quarter, transform: `translate(${x} ${y}) rotate(${90 * turn} 12.5 12.5)`, class: next() > 0.6 ? "tint" : "shade",
      });
    });
  },
  function hills(next) {
    return range(4).map((i) => {
      const [y, a, b] = [52 + 13 * i, 24 * next() - 12, 24 * next() - 12];
      return svg("path", { d: `M0 ${y}C30 ${y + a - 12} 60 ${y + b + 12} 100 ${y + a}V101H0Z`, class: "shade" });
    });
  },
  function bars(next) {
    return range(11).map((i) => {
      const height = 18 + 62 * next();
      return svg("rect", { x: i * 9.2 + 1, y: 100 - height, width: 5.4, height, rx: 2.7, class: i % 3 ? "shade" : "tint" });
    });
  },
  function orbit(next) {
    const [turn, x] = [-40 + 80 * next(), 35 + 30 * next()];
    return [
      svg("circle", { cx: x, cy: 66, r: 21, class: "tint" }),
      ...range(3).map((i) => svg("ellipse", { cx: x, cy: 66, rx: 34 + 11 * i, ry: 9 + 5 * i, class: "line", transform: `rotate(${turn} ${x} 66)` })),
    ];
  },
];

function figure(seed) {
  const draw = FIGURES[seed % FIGURES.length];
  return svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "xMidYMax slice", "aria-hidden": "true", class: "figure" },
    draw(numbers(seed)));
}
