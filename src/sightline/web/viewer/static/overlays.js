// What is laid over a film, and the caption below it: maps, masks, regions, gaze, and what readers marked.

import { SEQUENTIAL, colorize, rangeOf } from "../web/colors.js";
import { decimal, el } from "../web/dom.js";
import { bar, swatch } from "./parts.js";
import { levelOf } from "./place.js";

/** @type {RGB[]} */
const MASKS = [[214, 79, 176], [90, 160, 255], [255, 170, 60], [120, 210, 90], [240, 90, 90], [170, 130, 250]];
const READERS = ["#f08a34", "#f2c53d", "#ff7aa8", "#b9e04c"];
const TRUTH = "#2fd6c2";

/**
 * The color of a reader by place in the run's list; the first is the truth.
 * @param {number} place
 */
export function readerColor(place) {
  return place ? READERS[(place - 1) % READERS.length] : TRUTH;
}

/**
 * The colors of the i-th map on a film.
 * @param {CaseSettings} settings @param {number} i
 */
function inks(settings, i) {
  return { scale: SEQUENTIAL[(SEQUENTIAL.indexOf(settings.scale) + i) % SEQUENTIAL.length], mask: MASKS[i % MASKS.length] };
}

/**
 * Layers of the i-th map on a film.
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings @param {string} source
 * @param {number} i
 * @returns {Layer[]}
 */
export function mapLayers(file, settings, source, i) {
  const placed = file.placed(source);
  if (!placed) return [];
  const { scale, mask } = inks(settings, i);
  /** @type {Layer[]} */
  const layers = [];
  const colored = file.colored(source, scale);
  if (settings.map && colored) layers.push({ kind: "raster", image: colored.image, box: colored.box, opacity: settings.opacity });
  if (settings.mask) layers.push({ kind: "raster", ...placed.mask(placed.cut(settings.cut), mask), smooth: false });
  if (settings.peak && placed.kind !== "mask")
    layers.push({ kind: "points", points: [placed.peak()], color: "#ffffff", shape: "cross" });
  return layers;
}

/**
 * Layers that every film shows.
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
 */
export function sharedLayers(file, settings) {
  return [...regionLayers(file, settings), ...gazeLayers(file, settings), ...markLayers(file, settings)];
}

/**
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function regionLayers({ regions }, settings) {
  if (!settings.regions) return [];
  return [
    { kind: "contours", contours: regions.flatMap((r) => r.contours), color: "#c9d3dc", width: 1, dash: [4, 4] },
    { kind: "custom", draw: (context, film) => nameRegions(context, film, regions) },
  ];
}

/**
 * Names of regions, each at the top of its outline.
 * @param {Context2D} context @param {Film} film @param {Region[]} regions
 */
function nameRegions(context, film, regions) {
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.fillStyle = "#e4ebf1";
  for (const { name, contours } of regions) {
    const points = contours.flat();
    if (!points.length) continue;
    const top = points.reduce((a, b) => (b[0] < a[0] ? b : a));
    const [x, y] = film.toScreen(...top);
    context.strokeText(name, x, y + 16);
    context.fillText(name, x, y + 16);
  }
}

/**
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function gazeLayers(file, settings) {
  const gaze = file.gazeOf(settings.gaze);
  if (!gaze) return [];
  const time = gaze.moment(settings.time);
  /** @type {Layer[]} */
  const layers = [];
  if (settings.density) {
    const { values, shape } = gaze.density(time);
    const image = colorize(values, shape[0], shape[1], { ...rangeOf(values), scale: "viridis" });
    layers.push({ kind: "raster", image, box: [0, 0, ...gaze.size], opacity: 0.75 });
  }
  if (settings.path) layers.push({ kind: "custom", draw: gaze.path(time) });
  return layers;
}

/**
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function markLayers({ marks, store }, settings) {
  /** @type {Layer[]} */
  const layers = [];
  for (const { reader, contours, points } of marks) {
    if (settings.hidden.includes(reader)) continue;
    const place = store.index.readers.indexOf(reader);
    const color = readerColor(place);
    if (contours) layers.push({ kind: "contours", contours, color, width: place ? 1.8 : 2.2, dash: place ? [7, 4] : [] });
    if (points) layers.push({ kind: "points", points, color, shape: "ring" });
  }
  return layers;
}

/**
 * A line of the caption: the i-th map of a film, with its IoU and colors, or why there is none.
 * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings @param {string} source
 * @param {number} i
 */
export function captionLine(file, settings, source, i) {
  const map = file.maps.get(source);
  const placed = file.placed(source);
  const { scale, mask } = inks(settings, i);
  const parts = [el("b", {}, file.store.label(source))];
  if (!map) parts.push(el("span", { class: "muted" }, file.store.kindOf(source) === "reader" ? "drawn as contours" : "no map stored"));
  else if (!placed) parts.push(el("span", { class: "badge inline" }, map.status), el("span", { class: "wrong small" }, map.reason));
  else {
    if (settings.mask) parts.push(maskSaid(placed, placed.cut(settings.cut), source, mask));
    const colored = file.colored(source, scale);
    if (settings.map && colored) parts.push(bar(colored.range, scale));
  }
  return el("div", { class: "line" }, parts);
}

/**
 * @param {import("./place.js").Placed} placed @param {number} bin @param {string} source @param {RGB} color
 */
function maskSaid(placed, bin, source, color) {
  const { iou, share } = placed.scores(bin);
  return el("span", { class: "live", data: { iou, bin, source } }, swatch(`rgb(${color.join(" ")})`),
    Number.isNaN(iou) ? `mask ${decimal(100 * share, 1)} % of the image` : `IoU ${decimal(iou, 3)}`,
    el("span", { class: "muted" }, placed.kind === "mask" ? "" : ` at ${decimal(levelOf(bin))}`));
}
