// The choice of cases: what is asked for, in the address, and the controls that change it.

import { context2d, decimal, el } from "../web/dom.js";
import { number, tweak } from "./state.js";
import { OUTCOMES } from "./store.js";

/** @type {Record<string, string>} */
export const SORTS = {
  score: "score", probability: "probability", area: "size of the mark", elongation: "elongation",
  irrectangularity: "irrectangularity", instances: "instances", order: "order of the data",
};

/**
 * What the address asks for, with what is natural where it says nothing.
 * @param {import("./store.js").Store} store @param {URLSearchParams} params
 * @returns {CaseQuery}
 */
export function asked(store, params) {
  const { index } = store;
  /** @param {string} name @param {string[]} names @param {string} otherwise */
  const known = (name, names, otherwise) => {
    const value = params.get(name);
    return value !== null && names.includes(value) ? value : otherwise;
  };
  const scored = new Set(index.columns.map((c) => c.source));
  const source = known("source", index.sources.map((s) => s.name),
    index.best ?? index.sources.find((s) => scored.has(s.name))?.name ?? index.sources[0]?.name ?? "");
  const protocol = known("protocol", index.protocols, index.protocols[0] ?? "");
  const offered = metricsOf(store, protocol, source);
  const metric = known("metric", offered, offered[0] ?? "");
  const statuses = params.getAll("status");
  return {
    source, protocol, metric, statuses,
    findings: params.getAll("finding"), outcomes: params.getAll("outcome"),
    low: number(params, "low"), high: number(params, "high"), text: params.get("q") ?? "",
    marked: params.get("all") !== "1" && store.marked.some((m) => m),
    sort: known("sort", Object.keys(SORTS), metric ? "score" : "order"),
    descending: params.get("desc") === "1",
  };
}

/**
 * Metrics that a source was scored by, in the order of the report.
 * @param {import("./store.js").Store} store @param {string} protocol @param {string} source
 */
export function metricsOf(store, protocol, source) {
  return store.index.metrics.map((m) => m.name).filter((m) => store.files.has(`${protocol}\n${m}\n${source}`));
}

/** @param {string} value @param {string} text @param {string} chosen */
export function option(value, text, chosen) {
  return el("option", { value, selected: value === chosen }, text);
}

/**
 * A labeled select.
 * @param {string} label @param {string[][]} options @param {string} chosen @param {(value: string) => void} change
 * @param {string} [id]
 */
export function choice(label, options, chosen, change, id) {
  const select = el("select", { id, on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => option(value, text, chosen)));
  return el("label", { class: "field" }, el("span", { class: "muted small" }, label), select);
}

/**
 * Sources as groups of a select: models, localizers, readers, controls.
 * @param {import("./store.js").Store} store @param {string} chosen @param {(source: string) => void} change
 * @param {string} label
 */
export function sourceChoice(store, chosen, change, label = "Maps of") {
  const failed = new Map();
  for (const { source, maps } of store.index.failed) failed.set(source, (failed.get(source) ?? 0) + maps);
  const groups = new Map();
  for (const source of store.index.sources) {
    const text = source.label + (failed.has(source.name) ? ` (${failed.get(source.name)} failed)` : "");
    groups.set(source.kind, [...(groups.get(source.kind) ?? []), option(source.name, text, chosen)]);
  }
  const select = el("select", { id: "source", on: { change: (event) => change(event.target.value) } },
    [...groups].map(([kind, options]) => {
      const group = el("optgroup", { label: `${kind}s` });
      group.append(...options);
      return group;
    }));
  return el("label", { class: "field" }, el("span", { class: "muted small" }, label), select);
}

/**
 * Buttons of which any number may be pressed.
 * @param {string} label @param {string[]} names @param {string[]} pressed @param {(names: string[]) => void} change
 */
export function chips(label, names, pressed, change) {
  const buttons = names.map((name) => el("button", {
    type: "button", class: "chip", aria: { pressed: String(pressed.includes(name)) }, data: { value: name },
    on: { click: () => change(pressed.includes(name) ? pressed.filter((p) => p !== name) : [...pressed, name]) },
  }, name));
  return el("fieldset", { class: "chips" }, el("legend", { class: "muted small" }, label), buttons);
}

/**
 * The panel beside the gallery.
 * @param {import("./store.js").Store} store @param {CaseQuery} now @param {CaseColumns} columns
 * @param {Uint32Array} cases
 */
