// Canvases of a case, with one map each or all maps on one; they share zoom, pan and gray window.

import { decimal, el, fill } from "../web/dom.js";
import { ImageCanvas } from "../web/image-canvas.js";
import { captionLine, mapLayers, sharedLayers } from "./overlays.js";
import { viewAndWindow, viewText, windowText } from "./settings.js";
import { currentRoute, updateParams } from "./router.js";

/** @typedef {{ imageCanvas: ImageCanvas, caption: HTMLElement, figure: HTMLElement, sources: string[] }} Frame */

export class ImageGrid {
  constructor() {
    this.element = el("div", { class: "films" });
    this.file = /** @type {import("./case-data.js").CaseData | null} */ (null);
    this._pending = /** @type {Changes} */ ({});
    this._saving = 0;
    this._frames = /** @type {Map<string, Frame>} */ (new Map()); // by the names of their sources
  }

  /**
   * Show a case: one canvas per group of maps, with layers.
   * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
   */
  show(file, settings) {
    if (this.file && this.file.row !== file.row) for (const { imageCanvas } of this._frames.values()) imageCanvas.setView(null);
    this.file = file;
    this._arrange(file, settings.over || !settings.visibleSources.length ? [settings.visibleSources] : settings.visibleSources.map((s) => [s]));
    this.paint(file, settings);
  }

  /**
   * Update the layers and captions of all canvases.
   * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
   */
  paint(file, settings) {
    const { store } = file;
    const shared = sharedLayers(file, settings);
    for (const { imageCanvas, caption, sources } of this._frames.values()) {
      imageCanvas.layers = [...sources.flatMap((source, i) => mapLayers(file, settings, source, i)), ...shared];
      imageCanvas.canvas.setAttribute("aria-label",
        `${file.finding}, ${store.radiographOf(file.number)}: ${sources.map((s) => store.label(s)).join(", ")}`);
      imageCanvas.redraw();
      fill(caption, sources.length ? sources.map((source, i) => captionLine(file, settings, source, i))
        : el("span", { class: "muted" }, file.maps.size ? "No map selected" : "No map of this case is stored"));
    }
  }

  /**
   * Handle a key of a canvas with the first one.
   * @param {KeyboardEvent} event
   */
  handleKey(event) {
    const first = this._frames.values().next().value?.imageCanvas;
    if (!first || !"+-=0[]{}iw".includes(event.key)) return false;
    first.handleKey(event);
    return true;
  }

  /** @param {import("./case-data.js").CaseData} file @param {string[][]} groups */
  _arrange(file, groups) {
    const keys = groups.map((g) => g.join("\n"));
    for (const [key, { figure }] of this._frames)
      if (!keys.includes(key)) {
        figure.remove();
        this._frames.delete(key);
      }
    keys.forEach((key, i) => {
      const frame = this._frames.get(key) ?? this._createFrame();
      this._frames.set(key, frame);
      frame.sources = groups[i];
      frame.imageCanvas.show(file.image, { keep: true });
      this.element.append(frame.figure);
    });
    const n = keys.length;
    const isWide = this.element.clientWidth > this.element.clientHeight;
    this.element.dataset.across = String(n <= 1 ? 1 : n === 3 && isWide ? 3 : n <= 4 ? (isWide || n > 2 ? 2 : 1) : 3);
  }

  /**
   * Create a canvas with the view of the others, or that of the URL.
   * @returns {Frame}
   */
  _createFrame() {
    const imageCanvas = new ImageCanvas({ label: "Radiograph with maps" });
    const caption = el("figcaption", { class: "caption" });
    const hover = el("div", { class: "hover small", aria: { hidden: "true" } });
    imageCanvas.element.append(hover);
    /** @type {Frame} */
    const frame = { imageCanvas, caption, figure: el("figure", { class: "figure" }, imageCanvas.element, caption), sources: [] };
    const [existing] = this._frames.values();
    const { view, window } = existing ? existing.imageCanvas : viewAndWindow(currentRoute().params);
    if (view) imageCanvas.setView(view);
    if (window) imageCanvas.setWindow(window);
    const others = () => [...this._frames.values()].map((f) => f.imageCanvas).filter((f) => f !== imageCanvas);
    imageCanvas.on("view", (detail) => {
      for (const other of others()) other.setView(detail);
      this._saveParamsSoon({ view: viewText(detail) });
    });
    imageCanvas.on("window", (detail) => {
      for (const other of others()) other.setWindow(detail);
      this._saveParamsSoon({ window: windowText(detail) });
    });
    imageCanvas.on("hover", (detail) => this._showValues(hover, frame.sources, detail));
    return frame;
  }

  /**
   * Show the gray value and the values of the maps at the pointer.
   * @param {HTMLElement} box @param {string[]} sources @param {ImageCanvasEvents["hover"]} pointer
   */
  _showValues(box, sources, pointer) {
    box.hidden = !pointer || Number.isNaN(pointer.gray);
    if (!pointer || box.hidden) return;
    const [row, col] = [Math.floor(pointer.row), Math.floor(pointer.col)];
    const values = sources.map((source) => {
      const placed = this.file?.placed(source);
      if (!placed) return "";
      const value = placed.valueAt(row, col);
      return value === undefined ? " · outside the map" : ` · map ${value.toPrecision(3)}`;
    });
    box.textContent = `${row}, ${col} · gray ${decimal(pointer.gray)}${values.join("")}`;
  }

  /**
   * Write zoom and window into the URL when the pointer rests.
   * @param {Changes} changes
   */
  _saveParamsSoon(changes) {
    this._pending = { ...this._pending, ...changes };
    clearTimeout(this._saving);
    this._saving = setTimeout(() => {
      if (this.element.isConnected) updateParams(this._pending);
      this._pending = {};
    }, 250);
  }
}
