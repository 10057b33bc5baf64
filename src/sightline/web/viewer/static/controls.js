// Panel of controls of a case: maps, threshold, annotations and gaze. Changes are written into the URL.

import { SEQUENTIAL } from "../web/colors.js";
import { decimal, el, fill } from "../web/dom.js";
import { choice } from "./filters.js";
import { readerColor } from "./overlays.js";
import { swatch } from "./widgets.js";
import { Playback } from "./playback.js";
import { protocolBinarizer } from "./settings.js";

/** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings */
const thresholdText = (file, settings) =>
  settings.cut.startsWith("above:") ? decimal(Number(settings.cut.slice(6)), 3) : `${settings.cut} ${decimal(file.threshold(settings), 3)}`;
/** @param {import("./gaze.js").Gaze} gaze @param {number} time */
const timeText = (gaze, time) => `${decimal(time - gaze.start, 1)} of ${decimal(gaze.end - gaze.start, 1)} s`;

export class Controls {
  /** @param {import("./case-page.js").CasePage} page */
  constructor(page) {
    this.page = page;
    this.playback = new Playback(page);
    this.element = el("aside", { class: "side", id: "controls" });
    this._dragging = false;
  }

  /**
   * Show the present settings; scroll position and focus stay.
   * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
   */
  show(file, settings) {
    const { element } = this;
    const [scroll, focus] = [element.scrollTop, document.activeElement];
    const focusId = focus && element.contains(focus) ? focus.id : "";
    const isSlider = focusId && focus instanceof HTMLInputElement && focus.type === "range";
    if (isSlider && this._dragging) return this.updateTexts(file, settings); // a slider must not be replaced while it is dragged
    fill(element, this._maps(file, settings), this._threshold(file, settings), this._annotations(file, settings), this._gaze(file, settings));
    element.scrollTop = scroll;
    if (focusId) document.getElementById(focusId)?.focus();
    return undefined;
  }

