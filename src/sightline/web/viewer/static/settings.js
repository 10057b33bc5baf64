// Settings of a case in the URL: maps, layers, threshold and time, zoom and gray window.

import { SEQUENTIAL } from "../web/colors.js";
import { caseQuery } from "./filters.js";
import { currentRoute, numberParam } from "./router.js";

/** @type {LayerSwitch[]} */
const ON_BY_DEFAULT = ["map", "path"]; // unless the URL says 0; the others are off unless it says 1
const HIGHEST_CUT = 0.995;

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * Return the settings of a case from the URL, with defaults.
 * @param {import("./store.js").Store} store @param {string} finding
 * @returns {CaseSettings}
 */
export function caseSettings(store, finding) {
  const { params } = currentRoute();
  const query = caseQuery(store, params);
  const cut = numberParam(params, "cut");
  const scale = params.get("scale") ?? "";
  const isOn = (/** @type {LayerSwitch} */ name) => (ON_BY_DEFAULT.includes(name) ? params.get(name) !== "0" : params.get(name) === "1");
  return {
    source: query.source, protocol: query.protocol, metric: query.metric,
    visibleSources: params.has("maps") ? params.getAll("maps").filter((s) => store.sourceNumber.has(s)) : [query.source],
    over: params.get("mode") === "over", hidden: params.getAll("hide"),
    scale: SEQUENTIAL.includes(scale) ? scale : "magma",
    opacity: clamp(numberParam(params, "opacity") ?? 0.6, 0, 1),
    cut: cut === null ? protocolBinarizer(store, query.protocol, finding) : `above:${clamp(cut, 0, HIGHEST_CUT)}`,
    onlyPositive: store.index.binarizers[query.protocol]?.positive ?? true,
    gaze: params.get("gaze") ?? "", time: numberParam(params, "time"),
    map: isOn("map"), path: isOn("path"), mask: isOn("mask"), regions: isOn("regions"), peak: isOn("peak"), table: isOn("table"),
    density: isOn("density"),
  };
}

/**
 * Return the binarizer of a protocol for the maps of a finding.
 * @param {import("./store.js").Store} store @param {string} protocol @param {string} finding
 */
export function protocolBinarizer(store, protocol, finding) {
  const binarizers = store.index.binarizers[protocol];
  return binarizers?.by[finding] !== undefined ? `above:${binarizers.by[finding]}` : (binarizers?.all ?? "otsu");
}

/**
 * Return the change of parameters that switches a layer on or off.
 * @param {CaseSettings} settings @param {LayerSwitch} name
 */
export function toggleParams(settings, name) {
  const [on, off] = ON_BY_DEFAULT.includes(name) ? [null, "0"] : ["1", null];
  return { [name]: settings[name] ? off : on };
}

/**
 * Return the change of parameters that sets the threshold to a share of the range.
 * @param {number} share
 */
export function thresholdParams(share) {
  return { cut: clamp(share, 0, HIGHEST_CUT).toFixed(3), mask: "1" };
}

/**
 * Return the zoom and the gray window in the URL, each null if it names none.
 * @param {URLSearchParams} params
 * @returns {{ view: View | null, window: GrayWindow | null }}
 */
export function viewAndWindow(params) {
  const [scale, row, col, ...more] = (params.get("view") ?? "").split("_").map(Number);
  const [center, width, invert] = (params.get("window") ?? "").split("_").map(Number);
  return {
    view: [scale, row, col].every(Number.isFinite) && !more.length ? { scale, row, col } : null,
    window: Number.isFinite(center) && width > 0 ? { center, width, invert: invert === 1 } : null,
  };
}

/** @param {View | null} view */
export function viewText(view) {
  return view ? [view.scale, view.row, view.col].map((v) => v.toPrecision(5)).join("_") : null;
}

/** @param {GrayWindow} window */
export function windowText({ center, width, invert }) {
  const isFull = center === 0.5 && width === 1 && !invert;
  return isFull ? null : `${center.toFixed(3)}_${width.toFixed(3)}_${invert ? 1 : 0}`;
}
