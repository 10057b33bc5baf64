// Page of failed maps by source and reason, each with a link to its case.

import { getJSON, el, fill } from "../web/dom.js";
import { pageUrl } from "./router.js";

export class Failures {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.element = el("section", { class: "plain" });
  }

  async update() {
    const { store } = this;
    const { index } = store;
    /** @type {Failure[]} */
    const rows = await getJSON(store.url("data/failures.json"));
    const total = index.failed.reduce((sum, f) => sum + f.maps, 0);
    /** @param {string} source @param {string} status */
    const filter = (source, status) => pageUrl("cases", [], new URLSearchParams({ source, status: status, all: "1" }));
    fill(this.element,
      el("h1", {}, total ? `${total.toLocaleString("en")} maps failed` : "No map failed"),
      el("p", { class: "muted" }, "A failed map gets the worst score; it is never left out."),
      total > 0 && el("table", {}, el("thead", {}, el("tr", {}, ["source", "status"].map((t) => el("th", {}, t)), el("th", { class: "right" }, "maps"))),
        el("tbody", {}, index.failed.map((f) => el("tr", {}, el("td", {}, store.label(f.source)), el("td", {}, f.status),
          el("td", { class: "right" }, el("a", { href: filter(f.source, f.status) }, f.maps.toLocaleString("en"))))))),
      rows.length > 0 && el("h2", {}, rows.length < total ? `The first ${rows.length.toLocaleString("en")}, with reasons` : "Each, with its reason"),
      rows.length > 0 && el("table", {}, el("thead", {}, el("tr", {}, ["case", "source", "status", "reason"].map((t) => el("th", {}, t)))),
        el("tbody", {}, rows.slice(0, 1000).map(([number, source, status, reason]) => {
          const name = index.sources[source].name;
          const to = pageUrl("case", [store.radiographOf(number), store.findingOf(number)], new URLSearchParams({ source: name, all: "1" }));
          return el("tr", {}, el("td", {}, el("a", { href: to }, `${store.findingOf(number)} · ${store.radiographOf(number)}`)),
            el("td", {}, index.sources[source].label), el("td", {}, status), el("td", { class: "muted" }, reason));
        }))));
  }
}
