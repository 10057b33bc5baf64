// Distributions of a score, and what it goes with; every point is a case to look at.

import { decimal, el, fill } from "../web/dom.js";
import { asked, chips, choice, metricsOf, sourceChoice } from "./filters.js";
import { swatch } from "./parts.js";
import { go, here, tweak } from "./state.js";

const AXES = { probability: "Probability", area: "Size: share of the image", elongation: "Elongation", irrectangularity: "Irrectangularity",
               instances: "Instances" };
const PALETTE = ["#4c93d9", "#e08a3c", "#3fb68b", "#b678d4", "#d65f7a", "#8d9a2f", "#3bb3c4", "#c49a6c", "#7a86d8", "#9aa3ab"];
const SHOWN = 20000;

export class Charts {
  constructor(store) {
    this.store = store;
    this.side = el("aside", { class: "side" });
    this.main = el("section", { class: "charts" });
    this.element = el("div", { class: "gallery" }, this.side, this.main);
  }

  async update() {
    const { store } = this;
    const { params } = here();
    const now = asked(store, params);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.controls(now, params);
    if (!now.metric) {
      fill(this.main, el("p", { class: "muted" }, "This run has no scores of its maps: there is nothing to draw."));
      return;
    }
    const columns = await store.gather(now);
    const x = await this.axis(now, params, columns);
    const cases = store.choose({ ...now, sort: "order" }, columns).filter((i) => !Number.isNaN(columns.score[i]));
    const others = store.index.sources.filter((s) => store.files.has(`${now.protocol}\n${now.metric}\n${s.name}`));
    const distributions = await Promise.all(others.map(async (s) => [s, await store.column(now.protocol, now.metric, s.name)]));
    if (turn !== this.turn) return;
    const title = store.metric.get(now.metric).title;
    fill(this.main,
      el("h1", {}, `${title} by source`),
      el("p", { class: "muted small" }, `Of ${cases.length.toLocaleString("en")} cases chosen at the left; each line is a case's score, the mark its median. Pick a source to see its cases beside.`),
      this.distributions(distributions, cases, now),
      el("h1", {}, `${title} of ${store.label(now.source)} against ${x.title}`),
      this.scatter(cases, x, columns.score, title, now));
    this.element.dataset.points = cases.length;
  }

  async axis(now, params, columns) {
    const name = params.get("x") ?? "probability";
    const { store } = this;
    if (name.startsWith("source:")) {
      const source = name.slice(7);
      const values = store.sourceNumber.has(source) ? await store.column(now.protocol, now.metric, source) : null;
      return { title: `${store.metric.get(now.metric).title} of ${store.label(source)}`, values: values ?? new Float32Array(store.count).fill(NaN), square: true };
    }
    const values = { probability: columns.probability, area: store.area, elongation: store.elongation,
                     irrectangularity: store.irrectangularity, instances: store.instances }[name] ?? columns.probability;
    return { title: (AXES[name] ?? AXES.probability).toLowerCase(), values };
  }

  controls(now, params) {
    const { store } = this;
    const { index } = store;
    const set = (changes) => tweak(changes, { replace: false });
    const scored = index.sources.filter((s) => s.name !== now.source && store.files.has(`${now.protocol}\n${now.metric}\n${s.name}`));
    fill(this.side, el("div", { class: "filters" },
      sourceChoice(store, now.source, (source) => set({ source })),
      choice("Score", metricsOf(store, now.protocol, now.source).map((m) => [m, store.metric.get(m).title]), now.metric, (metric) => set({ metric }), "metric"),
      index.protocols.length > 1 && choice("Protocol", index.protocols.map((p) => [p, p]), now.protocol, (protocol) => set({ protocol })),
      choice("Against", [...Object.entries(AXES), ...scored.map((s) => [`source:${s.name}`, `its score by ${s.label}`])],
        params.get("x") ?? "probability", (x) => set({ x }), "x"),
      chips("Finding", index.findings, now.findings, (names) => set({ finding: names }))));
  }

  distributions(all, cases, now) {
    const rows = all.map(([source, values]) => {
      const some = Float32Array.from(cases, (i) => values[i]).filter((v) => !Number.isNaN(v)).sort();
      return { source, some, median: some.length ? some[Math.floor((some.length - 1) / 2)] : NaN };
    }).filter((r) => r.some.length);
    let [low, high] = extent(rows.map((r) => r.some));
    if (low >= 0 && high <= 1) [low, high] = [0, 1];
    const table = el("div", { class: "strips" });
    for (const { source, some, median } of rows) {
      const canvas = el("canvas", { width: 900, height: 36, class: "strip", role: "img",
                                    aria: { label: `${some.length} cases, median ${decimal(median)}` } });
      strip(canvas, some, median, low, high, source.name === now.source);
      table.append(
        el("button", { type: "button", class: "quiet link", aria: { pressed: String(source.name === now.source) },
                       on: { click: () => tweak({ source: source.name }, { replace: false }) } }, source.label),
        canvas, el("span", { class: "small muted right" }, `median ${decimal(median)}, n ${some.length.toLocaleString("en")}`));
    }
    table.append(el("span"), el("span", { class: "line small muted" }, el("span", {}, decimal(low)), el("span", {}, decimal(high))), el("span"));
    return table;
  }

