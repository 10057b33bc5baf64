// Radiograph on a canvas: zoom about the pointer, pan, window and level, and layers over the image.
// All coordinates are (row, col) in pixels of the original image, with pixel centers at +0.5.

import { context2d, el } from "./dom.js";

const FULL_WINDOW = { center: 0.5, width: 1, invert: false };

/**
 * Canvas that shows a radiograph. Events: "view" (zoom or pan by the user), "window", "hover" (detail: {row, col, gray} or null).
 *
 * layers, drawn in order: each { kind, visible, opacity } and
 *   raster    image (canvas), box [top, left, bottom, right], smooth
 *   contours  contours (arrays of [row, col]), color, width, dash, open, fill
 *   points    points ([row, col]), color, radius, shape "cross" | "disk" | "ring"
 *   custom    draw(context, imageCanvas): in CSS pixels, as given by `imageCanvas.toScreen`
 *
 * tool: { down(at, event), move(at, event), up(at, event), cancel() }, at = [row, col]. While a tool is set, it gets
 * plain drags with mouse, pen or one finger; a second finger cancels it and pinches; a drag with the space bar or the
 * middle button still pans.
 */
export class ImageCanvas extends EventTarget {
  /** @param {{ label?: string }} options */
  constructor({ label = "Radiograph" } = {}) {
    super();
    this.canvas = el("canvas", { class: "film-canvas", tabIndex: 0, role: "img", aria: { label } });
    this.element = el("div", { class: "film" }, this.canvas);
    this.image = /** @type {GrayImage | null} */ (null);
    this.layers = /** @type {Iterable<Layer>} */ ([]);
    this.tool = /** @type {Tool | null} */ (null);
    this.mode = "pan"; // effect of a plain drag: "pan" or "window"
    this.window = { ...FULL_WINDOW };
    this.view = /** @type {View | null} */ (null); // scale: CSS pixels per image pixel; row, col: center of the canvas; null: the whole image
    this._pointers = /** @type {Map<number, [x: number, y: number]>} */ (new Map());
    this._drag = /** @type {"tool" | "pinch" | "pan" | "window" | null} */ (null);
    this._spaceHeld = false;
    this._frameRequest = 0;
    this._listen();
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  /**
   * Call a function with the detail of each event of a name.
   * @template {keyof ImageCanvasEvents} K
   * @param {K} name @param {(detail: ImageCanvasEvents[K]) => void} run
   */
  on(name, run) {
    this.addEventListener(name, (event) => run(/** @type {CustomEvent<ImageCanvasEvents[K]>} */ (event).detail));
  }

  /**
   * Show an image. keep: keep zoom and window.
   * @param {GrayImage} image @param {{ keep?: boolean }} options
   */
  show(image, { keep = false } = {}) {
    this.image = image;
    if (!keep) {
      this.view = null;
      this.window = { ...FULL_WINDOW };
    }
    this.redraw();
  }

  /** @returns {Size} */
  get size() {
    return this.image ? this.image.size : [1, 1];
  }

  /** Scale at which the whole image is visible. */
  get fittedScale() {
    const [height, width] = this.size;
    const { clientWidth, clientHeight } = this.canvas;
    return Math.max(1e-6, Math.min(clientWidth / width, clientHeight / height));
  }

  /**
   * Present view.
   * @returns {View}
   */
  get currentView() {
    const [height, width] = this.size;
    return this.view ?? { scale: this.fittedScale, row: height / 2, col: width / 2 };
  }

  /**
   * Set the view without an event; null shows the whole image.
   * @param {View | null} view
   */
  setView(view) {
    this.view = view && { ...view };
    this.redraw();
  }

  /**
   * Set the gray window without an event.
   * @param {GrayWindow} window
   */
  setWindow(window) {
    this.window = { ...window };
    this.redraw();
  }

  /**
   * Convert (row, col) to [x, y] in CSS pixels of the canvas.
   * @param {number} row @param {number} col
   * @returns {[x: number, y: number]}
   */
  toScreen(row, col) {
    const { scale, row: r, col: c } = this.currentView;
    return [(col - c) * scale + this.canvas.clientWidth / 2, (row - r) * scale + this.canvas.clientHeight / 2];
  }

  /**
   * Convert the position of a pointer event to [row, col], which may lie outside the image.
   * @param {MouseEvent} event
   * @returns {Point}
   */
  toImage(event) {
    const box = this.canvas.getBoundingClientRect();
    return this._unproject(event.clientX - box.left, event.clientY - box.top);
  }

  /** @param {number} x @param {number} y @returns {Point} */
  _unproject(x, y) {
    const { scale, row, col } = this.currentView;
    return [(y - this.canvas.clientHeight / 2) / scale + row, (x - this.canvas.clientWidth / 2) / scale + col];
  }

  fit() {
    this._setViewByUser(null);
  }

  /**
   * Zoom by a factor about a point of the canvas, by default its center.
   * @param {number} factor @param {number} x @param {number} y
   */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const { scale } = this.currentView;
    const next = Math.min(40, Math.max(this.fittedScale * 0.5, scale * factor));
    const [row, col] = this._unproject(x, y);
    this._setViewByUser({
      scale: next,
      row: row - (y - this.canvas.clientHeight / 2) / next,
      col: col - (x - this.canvas.clientWidth / 2) / next,
    });
  }

