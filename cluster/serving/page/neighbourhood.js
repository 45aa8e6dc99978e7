// A small picture of what relations connect an item with: the item, what it shares, and the items that share it.

import * as api from "./api.js";
import { el, fill, svg } from "./dom.js";

const ITEMS = 6;
const WIDTH = 520, HEIGHT = 300, MARGIN = 14;
const LETTERS = 22;

/** Fills `box`, and leaves it empty where the release has no relations or the item none. */
export async function showNeighbourhood(box, item, dialog, open) {
  let related;
  try {
    related = (await api.related(item.item_id, ITEMS)).items;
  } catch (problem) {
    if (problem.status !== 404) fill(box, el("p", { class: "small" }, problem.detail || problem.message));
    return;
  }
  if (dialog.dataset.item !== item.item_id || !related.length) return; // another item was opened meanwhile
  const label = `Related: ${related.map((other) => other.title).join(", ")}`;
  fill(box, el("h3", {}, "Related to it"),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "neighbourhood", role: "group", "aria-label": label }, picture(item, related, open)));
}

/** Three columns: the item, what lies on the way, the related items; what several share stands once. */
function picture(item, related, open) {
  const steps = new Map(related.flatMap((other) => other.path.slice(0, -1).map((edge, n) => [edge.end, n + 1])));
  const deepest = Math.max(0, ...steps.values());
  const places = new Map([[item.item_id, { x: MARGIN, y: HEIGHT / 2 }]]);
  const column = (names, x) => names.forEach((name, n) => places.set(name, { x, y: ((n + 0.5) * HEIGHT) / names.length }));
  for (let depth = 1; depth <= deepest; depth++) {
    column([...steps].filter(([, own]) => own === depth).map(([name]) => name), MARGIN + (depth * WIDTH * 0.62) / (deepest + 1));
  }
  column(related.map((other) => other.item_id), WIDTH * 0.62);
  const edges = new Map(related.flatMap((other) => other.path.map((edge) => [JSON.stringify([edge.start, edge.end]), edge])));
  const titles = new Map(related.map((other) => [other.item_id, other.title]));
  return [
    ...[...edges.values()].map((edge) => line(places.get(edge.start), places.get(edge.end), edge)),
    ...[...places].map(([name, place]) =>
      titles.has(name) ? relatedItem(name, titles.get(name), place, open) : node(name === item.item_id ? item.title : entity(name), place)),
  ];
}

function line(from, to, edge) {
  const words = `${edge.start} ${edge.is_inverse ? "←" : "→"} ${edge.predicate} ${edge.is_inverse ? "←" : "→"} ${edge.end}`;
  return svg("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y }, svg("title", {}, words));
}

function node(words, { x, y }) {
  return svg("g", { class: "node" }, svg("title", {}, words), svg("circle", { cx: x, cy: y, r: 5 }),
    svg("text", { x: x + 9, y: y - 7 }, short(words)));
}

function relatedItem(id, title, { x, y }, open) {
  const show = () => api.item(id).then(open, () => open({ item_id: id, title })); // the box says what fails
  const press = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    show();
  };
  return svg("g", { class: "node other", tabindex: 0, role: "button", "aria-label": title, "data-item": id, on: { click: show, keydown: press } },
    svg("title", {}, title), svg("circle", { cx: x, cy: y, r: 6 }), svg("text", { x: x + 11, y: y + 4 }, short(title)));
}

/** The value of an attribute without the attribute's name. */
const entity = (name) => name.slice(name.indexOf("=") + 1);
const short = (words) => (words.length > LETTERS ? `${words.slice(0, LETTERS - 1)}…` : words);
