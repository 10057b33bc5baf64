// Tool that draws outlines: freehand, polygon, and editing. Every finished gesture is one operation of the case.

import { randomId } from "./case-log.js";
import { area, distance, inside, nearest, simplify, roundToImage } from "./shapes.js";

const COLOR = "#ffb454";
const SELECTED_COLOR = "#5fd3ff";
/** @type {Omit<ContoursLayer, "contours">} */
const LINE = { kind: "contours", color: COLOR, open: true };
/** @type {Record<string, number>} */
const REACH = { mouse: 9, pen: 12, touch: 22 }; // distance to a handle that counts as a hit, in CSS pixels
const MIN_STROKE = 7; // CSS pixels; a shorter stroke is a click
const MAX_VERTICES = 2000; // vertices

/**
 * Drag of a vertex of an outline, or of the whole outline from a point.
 * @typedef {{ id: string, at: number, start: Point[], vertex?: number, from?: Point, points?: Point[] }} Drag
 */

/** Tool and layers of an image canvas. `mode` is "freehand", "polygon" or "edit". Events: "choose", "mode". */
export class Contours extends EventTarget {
  /** @param {ImageCanvas} imageCanvas @param {import("./case-log.js").CaseLog} caseLog */
  constructor(imageCanvas, caseLog) {
    super();
    this.imageCanvas = imageCanvas;
    this.caseLog = caseLog;
    this.mode = "freehand";
    this.selected = /** @type {string | null} */ (null);
    this.stroke = /** @type {Point[] | null} */ (null); // freehand line that is being drawn
    this.corner = /** @type {Point | null} */ (null); // corner of a polygon that is being set
    this.pointer = /** @type {Point | null} */ (null); // position of the mouse, for the next side of a polygon
    this.drag = /** @type {Drag | null} */ (null);
    this.seconds = () => 0;
    imageCanvas.layers = { [Symbol.iterator]: () => this._layers() };
    imageCanvas.tool = this;
    caseLog.addEventListener("change", () => {
      if (this.selected && !caseLog.state.shapes.has(this.selected)) this.select(null);
      imageCanvas.redraw();
    });
    imageCanvas.canvas.addEventListener("dblclick", (event) => this._doubleClick(event));
    imageCanvas.canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      imageCanvas.redraw();
    });
  }

  get shapes() {
    return [...this.caseLog.state.shapes];
  }

  /** The open polygon, [id, shape]. */
  get open() {
    return this.shapes.find(([, shape]) => !shape.closed) ?? null;
  }

  /** @param {string} mode */
  use(mode) {
    if (mode !== "polygon" && this.mode === "polygon") this.close();
    this.mode = mode;
    if (mode === "edit" && !this.selected) this.select(this.shapes.at(-1)?.[0] ?? null);
    if (mode !== "edit") this.select(null);
    this.imageCanvas.canvas.dataset.tool = mode;
    this.dispatchEvent(new Event("mode"));
    this.imageCanvas.redraw();
  }

  /** @param {string | null} id */
  select(id) {
    this.selected = id;
    this.dispatchEvent(new Event("choose"));
    this.imageCanvas.redraw();
  }

  /** Close the open polygon; one with fewer than three corners is removed. */
  close() {
    const open = this.open;
    if (!open) return;
    const [id, { points, at }] = open;
    if (points.length < 3) this.caseLog.remove(id);
    else this.caseLog.put(id, points, { closed: true, at });
  }

  /** Remove the open polygon, or else the selected outline. */
  discard() {
    const id = this.open?.[0] ?? this.selected;
    if (id) this.caseLog.remove(id);
  }

  // -- pointer --------------------------------------------------------------------------------------------------------

  /** @param {Point} at @param {PointerEvent} event */
  down(at, event) {
    const point = roundToImage(at, this.imageCanvas.size);
    this.pointer = null;
    if (this.mode === "freehand") this.stroke = [point];
    else if (this.mode === "polygon") this.corner = point;
    else this._startDrag(point, event);
  }

  /** @param {Point} at @param {PointerEvent} event */
  move(at, event) {
    const point = roundToImage(at, this.imageCanvas.size);
    if (this.stroke) {
      for (const e of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        const next = roundToImage(this.imageCanvas.toImage(e), this.imageCanvas.size);
        if (distance(next, last(this.stroke)) * this.imageCanvas.currentView.scale >= 2) this.stroke.push(next);
      }
    } else if (this.corner) this.corner = point;
    else if (this.drag) this._moveDrag(this.drag, point);
    this.imageCanvas.redraw();
  }

  /** @param {Point} at @param {PointerEvent} event */
  up(at, event) {
    const { stroke, corner, drag } = this;
    this._release();
    const point = roundToImage(at, this.imageCanvas.size);
    if (stroke) this._finishStroke(stroke, point);
    else if (corner) this._addCorner(point, event);
    else if (drag?.points) this.caseLog.put(drag.id, drag.points, { closed: true, at: drag.at });
    this.imageCanvas.redraw();
  }

  _release() {
    this.stroke = this.corner = this.drag = null;
  }

  cancel() {
    this._release();
    this.imageCanvas.redraw();
  }

  /** @param {Point} at */
  hover(at) {
    this.pointer = at;
    if (this.mode === "polygon" && this.open) this.imageCanvas.redraw();
  }

  /** @param {Point[]} points @param {Point} point */
  _finishStroke(points, point) {
    const { scale } = this.imageCanvas.currentView;
    const extent = points.reduce((extent, p) => Math.max(extent, distance(p, points[0])), 0) * scale;
    if (extent < MIN_STROKE) {
      const target = this._outlineAt(point);
      if (target) {
        this.use("edit");
        this.select(target);
      }
      return;
    }
    let line = simplify(points, 0.8 / scale);
    for (let tolerance = 1.6 / scale; line.length > MAX_VERTICES; tolerance *= 2) line = simplify(points, tolerance);
    if (line.length < 3 || area(line) * scale * scale < 2 * MIN_STROKE) return;
    this.caseLog.put(randomId(), line, { closed: true, at: this.seconds() });
  }

  /** @param {Point} point @param {PointerEvent} event */
  _addCorner(point, event) {
    const open = this.open;
    if (!open) {
      this.caseLog.put(randomId(), [point], { at: this.seconds() });
      return;
    }
    const [id, { points, at }] = open;
    const reach = REACH[event.pointerType] ?? REACH.mouse;
    const near = (/** @type {Point} */ p) => distance(point, p) * this.imageCanvas.currentView.scale < reach;
    if (points.length >= 3 && near(points[0])) this.close();
    else if (!near(last(points)) && points.length < MAX_VERTICES) this.caseLog.put(id, [...points, point], { at });
  }

  /**
   * Start to drag a corner of the selected outline, a new corner on its line, or a whole outline.
   * @param {Point} point @param {PointerEvent} event
   */
  _startDrag(point, event) {
    const reach = (REACH[event.pointerType] ?? REACH.mouse) / this.imageCanvas.currentView.scale;
    const id = this.selected;
    const shape = this._shape(id);
    if (id && shape) {
      const { points, at } = shape;
      const vertex = points.reduce((best, p, i) => (distance(p, point) < distance(points[best], point) ? i : best), 0);
      if (distance(points[vertex], point) < reach) {
        this.drag = { id, at, vertex, start: points };
        return;
      }
      for (let i = 0; i < points.length; i++) {
        const { point: onLine, distance: away } = nearest(point, points[i], points[(i + 1) % points.length]);
        if (away >= reach * 0.7) continue;
        this.drag = { id, at, vertex: i + 1, start: points.toSpliced(i + 1, 0, onLine) };
        return;
      }
    }
    const target = this._outlineAt(point);
    this.select(target);
    const whole = this._shape(target);
    if (target && whole) this.drag = { id: target, at: whole.at, from: point, start: whole.points };
  }

  /** @param {string | null} id */
  _shape(id) {
    return this.caseLog.state.shapes.get(id ?? "");
  }

  /** @param {Drag} drag @param {Point} point */
  _moveDrag(drag, point) {
    const [dr, dc] = drag.from ? [point[0] - drag.from[0], point[1] - drag.from[1]] : [0, 0];
    drag.points = drag.vertex === undefined
      ? drag.start.map(([r, c]) => roundToImage([r + dr, c + dc], this.imageCanvas.size))
      : drag.start.with(drag.vertex, point);
  }

  /**
   * Handle a double click: close a polygon, or remove a corner of the selected outline.
   * @param {MouseEvent} event
   */
  _doubleClick(event) {
    if (this.mode === "polygon") return this.close();
    const { selected } = this;
    const shape = this._shape(selected);
    if (this.mode !== "edit" || !selected || !shape || shape.points.length < 4) return;
    const point = this.imageCanvas.toImage(event);
    const reach = REACH.mouse / this.imageCanvas.currentView.scale;
    const remaining = shape.points.filter((p) => distance(p, point) >= reach);
    if (remaining.length === shape.points.length - 1) this.caseLog.put(selected, remaining, { closed: true, at: shape.at });
  }

  /**
   * Return the smallest outline around a point.
   * @param {Point} point
   */
  _outlineAt(point) {
    const around = this.shapes.filter(([, shape]) => shape.closed && inside(point, shape.points));
    around.sort(([, a], [, b]) => area(a.points) - area(b.points));
    return around[0]?.[0] ?? null;
  }

  // -- layers ---------------------------------------------------------------------------------------------------------

  /**
   * Yield the layers of the present state.
   * @returns {Generator<Layer>}
   */
  *_layers() {
    for (const [id, shape] of this.shapes) {
      const points = (this.drag?.id === id && this.drag.points) || shape.points;
      const selected = id === this.selected;
      const fill = shape.closed ? (selected ? "rgb(95 211 255 / 14%)" : "rgb(255 180 84 / 12%)") : null;
      yield { kind: "contours", contours: [points], color: selected ? SELECTED_COLOR : COLOR, open: !shape.closed, fill };
      if (!shape.closed) yield* this._openPolygonLayers(points);
      else if (selected && this.mode === "edit") yield this._handleLayer(points);
    }
    if (this.stroke) {
      yield { ...LINE, contours: [this.stroke] };
      yield { ...LINE, contours: [[last(this.stroke), this.stroke[0]]], dash: [4, 5], width: 1 };
    }
    if (this.corner && !this.open) yield this._handleLayer([this.corner]);
  }

  /** @param {Point[]} points @returns {Generator<Layer>} */
  *_openPolygonLayers(points) {
    const next = this.corner ?? this.pointer;
    if (next) yield { ...LINE, contours: [[last(points), next]], dash: [4, 5] };
    yield this._handleLayer(points);
    if (points.length >= 3) yield { kind: "points", points: [points[0]], color: "#fff", radius: 8, shape: "ring" };
  }

  /**
   * Return the layer of handles; of dense corners only some get one.
   * @param {Point[]} points
   * @returns {CustomLayer}
   */
  _handleLayer(points) {
    const { scale } = this.imageCanvas.currentView;
    /** @type {Point[]} */
    const spaced = [];
    for (const p of points) if (!spaced.length || distance(p, last(spaced)) * scale > 7) spaced.push(p);
    /** @type {CustomLayer["draw"]} */
    const draw = (context, imageCanvas) => {
      for (const [row, col] of spaced) {
        const [x, y] = imageCanvas.toScreen(row, col);
        context.fillStyle = "#0b0d0f";
        context.fillRect(x - 4, y - 4, 8, 8);
        context.fillStyle = "#fff";
        context.fillRect(x - 3, y - 3, 6, 6);
      }
    };
    return { kind: "custom", draw };
  }
}

/** @param {Point[]} points */
function last(points) {
  return points[points.length - 1];
}
