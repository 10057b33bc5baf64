// Viewer of a run: opens the page that the URL names.

import { byId, el, fill, errorMessage, themeButton } from "../web/dom.js";
import { IMAGE_KEYS } from "../web/image-canvas.js";
import { CasePage } from "./case-page.js";
import { Charts } from "./charts.js";
import { Failures } from "./failures.js";
import { Gallery } from "./gallery.js";
import { navigate, currentRoute, pageUrl, onNavigate } from "./router.js";
import { Store } from "./store.js";

const top = byId("top");
const main = byId("page");
/** @type {[string, KeyLines][]} */
const HELP = [
  ["Everywhere", [["?", "this help"], ["g", "cases"], ["d", "distributions and scatter"], ["f", "failed maps"], ["/", "search"]]],
  ["Cases", [["arrows, j k", "from case to case"], ["Enter", "open"], ["x", "only maps that failed, or all"]]],
  ["A case", [["j k", "next case, previous case"], ["1 – 9", "show or hide a source's map"], ["o", "overlaid or side by side"], ["m", "maps on or off"],
    ["t", "mask and IoU"], [", .", "threshold down, up"], ["h", "annotations on or off"], ["r", "regions"], ["a", "all scores"], ["Esc", "back to the cases"]]],
  ["Image", IMAGE_KEYS],
];

function helpSheet() {
  /** @type {HTMLDialogElement} */
  const dialog = el("dialog", { class: "sheet", aria: { label: "Keys" } },
    el("div", { class: "bar" }, el("h1", { class: "grow" }, "Keys"),
      el("button", { type: "button", class: "quiet", on: { click: () => dialog.close() } }, "Close")),
    el("div", { class: "keys" }, HELP.map(([title, keys]) => el("section", {}, el("h2", {}, title),
      el("dl", {}, keys.map(([key, description]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, description)]))))));
  document.body.append(dialog);
  return dialog;
}

/** @param {import("./store.js").Store} store @param {HTMLDialogElement} help */
function header(store, help) {
  const { index } = store;
  const failed = index.failed.reduce((sum, f) => sum + f.maps, 0);
  const tabs = [["cases", "Cases"], ["charts", "Distributions"], ["failures", failed ? `Failed maps (${failed.toLocaleString("en")})` : "Failed maps"]];
  document.title = `${index.title} · ${index.run} · Sightline`;
  fill(top,
    el("a", { class: "brand", href: "#/cases" }, index.title, el("span", { class: "muted small" }, index.run)),
    el("nav", { class: "bar", aria: { label: "Pages" } }, tabs.map(([page, text]) =>
      el("a", { class: "tab", href: pageUrl(page), data: { page } }, text))),
    el("span", { class: "grow" }),
    el("span", { class: "muted small data" }, [index.data.title, index.simulated && "readers are simulated"].filter(Boolean).join(" · ")),
    el("button", { type: "button", class: "quiet", title: "Keys (?)", aria: { label: "Keys" }, on: { click: () => help.showModal() } }, "?"),
    themeButton());
}

async function start() {
  const store = await Store.open();
  const help = helpSheet();
  header(store, help);
  const gallery = new Gallery(store);
  /** @type {Record<string, Page>} */
  const pages = { cases: gallery, case: new CasePage(store, gallery), charts: new Charts(store), failures: new Failures(store) };

  async function show() {
    const { page } = currentRoute();
    const current = pages[page] ?? gallery;
    document.body.dataset.page = page;
    for (const tab of /** @type {NodeListOf<HTMLElement>} */ (top.querySelectorAll(".tab"))) tab.toggleAttribute("aria-current", tab.dataset.page === page);
    if (current.element.parentNode !== main) fill(main, current.element);
    try {
      await current.update();
    } catch (error) {
      fill(main, el("p", { class: "alarm" }, errorMessage(error)));
    }
    document.body.dataset.ready = page;
  }

  onNavigate(show);
  addEventListener("keydown", (event) => handleKey(event, help, pages[currentRoute().page] ?? gallery));
  await show();
}

/**
 * Handle a key that is not typed into a field: shortcuts of all pages first, then those of the present page.
 * @param {KeyboardEvent} event @param {HTMLDialogElement} help @param {Page} page
 */
function handleKey(event, help, page) {
  const { key } = event;
  const target = /** @type {HTMLElement} */ (event.target);
  const isSlider = target.matches("input[type=range]");
  if (target.matches("textarea, select, input:not([type=checkbox], [type=range])")) {
    if (key === "Escape") target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || (isSlider && key.startsWith("Arrow"))) return;
  /** @type {Record<string, () => void>} */
  const shortcuts = { "?": () => help.showModal(), g: () => navigate("cases", [], currentRoute().params), d: () => navigate("charts", [], currentRoute().params),
                f: () => navigate("failures", []), "/": () => document.getElementById("search")?.focus() };
  if (key in shortcuts) shortcuts[key]();
  else if (!page.handleKey?.(event)) return;
  event.preventDefault();
}

start().catch((error) => fill(main, el("p", { class: "alarm" }, `The run cannot be shown: ${errorMessage(error)}.`)));
