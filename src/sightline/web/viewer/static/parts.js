// Pieces of pages: a patch of color, a color bar with its numbers, and the table of all scores of a case.

import { DIVERGING, ramp } from "../web/colors.js";
import { context2d, decimal, el } from "../web/dom.js";

/**
 * A number as short as it can be told apart.
 * @param {number} value
 */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return (size >= 1e4 || size < 1e-2 ? value.toExponential(1) : value.toPrecision(2)).replace("-", "−").replace("e+", "e");
}

/**
 * A patch of a color, for a key.
 * @param {string} color
 */
export function swatch(color) {
  const made = el("span", { class: "swatch" });
  made.style.background = color;
  return made;
}

/**
 * A color bar with its numbers.
 * @param {ValueRange} range @param {string} scale
 */
export function bar({ low, high, signed }, scale) {
  const canvas = el("canvas", { class: "colorbar", width: 512, height: 1, aria: { hidden: "true" } });
  context2d(canvas).drawImage(ramp(signed ? DIVERGING : scale), 0, 0);
  return el("span", { class: "bar-of-colors small", title: "values of the map as the method gave them" },
    el("span", {}, short(low)), canvas, signed && el("span", { class: "zero" }, "0"), el("span", {}, short(high)));
}

/**
 * Every score of a case: a row per source, a column per metric.
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings @param {(source: string) => void} pick
 */
export function scoreTable(file, { source, protocol }, pick) {
  const { store, number, finding } = file;
  const { index } = store;
  const metrics = index.metrics.filter((m) => index.columns.some((c) => c.protocol === protocol && c.metric === m.name));
  const rows = index.sources.map((s) => el("tr", { class: s.name === source ? "chosen" : "" },
    el("th", { scope: "row" }, el("button", { type: "button", class: "quiet link", on: { click: () => pick(s.name) } }, s.label)),
    el("td", {}, file.maps.get(s.name)?.status ?? "–"),
    metrics.map((m) => el("td", { class: "right" }, decimal(file.score({ protocol, metric: m.name }, s.name), 3)))));
  if (!metrics.length) return el("p", { class: "muted" }, "This run has no scores of its maps.");
  /** @type {[string, number][]} */
  const shape = [["size", store.area[number]], ["instances", store.instances[number]], ["elongation", store.elongation[number]],
                 ["irrectangularity", store.irrectangularity[number]]];
  const facts = shape.filter(([, v]) => !Number.isNaN(v));
  return [
    el("p", { class: "muted small" }, `${finding} on ${store.radiographOf(number)}, ${protocol} protocol. `,
      store.marked[number] ? `The mark: ${facts.map(([k, v]) => `${k} ${decimal(v, k === "instances" ? 0 : 3)}`).join(", ")}.`
        : "Nobody marked it here, so there is no truth to score by."),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, "source"), el("th", {}, "map"),
        metrics.map((m) => el("th", { class: "right" }, m.title, !m.higher && el("span", { class: "muted" }, " ↓"))))),
      el("tbody", {}, rows))),
  ];
}
