// Widgets: a patch of color, a color bar with its range, and the table of all scores of a case.

import { DIVERGING, colorBar } from "../web/colors.js";
import { context2d, decimal, el } from "../web/dom.js";

/**
 * Format a number with two significant digits.
 * @param {number} value
 */
export function shortNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return (size >= 1e4 || size < 1e-2 ? value.toExponential(1) : value.toPrecision(2)).replace("-", "−").replace("e+", "e");
}

/**
 * Return a patch of a color, for a legend.
 * @param {string} color
 */
export function swatch(color) {
  const patch = el("span", { class: "swatch" });
  patch.style.background = color;
  return patch;
}

/**
 * Return a color bar with the ends of its range.
 * @param {ValueRange} range @param {string} scale
 */
export function colorBarWithRange({ low, high, signed }, scale) {
  const canvas = el("canvas", { class: "colorbar", width: 512, height: 1, aria: { hidden: "true" } });
  context2d(canvas).drawImage(colorBar(signed ? DIVERGING : scale), 0, 0);
  return el("span", { class: "bar-of-colors small", title: "values of the map, as computed by the method" },
    el("span", {}, shortNumber(low)), canvas, signed && el("span", { class: "zero" }, "0"), el("span", {}, shortNumber(high)));
}

/**
 * Return the table of all scores of a case: a row per source, a column per metric.
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings @param {(source: string) => void} onSelect
 */
export function scoreTable(file, { source, protocol }, onSelect) {
  const { store, number, finding } = file;
  const { index } = store;
  const metrics = index.metrics.filter((m) => index.columns.some((c) => c.protocol === protocol && c.metric === m.name));
  const rows = index.sources.map((s) => el("tr", { class: s.name === source ? "chosen" : "" },
    el("th", { scope: "row" }, el("button", { type: "button", class: "quiet link", on: { click: () => onSelect(s.name) } }, s.label)),
    el("td", {}, file.maps.get(s.name)?.status ?? "–"),
    metrics.map((m) => el("td", { class: "right" }, decimal(file.score({ protocol, metric: m.name }, s.name), 3)))));
  if (!metrics.length) return el("p", { class: "muted" }, "This run has no scores of its maps.");
  /** @type {[string, number][]} */
  const measures = [["size", store.area[number]], ["instances", store.instances[number]], ["elongation", store.elongation[number]],
                 ["irrectangularity", store.irrectangularity[number]]];
  const known = measures.filter(([, v]) => !Number.isNaN(v));
  return [
    el("p", { class: "muted small" }, `${finding} on ${store.radiographOf(number)}, ${protocol} protocol. `,
      store.annotated[number] ? `The annotation: ${known.map(([k, v]) => `${k} ${decimal(v, k === "instances" ? 0 : 3)}`).join(", ")}.`
        : "Nobody annotated it here, so that there is no reference to score against."),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, "source"), el("th", {}, "map"),
        metrics.map((m) => el("th", { class: "right" }, m.title, !m.higher && el("span", { class: "muted" }, " ↓"))))),
      el("tbody", {}, rows))),
  ];
}