  /**
   * Pan by CSS pixels.
   * @param {number} dx @param {number} dy
   */
  pan(dx, dy) {
    const { scale, row, col } = this.currentView;
    this._setViewByUser({ scale, row: row - dy / scale, col: col - dx / scale });
  }

  /** @param {View | null} view */
  _setViewByUser(view) {
    if (view) {
      const [height, width] = this.size; // the center of the canvas stays inside the image
      view.row = Math.min(height, Math.max(0, view.row));
      view.col = Math.min(width, Math.max(0, view.col));
    }
    this.view = view;
    this.redraw();
    this.dispatchEvent(new CustomEvent("view", { detail: view }));
  }

  /**
   * Change level (center) and window (width), as shares of the full range.
   * @param {number} level @param {number} width
   */
  adjust(level, width) {
    this.window.center = Math.min(1, Math.max(0, this.window.center + level));
    this.window.width = Math.min(2, Math.max(0.02, this.window.width + width));
    this._windowChanged();
  }

  invert() {
    this.window.invert = !this.window.invert;
    this._windowChanged();
  }

  resetWindow() {
    this.window = { ...FULL_WINDOW };
    this._windowChanged();
  }

  _windowChanged() {
    this.redraw();
    this.dispatchEvent(new CustomEvent("window", { detail: { ...this.window } }));
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  redraw() {
    if (!this._frameRequest) this._frameRequest = requestAnimationFrame(() => this._draw());
  }

  _draw() {
    this._frameRequest = 0;
    const { canvas } = this;
    const ratio = globalThis.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = context2d(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.scale(ratio, ratio);
    if (!this.image) return;
    const [h, w] = this.size;
    this._raster(context, { kind: "raster", image: this.image.render(this.window), box: [0, 0, h, w], smooth: this.currentView.scale < 4 });
    for (const layer of this.layers) {
      if (layer.visible === false) continue;
      context.save();
      context.globalAlpha = layer.opacity ?? 1;
      if (layer.kind === "raster") this._raster(context, layer);
      else if (layer.kind === "contours") this._contours(context, layer);
      else if (layer.kind === "points") this._points(context, layer);
      else layer.draw(context, this);
      context.restore();
    }
  }

  /** @param {Context2D} context @param {RasterLayer} layer */
  _raster(context, { image, box: [top, left, bottom, right], smooth = true }) {
    const [x, y] = this.toScreen(top, left);
    const { scale } = this.currentView;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, x, y, (right - left) * scale, (bottom - top) * scale);
  }

  /** @param {Context2D} context @param {ContoursLayer} layer */
  _contours(context, { contours, color = "#fff", width = 2, dash = [], open = false, fill = null }) {
    context.beginPath();
    for (const contour of contours) {
      contour.forEach(([row, col], i) => {
        const [x, y] = this.toScreen(row, col);
        if (i) context.lineTo(x, y);
        else context.moveTo(x, y);
      });
      if (!open) context.closePath();
    }
    if (fill) {
      context.fillStyle = fill;
      context.fill("evenodd");
    }
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.strokeStyle = "rgb(0 0 0 / 55%)"; // a dark line below keeps contours legible on bone and on lung
    context.lineWidth = width + 1.8;
    context.stroke();
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }

  /** @param {Context2D} context @param {PointsLayer} layer */
  _points(context, { points, color = "#fff", radius = 6, shape = "cross" }) {
    for (const [row, col] of points) {
      const [x, y] = this.toScreen(row, col);
      context.beginPath();
      if (shape === "cross") {
        context.moveTo(x - radius, y);
        context.lineTo(x + radius, y);
        context.moveTo(x, y - radius);
        context.lineTo(x, y + radius);
      } else context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = "rgb(0 0 0 / 55%)";
      context.lineWidth = 4;
      context.stroke();
      context.strokeStyle = context.fillStyle = color;
      context.lineWidth = 2;
      if (shape === "disk") context.fill();
      else context.stroke();
    }
  }

  // -- pointers and keys --------------------------------------------------------------------------------------------

  _listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const lines = event.deltaMode === 1 ? 33 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => !this.tool && this.fit());
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", (event) => this._up(event));
    canvas.addEventListener("pointerleave", () => this.dispatchEvent(new CustomEvent("hover", { detail: null })));
    canvas.addEventListener("keydown", (event) => this.handleKey(event));
    canvas.addEventListener("keyup", (event) => {
      if (event.key === " ") this._spaceHeld = false;
    });
    canvas.addEventListener("blur", () => {
      this._spaceHeld = false;
    });
  }

  /** @param {PointerEvent} event */
  _down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this._pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this._pointers.size === 2) {
      if (this._drag === "tool") this.tool?.cancel?.();
      this._drag = "pinch";
      return;
    }
    if (this._pointers.size > 2) return;
    const isPan = event.button === 1 || this._spaceHeld;
    const isWindow = event.button === 2 || event.shiftKey || (this.mode === "window" && !this.tool);
    this._drag = isPan ? "pan" : isWindow ? "window" : this.tool ? "tool" : "pan";
    if (this._drag === "tool") this.tool?.down?.(this.toImage(event), event);
  }

  /** @param {PointerEvent} event */
  _move(event) {
    const before = this._pointers.get(event.pointerId);
    if (!before) {
      const [row, col] = this.toImage(event);
      const gray = this.image ? this.image.grayAt(row, col) : NaN;
      this.dispatchEvent(new CustomEvent("hover", { detail: { row, col, gray } }));
      this.tool?.hover?.([row, col], event);
      return;
    }
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (this._drag === "pinch") this._pinch(event, dx, dy);
    this._pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this._drag === "pan") this.pan(dx, dy);
    else if (this._drag === "window") this.adjust(-dy / 400, dx / 400);
    else if (this._drag === "tool") this.tool?.move?.(this.toImage(event), event);
  }

  /** @param {PointerEvent} event @param {number} dx @param {number} dy */
  _pinch(event, dx, dy) {
    const other = [...this._pointers].find(([id]) => id !== event.pointerId)?.[1];
    const moved = this._pointers.get(event.pointerId);
    if (!other || !moved) return;
    const distance = Math.hypot(moved[0] + dx - other[0], moved[1] + dy - other[1]);
    const before = Math.hypot(moved[0] - other[0], moved[1] - other[1]);
    const box = this.canvas.getBoundingClientRect();
    this.pan(dx / 2, dy / 2);
    if (before > 0 && distance > 0)
      this.zoom(distance / before, (moved[0] + dx + other[0]) / 2 - box.left, (moved[1] + dy + other[1]) / 2 - box.top);
  }

  /** @param {PointerEvent} event */
  _up(event) {
    if (!this._pointers.delete(event.pointerId)) return;
    if (this._drag === "tool") {
      if (event.type === "pointercancel") this.tool?.cancel?.();
      else this.tool?.up?.(this.toImage(event), event);
    }
    // A finger that remains after a pinch must not start to pan or draw.
    if (!this._pointers.size) this._drag = null;
    else if (this._drag !== "pinch") this._drag = null;
  }

  /**
   * Handle a key as if the canvas had the focus.
   * @param {KeyboardEvent} event
   */
  handleKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60;
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), "0": () => this.fit(),
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
      "[": () => this.adjust(-0.03, 0), "]": () => this.adjust(0.03, 0),
      "{": () => this.adjust(0, -0.05), "}": () => this.adjust(0, 0.05),
      i: () => this.invert(), w: () => this.resetWindow(), " ": () => { this._spaceHeld = true; },
    };
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  }
}

/**
 * Keys of a focused canvas, for help texts.
 * @type {KeyLines}
 */
export const IMAGE_KEYS = [
  ["wheel, + −", "zoom"], ["drag, arrows", "pan"], ["double click, 0", "fit"],
  ["right drag, Shift + drag, [ ] { }", "level and window"], ["i", "invert"], ["w", "window as stored"],
];
