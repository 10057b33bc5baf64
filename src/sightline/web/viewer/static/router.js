// The URL holds the page and its parameters, so that every view can be linked to, reloaded and returned to.

/** @type {Set<() => void>} */
const listeners = new Set();

/** Parse the URL, #/page/part/part?name=value. */
export function currentRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...parts] = path.split("/").map(decode);
  return { page: page || "cases", parts, params: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a damaged link: it names nothing
  }
}

/**
 * Return the URL of a page.
 * @param {string} page @param {string[]} parts @param {URLSearchParams} params
 */
export function pageUrl(page, parts = [], params = new URLSearchParams()) {
  const query = params.toString();
  return `#/${[page, ...parts].map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

/**
 * Open a page, as a new entry of the history or in place of the present one.
 * @param {string} page @param {string[]} parts @param {URLSearchParams} [params] @param {{ replace?: boolean }} options
 */
export function navigate(page, parts, params, { replace = false } = {}) {
  const hash = pageUrl(page, parts, params);
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  if (!replace) notify();
}

/**
 * Change parameters of the URL: null removes one, a list repeats it.
 * @param {Changes} changes @param {{ replace?: boolean }} options
 */
export function updateParams(changes, { replace = true } = {}) {
  const { page, parts, params } = currentRoute();
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const item of Array.isArray(value) ? value : [value])
      if (item !== null && item !== "" && item !== undefined) params.append(name, item);
  }
  navigate(page, parts, params, { replace });
}

/** @param {() => void} run */
export function onNavigate(run) {
  listeners.add(run);
}

function notify() {
  for (const run of listeners) run();
}

addEventListener("popstate", notify);
addEventListener("hashchange", notify);

/**
 * Return a parameter as a number, or null.
 * @param {URLSearchParams} params @param {string} name
 */
export function numberParam(params, name) {
  const text = params.get(name);
  const value = Number(text);
  return text === null || text === "" || Number.isNaN(value) ? null : value;
}
