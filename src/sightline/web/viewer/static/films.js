// The films of a case, a map on each or all maps on one: they zoom, pan and window together.

import { decimal, el, fill } from "../web/dom.js";
import { Film } from "../web/film.js";
import { captionLine, mapLayers, sharedLayers } from "./overlays.js";
import { sightOf, viewText, windowText } from "./settings.js";
import { here, tweak } from "./state.js";

/** @typedef {{ film: Film, caption: HTMLElement, figure: HTMLElement, sources: string[] }} Frame */

export class Films {
  constructor() {
    this.element = el("div", { class: "films" });
    this.file = /** @type {import("./casefile.js").CaseFile | null} */ (null);
    this._pending = /** @type {Changes} */ ({});
    this._saving = 0;
    this._frames = /** @type {Map<string, Frame>} */ (new Map()); // names of the sources -> { film, caption, figure, sources }
  }

  /**
   * Show a case: as many films as are asked for, with what lies on them.
   * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
   */
  show(file, settings) {
    if (this.file && this.file.row !== file.row) for (const { film } of this._frames.values()) film.look(null);
    this.file = file;
    this._arrange(file, settings.over || !settings.shown.length ? [settings.shown] : settings.shown.map((s) => [s]));
    this.paint(file, settings);
  }

  /**
   * Put layers and captions on every film.
   * @param {import("./casefile.js").CaseFile} file @param {CaseSettings} settings
   */
  paint(file, settings) {
    const { store } = file;
    const shared = sharedLayers(file, settings);
    for (const { film, caption, sources } of this._frames.values()) {
      film.layers = [...sources.flatMap((source, i) => mapLayers(file, settings, source, i)), ...shared];
      film.canvas.setAttribute("aria-label",
        `${file.finding}, ${store.radiographOf(file.number)}: ${sources.map((s) => store.label(s)).join(", ")}`);
      film.redraw();
      fill(caption, sources.length ? sources.map((source, i) => captionLine(file, settings, source, i))
        : el("span", { class: "muted" }, file.maps.size ? "No map chosen" : "No map of this case is stored"));
    }
  }

  /**
   * What a film answers, the first answers without focus, too.
   * @param {KeyboardEvent} event
   */
  press(event) {
    const first = this._frames.values().next().value?.film;
    if (!first || !"+-=0[]{}iw".includes(event.key)) return false;
    first.press(event);
    return true;
  }

  /** @param {import("./casefile.js").CaseFile} file @param {string[][]} groups */
  _arrange(file, groups) {
    const keys = groups.map((g) => g.join("\n"));
    for (const [key, { figure }] of this._frames)
      if (!keys.includes(key)) {
        figure.remove();
        this._frames.delete(key);
      }
    keys.forEach((key, i) => {
      const frame = this._frames.get(key) ?? this._frame();
      this._frames.set(key, frame);
      frame.sources = groups[i];
      frame.film.show(file.picture, { keep: true });
      this.element.append(frame.figure);
    });
    const n = keys.length;
    const wide = this.element.clientWidth > this.element.clientHeight;
    this.element.dataset.across = String(n <= 1 ? 1 : n === 3 && wide ? 3 : n <= 4 ? (wide || n > 2 ? 2 : 1) : 3);
  }

  /**
   * A new film that looks where the others do, or where the address says.
   * @returns {Frame}
   */
  _frame() {
    const film = new Film({ label: "Radiograph with maps" });
    const caption = el("figcaption", { class: "caption" });
    const hover = el("div", { class: "hover small", aria: { hidden: "true" } });
    film.element.append(hover);
    /** @type {Frame} */
    const frame = { film, caption, figure: el("figure", { class: "figure" }, film.element, caption), sources: [] };
    const [other] = this._frames.values();
    const { view, window } = other ? other.film : sightOf(here().params);
    if (view) film.look(view);
    if (window) film.see(window);
    const others = () => [...this._frames.values()].map((f) => f.film).filter((f) => f !== film);
    film.on("view", (detail) => {
      for (const one of others()) one.look(detail);
      this._remember({ view: viewText(detail) });
    });
    film.on("window", (detail) => {
      for (const one of others()) one.see(detail);
      this._remember({ window: windowText(detail) });
    });
    film.on("hover", (detail) => this._say(hover, frame.sources, detail));
    return frame;
  }

  /**
   * Gray and values of the maps under the pointer.
   * @param {HTMLElement} box @param {string[]} sources @param {FilmEvents["hover"]} at
   */
  _say(box, sources, at) {
    box.hidden = !at || Number.isNaN(at.gray);
    if (!at || box.hidden) return;
    const [row, col] = [Math.floor(at.row), Math.floor(at.col)];
    const values = sources.map((source) => {
      const placed = this.file?.placed(source);
      if (!placed) return "";
      const value = placed.valueAt(row, col);
      return value === undefined ? " · not seen" : ` · map ${value.toPrecision(3)}`;
    });
    box.textContent = `${row}, ${col} · gray ${decimal(at.gray)}${values.join("")}`;
  }

  /**
   * Write zoom and window into the address, once the hand rests.
   * @param {Changes} changes
   */
  _remember(changes) {
    this._pending = { ...this._pending, ...changes };
    clearTimeout(this._saving);
    this._saving = setTimeout(() => {
      if (this.element.isConnected) tweak(this._pending);
      this._pending = {};
    }, 250);
  }
}
