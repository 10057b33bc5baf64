// How a case is to be shown, as the address says: which maps, layers, threshold and moment, what zoom and window.

import { SEQUENTIAL } from "../web/colors.js";
import { asked } from "./filters.js";
import { here, number } from "./state.js";

/** @type {LayerSwitch[]} */
const ON = ["map", "path"]; // unless the address says 0; others are off unless it says 1
const HIGHEST_CUT = 0.995;

/** @param {number} value @param {number} low @param {number} high */
const within = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * Everything that the address says of a case of some finding, with what is natural where it says nothing.
 * @param {import("./store.js").Store} store @param {string} finding
 * @returns {CaseSettings}
 */
export function settingsOf(store, finding) {
  const { params } = here();
  const now = asked(store, params);
  const cut = number(params, "cut");
  const scale = params.get("scale") ?? "";
  const on = (/** @type {LayerSwitch} */ name) => (ON.includes(name) ? params.get(name) !== "0" : params.get(name) === "1");
  return {
    source: now.source, protocol: now.protocol, metric: now.metric,
    shown: params.has("maps") ? params.getAll("maps").filter((s) => store.sourceNumber.has(s)) : [now.source],
    over: params.get("mode") === "over", hidden: params.getAll("hide"),
    scale: SEQUENTIAL.includes(scale) ? scale : "magma",
    opacity: within(number(params, "opacity") ?? 0.6, 0, 1),
    cut: cut === null ? cutOfProtocol(store, now.protocol, finding) : `above:${within(cut, 0, HIGHEST_CUT)}`,
    gaze: params.get("gaze") ?? "", time: number(params, "time"),
    map: on("map"), path: on("path"), mask: on("mask"), regions: on("regions"), peak: on("peak"), table: on("table"),
    density: on("density"),
  };
}

/**
 * The binarizer that a protocol cuts maps of a finding by.
 * @param {import("./store.js").Store} store @param {string} protocol @param {string} finding
 */
export function cutOfProtocol(store, protocol, finding) {
  const told = store.index.binarizers[protocol];
  return told?.by[finding] !== undefined ? `above:${told.by[finding]}` : (told?.all ?? "otsu");
}

/**
 * What to change in the address to turn a layer on or off.
 * @param {CaseSettings} settings @param {LayerSwitch} name
 */
export function flipped(settings, name) {
  const [on, off] = ON.includes(name) ? [null, "0"] : ["1", null];
  return { [name]: settings[name] ? off : on };
}

/**
 * What to change in the address to cut at a share of the range.
 * @param {number} share
 */
export function cutAt(share) {
  return { cut: within(share, 0, HIGHEST_CUT).toFixed(3), mask: "1" };
}

/**
 * { view, window } of the films, each only where the address names one.
 * @param {URLSearchParams} params
 * @returns {{ view: View | null, window: GrayWindow | null }}
 */
export function sightOf(params) {
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
  const plain = center === 0.5 && width === 1 && !invert;
  return plain ? null : `${center.toFixed(3)}_${width.toFixed(3)}_${invert ? 1 : 0}`;
}
