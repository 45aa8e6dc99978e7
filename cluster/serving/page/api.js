// The one place that talks to the server. Every failure becomes a Problem with words for people.

const base = new URL("./", document.baseURI);
const KEY = "semrec-api-key";
const SLOW_MS = 30_000;

/** A failed request: `status` 0 means that no answer came at all. */
export class Problem extends Error {
  constructor(status, title, { detail = "", remedy = "" } = {}) {
    super(title);
    Object.assign(this, { name: "Problem", status, title, detail, remedy });
  }
}

let mayExplain = true; // until the server says that this key may not be told what viewers have seen

export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => {
    sessionStorage.setItem(KEY, value.trim());
    mayExplain = true;
  },
};

/** Fetches `path`; returns the Response. Raises Problem, or AbortError when `signal` says so. */
export async function request(path, { params, body, signal } = {}) {
  const url = new URL(path, base);
  if (params) url.search = new URLSearchParams(params);
  const headers = { Accept: "application/json" };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  const limits = [AbortSignal.timeout(SLOW_MS), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(url, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      headers,
      signal: AbortSignal.any ? AbortSignal.any(limits) : signal ?? limits[0],
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = error.name === "TimeoutError";
    throw new Problem(0, late ? "The server takes too long" : "The server cannot be reached", {
      detail: late ? `No answer within ${SLOW_MS / 1000} seconds.` : "No answer came at all.",
      remedy: "Check the connection, then try again.",
    });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export const json = async (path, options) => (await request(path, options)).json();

async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  const detail = typeof said.detail === "string" ? said.detail : "";
  return new Problem(response.status, said.title || `The server answered ${response.status}`, {
    detail,
    remedy: said.remedy ?? "",
  });
}

const encoded = encodeURIComponent;

/** Filters as query parameters: what the GET endpoints read. */
function query({ k, filters, diversity }) {
  const params = [["k", k]];
  if (diversity) params.push(["diversity", diversity]);
  const named = new Set(["platform", "genre", "maturity"]);
  for (const [attribute, asked] of Object.entries(filters)) {
    if (Array.isArray(asked)) {
      for (const value of asked) params.push(named.has(attribute) ? [attribute, value] : ["where", `${attribute}:${value}`]);
    } else {
      for (const end of ["min", "max"]) if (asked[end] !== undefined) params.push([`${attribute}_${end}`, asked[end]]);
    }
  }
  return params;
}

/** A viewer's list, with its reasons where the key may have them; `why` an item is not in it needs such a key. */
export async function recommend(user, asked, { why, signal } = {}) {
  const ask = (more) => json(`v1/users/${encoded(user)}/recommendations`, { params: [...query(asked), ...more], signal });
  if (why) return ask([["explain", "true"], ["why", why]]);
  if (!mayExplain) return ask([]);
  try {
    return await ask([["explain", "true"]]);
  } catch (problem) {
    if (problem.status !== 403) throw problem;
    const answer = await ask([]);
    mayExplain = false;
    return answer;
  }
}

export const similar = (id, asked, { signal } = {}) =>
  json(`v1/items/${encoded(id)}/similar`, { params: query(asked), signal });

export const search = (text, { k, filters, diversity }, { signal } = {}) =>
  json("v1/search", { body: { text, k, filters, ...(diversity ? { diversity } : {}) }, signal });

/** What looks like an image, whose `data` are in base64. */
export const searchImage = ({ data: image }, { k, filters, diversity }, { signal } = {}) =>
  json("v1/search", { body: { image, k, filters, ...(diversity ? { diversity } : {}) }, signal });

/** What is like a document, { name, data } with the data in base64. Raises Problem for one that cannot be used. */
export async function likeDocument({ name, data }, { k, filters }, { signal } = {}) {
  const { contents: [found] } = await json("v1/process", { body: { contents: [{ name, data }], k, filters }, signal });
  if (found.error) throw new Problem(found.error.status, found.error.title, found.error);
  return found.answer;
}

export const recommendTaste = (liked, { k, filters, diversity }, { signal } = {}) =>
  json("v1/recommendations", { body: { liked, k, filters, diversity, explain: true }, signal });

/** The items that relations lead to from one, each with its path. */
export const related = (id, k) => json(`v1/items/${encoded(id)}/related`, { params: [["k", k]] });

export const item = (id, { signal } = {}) => json(`v1/items/${encoded(id)}`, { signal });
/** The picture of an item, as a Blob. */
export const poster = async (id) => (await request(`v1/items/${encoded(id)}/image`)).blob();

export const models = () => json("v1/models");
export const users = (limit) => json("v1/users", { params: [["limit", limit]] });
export const archetypes = () => json("v1/archetypes");
export const titles = (text, { signal } = {}) => json("v1/titles", { params: [["text", text]], signal });
export const legend = () => json("v1/map/legend");
export const mapRows = (rows) => json("v1/map/items", { params: [["rows", rows.join(",")]] });
export const mapIds = (ids) => json("v1/map/items", { params: ids.map((id) => ["item_id", id]) });

/** The map's bytes. */
export const map = async () => (await request("v1/map")).arrayBuffer();
