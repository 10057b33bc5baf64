// Distributions of a score, and its relation to other quantities; every point is a case that can be opened.

import { context2d, decimal, el, fill } from "../web/dom.js";
import { caseQuery, chips, choice, metricsOf, sourceChoice } from "./filters.js";
import { swatch } from "./widgets.js";
import { navigate, currentRoute, updateParams } from "./router.js";

/** @type {Record<string, string>} */
const AXES = { probability: "Probability", area: "Size: share of the image", elongation: "Elongation", irrectangularity: "Irrectangularity",
               instances: "Instances" };
const PALETTE = ["#4c93d9", "#e08a3c", "#3fb68b", "#b678d4", "#d65f7a", "#8d9a2f", "#3bb3c4", "#c49a6c", "#7a86d8", "#9aa3ab"];
const MAX_POINTS = 20000;

/** @typedef {{ title: string, values: NumberArray, square?: boolean }} Axis */
/**
 * @typedef {{
 *   canvas: HTMLCanvasElement, points: Uint32Array, x: NumberArray, y: NumberArray, xTitle: string, yTitle: string,
 *   square: boolean, colorOf: (i: number) => string, nearestCase: number | null, layout: Layout | null,
 * }} Plot
 */
/**
 * Scales of a plot on its canvas.
 * @typedef {{
 *   x0: number, x1: number, y0: number, y1: number, left: number, right: number, top: number, bottom: number,
 *   toX: (v: number) => number, toY: (v: number) => number,
 * }} Layout
 */

