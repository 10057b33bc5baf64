// DOM elements and HTTP requests. Text is always set as text, so that a name or label cannot become markup.

const LINK = /^(#|\.{0,2}\/|\?|https?:)/;

/** @param {Child[]} children @returns {(Node | string)[]} */
function flatten(children) {
  return children.flatMap((child) => (Array.isArray(child) ? flatten(child) : child || child === "" ? [child] : []));
}

/**
 * Create an element. props: class, on (handlers by event), data (data-*), aria (aria-*), and properties of the element
 * by their names (value, type, title, disabled, hidden, htmlFor, ...). Children: nodes, or strings shown as text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Props<HTMLElementTagNameMap[K]>} props @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  const { class: className, on = {}, data = {}, aria = {}, role, ...others } = props;
  if (className !== undefined) element.className = className;
  for (const [event, run] of Object.entries(on)) element.addEventListener(event, /** @type {EventListener} */ (run));
  Object.assign(element.dataset, data);
  for (const [key, value] of Object.entries(aria)) if (value !== undefined) element.setAttribute(`aria-${key}`, value);
  if (role !== undefined) element.setAttribute("role", role);
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined || value === null) continue;
    if (name === "href" && !LINK.test(String(value))) throw new Error(`${value} is not a link`);
    if (["innerHTML", "outerHTML", "srcdoc", "style"].includes(name) || name.startsWith("on"))
      throw new Error(`${name} cannot be set here`);
    Object.assign(element, { [name]: value });
  }
  element.append(...flatten(children));
  return element;
}

/**
 * Create an SVG element. attributes: by their names.
 * @param {string} tag @param {Record<string, string | number | undefined>} attributes @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (name.startsWith("on") || name === "style") throw new Error(`${name} cannot be set here`);
    element.setAttribute(name, String(value));
  }
  element.append(...flatten(children));
  return element;
}

/**
 * Replace the children of an element.
 * @template {Element} E
 * @param {E} element @param {...Child} children
 * @returns {E}
 */
export function fill(element, ...children) {
  element.replaceChildren(...flatten(children));
  return element;
}

/**
 * Return the drawing context of a canvas.
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas @param {CanvasRenderingContext2DSettings} settings
 * @returns {Context2D}
 */
export function context2d(canvas, settings = {}) {
  const context = /** @type {Context2D | null} */ (canvas.getContext("2d", settings));
  if (!context) throw new Error("this browser cannot draw on a canvas");
  return context;
}

/**
 * Return the element of the page with an id.
 * @param {string} id
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element ${id}`);
  return element;
}

/**
 * Return the message of an error, whatever was thrown.
 * @param {unknown} error
 */
export function errorMessage(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Error that a server reports, with its HTTP status; status 0 means that the connection failed. */
export class RequestError extends Error {
  /** @param {number} status @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/**
 * Send a request like `fetch`; throw a `RequestError` with the message of the server unless it succeeds.
 * @param {string} url @param {RequestInit} options
 */
export async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new RequestError(0, "the server does not answer");
  }
  if (response.ok) return response;
  let sentence = `${response.status} ${response.statusText}`;
  try {
    sentence = (await response.json()).error || sentence;
  } catch {
    // Another server, which serves exported files, has its own error pages.
  }
  throw new RequestError(response.status, sentence);
}

/**
 * Request JSON.
 * @param {string} url @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function getJSON(url, options) {
  return (await request(url, options)).json();
}

/**
 * Send JSON and return the JSON of the response.
 * @param {string} method @param {string} url @param {unknown} body @param {RequestInit} options
 * @returns {Promise<any>}
 */
export async function sendJSON(method, url, body, options = {}) {
  const headers = { "content-type": "application/json" };
  return (await request(url, { method, headers, body: JSON.stringify(body), ...options })).json();
}

const THEME_KEY = "sightline-theme";

/**
 * Set the theme, and store it in this browser. name: 'light', 'dark', or '' for that of the system.
 * @param {string} name
 */
export function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem(THEME_KEY, name);
  } catch {
    // Storage may be disabled; the theme then lasts as long as the page.
  }
}

/** Return a button that switches between light and dark, after applying the stored theme. */
export function themeButton() {
  let stored = "";
  try {
    stored = localStorage.getItem(THEME_KEY) || "";
  } catch {
    // As above.
  }
  if (stored) setTheme(stored);
  const isDark = () =>
    document.documentElement.dataset.theme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  return el("button", {
    class: "quiet", type: "button", title: "Light or dark", aria: { label: "Light or dark" },
    on: { click: () => setTheme(isDark() ? "light" : "dark") },
  }, "◐");
}

/**
 * Format a number with fixed decimals, a minus sign and no negative zero, or as a dash if it is undefined.
 * @param {number | null | undefined} value @param {number} digits
 */
export function decimal(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = value.toFixed(digits);
  return text.replace("-", /[1-9]/.test(text) ? "−" : "");
}
