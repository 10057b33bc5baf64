// Layers over an image and the caption below it: maps, masks, regions, gaze, and annotations of readers.

import { SEQUENTIAL, colorize, valueRange } from "../web/colors.js";
import { decimal, el } from "../web/dom.js";
import { colorBarWithRange, swatch } from "./widgets.js";
import { thresholdOfBin } from "./placed-map.js";

/** @type {RGB[]} */
const MASK_COLORS = [[214, 79, 176], [90, 160, 255], [255, 170, 60], [120, 210, 90], [240, 90, 90], [170, 130, 250]];
const READER_COLORS = ["#f08a34", "#f2c53d", "#ff7aa8", "#b9e04c"];
const REFERENCE_COLOR = "#2fd6c2";

/**
 * Return the color of a reader by the position in the run's list; the first is the reference reader.
 * @param {number} position
 */
export function readerColor(position) {
  return position ? READER_COLORS[(position - 1) % READER_COLORS.length] : REFERENCE_COLOR;
}

/**
 * Return the colors of the i-th map of a canvas.
 * @param {CaseSettings} settings @param {number} i
 */
function mapColors(settings, i) {
  return { scale: SEQUENTIAL[(SEQUENTIAL.indexOf(settings.scale) + i) % SEQUENTIAL.length], mask: MASK_COLORS[i % MASK_COLORS.length] };
}

/**
 * Return the layers of the i-th map of a canvas.
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings @param {string} source
 * @param {number} i
 * @returns {Layer[]}
 */
export function mapLayers(file, settings, source, i) {
  const placed = file.placed(source, settings.onlyPositive);
  if (!placed) return [];
  const { scale, mask } = mapColors(settings, i);
  /** @type {Layer[]} */
  const layers = [];
  const colored = file.colored(source, scale);
  if (settings.map && colored) layers.push({ kind: "raster", image: colored.image, box: colored.box, opacity: settings.opacity });
  if (settings.mask) layers.push({ kind: "raster", ...placed.mask(placed.thresholdBin(settings.cut), mask), smooth: false });
  if (settings.peak && placed.kind !== "mask")
    layers.push({ kind: "points", points: [placed.peak()], color: "#ffffff", shape: "cross" });
  return layers;
}

/**
 * Return the layers that all canvases show.
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
 */
export function sharedLayers(file, settings) {
  return [...regionLayers(file, settings), ...gazeLayers(file, settings), ...annotationLayers(file, settings)];
}

/**
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function regionLayers({ regions }, settings) {
  if (!settings.regions) return [];
  return [
    { kind: "contours", contours: regions.flatMap((r) => r.contours), color: "#c9d3dc", width: 1, dash: [4, 4] },
    { kind: "custom", draw: (context, imageCanvas) => nameRegions(context, imageCanvas, regions) },
  ];
}

/**
 * Draw the names of regions, each at the top of its outline.
 * @param {Context2D} context @param {ImageCanvas} imageCanvas @param {Region[]} regions
 */
function nameRegions(context, imageCanvas, regions) {
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.fillStyle = "#e4ebf1";
  for (const { name, contours } of regions) {
    const points = contours.flat();
    if (!points.length) continue;
    const top = points.reduce((a, b) => (b[0] < a[0] ? b : a));
    const [x, y] = imageCanvas.toScreen(...top);
    context.strokeText(name, x, y + 16);
    context.fillText(name, x, y + 16);
  }
}

/**
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function gazeLayers(file, settings) {
  const gaze = file.gazeOfReader(settings.gaze);
  if (!gaze) return [];
  const time = gaze.moment(settings.time);
  /** @type {Layer[]} */
  const layers = [];
  if (settings.density) {
    const { values, shape } = gaze.density(time);
    const image = colorize(values, shape[0], shape[1], { ...valueRange(values), scale: "viridis" });
    layers.push({ kind: "raster", image, box: [0, 0, ...gaze.size], opacity: 0.75 });
  }
  if (settings.path) layers.push({ kind: "custom", draw: gaze.path(time) });
  return layers;
}

/**
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
 * @returns {Layer[]}
 */
function annotationLayers({ annotations, store }, settings) {
  /** @type {Layer[]} */
  const layers = [];
  for (const { reader, contours, points } of annotations) {
    if (settings.hidden.includes(reader)) continue;
    const position = store.index.readers.indexOf(reader);
    const color = readerColor(position);
    if (contours) layers.push({ kind: "contours", contours, color, width: position ? 1.8 : 2.2, dash: position ? [7, 4] : [] });
    if (points) layers.push({ kind: "points", points, color, shape: "ring" });
  }
  return layers;
}

/**
 * Return a line of the caption: the i-th map with its IoU and colors, or the reason why it cannot be shown.
 * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings @param {string} source
 * @param {number} i
 */
export function captionLine(file, settings, source, i) {
  const map = file.maps.get(source);
  const placed = file.placed(source, settings.onlyPositive);
  const { scale, mask } = mapColors(settings, i);
  const parts = [el("b", {}, file.store.label(source))];
  if (!map) parts.push(el("span", { class: "muted" }, file.store.kindOf(source) === "reader" ? "drawn as contours" : "no map stored"));
  else if (!placed) parts.push(el("span", { class: "badge inline" }, map.status), el("span", { class: "wrong small" }, map.reason));
  else {
    if (settings.mask) parts.push(maskScores(placed, placed.thresholdBin(settings.cut), source, mask));
    const colored = file.colored(source, scale);
    if (settings.map && colored) parts.push(colorBarWithRange(colored.range, scale));
  }
  return el("div", { class: "line" }, parts);
}

/**
 * @param {import("./placed-map.js").PlacedMap} placed @param {number} bin @param {string} source @param {RGB} color
 */
function maskScores(placed, bin, source, color) {
  const { iou, share } = placed.scores(bin);
  return el("span", { class: "live", data: { iou, bin, source } }, swatch(`rgb(${color.join(" ")})`),
    Number.isNaN(iou) ? `mask ${decimal(100 * share, 1)} % of the image` : `IoU ${decimal(iou, 3)}`,
    el("span", { class: "muted" }, placed.kind === "mask" ? "" : ` at ${decimal(thresholdOfBin(bin))}`));
}
