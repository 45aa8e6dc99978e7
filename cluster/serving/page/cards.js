// A card per item of an answer.

import { cover, titleParts } from "./cover.js";
import { el, fill } from "./dom.js";
import { codeOf, kindAttribute, kindsOf, paint } from "./palette.js";
import { because } from "./reasons.js";

const HIDDEN = new Set(["year"]); // stands on the cover
const MOST_WORDS = 4;

/**
 * Shows the items of an answer in `list`. `actions`: open(item), similar(item), like(item), isLiked(id), hover(id or null).
 */
export function showCards(list, items, reasons, actions) {
  const best = Math.max(...items.map((item) => item.score), 1e-9);
  fill(list, items.map((item, i) => card(item, i + 1, Math.max(0, item.score / best), reasons.get(item.item_id), actions)));
  list.setAttribute("aria-busy", "false");
}

function card(item, rank, share, reason, actions) {
  const { name, year } = titleParts(item);
  const hover = (id) => () => actions.hover(id);
  return el("li", {
    class: "card", "data-item": item.item_id, vars: paint(codeOf(item.attributes)),
    on: { pointerenter: hover(item.item_id), pointerleave: hover(null), focusin: hover(item.item_id), focusout: hover(null) },
  },
    el("button", { type: "button", class: "open", "aria-label": `${rank}. ${name}${year ? `, ${year}` : ""}: open`,
      on: { click: () => actions.open(item) } },
      cover(item), el("span", { class: "rank", "aria-hidden": "true" }, rank)),
    el("div", { class: "facts" },
      el("h2", { class: "title" }, item.title),
      el("p", { class: "kinds" }, kindsOf(item.attributes).join(" · ")),
      el("p", { class: "words" }, words(item.attributes)),
      because(reason),
      el("p", { class: "score", title: `score ${item.score}` },
        el("span", { class: "meter", "aria-hidden": "true", vars: { share: share.toFixed(3) } }),
        el("span", { class: "number" }, score(item.score))),
      el("div", { class: "acts" },
        el("button", { type: "button", class: "quiet similar", on: { click: () => actions.similar(item) } }, "More like this"),
        likeButton(item, actions))));
}

/** A heart that says whether the item is among the liked ones. */
export function likeButton(item, actions) {
  const liked = actions.isLiked(item.item_id);
  const button = el("button", { type: "button", class: "quiet like", "aria-pressed": liked,
    "aria-label": `Like ${item.title}`, title: "Like: builds a list for you", on: { click: () => {
      button.setAttribute("aria-pressed", actions.like(item));
    } } }, el("span", { "aria-hidden": "true" }, "♥"));
  return button;
}

/** Attributes with few values as a line of words. */
function words(attributes) {
  return Object.entries(attributes ?? {})
    .filter(([name, values]) => name !== kindAttribute() && !HIDDEN.has(name) && !values.every((v) => /^\d+$/.test(v)))
    .flatMap(([, values]) => values).slice(0, MOST_WORDS).join(" · ");
}

/** Popularity is a count, other scores are inner products. */
export const score = (value) => (Number.isInteger(value) && value > 1 ? value.toLocaleString("en") : value.toFixed(3));

/** Grey cards while an answer is on its way. */
export function showWaiting(list, count) {
  list.setAttribute("aria-busy", "true");
  fill(list, Array.from({ length: count }, () =>
    el("li", { class: "card waiting", "aria-hidden": "true" }, el("div", { class: "cover" }), el("div", { class: "facts" },
      el("p", { class: "line" }), el("p", { class: "line short" })))));
}
