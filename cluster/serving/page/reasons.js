// Why an item is in a list, and why it is not, in words and bars.

import { el } from "./dom.js";

const MOST_NAMED = 2;
const ROUNDING = 5e-4;

/** Models that know no taste, in words: their part of a score is named after them. */
const WHOLE = { popularity: "popular with everyone", hubness: "less, as it suits everyone" };

/**
 * The server's explanations by item: item_id -> {parts, rest, nearest, way}, each part with its `title`.
 * `titleOf` maps the ids of items to titles; a part that is no item is a text in quotes and keeps its name. `way` is how the
 * item is related to a liked one, in words, where the release has relations.
 */
export function reasonsOf(answer, titleOf) {
  const named = (part) => isWhole(part)
    ? { ...part, title: WHOLE[part.name] ?? part.name }
    : { ...part, title: titleOf.get(part.name) ?? part.name };
  const said = (predicate) => (predicate.split(/[/#]/).at(-1) || predicate).replaceAll("_", " ");  // of an IRI its end
  const step = ({ predicate, end }) => ` → ${titleOf.get(end) ?? end.replace("=", " ")} (${said(predicate)})`;
  const way = (reason) => reason &&
    (titleOf.get(reason[0].start) ?? reason[0].start) + reason.slice(0, -1).map(step).join("") + " → this";
  return new Map((answer.explain?.items ?? []).map((of) =>
    [of.item_id, { ...of, parts: of.parts.map(named), nearest: of.nearest.map(named), way: way(of.reason) }]));
}

const isWhole = (part) => part.name === part.component;

/** The ids of all that an answer's explanations name. */
export const namesIn = (answer) =>
  [...new Set((answer.explain?.items ?? []).flatMap((of) =>
    [...of.parts, ...of.nearest].map((part) => part.name).concat((of.reason ?? []).map((edge) => edge.start))))];

const short = (title) => title.replace(/ \(\d{4}\)$/, "");

/** "Because of A and B": the liked items that add most to the score. */
export function because(reason) {
  const most = (reason?.parts ?? []).filter((part) => part.contribution > 0 && !isWhole(part)).slice(0, MOST_NAMED);
  if (!most.length) return null;
  return el("p", { class: "because" }, "Because of ", most.flatMap((part, i) => [i ? " and " : "", el("em", {}, short(part.title))]));
}

/** All that adds to the score, as bars, then the liked items that are the nearest. */
export function breakdown(reason) {
  const parts = reason?.parts ?? [];
  if (!parts.length) return null;
  const rest = Math.abs(reason.rest) > ROUNDING ? [{ title: "all others", contribution: reason.rest, all: true }] : [];
  const rows = [...parts, ...rest];
  const largest = Math.max(...rows.map((part) => Math.abs(part.contribution)));
  return el("section", { class: "breakdown" },
    el("h3", {}, "What the score is made of"),
    el("table", {}, el("tbody", {}, rows.map((part) => bar(part, largest)))),
    el("p", { class: "small" }, "Nearest of the liked: ",
      reason.nearest.slice(0, 3).map((near, i) => [i ? ", " : "", el("em", {}, short(near.title)), ` ${near.cosine.toFixed(2)}`])),
    reason.themes && el("p", { class: "small" }, `Both about ${reason.themes.join(" and ")}`),
    reason.way && el("p", { class: "small way" }, reason.way));
}

function bar({ title, contribution: value, all }, largest) {
  const width = `${((100 * Math.abs(value)) / largest).toFixed(1)}%`;
  return el("tr", {},
    el("th", { scope: "row" }, short(title)),
    el("td", {}, el("span", { class: `bar ${value < 0 ? "minus" : ""} ${all ? "rest" : ""}`, vars: { width } })),
    el("td", { class: "number" }, value.toFixed(3)));
}

const SENTENCES = {
  shown: () => "It is in the list.",
  seen: () => "Seen already: a viewer is never shown the same item again.",
  not_eligible: ({ attribute }) => `This viewer may not see it, because of its ${attribute}.`,
  filtered: ({ attribute }) => `Your filter on ${attribute} leaves it out.`,
  excluded: () => "The request leaves it out by its id.",
  below: ({ rank, short_by: gap }) => `It comes ${ordinal(rank)}. To be shown, its score would have to be ${distance(gap)} higher.`,
  diverse: ({ rank }) => `It comes ${ordinal(rank)}, which is good enough, but it is too like items that are shown.`,
};

/** Why an item is not shown: a sentence, and the server's own words. */
export function whyNot(why) {
  return el("div", { class: "why-not", "data-reason": why.reason },
    el("p", {}, SENTENCES[why.reason](why)), el("p", { class: "small" }, `Score ${why.score.toFixed(4)}: ${why.detail}.`));
}

const distance = (gap) => (gap >= 1e-4 ? gap.toFixed(4) : "a hair");

function ordinal(n) {
  const end = n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th";
  return `${n.toLocaleString("en")}${end}`;
}
