// The box that shows one item: its facts, why it is or is not in the viewer's list, and what is like it.

import * as api from "./api.js";
import { likeButton, score } from "./cards.js";
import { cover } from "./cover.js";
import { byId, el, fill } from "./dom.js";
import { showNeighbourhood } from "./neighbourhood.js";
import { breakdown, whyNot } from "./reasons.js";

const ALIKE = 6;
const PLAIN = { k: ALIKE, filters: {}, diversity: 0 };

/**
 * `actions`: open(item), similar(item), like(item), isLiked(id), locate(item).
 * `place`: where the item stands in the list shown: {hit, reason, rank}, if it does; `user` and what was `asked` for them.
 */
export function openItem(item, place, actions) {
  const box = byId("item");
  const list = el("ol", { class: "alike" }, el("li", { class: "small" }, "…"));
  const why = el("div", { class: "why", role: "status" });
  const related = el("div", { class: "related" });
  fill(box, el("div", { class: "item-in" },
    el("button", { type: "button", class: "close", "aria-label": "Close", on: { click: () => box.close() } }, "×"),
    cover(item),
    el("div", { class: "item-text" },
      el("h2", { id: "item-title" }, item.title),
      facts(item),
      why,
      el("div", { class: "acts" },
        act("More like this", () => actions.similar(item)),
        act("Show on the map", () => actions.locate(item)),
        likeButton(item, actions)),
      el("h3", {}, "Nearest to it"), list,
      related)));
  if (!box.open) box.showModal();
  box.scrollTop = 0;
  box.dataset.item = item.item_id;
  showPlace(why, item, place, box);
  showAlike(list, item, box, actions.open);
  showNeighbourhood(related, item, box, actions.open);

  function act(text, action) {
    return el("button", { type: "button", on: { click: () => { box.close(); action(); } } }, text);
  }
}

function facts({ item_id: id, attributes }) {
  const rows = Object.entries(attributes ?? {}).filter(([, values]) => values.length);
  return el("dl", { class: "fact-list" },
    rows.map(([name, values]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, values.join(", "))]),
    el("dt", {}, "id"), el("dd", {}, el("code", {}, id)));
}

async function showPlace(box, item, { hit, reason, rank, user, asked }, dialog) {
  if (hit) {
    fill(box, el("p", {}, `Place ${rank} in the list, score ${score(hit.score)}.`), breakdown(reason));
    return;
  }
  if (!user) return;
  fill(box, el("p", { class: "small" }, "Asking why it is not in the list …"));
  let said;
  try {
    said = whyNot((await api.recommend(user, asked, { why: item.item_id })).why);
  } catch (problem) {
    said = el("p", {}, problem.detail || problem.message);
  }
  if (dialog.dataset.item === item.item_id) fill(box, el("h3", {}, `Why ${user} does not see it`), said);
}

async function showAlike(list, item, dialog, open) {
  let alike;
  try {
    alike = (await api.similar(item.item_id, PLAIN)).items;
  } catch (problem) {
    fill(list, el("li", { class: "small" }, problem.detail || problem.message));
    return;
  }
  if (dialog.dataset.item !== item.item_id) return; // another item was opened meanwhile
  fill(list, alike.map((other) =>
    el("li", {}, el("button", { type: "button", class: "quiet", on: { click: () => open(other) } },
      el("span", {}, other.title), el("span", { class: "number" }, score(other.score))))));
}