  scatter(cases, x, y, title, now) {
    const { store } = this;
    const known = cases.filter((i) => !Number.isNaN(x.values[i]));
    if (!known.length) return el("p", { class: "muted" }, `No case here has both a score and ${x.title}.`);
    const step = Math.ceil(known.length / SHOWN);
    const shown = known.filter((_, k) => k % step === 0);
    const canvas = el("canvas", { class: "scatter", tabIndex: 0, role: "img", aria: { label: `${title} against ${x.title}, ${shown.length} cases` } });
    const said = el("p", { class: "small", role: "status" }, "Point at a case, click to open it.");
    const findings = [...new Set(Array.from(shown, (i) => i % store.F))].sort((a, b) => a - b);
    const colorOf = (i) => PALETTE[(i % store.F) % PALETTE.length];
    const key = el("div", { class: "bar small" },
      findings.map((f) => el("span", { class: "bar" }, swatch(colorOf(f)), store.index.findings[f])));
    const plot = { canvas, shown, x: x.values, y, xTitle: x.title, yTitle: title, square: x.square, colorOf };
    new ResizeObserver(() => draw(plot)).observe(canvas);
    canvas.addEventListener("pointermove", (event) => {
      plot.near = nearest(plot, event);
      draw(plot);
      said.textContent = plot.near === null ? "Point at a case, click to open it."
        : `${store.findingOf(plot.near)} · ${store.radiographOf(plot.near)} · ${x.title} ${decimal(x.values[plot.near], 3)} · ${title} ${decimal(y[plot.near], 3)}`;
    });
    canvas.addEventListener("click", (event) => {
      const near = nearest(plot, event);
      if (near !== null) go("case", [store.radiographOf(near), store.findingOf(near)], here().params);
    });
    const note = step > 1 ? ` Every ${step}th of ${known.length.toLocaleString("en")} is drawn.` : ` n = ${known.length.toLocaleString("en")}.`;
    return el("div", {}, canvas, el("div", { class: "bar" }, said, el("span", { class: "muted small" }, note)), key);
  }
}

function draw(plot) {
  const { canvas } = plot;
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  fit(plot, width, height);
  drawAxes(context, plot, height);
  drawPoints(context, plot);
}

/** Lay the range of what is shown on the canvas. */
function fit(plot, width, height) {
  const { shown, x, y } = plot;
  let [x0, x1] = extent([Float32Array.from(shown, (i) => x[i])]);
  let [y0, y1] = extent([Float32Array.from(shown, (i) => y[i])]);
  if (y0 >= 0 && y1 <= 1) [y0, y1] = [0, 1];
  if (plot.square) [x0, x1] = [y0, y1] = [Math.min(x0, y0), Math.max(x1, y1)];
  else if (x0 >= 0 && x1 <= 1 && x1 > 0.5) [x0, x1] = [0, 1];
  const [left, right, top, bottom] = [48, width - 12, 10, height - 40];
  plot.range = { x0, x1, y0, y1 };
  plot.box = { left, right, top, bottom };
  plot.toX = (v) => left + 6 + ((v - x0) / Math.max(x1 - x0, 1e-12)) * (right - left - 12);
  plot.toY = (v) => bottom - 6 - ((v - y0) / Math.max(y1 - y0, 1e-12)) * (bottom - top - 12);
}

function drawAxes(context, { range: { x0, x1, y0, y1 }, box: { left, right, top, bottom }, toX, toY, square, xTitle, yTitle }, height) {
  const rule = (...ends) => {
    context.beginPath();
    for (const end of ends) context.lineTo(...end);
    context.stroke();
  };
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = color("--muted");
  context.strokeStyle = color("--rule");
  context.textAlign = "right";
  for (const v of ticks(y0, y1)) {
    rule([left, toY(v)], [right, toY(v)]);
    context.fillText(tidy(v), left - 6, toY(v) + 4);
  }
  context.textAlign = "center";
  for (const v of ticks(x0, x1)) context.fillText(tidy(v), toX(v), bottom + 15);
  context.fillText(xTitle, (left + right) / 2, height - 6);
  context.save();
  context.translate(12, (top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(yTitle, 0, 0);
  context.restore();
  if (square) rule([toX(x0), toY(y0)], [toX(x1), toY(y1)]);
}

function drawPoints(context, { shown, x, y, toX, toY, colorOf, near }) {
  const disk = (i, radius) => {
    context.beginPath();
    context.arc(toX(x[i]), toY(y[i]), radius, 0, 7);
  };
  const radius = shown.length > 4000 ? 1.6 : shown.length > 600 ? 2.6 : 4;
  context.globalAlpha = shown.length > 4000 ? 0.35 : 0.7;
  for (const i of shown) {
    context.fillStyle = colorOf(i);
    disk(i, radius);
    context.fill();
  }
  context.globalAlpha = 1;
  if (near === null || near === undefined) return;
  context.strokeStyle = color("--ink");
  context.lineWidth = 2;
  disk(near, 7);
  context.stroke();
}

/** A color of the theme as it is now. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

function nearest(plot, event) {
  const box = plot.canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let [best, at] = [18 * 18, null];
  for (const i of plot.shown) {
    const far = (plot.toX(plot.x[i]) - px) ** 2 + (plot.toY(plot.y[i]) - py) ** 2;
    if (far < best) [best, at] = [far, i];
  }
  return at;
}

function extent(arrays) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays)
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
  return low <= high ? [low, high] : [0, 1];
}

function ticks(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) out.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return out;
}

function tidy(value) {
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/** Every score a thin line, the median a firm one. */
function strip(canvas, values, median, low, high, chosen) {
  const context = canvas.getContext("2d");
  const at = (v) => 4 + ((v - low) / Math.max(high - low, 1e-12)) * (canvas.width - 8);
  context.fillStyle = color("--rule");
  context.fillRect(0, canvas.height - 1, canvas.width, 1);
  context.fillStyle = color(chosen ? "--accent" : "--control");
  context.globalAlpha = Math.min(0.8, Math.max(0.02, 60 / values.length));
  for (const v of values) context.fillRect(at(v) - 1, 8, 2, 20);
  context.globalAlpha = 1;
  context.fillStyle = color("--ink");
  context.fillRect(at(median) - 2, 2, 4, 32);
}

