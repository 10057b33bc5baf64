// Elements and requests. Text is only ever set as text: whatever a name or label holds, it stays text.

const LINK = /^(#|\.{0,2}\/|\?|https?:)/;

/** Make an element. props: class, on (event -> handler), data (data-*), aria (aria-*), and properties of the element
 *  by their names (value, type, title, disabled, hidden, htmlFor, ...). Children: nodes, or strings shown as text. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) made.addEventListener(event, run);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "aria") for (const [key, said] of Object.entries(value)) made.setAttribute(`aria-${key}`, said);
    else if (name === "role") made.setAttribute("role", value);
    else if (name === "href" && !LINK.test(value)) throw new Error(`${value} is no link`);
    else if (["innerHTML", "outerHTML", "srcdoc", "style"].includes(name) || name.startsWith("on"))
      throw new Error(`${name} is not set from here`);
    else made[name] = value;
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Make an SVG element; attributes by their names, `on` as for `el`. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name === "on") for (const [event, run] of Object.entries(value)) made.addEventListener(event, run);
    else if (name.startsWith("on") || name === "style") throw new Error(`${name} is not set from here`);
    else made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter(Boolean));
  return made;
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What a server says went wrong, and with which status; status 0 is a connection that failed. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** fetch that throws a `Refused` with the server's sentence for everything but success. */
export async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
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

export async function getJSON(url, options) {
  return (await ask(url, options)).json();
}

/** Send JSON and read JSON. */
export async function sendJSON(method, url, body, options = {}) {
  const headers = { "content-type": "application/json" };
  return (await ask(url, { method, headers, body: JSON.stringify(body), ...options })).json();
}

const KEPT = "sightline-theme";

/** Light, dark, or as the system says (''); remembered on this machine. */
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

/** A number for reading: fixed decimals, a true minus sign, no negative zero; a dash for what is undefined. */
export function decimal(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = value.toFixed(digits);
  return text.replace("-", /[1-9]/.test(text) ? "−" : "");
}
