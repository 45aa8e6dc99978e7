// The viewers by a few kinds of taste, on the start page: a click shows what a viewer of that taste is recommended.

import { el, fill } from "./dom.js";

const NUM_VIEWERS = 3;
const NUM_TITLES = 2;

/** Lists archetypes in `section`; `pick` is called with a viewer's id. Returns what shows and hides them. */
export function makeTastes(section, archetypes, pick) {
  const button = (user, label, props) => el("button", { type: "button", ...props, on: { click: () => pick(user) } }, label);
  fill(section.querySelector("ul"), archetypes.map(({ name, share, titles, user_ids: users }) => el("li", {},
    button(users[0], [name, el("span", {}, ` ${Math.round(100 * share)} %`)], { class: "taste" }),
    el("p", { class: "small" }, titles.slice(0, NUM_TITLES).join(", ")),
    el("p", { class: "small" }, "Viewers ",
      users.slice(0, NUM_VIEWERS).map((user) => button(user, user, { class: "quiet", "aria-label": `Viewer ${user}: ${name}` }))))));
  return { show: (isShown) => { section.hidden = !isShown || !archetypes.length; } };
}
