// What the reader likes: item ids, kept in this tab.

const KEY = "semrec-liked";

export const liked = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
export const isLiked = (id) => liked().includes(id);

/** Likes an item, or takes it back; returns whether it is liked now. */
export function toggle(id) {
  const now = isLiked(id) ? liked().filter((other) => other !== id) : [...liked(), id];
  sessionStorage.setItem(KEY, JSON.stringify(now));
  return now.includes(id);
}
