// Puts the parts together: the address says what to show (state.js), the server answers (api.js), the rest draws.

import * as api from "./api.js";
import { showCards, showWaiting } from "./cards.js";
import { byId, el, fill } from "./dom.js";
import { takeFiles } from "./drop.js";
import { inWords, makeFilters } from "./filters.js";
import { openItem } from "./item.js";
import { withKey } from "./key.js";
import { parseMap } from "./map-data.js";
import { MapView } from "./map.js";
import { setLegend } from "./palette.js";
import { namesIn, reasonsOf } from "./reasons.js";
import { PAGE, read, write } from "./state.js";
import { makeSuggestions } from "./suggest.js";
import * as taste from "./taste.js";
import { makeTastes } from "./tastes.js";
import { emptyOf, failureOf, headingOf, originOf } from "./words.js";

const NOBODY = "somebody new"; // a viewer of whom nothing is known gets what is popular
const WITHOUT_REASONS = "Without reasons: this key may not be told what viewers have seen (scope explain).";
const NUM_USERS = 200;
const DEBOUNCE_MS = 200;
const SLOW_MS = 4000;

const cards = byId("cards");
let state = read();
let shown = { items: [], reasons: new Map() };
let running = null;
let file = null; // the last one that was dropped
let map = null;
let filters = null;
let tastes = null;

const actions = {
  open: (item) => openItem(item, placeOf(item.item_id), actions),
  similar: (item) => go({ mode: "similar", about: item.item_id }),
  like(item) {
    const now = taste.toggle(item.item_id);
    if (state.mode === "taste") show();
    showTaste();
    return now;
  },
  isLiked: taste.isLiked,
  hover: (id) => map?.point(shown.rows?.get(id) ?? null),
  async locate(item) {
    const [found] = (await api.mapIds([item.item_id])).items;
    byId("map").scrollIntoView({ block: "center" });
    if (!found) map?.say("This item is gone.");
    else if (found.row === null) map?.say("This item is newer than the map.");
    else map?.locate(found);
  },
};

function placeOf(id) {
  const at = shown.items.findIndex((item) => item.item_id === id);
  const user = state.mode === "user" ? state.about : null;
  return { hit: shown.items[at], reason: shown.reasons.get(id), rank: at + 1, user, asked: state };
}

/** Changes what is shown and the address with it. */
function go(change) {
  state = { ...state, k: PAGE, ...change };
  history.pushState(null, "", write(state));
  show();
  if (change.mode) byId("heading").focus();
}

function ask(signal) {
  const { mode, about } = state;
  if (mode === "search") return api.search(about, state, { signal });
  if (mode === "file") return (file.isImage ? api.searchImage : api.likeDocument)(file, state, { signal });
  if (mode === "similar") return api.similar(about, state, { signal });
  if (mode === "taste" && taste.liked().length) return api.recommendTaste(taste.liked(), state, { signal });
  return api.recommend(mode === "user" ? about : NOBODY, state, { signal });
}

/** Asks for the list and shows it; a later call puts an end to this one. */
async function show() {
  running?.abort();
  const { signal } = (running = new AbortController());
  const slow = setTimeout(() => notice("The server is slow. Still waiting …"), SLOW_MS);
  showControls();
  notice("");
  cards.setAttribute("aria-busy", "true");
  if (!cards.querySelector(".card:not(.waiting)")) showWaiting(cards, 8);
  try {
    const start = performance.now();
    const answer = await withKey(() => ask(signal));
    const took = performance.now() - start;
    const extra = await details(answer);
    if (!signal.aborted) await showAnswer(answer, extra, took);
  } catch (problem) {
    if (!signal.aborted) showProblem(problem);
  } finally {
    clearTimeout(slow);
  }
}

/** Rows on the map of all items of an answer, and titles of what it names as reasons; both are only adornment. */
async function details(answer) {
  const ids = [...new Set([...answer.items.map((item) => item.item_id), ...namesIn(answer), ...(state.mode === "similar" ? [state.about] : [])])];
  const found = ids.length ? await api.mapIds(ids.slice(0, 500)).catch(() => ({ items: [] })) : { items: [] };
  return new Map(found.items.map((item) => [item.item_id, item]));
}

async function showAnswer(answer, known, took) {
  const reasons = reasonsOf(answer, new Map([...known].map(([id, item]) => [id, item.title])));
  shown = { items: answer.items, reasons, rows: known };
  byId("heading").textContent = headingOf(state, known.get(state.about)?.title);
  byId("subline").textContent = originOf(state, answer, taste.liked().length);
  document.title = `${byId("heading").textContent} · semrec`;
  byId("release").textContent = answer.release;
  byId("overlay").textContent = answer.overlay;
  byId("timing").textContent = `· ${took.toFixed(0)} ms`;
  cards.dataset.source = answer.source;
  showCards(cards, answer.items, reasons, actions);
  const lacksReasons = state.mode === "user" && !("explain" in answer);
  notice(answer.items.length ? (lacksReasons ? WITHOUT_REASONS : "") : emptyOf(answer, Object.keys(state.filters).length));
  byId("more").hidden = answer.items.length < state.k;
  markMap();
}