export class Charts {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    this.requestNumber = 0;
    this.side = el("aside", { class: "side" });
    this.main = el("section", { class: "charts" });
    this.element = el("div", { class: "gallery" }, this.side, this.main);
  }

  async update() {
    const { store } = this;
    const { params } = currentRoute();
    const query = caseQuery(store, params);
    const requestNumber = ++this.requestNumber;
    this.controls(query, params);
    if (!query.metric) {
      fill(this.main, el("p", { class: "muted" }, "This run has no scores of its maps: there is nothing to draw."));
      return;
    }
    const columns = await store.loadColumns(query);
    const x = await this.axis(query, params, columns);
    const cases = store.selectCases({ ...query, sort: "order" }, columns).filter((i) => !Number.isNaN(columns.score[i]));
    const others = store.index.sources.filter((s) => store.files.has(`${query.protocol}\n${query.metric}\n${s.name}`));
    const distributions = await Promise.all(others.map(async (source) => {
      const values = await store.column(query.protocol, query.metric, source.name);
      return { source, values: values ?? new Float32Array(store.count).fill(NaN) };
    }));
    if (requestNumber !== this.requestNumber) return;
    const title = store.titleOf(query.metric);
    fill(this.main,
      el("h1", {}, `${title} by source`),
      el("p", { class: "muted small" }, `Of ${cases.length.toLocaleString("en")} cases selected at the left; each thin line is the score of a case, the bold line the median. Select a source to see its cases.`),
      this.distributions(distributions, cases, query),
      el("h1", {}, `${title} of ${store.label(query.source)} against ${x.title}`),
      this.scatter(cases, x, columns.score, title));
    this.element.dataset.points = String(cases.length);
  }

  /** @param {CaseQuery} query @param {URLSearchParams} params @param {CaseColumns} columns @returns {Promise<Axis>} */
  async axis(query, params, columns) {
    const name = params.get("x") ?? "probability";
    const { store } = this;
    if (name.startsWith("source:")) {
      const source = name.slice(7);
      const values = store.sourceNumber.has(source) ? await store.column(query.protocol, query.metric, source) : null;
      return { title: `${store.titleOf(query.metric)} of ${store.label(source)}`, values: values ?? new Float32Array(store.count).fill(NaN), square: true };
    }
    /** @type {Record<string, NumberArray>} */
    const axes = { probability: columns.probability, area: store.area, elongation: store.elongation,
                   irrectangularity: store.irrectangularity, instances: store.instances };
    return { title: (AXES[name] ?? AXES.probability).toLowerCase(), values: axes[name] ?? columns.probability };
  }

  /** @param {CaseQuery} query @param {URLSearchParams} params */
  controls(query, params) {
    const { store } = this;
    const { index } = store;
    const set = (/** @type {Changes} */ changes) => updateParams(changes, { replace: false });
    const scored = index.sources.filter((s) => s.name !== query.source && store.files.has(`${query.protocol}\n${query.metric}\n${s.name}`));
    fill(this.side, el("div", { class: "filters" },
      sourceChoice(store, query.source, (source) => set({ source })),
      choice("Score", metricsOf(store, query.protocol, query.source).map((m) => [m, store.titleOf(m)]), query.metric, (metric) => set({ metric }), "metric"),
      index.protocols.length > 1 && choice("Protocol", index.protocols.map((p) => [p, p]), query.protocol, (protocol) => set({ protocol })),
      choice("Against", [...Object.entries(AXES), ...scored.map((s) => [`source:${s.name}`, `its score by ${s.label}`])],
        params.get("x") ?? "probability", (x) => set({ x }), "x"),
      chips("Finding", index.findings, query.findings, (names) => set({ finding: names }))));
  }

  /** @param {{ source: Source, values: NumberArray }[]} all @param {Uint32Array} cases @param {CaseQuery} query */
  distributions(all, cases, query) {
    const rows = all.map(({ source, values }) => {
      const scores = Float32Array.from(cases, (i) => values[i]).filter((v) => !Number.isNaN(v)).sort();
      return { source, scores, median: scores.length ? scores[Math.floor((scores.length - 1) / 2)] : NaN };
    }).filter((r) => r.scores.length);
    let [low, high] = extent(rows.map((r) => r.scores));
    if (low >= 0 && high <= 1) [low, high] = [0, 1];
    const table = el("div", { class: "strips" });
    for (const { source, scores, median } of rows) {
      const canvas = el("canvas", { width: 900, height: 36, class: "strip", role: "img",
                                    aria: { label: `${scores.length} cases, median ${decimal(median)}` } });
      drawStrip(canvas, scores, median, low, high, source.name === query.source);
      table.append(
        el("button", { type: "button", class: "quiet link", aria: { pressed: String(source.name === query.source) },
                       on: { click: () => updateParams({ source: source.name }, { replace: false }) } }, source.label),
        canvas, el("span", { class: "small muted right" }, `median ${decimal(median)}, n ${scores.length.toLocaleString("en")}`));
    }
    table.append(el("span"), el("span", { class: "line small muted" }, el("span", {}, decimal(low)), el("span", {}, decimal(high))), el("span"));
    return table;
  }

  /** @param {Uint32Array} cases @param {Axis} x @param {NumberArray} y @param {string} title */
  scatter(cases, x, y, title) {
    const { store } = this;
    const known = cases.filter((i) => !Number.isNaN(x.values[i]));
    if (!known.length) return el("p", { class: "muted" }, `No case of the selection has both a score and ${x.title}.`);
    const step = Math.ceil(known.length / MAX_POINTS);
    const points = known.filter((_, k) => k % step === 0);
    const canvas = el("canvas", { class: "scatter", tabIndex: 0, role: "img", aria: { label: `${title} against ${x.title}, ${points.length} cases` } });
    const status = el("p", { class: "small", role: "status" }, "Point at a case, click to open it.");
    const findings = [...new Set(Array.from(points, (i) => i % store.nFindings))].sort((a, b) => a - b);
    const colorOf = (/** @type {number} */ i) => PALETTE[(i % store.nFindings) % PALETTE.length];
    const key = el("div", { class: "bar small" },
      findings.map((f) => el("span", { class: "bar" }, swatch(colorOf(f)), store.index.findings[f])));
    /** @type {Plot} */
    const plot = { canvas, points, x: x.values, y, xTitle: x.title, yTitle: title, square: x.square ?? false, colorOf, nearestCase: null, layout: null };
    new ResizeObserver(() => draw(plot)).observe(canvas);
    canvas.addEventListener("pointermove", (event) => {
      plot.nearestCase = findNearest(plot, event);
      draw(plot);
      status.textContent = plot.nearestCase === null ? "Point at a case, click to open it."
        : `${store.findingOf(plot.nearestCase)} · ${store.radiographOf(plot.nearestCase)} · ${x.title} ${decimal(x.values[plot.nearestCase], 3)} · ${title} ${decimal(y[plot.nearestCase], 3)}`;
    });
    canvas.addEventListener("click", (event) => {
      const nearestCase = findNearest(plot, event);
      if (nearestCase !== null) navigate("case", [store.radiographOf(nearestCase), store.findingOf(nearestCase)], currentRoute().params);
    });
    const note = step > 1 ? ` Every ${step}th of ${known.length.toLocaleString("en")} is drawn.` : ` n = ${known.length.toLocaleString("en")}.`;
    return el("div", {}, canvas, el("div", { class: "bar" }, status, el("span", { class: "muted small" }, note)), key);
  }
}

/** @param {Plot} plot */
function draw(plot) {
  const { canvas } = plot;
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const context = context2d(canvas);
  context.scale(ratio, ratio);
  const layout = fit(plot, width, height);
  plot.layout = layout;
  drawAxes(context, plot, layout, height);
  drawPoints(context, plot, layout);
}

/**
 * Fit the scales to the points and the size of the canvas.
 * @param {Plot} plot @param {number} width @param {number} height
 * @returns {Layout}
 */
