// What a list is, in words for its reader.

const COUNT = (n) => `${n.toLocaleString("en")} ${n === 1 ? "item" : "items"}`;

/** The heading over a list. */
export function headingOf({ mode, about }, title) {
  return {
    popular: "Popular with everyone",
    user: `For ${about}`,
    search: `“${about}”`,
    similar: `More like ${title ?? about}`,
    taste: "For you",
    file: `Like ${about}`,
  }[mode];
}

const FOUND_BY = {
  hybrid: "by meaning and by the words of titles, texts and documents",
  dense: "that come nearest in meaning",
  words: "by the words of titles, texts and documents",
};

/** How the list came about. */
export function originOf({ mode, about }, { source, items, mode: by }, numLiked) {
  if (mode === "user" && source === "popularity") {
    return `Nothing is known of ${about} yet: this is what is popular with everyone.`;
  }
  return {
    popular: "Pick a viewer, search, or like something.",
    user: `${COUNT(items.length)} by this viewer’s own taste, without what they have seen.`,
    search: `${COUNT(items.length)} ${FOUND_BY[by]}.`,
    similar: `${COUNT(items.length)} that come nearest to it.`,
    file: `${COUNT(items.length)} that come nearest to this file.`,
    taste: `${COUNT(items.length)} by the ${numLiked === 1 ? "one item" : `${numLiked} items`} you like.`,
  }[mode];
}

const FAILED = {
  0: "No answer",
  401: "A key is needed",
  403: "This key may not do that",
  404: "That is not here",
  413: "That is too large",
  422: "The server cannot answer this",
  429: "Too many questions",
  501: "This catalogue cannot be searched by that",
  503: "The server is busy",
};

/** The heading over a problem. */
export const failureOf = ({ status }) => FAILED[status] ?? "Something went wrong";

/** An empty list's reason. */
export function emptyOf(answer, filtered) {
  if (filtered) return "Nothing passes these filters. Take one away.";
  return answer.short_reason ? `Nothing to show: ${answer.short_reason}.` : "Nothing to show.";
}
