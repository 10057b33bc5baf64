// Tools that set the most representative point, or a sequence of clicks in the order of looking.

import { randomId } from "./case-log.js";
import { distance, roundToImage } from "./shapes.js";

const COLOR = "#ffb454";
const SHAPE_ID = "point";
const MAX_CLICK_MOVE = 8; // CSS pixels; a longer drag is no click

/** @typedef {[row: number, col: number]} ImagePoint */

/** Tool for one point: a click sets it, another one moves it. */
export class Point {
  /** @param {ImageCanvas} imageCanvas @param {import("./case-log.js").CaseLog} caseLog */
  constructor(imageCanvas, caseLog) {
    this.imageCanvas = imageCanvas;
    this.caseLog = caseLog;
    this.dragged = /** @type {ImagePoint | null} */ (null);
    this.seconds = () => 0;
    imageCanvas.layers = { [Symbol.iterator]: () => this._layers() };
    imageCanvas.tool = this;
    imageCanvas.canvas.dataset.tool = "point";
    caseLog.addEventListener("change", () => imageCanvas.redraw());
  }

  /** @param {ImagePoint} at */
  down(at) {
    this.dragged = roundToImage(at, this.imageCanvas.size);
    this.imageCanvas.redraw();
  }

  /** @param {ImagePoint} at */
  move(at) {
    this.down(at);
  }

  /** @param {ImagePoint} at */
  up(at) {
    this.dragged = null;
    this.caseLog.put(SHAPE_ID, [roundToImage(at, this.imageCanvas.size)], { closed: true, at: this.seconds() });
  }

  cancel() {
    this.dragged = null;
    this.imageCanvas.redraw();
  }

  discard() {
    if (this.caseLog.state.shapes.has(SHAPE_ID)) this.caseLog.remove(SHAPE_ID);
  }

  /** @returns {Generator<Layer>} */
  *_layers() {
    const point = this.dragged ?? this.caseLog.state.shapes.get(SHAPE_ID)?.points[0];
    if (!point) return;
    yield { kind: "points", points: [point], color: COLOR, radius: 14, shape: "ring" };
    yield { kind: "points", points: [point], color: COLOR, radius: 5 };
  }
}

/** Tool for clicks in order, each with its time. */
export class Trail {
  /** @param {ImageCanvas} imageCanvas @param {import("./case-log.js").CaseLog} caseLog */
  constructor(imageCanvas, caseLog) {
    this.imageCanvas = imageCanvas;
    this.caseLog = caseLog;
    this.start = /** @type {ImagePoint | null} */ (null);
    this.seconds = () => 0;
    imageCanvas.layers = { [Symbol.iterator]: () => this._layers() };
    imageCanvas.tool = this;
    imageCanvas.canvas.dataset.tool = "point";
    caseLog.addEventListener("change", () => imageCanvas.redraw());
  }

  get clicks() {
    return [...this.caseLog.state.shapes].sort(([, a], [, b]) => a.at - b.at);
  }

  /** @param {ImagePoint} at */
  down(at) {
    this.start = at;
  }

  /** @param {ImagePoint} at */
  up(at) {
    if (this.start && distance(at, this.start) * this.imageCanvas.currentView.scale > MAX_CLICK_MOVE) return;
    this.caseLog.put(randomId(), [roundToImage(at, this.imageCanvas.size)], { closed: true, at: this.seconds() });
  }

  cancel() {
    this.start = null;
  }

  /** Remove the last click. */
  discard() {
    const last = this.clicks.at(-1);
    if (last) this.caseLog.remove(last[0]);
  }

  /** @returns {Generator<Layer>} */
  *_layers() {
    const points = this.clicks.map(([, shape]) => shape.points[0]);
    if (points.length > 1) yield { kind: "contours", contours: [points], color: COLOR, open: true, width: 1.2 };
    yield {
      kind: "custom",
      draw: (context, imageCanvas) => {
        for (const [i, point] of points.entries()) drawNumber(context, imageCanvas, point, i + 1);
      },
    };
  }
}

/** @param {Context2D} context @param {ImageCanvas} imageCanvas @param {ImagePoint} point @param {number} text */
function drawNumber(context, imageCanvas, [row, col], text) {
  const [x, y] = imageCanvas.toScreen(row, col);
  context.beginPath();
  context.arc(x, y, 11, 0, 2 * Math.PI);
  context.fillStyle = COLOR;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#0b0d0f";
  context.stroke();
  context.fillStyle = "#0b0d0f";
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(text), x, y + 0.5);
}