function fit(plot, width, height) {
  const { points, x, y } = plot;
  let [x0, x1] = extent([Float32Array.from(points, (i) => x[i])]);
  let [y0, y1] = extent([Float32Array.from(points, (i) => y[i])]);
  if (y0 >= 0 && y1 <= 1) [y0, y1] = [0, 1];
  if (plot.square) [x0, x1] = [y0, y1] = [Math.min(x0, y0), Math.max(x1, y1)];
  else if (x0 >= 0 && x1 <= 1 && x1 > 0.5) [x0, x1] = [0, 1];
  const [left, right, top, bottom] = [48, width - 12, 10, height - 40];
  return {
    x0, x1, y0, y1, left, right, top, bottom,
    toX: (v) => left + 6 + ((v - x0) / Math.max(x1 - x0, 1e-12)) * (right - left - 12),
    toY: (v) => bottom - 6 - ((v - y0) / Math.max(y1 - y0, 1e-12)) * (bottom - top - 12),
  };
}

/** @param {Context2D} context @param {Plot} plot @param {Layout} layout @param {number} height */
function drawAxes(context, { square, xTitle, yTitle }, layout, height) {
  const { x0, x1, y0, y1, left, right, top, bottom, toX, toY } = layout;
  const line = (/** @type {[x: number, y: number][]} */ ...points) => {
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.stroke();
  };
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = color("--muted");
  context.strokeStyle = color("--rule");
  context.textAlign = "right";
  for (const v of ticks(y0, y1)) {
    line([left, toY(v)], [right, toY(v)]);
    context.fillText(shortNumber(v), left - 6, toY(v) + 4);
  }
  context.textAlign = "center";
  for (const v of ticks(x0, x1)) context.fillText(shortNumber(v), toX(v), bottom + 15);
  context.fillText(xTitle, (left + right) / 2, height - 6);
  context.save();
  context.translate(12, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(yTitle, 0, 0);
  context.restore();
  if (square) line([toX(x0), toY(y0)], [toX(x1), toY(y1)]);
}

/** @param {Context2D} context @param {Plot} plot @param {Layout} layout */
function drawPoints(context, { points, x, y, colorOf, nearestCase }, { toX, toY }) {
  /** @param {number} i @param {number} radius */
  const disk = (i, radius) => {
    context.beginPath();
    context.arc(toX(x[i]), toY(y[i]), radius, 0, 7);
  };
  const radius = points.length > 4000 ? 1.6 : points.length > 600 ? 2.6 : 4;
  context.globalAlpha = points.length > 4000 ? 0.35 : 0.7;
  for (const i of points) {
    context.fillStyle = colorOf(i);
    disk(i, radius);
    context.fill();
  }
  context.globalAlpha = 1;
  if (nearestCase === null) return;
  context.strokeStyle = color("--ink");
  context.lineWidth = 2;
  disk(nearestCase, 7);
  context.stroke();
}

/**
 * Return a color of the present theme.
 * @param {string} name
 */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

/**
 * Return the case next to the pointer, or null.
 * @param {Plot} plot @param {MouseEvent} event
 */
function findNearest(plot, event) {
  const box = plot.canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  if (!plot.layout) return null;
  const { toX, toY } = plot.layout;
  let best = 18 * 18;
  /** @type {number | null} */
  let nearestCase = null;
  for (const i of plot.points) {
    const distance = (toX(plot.x[i]) - px) ** 2 + (toY(plot.y[i]) - py) ** 2;
    if (distance < best) [best, nearestCase] = [distance, i];
  }
  return nearestCase;
}

/** @param {NumberArray[]} arrays */
function extent(arrays) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays)
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
  return low <= high ? [low, high] : [0, 1];
}

/** @param {number} low @param {number} high */
function ticks(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? raw;
  /** @type {number[]} */
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) out.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return out;
}

/** @param {number} value */
function shortNumber(value) {
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/**
 * Draw a thin line for every score, and a bold one for the median.
 * @param {HTMLCanvasElement} canvas @param {Float32Array} values @param {number} median @param {number} low
 * @param {number} high @param {boolean} isSelected
 */
function drawStrip(canvas, values, median, low, high, isSelected) {
  const context = context2d(canvas);
  const at = (/** @type {number} */ v) => 4 + ((v - low) / Math.max(high - low, 1e-12)) * (canvas.width - 8);
  context.fillStyle = color("--rule");
  context.fillRect(0, canvas.height - 1, canvas.width, 1);
  context.fillStyle = color(isSelected ? "--accent" : "--control");
  context.globalAlpha = Math.min(0.8, Math.max(0.02, 60 / values.length));
  for (const v of values) context.fillRect(at(v) - 1, 8, 2, 20);
  context.globalAlpha = 1;
  context.fillStyle = color("--ink");
  context.fillRect(at(median) - 2, 2, 4, 32);
}