export function panel(store, now, columns, cases) {
  const { index } = store;
  const set = (/** @type {Changes} */ changes) => tweak(changes, { replace: false });
  const metrics = metricsOf(store, now.protocol, now.source).map((m) => [m, store.titleOf(m)]);
  const predicts = columns.outcome.some((o) => o !== 255);
  const cutoff = store.index.cutoffs.length ? "the run's cutoffs" : "probability 0.5";
  return el("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    el("input", { type: "search", id: "search", placeholder: "Radiograph or patient", value: now.text,
                  aria: { label: "Radiograph or patient" }, on: { input: (e) => tweakSoon({ q: e.target.value }) } }),
    sourceChoice(store, now.source, (source) => set({ source })),
    metrics.length > 0 && choice("Score", metrics, now.metric, (metric) => set({ metric, low: null, high: null }), "metric"),
    index.protocols.length > 1 &&
      choice("Protocol", index.protocols.map((p) => [p, p]), now.protocol, (protocol) => set({ protocol })),
    el("div", { class: "pair" },
      choice("Sort by", Object.entries(SORTS), now.sort, (sort) => set({ sort }), "sort"),
      el("button", { type: "button", class: "square", title: now.descending ? "highest first" : "lowest first",
                     aria: { label: now.descending ? "Highest first" : "Lowest first" },
                     on: { click: () => set({ desc: now.descending ? null : "1" }) } }, now.descending ? "↓" : "↑")),
    metrics.length > 0 && range(store, now, columns, cases),
    chips("Finding", index.findings, now.findings, (names) => set({ finding: names })),
    predicts && chips(`Prediction, by ${cutoff}`, ["correct", "incorrect", ...OUTCOMES], now.outcomes,
      (names) => set({ outcome: names })),
    index.failed.length > 0 && chips("Map", index.statuses, now.statuses, (names) => set({ status: names })),
    store.marked.some((m) => m) && el("label", { class: "check" },
      el("input", { type: "checkbox", checked: !now.marked, on: { change: (e) => set({ all: e.target.checked ? "1" : null }) } }),
      "also cases that nobody marked"),
    el("button", { type: "button", class: "quiet", on: { click: () => { location.hash = "#/cases"; } } }, "Start over"));
}

let waiting = 0;
/** @param {Changes} changes */
function tweakSoon(changes) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    tweak(changes);
    dispatchEvent(new Event("tweaked"));
  }, 120);
}

/**
 * Histogram of the score of what else is asked for, and the two ends to keep.
 * @param {import("./store.js").Store} store @param {CaseQuery} now @param {CaseColumns} columns
 * @param {Uint32Array} cases
 */
function range(store, now, columns, cases) {
  const limited = now.low !== null || now.high !== null;
  const open = limited ? store.choose({ ...now, low: null, high: null, sort: "order" }, columns) : cases;
  const values = Float32Array.from(open, (i) => columns.score[i]).filter((v) => !Number.isNaN(v));
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  if (low >= 0 && high <= 1) [low, high] = [0, 1];
  const canvas = el("canvas", { width: 240, height: 40, class: "spark", aria: { hidden: "true" } });
  const ink = getComputedStyle(document.documentElement);
  const context = context2d(canvas);
  const counts = new Array(40).fill(0);
  for (const v of values) counts[Math.min(39, Math.floor(((v - low) / Math.max(high - low, 1e-9)) * 40))]++;
  const most = Math.max(1, ...counts);
  counts.forEach((n, i) => {
    const from = low + (i / 40) * (high - low);
    const kept = from >= (now.low ?? -Infinity) - 1e-9 && from <= (now.high ?? Infinity);
    context.fillStyle = ink.getPropertyValue(kept ? "--accent" : "--rule");
    context.fillRect(i * 6, 40 - (38 * n) / most, 5, (38 * n) / most);
  });
  /** @param {"low" | "high"} name @param {number | null} value @param {string} place */
  const box = (name, value, place) => el("input", {
    type: "number", step: "any", value: value ?? "", placeholder: place, aria: { label: `${name === "low" ? "Lowest" : "Highest"} score` },
    on: { change: (e) => tweak({ [name]: e.target.value }, { replace: false }) },
  });
  return el("div", { class: "range" }, canvas, el("div", { class: "pair" },
    box("low", now.low, values.length ? decimal(low) : ""), el("span", { class: "muted" }, "to"),
    box("high", now.high, values.length ? decimal(high) : "")));
}
