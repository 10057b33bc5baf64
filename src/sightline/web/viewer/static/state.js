// Where one is lies in the address: every view can be linked to, reloaded, and gone back to.

/** @type {Set<() => void>} */
const listeners = new Set();

/** { page, parts, params } of the address: #/page/part/part?name=value. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...parts] = path.split("/").map(decode);
  return { page: page || "cases", parts, params: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a link somebody mangled: it will name nothing
  }
}

/**
 * The address of a page.
 * @param {string} page @param {string[]} parts @param {URLSearchParams} params
 */
export function link(page, parts = [], params = new URLSearchParams()) {
  const query = params.toString();
  return `#/${[page, ...parts].map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

/**
 * Go to a place: a step of the history, or instead of the present one.
 * @param {string} page @param {string[]} parts @param {URLSearchParams} [params] @param {{ replace?: boolean }} options
 */
export function go(page, parts, params, { replace = false } = {}) {
  const hash = link(page, parts, params);
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  if (!replace) tell();
}

/**
 * Change some parameters of the present place; null takes one away, a list sets it as often.
 * @param {Changes} changes @param {{ replace?: boolean }} options
 */
export function tweak(changes, { replace = true } = {}) {
  const { page, parts, params } = here();
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== null && one !== "" && one !== undefined) params.append(name, one);
  }
  go(page, parts, params, { replace });
}

/** @param {() => void} run */
export function onMove(run) {
  listeners.add(run);
}

function tell() {
  for (const run of listeners) run();
}

addEventListener("popstate", tell);
addEventListener("hashchange", tell);

/**
 * A number among parameters, or null.
 * @param {URLSearchParams} params @param {string} name
 */
export function number(params, name) {
  const text = params.get(name);
  const value = Number(text);
  return text === null || text === "" || Number.isNaN(value) ? null : value;
}
