// Elements and requests. Text is only ever set as text: whatever a name or label holds, it stays text.

const LINK = /^(#|\.{0,2}\/|\?|https?:)/;

/** @param {Child[]} children @returns {(Node | string)[]} */
function flatten(children) {
  return children.flatMap((child) => (Array.isArray(child) ? flatten(child) : child || child === "" ? [child] : []));
}

/**
 * Make an element. props: class, on (event -> handler), data (data-*), aria (aria-*), and properties of the element
 * by their names (value, type, title, disabled, hidden, htmlFor, ...). Children: nodes, or strings shown as text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Props<HTMLElementTagNameMap[K]>} props @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  const { class: className, on = {}, data = {}, aria = {}, role, ...others } = props;
  if (className !== undefined) made.className = className;
  for (const [event, run] of Object.entries(on)) made.addEventListener(event, /** @type {EventListener} */ (run));
  Object.assign(made.dataset, data);
  for (const [key, value] of Object.entries(aria)) if (value !== undefined) made.setAttribute(`aria-${key}`, value);
  if (role !== undefined) made.setAttribute("role", role);
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined || value === null) continue;
    if (name === "href" && !LINK.test(String(value))) throw new Error(`${value} is no link`);
    if (["innerHTML", "outerHTML", "srcdoc", "style"].includes(name) || name.startsWith("on"))
      throw new Error(`${name} is not set from here`);
    Object.assign(made, { [name]: value });
  }
  made.append(...flatten(children));
  return made;
}

/**
 * Make an SVG element; attributes by their names.
 * @param {string} tag @param {Record<string, string | number | undefined>} attributes @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (name.startsWith("on") || name === "style") throw new Error(`${name} is not set from here`);
    made.setAttribute(name, String(value));
  }
  made.append(...flatten(children));
  return made;
}

/**
 * Replace what an element holds.
 * @template {Element} E
 * @param {E} element @param {...Child} children
 * @returns {E}
 */
export function fill(element, ...children) {
  element.replaceChildren(...flatten(children));
  return element;
}

/**
 * The drawing context of a canvas.
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas @param {CanvasRenderingContext2DSettings} settings
 * @returns {Context2D}
 */
export function context2d(canvas, settings = {}) {
  const context = /** @type {Context2D | null} */ (canvas.getContext("2d", settings));
  if (!context) throw new Error("this browser does not draw on a canvas");
  return context;
}

/**
 * An element of the page by its id.
 * @param {string} id
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element ${id}`);
  return element;
}

/**
 * The sentence of an error, whatever was thrown.
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** What a server says went wrong, and with which status; status 0 is a connection that failed. */
export class Refused extends Error {
  /** @param {number} status @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/**
 * fetch that throws a `Refused` with the server's sentence for everything but success.
 * @param {string} url @param {RequestInit} options
 */
export async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer");
  }
  if (answer.ok) return answer;
  let sentence = `${answer.status} ${answer.statusText}`;
  try {
    sentence = (await answer.json()).error || sentence;
  } catch {
    // Not our server: a plain one that serves the exported files says what it likes.
  }
  throw new Refused(answer.status, sentence);
}

/**
 * Read JSON.
 * @param {string} url @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function getJSON(url, options) {
  return (await ask(url, options)).json();
}

/**
 * Send JSON and read JSON.
 * @param {string} method @param {string} url @param {unknown} body @param {RequestInit} options
 * @returns {Promise<any>}
 */
export async function sendJSON(method, url, body, options = {}) {
  const headers = { "content-type": "application/json" };
  return (await ask(url, { method, headers, body: JSON.stringify(body), ...options })).json();
}

const KEPT = "sightline-theme";

/**
 * Light, dark, or as the system says (''); remembered on this machine.
 * @param {string} name
 */
export function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    // Storage may be forbidden; the theme then lasts as long as the page.
  }
}

/** A button that goes from light to dark and back; applies what was remembered. */
export function themeButton() {
  let kept = "";
  try {
    kept = localStorage.getItem(KEPT) || "";
  } catch {
    // As above.
  }
  if (kept) setTheme(kept);
  const dark = () =>
    document.documentElement.dataset.theme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  return el("button", {
    class: "quiet", type: "button", title: "Light or dark", aria: { label: "Light or dark" },
    on: { click: () => setTheme(dark() ? "light" : "dark") },
  }, "◐");
}

/**
 * A number for reading: fixed decimals, a true minus sign, no negative zero; a dash for what is undefined.
 * @param {number | null | undefined} value @param {number} digits
 */
export function decimal(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = value.toFixed(digits);
  return text.replace("-", /[1-9]/.test(text) ? "−" : "");
}
