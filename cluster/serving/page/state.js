// What is shown, as a value that lives in the address: back, forward, reload and links work.
//   mode: "popular" | "user" | "search" | "similar" | "taste" | "file";  about: user id, text, item id or file name
//   filters: attribute -> [values] or {min, max};  diversity: 0 to 1;  k: how many

export const PAGE = 24;
const FEW = 1000; // what the server gives at most

export function read(search = location.search) {
  const params = new URLSearchParams(search);
  const mode = ["user", "q", "similar", "taste"].find((name) => params.has(name));
  const state = { mode: mode === "q" ? "search" : mode ?? "popular", about: mode ? params.get(mode) : "" };
  state.filters = Object.create(null); // an attribute may have the name of what every object inherits
  state.diversity = Math.min(1, Math.max(0, Number(params.get("diversity")) || 0));
  state.k = Math.min(FEW, Math.max(1, Math.trunc(Number(params.get("k"))) || PAGE));
  for (const [name, value] of params) {
    const [kind, attribute] = [name.slice(0, 2), name.slice(2)];
    const before = state.filters[attribute]; // a range, if the address has one beside values: the last is meant
    if (kind === "f.") state.filters[attribute] = Array.isArray(before) ? [...before, value] : [value];
    if (kind === "r.") state.filters[attribute] = rangeOf(value);
  }
  return state;
}

export function write({ mode, about, filters, diversity, k }) {
  const params = new URLSearchParams();
  const isThere = mode !== "popular" && mode !== "file"; // an address cannot hold a file
  if (isThere) params.set(mode === "search" ? "q" : mode, about);
  for (const [attribute, asked] of Object.entries(filters)) {
    if (Array.isArray(asked)) for (const value of asked) params.append(`f.${attribute}`, value);
    else params.set(`r.${attribute}`, `${asked.min ?? ""}..${asked.max ?? ""}`);
  }
  if (diversity) params.set("diversity", diversity);
  if (k !== PAGE) params.set("k", k);
  const text = params.toString();
  return text ? `?${text}` : location.pathname;
}

function rangeOf(text) {
  const [min, max] = text.split("..").map((end) => (end === "" || Number.isNaN(Number(end)) ? undefined : Number(end)));
  return { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
}
