// How a case is to be shown, as the address says: which maps, layers, threshold and moment, what zoom and window.

import { SEQUENTIAL } from "../web/colors.js";
import { asked } from "./filters.js";
import { here, number } from "./state.js";

const ON = ["map", "path"]; // unless the address says 0
const OFF = ["mask", "regions", "peak", "table", "density"]; // unless it says 1
const HIGHEST_CUT = 0.995;

const within = (value, low, high) => Math.min(high, Math.max(low, value));

/** Everything that the address says of a case of some finding, with what is natural where it says nothing. */
export function settingsOf(store, finding) {
  const { params } = here();
  const now = asked(store, params);
  const known = (source) => store.sourceNumber.has(source);
  const cut = number(params, "cut");
  return {
    source: now.source, protocol: now.protocol, metric: now.metric,
    shown: params.has("maps") ? params.getAll("maps").filter(known) : [now.source],
    over: params.get("mode") === "over", hidden: params.getAll("hide"),
    scale: SEQUENTIAL.includes(params.get("scale")) ? params.get("scale") : "magma",
    opacity: within(number(params, "opacity") ?? 0.6, 0, 1),
    cut: cut === null ? cutOfProtocol(store, now.protocol, finding) : `above:${within(cut, 0, HIGHEST_CUT)}`,
    gaze: params.get("gaze") ?? "", time: number(params, "time"),
    ...Object.fromEntries(ON.map((name) => [name, params.get(name) !== "0"])),
    ...Object.fromEntries(OFF.map((name) => [name, params.get(name) === "1"])),
  };
}

/** The binarizer that a protocol cuts maps of a finding by. */
export function cutOfProtocol(store, protocol, finding) {
  const told = store.index.binarizers[protocol];
  return told?.by[finding] !== undefined ? `above:${told.by[finding]}` : (told?.all ?? "otsu");
}

/** What to change in the address to turn a layer on or off. */
export function flipped(settings, name) {
  const [on, off] = ON.includes(name) ? [null, "0"] : ["1", null];
  return { [name]: settings[name] ? off : on };
}

/** What to change in the address to cut at a share of the range. */
export function cutAt(share) {
  return { cut: within(share, 0, HIGHEST_CUT).toFixed(3), mask: "1" };
}

/** { view, window } of the films, each only where the address names one. */
export function sightOf(params) {
  const [scale, row, col, ...more] = (params.get("view") ?? "").split("_").map(Number);
  const [center, width, invert] = (params.get("window") ?? "").split("_").map(Number);
  return {
    view: [scale, row, col].every(Number.isFinite) && !more.length ? { scale, row, col } : null,
    window: Number.isFinite(center) && width > 0 ? { center, width, invert: invert === 1 } : null,
  };
}

export function viewText(view) {
  return view ? [view.scale, view.row, view.col].map((v) => v.toPrecision(5)).join("_") : null;
}

export function windowText({ center, width, invert }) {
  const plain = center === 0.5 && width === 1 && !invert;
  return plain ? null : `${center.toFixed(3)}_${width.toFixed(3)}_${invert ? 1 : 0}`;
}
