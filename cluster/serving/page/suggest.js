// Titles under the search box while one types: arrow keys choose, Enter opens, Escape leaves.

import { titles } from "./api.js";
import { el, fill } from "./dom.js";

const WAIT_MS = 150;
const LEAST = 2;

export function makeSuggestions(input, list, onChoose) {
  let found = [];
  let chosen = -1;
  let timer = 0;
  let running = null;

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  input.addEventListener("blur", () => setTimeout(() => document.activeElement !== input && close(), 150)); // a click comes first
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (list.hidden || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
    if (event.key === "Enter" && chosen < 0) return close();
    event.preventDefault();
    if (event.key === "Enter") choose(found[chosen]);
    else mark(next(event.key === "ArrowDown" ? 1 : -1));
  });

  async function ask() {
    running?.abort();
    running = new AbortController();
    const text = input.value.trim();
    if (text.length < LEAST) return close();
    try {
      ({ items: found } = await titles(text, { signal: running.signal }));
    } catch {
      return close(); // a convenience: searching itself will say what is wrong
    }
    if (document.activeElement === input && input.value.trim() === text) open();
  }
  function open() {
    fill(list, found.map((item, i) =>
      el("li", { role: "option", id: `suggestion-${i}`, "aria-selected": false, on: { pointerdown: () => choose(item) } }, item.title)));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", !list.hidden);
    mark(-1);
  }
  const next = (step) => ((chosen + 1 + step + found.length + 1) % (found.length + 1)) - 1; // -1: the input itself
  function mark(place) {
    chosen = place;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === chosen));
    if (chosen < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `suggestion-${chosen}`);
  }
  function choose(item) {
    close();
    onChoose(item);
  }
  function close() {
    clearTimeout(timer);
    running?.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", false);
    chosen = -1;
  }
  return { close };
}
