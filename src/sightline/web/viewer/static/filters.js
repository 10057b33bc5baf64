// Selection of cases: the query in the URL, and the controls that change it.

import { context2d, decimal, el } from "../web/dom.js";
import { numberParam, updateParams } from "./router.js";
import { OUTCOMES } from "./store.js";

/** @type {Record<string, string>} */
export const SORTS = {
  score: "score", probability: "probability", area: "size of the annotation", elongation: "elongation",
  irrectangularity: "irrectangularity", instances: "instances", order: "order of the data",
};

/**
 * Return the query in the URL, with defaults.
 * @param {import("./store.js").Store} store @param {URLSearchParams} params
 * @returns {CaseQuery}
 */
export function caseQuery(store, params) {
  const { index } = store;
  /** @param {string} name @param {string[]} names @param {string} fallback */
  const allowed = (name, names, fallback) => {
    const value = params.get(name);
    return value !== null && names.includes(value) ? value : fallback;
  };
  const scored = new Set(index.columns.map((c) => c.source));
  const source = allowed("source", index.sources.map((s) => s.name),
    index.best ?? index.sources.find((s) => scored.has(s.name))?.name ?? index.sources[0]?.name ?? "");
  const protocol = allowed("protocol", index.protocols, index.protocols[0] ?? "");
  const offered = metricsOf(store, protocol, source);
  const metric = allowed("metric", offered, offered[0] ?? "");
  const statuses = params.getAll("status");
  return {
    source, protocol, metric, statuses,
    findings: params.getAll("finding"), outcomes: params.getAll("outcome"),
    low: numberParam(params, "low"), high: numberParam(params, "high"), text: params.get("q") ?? "",
    onlyAnnotated: params.get("all") !== "1" && store.annotated.some((m) => m),
    sort: allowed("sort", Object.keys(SORTS), metric ? "score" : "order"),
    descending: params.get("desc") === "1",
  };
}

/**
 * Return the metrics of a source, in the order of the report.
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
 * Return a select with a label.
 * @param {string} label @param {string[][]} options @param {string} chosen @param {(value: string) => void} change
 * @param {string} [id]
 */
export function choice(label, options, chosen, change, id) {
  const select = el("select", { id, on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => option(value, text, chosen)));
  return el("label", { class: "field" }, el("span", { class: "muted small" }, label), select);
}

/**
 * Return a select of sources, grouped by kind: models, localizers, readers, controls.
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
 * Return buttons of which any number may be pressed.
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
 * Return the panel of filters of the gallery.
 * @param {import("./store.js").Store} store @param {CaseQuery} query @param {CaseColumns} columns
 * @param {Uint32Array} cases
 */
export function filterPanel(store, query, columns, cases) {
  const { index } = store;
  const set = (/** @type {Changes} */ changes) => updateParams(changes, { replace: false });
  const metrics = metricsOf(store, query.protocol, query.source).map((m) => [m, store.titleOf(m)]);
  const hasPredictions = columns.outcome.some((o) => o !== 255);
  const cutoff = store.index.cutoffs.length ? "the run's cutoffs" : "probability 0.5";
  return el("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    el("input", { type: "search", id: "search", placeholder: "Radiograph or patient", value: query.text,
                  aria: { label: "Radiograph or patient" }, on: { input: (e) => updateParamsSoon({ q: e.target.value }) } }),
    sourceChoice(store, query.source, (source) => set({ source })),
    metrics.length > 0 && choice("Score", metrics, query.metric, (metric) => set({ metric, low: null, high: null }), "metric"),
    index.protocols.length > 1 &&
      choice("Protocol", index.protocols.map((p) => [p, p]), query.protocol, (protocol) => set({ protocol })),
    el("div", { class: "pair" },
      choice("Sort by", Object.entries(SORTS), query.sort, (sort) => set({ sort }), "sort"),
      el("button", { type: "button", class: "square", title: query.descending ? "highest first" : "lowest first",
                     aria: { label: query.descending ? "Highest first" : "Lowest first" },
                     on: { click: () => set({ desc: query.descending ? null : "1" }) } }, query.descending ? "↓" : "↑")),
    metrics.length > 0 && rangeFilter(store, query, columns, cases),
    chips("Finding", index.findings, query.findings, (names) => set({ finding: names })),
    hasPredictions && chips(`Prediction, by ${cutoff}`, ["correct", "incorrect", ...OUTCOMES], query.outcomes,
      (names) => set({ outcome: names })),
    index.failed.length > 0 && chips("Map", index.statuses, query.statuses, (names) => set({ status: names })),
    store.annotated.some((m) => m) && el("label", { class: "check" },
      el("input", { type: "checkbox", checked: !query.onlyAnnotated, on: { change: (e) => set({ all: e.target.checked ? "1" : null }) } }),
      "also cases that nobody annotated"),
    el("button", { type: "button", class: "quiet", on: { click: () => { location.hash = "#/cases"; } } }, "Clear all filters"));
}

let waiting = 0;
/** @param {Changes} changes */
function updateParamsSoon(changes) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    updateParams(changes);
    dispatchEvent(new Event("paramschanged"));
  }, 120);
}

/**
 * Return a histogram of the scores of all other filters, and inputs for its limits.
 * @param {import("./store.js").Store} store @param {CaseQuery} query @param {CaseColumns} columns
 * @param {Uint32Array} cases
 */
function rangeFilter(store, query, columns, cases) {
  const limited = query.low !== null || query.high !== null;
  const candidates = limited ? store.selectCases({ ...query, low: null, high: null, sort: "order" }, columns) : cases;
  const values = Float32Array.from(candidates, (i) => columns.score[i]).filter((v) => !Number.isNaN(v));
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) [low, high] = [Math.min(low, v), Math.max(high, v)];
  if (low >= 0 && high <= 1) [low, high] = [0, 1];
  const canvas = el("canvas", { width: 240, height: 40, class: "spark", aria: { hidden: "true" } });
  const style = getComputedStyle(document.documentElement);
  const context = context2d(canvas);
  const counts = new Array(40).fill(0);
  for (const v of values) counts[Math.min(39, Math.floor(((v - low) / Math.max(high - low, 1e-9)) * 40))]++;
  const highest = Math.max(1, ...counts);
  counts.forEach((n, i) => {
    const from = low + (i / 40) * (high - low);
    const isInside = from >= (query.low ?? -Infinity) - 1e-9 && from <= (query.high ?? Infinity);
    context.fillStyle = style.getPropertyValue(isInside ? "--accent" : "--rule");
    context.fillRect(i * 6, 40 - (38 * n) / highest, 5, (38 * n) / highest);
  });
  /** @param {"low" | "high"} name @param {number | null} value @param {string} place */
  const input = (name, value, place) => el("input", {
    type: "number", step: "any", value: value ?? "", placeholder: place, aria: { label: `${name === "low" ? "Lowest" : "Highest"} score` },
    on: { change: (e) => updateParams({ [name]: e.target.value }, { replace: false }) },
  });
  return el("div", { class: "range" }, canvas, el("div", { class: "pair" },
    input("low", query.low, values.length ? decimal(low) : ""), el("span", { class: "muted" }, "to"),
    input("high", query.high, values.length ? decimal(high) : "")));
}
