// The viewer of a run: opens what the address says.

import { byId, el, fill, messageOf, themeButton } from "../web/dom.js";
import { FILM_KEYS } from "../web/film.js";
import { CasePage } from "./case.js";
import { Charts } from "./charts.js";
import { Failures } from "./failures.js";
import { Gallery } from "./gallery.js";
import { go, here, link, onMove } from "./state.js";
import { Store } from "./store.js";

const top = byId("top");
const main = byId("page");
/** @type {[string, KeyLines][]} */
const HELP = [
  ["Everywhere", [["?", "this sheet"], ["g", "cases"], ["d", "distributions and scatter"], ["f", "failed maps"], ["/", "search"]]],
  ["Cases", [["arrows, j k", "from case to case"], ["Enter", "open"], ["x", "only maps that failed, or all"]]],
  ["A case", [["j k", "next case, case before"], ["1 – 9", "show or hide a source's map"], ["o", "overlaid or side by side"], ["m", "maps on or off"],
    ["t", "mask and IoU"], [", .", "threshold down, up"], ["h", "marks on or off"], ["r", "regions"], ["a", "all scores"], ["Esc", "back to the cases"]]],
  ["Film", FILM_KEYS],
];

function helpSheet() {
  /** @type {HTMLDialogElement} */
  const dialog = el("dialog", { class: "sheet", aria: { label: "Keys" } },
    el("div", { class: "bar" }, el("h1", { class: "grow" }, "Keys"),
      el("button", { type: "button", class: "quiet", on: { click: () => dialog.close() } }, "Close")),
    el("div", { class: "keys" }, HELP.map(([title, keys]) => el("section", {}, el("h2", {}, title),
      el("dl", {}, keys.map(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)]))))));
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
      el("a", { class: "tab", href: link(page), data: { page } }, text))),
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
    const { page } = here();
    const shown = pages[page] ?? gallery;
    document.body.dataset.page = page;
    for (const tab of /** @type {NodeListOf<HTMLElement>} */ (top.querySelectorAll(".tab"))) tab.toggleAttribute("aria-current", tab.dataset.page === page);
    if (shown.element.parentNode !== main) fill(main, shown.element);
    try {
      await shown.update();
    } catch (error) {
      fill(main, el("p", { class: "alarm" }, messageOf(error)));
    }
    document.body.dataset.ready = page;
  }

  onMove(show);
  addEventListener("keydown", (event) => press(event, help, pages[here().page] ?? gallery));
  await show();
}

/**
 * A key, unless it is typed somewhere, first for every page and then for the one that is shown.
 * @param {KeyboardEvent} event @param {HTMLDialogElement} help @param {Page} page
 */
function press(event, help, page) {
  const { key } = event;
  const target = /** @type {HTMLElement} */ (event.target);
  const slides = target.matches("input[type=range]");
  if (target.matches("textarea, select, input:not([type=checkbox], [type=range])")) {
    if (key === "Escape") target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || (slides && key.startsWith("Arrow"))) return;
  /** @type {Record<string, () => void>} */
  const own = { "?": () => help.showModal(), g: () => go("cases", [], here().params), d: () => go("charts", [], here().params),
                f: () => go("failures", []), "/": () => document.getElementById("search")?.focus() };
  if (key in own) own[key]();
  else if (!page.press?.(event)) return;
  event.preventDefault();
}

start().catch((error) => fill(main, el("p", { class: "alarm" }, `The run cannot be shown: ${messageOf(error)}.`)));