function showProblem(problem) {
  const isAnswer = problem instanceof api.Problem;
  shown = { items: [], reasons: new Map() };
  fill(cards);
  cards.setAttribute("aria-busy", "false");
  byId("more").hidden = true;
  byId("heading").textContent = isAnswer ? failureOf(problem) : "This page has failed";
  byId("subline").textContent = "";
  notice(isAnswer ? [problem.detail || problem.title, problem.remedy].filter(Boolean).join(" · ") : problem.message, true);
  markMap();
}

function notice(text, again = false) {
  const box = byId("notice");
  box.hidden = !text;
  fill(box, text, again && el("button", { type: "button", on: { click: show } }, "Try again"));
}

function markMap() {
  const likedIds = new Set([...shown.reasons.values()].flatMap((reason) => reason.parts.map((part) => part.name)));
  if (state.mode === "similar") likedIds.add(state.about);
  const onMap = (ids) => ids.map((id) => shown.rows?.get(id)).filter(Boolean);
  map?.mark(onMap(shown.items.map((item) => item.item_id)), onMap([...likedIds]));
}

function showControls() {
  byId("query").value = state.mode === "search" ? state.about : "";
  byId("user").value = state.mode === "user" ? state.about : "";
  byId("diversity").value = state.diversity;
  showDiversity();
  filters?.show(state.filters);
  tastes?.show(state.mode === "popular");
  const active = inWords(state.filters);
  if (state.diversity) active.push(`diversity ${percent(state.diversity)}`);
  byId("active").textContent = active.join(" · ");
  byId("reset").hidden = !active.length;
  showTaste();
}

function showTaste() {
  const count = taste.liked().length;
  byId("for-you").hidden = !count;
  byId("for-you").textContent = `♥ ${count}`;
  byId("for-you").setAttribute("aria-label", `For you, by the ${count} you like`);
}

const percent = (share) => `${Math.round(100 * share)} %`;
const showDiversity = () => { byId("diversity-value").textContent = percent(byId("diversity").value); };

function listen() {
  const suggestions = makeSuggestions(byId("query"), byId("suggestions"), actions.open);
  onSubmit("search", () => {
    suggestions.close();
    const text = byId("query").value.trim();
    go(text ? { mode: "search", about: text } : { mode: "popular", about: "" });
  });
  takeFiles(byId("search"), (dropped) => {
    file = dropped;
    go({ mode: "file", about: file.name });
  });
  const pick = () => {
    const user = byId("user").value.trim();
    go(user ? { mode: "user", about: user } : { mode: "popular", about: "" });
  };
  onSubmit("viewer", pick);
  byId("user").addEventListener("change", () => isOffered(byId("user").value) && pick()); // chosen from the list
  byId("for-you").addEventListener("click", () => go({ mode: "taste", about: "" }));
  byId("diversity").addEventListener("input", showDiversity);
  byId("diversity").addEventListener("change", (event) => go({ diversity: Number(event.target.value) }));
  byId("reset").addEventListener("click", () => go({ filters: {}, diversity: 0 }));
  byId("more").addEventListener("click", () => go({ k: state.k + PAGE }));
  byId("item").addEventListener("click", (event) => event.target === event.currentTarget && event.target.close());
  new IntersectionObserver(([seen]) => { byId("to-map").hidden = seen.isIntersecting; }).observe(byId("map"));
  addEventListener("popstate", () => {
    state = read();
    show();
  });
}

const isOffered = (user) => [...byId("users").options].some((option) => option.value === user) && user !== state.about;

function onSubmit(id, action) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

async function loadControls() {
  const { attributes } = await api.models();
  let timer = 0;
  filters = makeFilters(byId("filters"), attributes, (asked) => {
    clearTimeout(timer);
    timer = setTimeout(() => go({ filters: asked }), DEBOUNCE_MS);
  });
  filters.show(state.filters);
}

async function loadUsers() {
  const { users } = await api.users(NUM_USERS);
  fill(byId("users"), users.map((value) => el("option", { value })));
}

/** Kinds of taste, each with viewers to look at; nothing where the release has none, or the key may not know. */
async function loadTastes() {
  const { archetypes } = await api.archetypes();
  tastes = makeTastes(byId("tastes"), archetypes, (user) => go({ mode: "user", about: user }));
  tastes.show(state.mode === "popular");
}

async function loadMap() {
  map = new MapView(byId("map"), byId("legend"), {
    items: async (rows) => (await api.mapRows(rows)).items,
    open: actions.open,
  });
  map.say("The map is on its way …");
  try {
    const data = parseMap(await api.map());
    byId("map-note").textContent = `${(data.num_points - data.gone.length).toLocaleString("en")} items, coloured by ${data.legend.attribute ?? "nothing"}`;
    map.show(data);
    markMap();
  } catch (problem) {
    map.say(`There is no map. ${problem.remedy ?? problem.detail ?? problem.message}`);
  }
}

async function start() {
  listen();
  showWaiting(cards, 8);
  try {
    setLegend(await withKey(api.legend)); // colours first: cards are painted with them
  } catch (problem) {
    showProblem(problem);
    return;
  }
  await Promise.allSettled([show(), loadControls(), loadUsers(), loadTastes(), loadMap()]);
}

start();