  /**
   * Update only the numbers next to the sliders, while one is moved.
   * @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings
   */
  updateTexts(file, settings) {
    /** @param {string} id @param {string} text */
    const setText = (id, text) => document.getElementById(`${id}-value`)?.replaceChildren(text);
    setText("opacity", decimal(settings.opacity));
    setText("cut", thresholdText(file, settings));
    const gaze = file.gazeOfReader(settings.gaze);
    if (gaze) setText("time", timeText(gaze, gaze.moment(settings.time)));
    const mask = document.getElementById("mask");
    if (mask instanceof HTMLInputElement) mask.checked = settings.mask;
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings */
  _maps(file, settings) {
    const { page } = this;
    /** @param {string} id @param {string | null} value @param {string} text @param {boolean} pressed */
    const mode = (id, value, text, pressed) => el("button", { type: "button", id, aria: { pressed: String(pressed) },
      on: { click: () => page.set({ mode: value }) } }, text);
    return [
      el("h2", {}, "Maps"),
      el("div", { class: "sources" }, file.store.index.sources.map((s, i) => this._source(file, settings, s, i))),
      el("div", { class: "bar segment" },
        mode("beside", null, "Side by side", !settings.over), mode("over", "over", "Overlaid", settings.over)),
      this._check(settings, "map", "Show maps"),
      this._slider("opacity", "Opacity", settings.opacity, [0, 1, 0.05], decimal(settings.opacity)),
      choice("Color of unsigned maps", SEQUENTIAL.map((s) => [s, s]), settings.scale, (scale) => page.set({ scale }), "scale"),
    ];
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings @param {Source} source @param {number} i */
  _source(file, settings, source, i) {
    const status = file.maps.get(source.name)?.status;
    return el("label", { class: "check source" },
      el("input", { type: "checkbox", id: `source-${i}`, checked: settings.visibleSources.includes(source.name), on: { change: () => this.page.toggleSource(source.name) } }),
      el("span", { class: "grow" }, source.label, status && status !== "ok" && el("span", { class: "badge inline" }, status),
        !status && source.kind !== "reader" && el("span", { class: "muted small" }, " not stored")),
      el("span", { class: "score" }, decimal(file.score(settings, source.name))));
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings */
  _threshold(file, settings) {
    const { protocol } = settings;
    return [
      el("h2", {}, "Threshold"),
      this._check(settings, "mask", "Show the mask and its IoU"),
      this._slider("cut", "Share of the map's range", file.threshold(settings), [0, 0.995, 0.005], thresholdText(file, settings)),
      el("button", { type: "button", id: "otsu", class: "small", on: { click: () => this.page.set({ cut: null, mask: "1" }) } },
        `Threshold of the ${protocol || "corrected"} protocol: ${protocolBinarizer(file.store, protocol, file.finding)}`),
      file.store.index.binarizers[protocol]?.drawn === false && el("p", { class: "muted small" },
        "The mask is drawn with maps in their frame, with its holes and without smoothing, and not as the protocol says."),
    ];
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings */
  _annotations(file, settings) {
    return [
      el("h2", {}, "Annotations"),
      this._readers(file, settings),
      file.regions.length > 0 && this._check(settings, "regions", "Anatomical regions"),
      this._check(settings, "peak", "Maximum of the map"),
    ];
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings */
  _readers({ store, annotations, reference }, { hidden }) {
    const present = new Set(annotations.map((m) => m.reader));
    if (!present.size) return el("p", { class: "muted small" }, reference ? "" : "Nobody annotated this finding here.");
    return store.index.readers.map((reader, i) => {
      const isShown = !hidden.includes(reader);
      const toggle = () => this.page.set({ hide: isShown ? [...hidden, reader] : hidden.filter((r) => r !== reader) });
      return el("label", { class: "check" },
        el("input", { type: "checkbox", id: `reader-${i}`, checked: isShown && present.has(reader), disabled: !present.has(reader), on: { change: toggle } }),
        swatch(readerColor(i)),
        el("span", { class: "grow" }, store.index.simulated && i && !reader.includes("simulated") ? `simulated ${reader}` : reader),
        !present.has(reader) && el("span", { class: "muted small" }, "no annotation"));
    });
  }

  /** @param {import("./case-data.js").CaseData} file @param {CaseSettings} settings @returns {Child[]} */
  _gaze({ gazes }, settings) {
    const { page, playback } = this;
    if (!gazes.length) return [];
    const gaze = gazes.find((g) => g.reader === settings.gaze);
    const time = gaze?.moment(settings.time) ?? 0;
    const phrase = gaze?.phraseAt(time);
    return [
      el("h2", {}, "Gaze"),
      choice("Reader", [["", "none"], ...gazes.map((g) => [g.reader, g.reader])], settings.gaze, (reader) => page.set({ gaze: reader, time: null }), "gaze"),
      gaze && [
        this._check(settings, "path", "Scan path"),
        this._check(settings, "density", "Density"),
        this._slider("time", "Time", time, [gaze.start, gaze.end, 0.1], timeText(gaze, time)),
        el("button", { type: "button", id: "play", on: { click: () => playback.toggle(gaze, page.settings.time) } }, playback.playing ? "Stop" : "Play"),
        el("p", { class: "muted small phrase" }, phrase ? `“${phrase}”` : ""),
      ],
    ];
  }

  /** @param {CaseSettings} settings @param {LayerSwitch} name @param {string} text */
  _check(settings, name, text) {
    return el("label", { class: "check" },
      el("input", { type: "checkbox", id: name, checked: settings[name], on: { change: () => this.page.toggleLayer(name) } }),
      el("span", { class: "grow" }, text));
  }

  /**
   * @param {string} id @param {string} label @param {number} value
   * @param {[min: number, max: number, step: number]} range @param {string} text
   */
  _slider(id, label, value, [min, max, step], text) {
    const input = el("input", {
      type: "range", id, min: String(min), max: String(max), step: String(step), aria: { label },
      on: {
        input: (event) => {
          this._dragging = true;
          this.page.setWhileSliding({ [id]: event.target.value, ...(id === "cut" ? { mask: "1" } : {}) });
        },
        change: () => {
          this._dragging = false;
          this.page.show();
        },
      },
    });
    input.value = String(value); // after min and max, which clamp it
    return el("label", { class: "slider" },
      el("span", { class: "line small" }, el("span", { class: "muted" }, label), el("output", { id: `${id}-value` }, text)), input);
  }
}
