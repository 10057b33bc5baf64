// One case: its radiograph, any number of maps, what readers marked and looked at, and every score.

import { getBundle } from "../web/bundle.js";
import { SEQUENTIAL, colorize, rangeOf } from "../web/colors.js";
import { ask, decimal, el, fill } from "../web/dom.js";
import { Film, Picture } from "../web/film.js";
import { asked, choice } from "./filters.js";
import { Gaze } from "./gaze.js";
import { bar, scoreTable } from "./parts.js";
import { Placed, fromRuns, place } from "./place.js";
import { go, here, link, number, tweak } from "./state.js";
import { OUTCOMES } from "./store.js";

const MASKS = [[214, 79, 176], [90, 160, 255], [255, 170, 60], [120, 210, 90], [240, 90, 90], [170, 130, 250]];
const READERS = ["#f08a34", "#f2c53d", "#ff7aa8", "#b9e04c"];
const TRUTH = "#2fd6c2";
const DRAWN = 640; // pixels along the longer side at which a map is colored

/** Names of regions, each at the top of its outline. */
function named(context, film, regions) {
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

export class CasePage {
  constructor(store, gallery) {
    this.store = store;
    this.gallery = gallery;
    this.films = new Map(); // source -> { film, caption, figure }
    this.grid = el("div", { class: "films" });
    this.side = el("aside", { class: "side", id: "controls" });
    this.head = el("div", { class: "bar head" });
    this.notes = el("div", { class: "notes" });
    this.table = el("div", { class: "scores", hidden: true });
    this.element = el("div", { class: "case" },
      el("section", { class: "stage" }, this.head, this.notes, this.grid, this.table), this.side);
    this.loaded = null;
    this.playing = 0;
  }

  async open() {
    const { parts: [id, finding], params } = here();
    const { store } = this;
    const number_ = store.caseOf(id, finding);
    this.now = asked(store, params);
    this.number = number_;
    if (number_ < 0) {
      fill(this.head, el("h1", {}, "No such case"));
      fill(this.notes, el("p", { class: "alarm" }, `This run has no case ${finding ?? ""} of ${id ?? ""}.`));
      fill(this.grid);
      fill(this.side);
      return;
    }
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (this.loaded?.number !== number_) {
      const loaded = await this.load(number_);
      if (turn !== this.turn) return;
      const same = this.loaded && Math.floor(this.loaded.number / store.F) === Math.floor(number_ / store.F);
      this.loaded = loaded;
      if (!same) for (const { film } of this.films.values()) film.look(null);
    }
    this.show();
  }

  async load(number_) {
    const { store } = this;
    const [r, f] = [Math.floor(number_ / store.F), number_ % store.F];
    const troubles = [];
    const trouble = (error) => {
      troubles.push(error.message);
      return null;
    };
    const gone = store.place[r] < 0;
    const [maps, marks, scores, picture, columns] = await Promise.all([
      getBundle(store.url(`data/maps/${r}-${f}.bin`)).catch(trouble),
      gone ? null : getBundle(store.url(`data/marks/${r}.bin`)).catch(trouble),
      ask(store.url(`data/scores/${r}.bin`)).then((a) => a.arrayBuffer()).then((b) => new Float32Array(b)).catch(trouble),
      gone ? null : this.picture(r).catch(trouble),
      store.gather(this.now),
    ]);
    const held = (maps?.facts.maps ?? []).map((m, i) => ({ ...m, values: maps.arrays[`m${i}`] }));
    const size = held[0]?.size ?? marks?.facts.size ?? picture?.size ?? [1, 1];
    const finding = store.findingOf(number_);
    const mine = (marks?.facts.marks ?? []).filter((m) => m.finding === finding);
    const reference = mine.find((m) => m.runs);
    return {
      number: number_, maps: new Map(held.map((m) => [m.source, m])), marks: mine, regions: marks?.facts.regions ?? [],
      gaze: (marks?.facts.gaze ?? []).map((g) => new Gaze(g, marks.arrays[g.fixations])), scores, columns, troubles,
      truth: reference ? fromRuns(marks.arrays[reference.runs], marks.facts.size) : null,
      picture: picture ?? new Picture(new Uint16Array(64 * 64), 64, 64), size, placed: new Map(), drawn: new Map(),
    };
  }

  async picture(r) {
    if (this.film_?.r === r) return this.film_.picture;
    const picture = await Picture.load(this.store.url(`data/film/${r}.png`));
    this.film_ = { r, picture };
    return picture;
  }

  // -- what the address says of this page -----------------------------------------------------------------------------

  get state() {
    const { params } = here();
    const known = this.store.index.sources.map((s) => s.name);
    const shown = params.has("maps") ? params.getAll("maps").filter((s) => known.includes(s)) : [this.now.source];
    const range = (name, otherwise, low, high) => Math.min(high, Math.max(low, number(params, name) ?? otherwise));
    return {
      shown, over: params.get("mode") === "over", scale: SEQUENTIAL.includes(params.get("scale")) ? params.get("scale") : "magma",
      opacity: range("opacity", 0.6, 0, 1), map: params.get("map") !== "0", mask: params.get("mask") === "1",
      cut: this.cutOf(params), hidden: params.getAll("hide"), regions: params.get("regions") === "1",
      peak: params.get("peak") === "1", table: params.get("table") === "1",
      gaze: params.get("gaze") ?? "", path: params.get("path") !== "0", density: params.get("density") === "1",
      time: number(params, "time"),
    };
  }

  cutOf(params) {
    const value = number(params, "cut");
    if (value !== null) return `above:${Math.min(0.995, Math.max(0, value))}`;
    const told = this.store.index.binarizers[this.now.protocol];
    return told?.by[this.store.findingOf(this.number)] !== undefined
      ? `above:${told.by[this.store.findingOf(this.number)]}` : (told?.all ?? "otsu");
  }

  placed(source) {
    const { placed, maps, truth } = this.loaded;
    if (!placed.has(source)) {
      const m = maps.get(source);
      placed.set(source, m && m.status === "ok" && m.values.length ? new Placed(m, truth) : null);
    }
    return placed.get(source);
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  show() {
    const { state } = this;
    this.heading();
    fill(this.notes, [...this.store.index.notes, ...this.loaded.troubles].map((t) => el("p", { class: "alarm small" }, t)));
    const groups = state.over || !state.shown.length ? [state.shown] : state.shown.map((s) => [s]);
    this.arrange(groups);
    this.paint();
    this.controls();
    this.table.hidden = !state.table;
    if (state.table) fill(this.table, scoreTable(this.store, this.now, this.loaded, this.number, (s) => this.toggle(s)));
    this.element.dataset.case = this.number;
  }

  arrange(groups) {
    const keys = groups.map((g) => g.join("\n"));
    for (const [key, { figure }] of this.films)
      if (!keys.includes(key)) {
        figure.remove();
        this.films.delete(key);
      }
    const params = here().params;
    keys.forEach((key, i) => {
      let held = this.films.get(key);
      if (!held) {
        held = this.newFilm();
        this.films.set(key, held);
        const other = [...this.films.values()].find((h) => h !== held);
        if (other) {
          held.film.look(other.film.view);
          held.film.see(other.film.window);
        } else this.recall(held.film, params);
      }
      held.sources = groups[i];
      held.film.show(this.loaded.picture, { keep: true });
      this.loaded.picture.size = this.loaded.size;
      this.grid.append(held.figure);
    });
    const n = keys.length;
    const wide = this.grid.clientWidth > this.grid.clientHeight;
    this.grid.dataset.across = n <= 1 ? 1 : n <= 4 ? (wide || n > 2 ? 2 : 1) : 3;
    if (n === 3 && wide) this.grid.dataset.across = 3;
  }

  newFilm() {
    const film = new Film({ label: "Radiograph with maps" });
    const caption = el("figcaption", { class: "caption" });
    const hover = el("div", { class: "hover small", aria: { hidden: "true" } });
    film.element.append(hover);
    film.addEventListener("view", ({ detail }) => {
      for (const other of this.films.values()) if (other.film !== film) other.film.look(detail);
      this.later({ view: detail ? [detail.scale, detail.row, detail.col].map((v) => v.toPrecision(5)).join("_") : null });
    });
    film.addEventListener("window", ({ detail }) => {
      for (const other of this.films.values()) if (other.film !== film) other.film.see(detail);
      const plain = detail.center === 0.5 && detail.width === 1 && !detail.invert;
      this.later({ window: plain ? null : `${detail.center.toFixed(3)}_${detail.width.toFixed(3)}_${detail.invert ? 1 : 0}` });
    });
    film.addEventListener("hover", ({ detail }) => this.hovered(hover, film, detail));
    return { film, caption, figure: el("figure", { class: "figure" }, film.element, caption), sources: [] };
  }

  hovered(box, film, detail) {
    const inside = detail && !Number.isNaN(detail.gray);
    box.hidden = !inside;
    if (!inside) return;
    const held = [...this.films.values()].find((h) => h.film === film);
    const values = (held?.sources ?? []).map((s) => {
      const at = this.placed(s)?.at;
      if (!at) return "";
      const [r, c] = [Math.floor(detail.row) - at.top, Math.floor(detail.col) - at.left];
      return r >= 0 && c >= 0 && r < at.rows && c < at.cols ? ` · map ${at.values[r * at.cols + c].toPrecision(3)}` : " · not seen";
    });
    box.textContent = `${Math.floor(detail.row)}, ${Math.floor(detail.col)} · gray ${decimal(detail.gray)}${values.join("")}`;
  }

  recall(film, params) {
    const view = (params.get("view") ?? "").split("_").map(Number);
    if (view.length === 3 && view.every(Number.isFinite)) film.look({ scale: view[0], row: view[1], col: view[2] });
    const [center, width, invert] = (params.get("window") ?? "").split("_").map(Number);
    if (Number.isFinite(center) && width > 0) film.see({ center, width, invert: invert === 1 });
  }

  later(changes) {
    this.pending = { ...this.pending, ...changes };
    clearTimeout(this.saving);
    this.saving = setTimeout(() => {
      if (this.element.isConnected) tweak(this.pending);
      this.pending = {};
    }, 250);
  }

  /** Put layers and captions on every film. */
  paint() {
    const { state, loaded } = this;
    const common = this.common(state);
    for (const held of this.films.values()) {
      const layers = [];
      held.sources.forEach((source, i) => layers.push(...this.layersOf(source, i, state, held.sources.length)));
      held.film.layers = [...layers, ...common];
      held.film.canvas.setAttribute("aria-label", this.spoken(held.sources));
      held.film.redraw();
      fill(held.caption, held.sources.length ? held.sources.map((s, i) => this.captionOf(s, i, state, held.sources.length))
        : el("span", { class: "muted" }, loaded.maps.size ? "No map chosen" : "No map of this case is stored"));
    }
  }

  spoken(sources) {
    const { store } = this;
    return `${store.findingOf(this.number)}, ${store.radiographOf(this.number)}: ${sources.map((s) => store.label(s)).join(", ")}`;
  }

  layersOf(source, i, state, count) {
    const map = this.loaded.maps.get(source);
    const placed = this.placed(source);
    const layers = [];
    if (!map || !placed) return layers;
    if (state.map) layers.push({ kind: "raster", ...this.colored(map, this.scaleFor(state, i)), opacity: state.opacity });
    if (state.mask) layers.push({ kind: "raster", ...placed.mask(placed.cut(state.cut), MASKS[count > 1 ? i % MASKS.length : 0]), smooth: false });
    if (state.peak && map.kind !== "mask") {
      const top = placed.at.values.reduce((best, v, k) => (v > placed.at.values[best] ? k : best), 0);
      const at = [placed.at.top + Math.floor(top / placed.at.cols) + 0.5, placed.at.left + (top % placed.at.cols) + 0.5];
      layers.push({ kind: "points", points: [at], color: "#ffffff", shape: "cross" });
    }
    return layers;
  }

  scaleFor(state, i) {
    return SEQUENTIAL[(SEQUENTIAL.indexOf(state.scale) + i) % SEQUENTIAL.length];
  }

  /** A map as colors: { image, box, range }. */
  colored(map, scale) {
    const { drawn } = this.loaded;
    const key = `${map.source}\n${scale}`;
    if (!drawn.has(key)) {
      const k = Math.min(1, DRAWN / Math.max(...map.size));
      const size = map.size.map((side) => Math.max(1, Math.round(side * k)));
      const [sr, sc] = [size[0] / map.size[0], size[1] / map.size[1]];
      const [t, l, b, r] = map.box;
      const at = place(map.values, map.shape, size, [t * sr, l * sc, b * sr, r * sc]);
      const range = rangeOf(map.values);
      const image = colorize(at.values, at.rows, at.cols, { ...range, scale });
      const box = [at.top / sr, at.left / sc, (at.top + at.rows) / sr, (at.left + at.cols) / sc];
      drawn.set(key, { image, box, range });
    }
    return drawn.get(key);
  }

  /** Layers that every film shows. */
  common(state) {
    const { loaded, store } = this;
    const layers = [];
    if (state.regions) {
      layers.push({ kind: "contours", contours: loaded.regions.flatMap((r) => r.contours), color: "#c9d3dc", width: 1, dash: [4, 4] });
      layers.push({ kind: "custom", draw: (context, film) => named(context, film, loaded.regions) });
    }
    const gaze = loaded.gaze.find((g) => g.reader === state.gaze);
    if (gaze) {
      const time = state.time ?? gaze.end;
      if (state.density) {
        const { values, shape } = gaze.density(time);
        const image = colorize(values, shape[0], shape[1], { ...rangeOf(values), scale: "viridis" });
        layers.push({ kind: "raster", image, box: [0, 0, ...gaze.size], opacity: 0.75 });
      }
      if (state.path) layers.push({ kind: "custom", draw: gaze.path(time) });
    }
    for (const mark of loaded.marks) {
      if (state.hidden.includes(mark.reader)) continue;
      const truth = mark.reader === store.index.readers[0];
      const color = truth ? TRUTH : READERS[(store.index.readers.indexOf(mark.reader) - 1) % READERS.length];
      if (mark.contours) layers.push({ kind: "contours", contours: mark.contours, color, width: truth ? 2.2 : 1.8, dash: truth ? [] : [7, 4] });
      if (mark.points) layers.push({ kind: "points", points: mark.points, color, shape: "ring" });
    }
    return layers;
  }

  captionOf(source, i, state, count) {
    const { store, loaded } = this;
    const map = loaded.maps.get(source);
    const placed = this.placed(source);
    const parts = [el("b", {}, store.label(source))];
    if (!map) parts.push(el("span", { class: "muted" }, this.kindOf(source) === "reader" ? "drawn as contours" : "no map stored"));
    else if (!placed) parts.push(el("span", { class: "badge inline" }, map.status), el("span", { class: "wrong small" }, map.why));
    else {
      if (state.mask) {
        const bin = placed.cut(state.cut);
        const { iou, share } = placed.scores(bin);
        const swatch = el("span", { class: "swatch" });
        swatch.style.background = `rgb(${MASKS[count > 1 ? i % MASKS.length : 0].join(" ")})`;
        parts.push(el("span", { class: "live", data: { iou, bin, source } }, swatch,
          Number.isNaN(iou) ? `mask ${decimal(100 * share, 1)} % of the image` : `IoU ${decimal(iou, 3)}`,
          el("span", { class: "muted" }, map.kind === "mask" ? "" : ` at ${decimal(bin / 5100)}`)));
      }
      if (state.map) parts.push(bar(this.colored(map, this.scaleFor(state, i)).range, this.scaleFor(state, i)));
    }
    return el("div", { class: "line" }, parts);
  }

  kindOf(source) {
    return this.store.index.sources[this.store.sourceNumber.get(source)]?.kind;
  }

  // -- controls -------------------------------------------------------------------------------------------------------

  heading() {
    const { store, number: n, now } = this;
    const p = this.loaded.columns.probability[n];
    const findings = store.index.findings.map((f, i) => {
      const other = Math.floor(n / store.F) * store.F + i;
      return [f, `${f} · ${store.marked[other] ? "marked" : store.labelText(other)}`];
    });
    const [before, after] = this.neighbors();
    const arrow = (to, text, title) => el("button", { type: "button", class: "square", title, disabled: to < 0, aria: { label: title },
      on: { click: () => this.goto(to) } }, text);
    fill(this.head,
      el("a", { class: "back", href: link("cases", [], this.carried()) }, "‹ Cases"),
      arrow(before, "‹", "Case before (k)"), arrow(after, "›", "Next case (j)"),
      el("h1", { class: "id" }, store.radiographOf(n)),
      choice("", findings, store.findingOf(n), (f) => this.goto(store.caseOf(store.radiographOf(n), f)), "finding"),
      el("span", { class: "muted" }, [store.patientOf(n), store.views[Math.floor(n / store.F)], store.splits[Math.floor(n / store.F)]]
        .filter(Boolean).join(" · ")),
      !Number.isNaN(p) && el("span", { class: [1, 2].includes(this.loaded.columns.outcome[n]) ? "wrong" : "" },
        `p ${decimal(p)}, cutoff ${decimal(store.cutoff(now.source, store.findingOf(n)))}: ${OUTCOMES[this.loaded.columns.outcome[n]] ?? "label unknown"}`),
      el("span", { class: "grow" }),
      el("button", { type: "button", aria: { pressed: String(this.state.table) }, on: { click: () => this.set({ table: this.state.table ? null : "1" }) } }, "All scores"));
  }

  neighbors() {
    const cases = this.gallery.cases;
    const at = cases.indexOf(this.number);
    return [at > 0 ? cases[at - 1] : -1, at >= 0 && at + 1 < cases.length ? cases[at + 1] : -1];
  }

  carried() {
    const params = new URLSearchParams(here().params);
    for (const name of ["view", "time", "table"]) params.delete(name);
    return params;
  }

  goto(number_) {
    if (number_ < 0) return;
    go("case", [this.store.radiographOf(number_), this.store.findingOf(number_)], this.carried());
  }

  set(changes) {
    tweak(changes);
    this.show();
  }

  toggle(source) {
    const { shown } = this.state;
    const next = shown.includes(source) ? shown.filter((s) => s !== source) : [...shown, source];
    this.set({ maps: next.length ? next : ["none"] });
  }

  controls() {
    const { state, store, loaded } = this;
    const [scroll, focus] = [this.side.scrollTop, document.activeElement];
    const again = this.side.contains(focus) ? focus.id : "";
    if (again && focus.type === "range" && this.dragging) return this.live(); // never take a slider from under a finger
    const check = (id, text, on, change, extra = null) => el("label", { class: "check" },
      el("input", { type: "checkbox", id, checked: on, on: { change } }), extra, el("span", { class: "grow" }, text));
    const flip = (name, on, value, off = null) => () => this.set({ [name]: on ? off : value });
    fill(this.side,
      el("h2", {}, "Maps"),
      el("div", { class: "sources" }, store.index.sources.map((s, i) => this.sourceRow(s, i, state))),
      el("div", { class: "bar segment" },
        el("button", { type: "button", id: "beside", aria: { pressed: String(!state.over) }, on: { click: () => this.set({ mode: null }) } }, "Side by side"),
        el("button", { type: "button", id: "over", aria: { pressed: String(state.over) }, on: { click: () => this.set({ mode: "over" }) } }, "Overlaid")),
      check("map", "Show maps", state.map, flip("map", state.map, null, "0")),
      this.slider("opacity", "Opacity", state.opacity, 0, 1, 0.05, decimal(state.opacity)),
      choice("Color of unsigned maps", SEQUENTIAL.map((s) => [s, s]), state.scale, (scale) => this.set({ scale }), "scale"),
      el("h2", {}, "Threshold"),
      check("mask", "Show the mask and its IoU", state.mask, flip("mask", state.mask, "1")),
      this.slider("cut", "Of the map's range", this.threshold(state), 0, 0.995, 0.005, this.cutText(state)),
      el("button", { type: "button", id: "otsu", class: "small", on: { click: () => this.set({ cut: null, mask: "1" }) } },
        `As the ${this.now.protocol || "corrected"} protocol: ${this.cutOf(new URLSearchParams())}`),
      this.now.protocol === "published" && el("p", { class: "muted small" },
        "The mask shown follows the corrected definition: maps in their frame, holes kept."),
      el("h2", {}, "Marks"),
      this.readers(state),
      loaded.regions.length > 0 && check("regions", "Anatomical regions", state.regions, flip("regions", state.regions, "1")),
      check("peak", "Highest point of the map", state.peak, flip("peak", state.peak, "1")),
      loaded.gaze.length > 0 && this.gazeControls(state, check, flip));
    this.side.scrollTop = scroll;
    if (again) document.getElementById(again)?.focus();
    return undefined;
  }

  sourceRow(source, i, state) {
    const { store, loaded, now } = this;
    const file = store.files.get(`${now.protocol}\n${now.metric}\n${source.name}`);
    const score = file === undefined || !loaded.scores ? NaN : loaded.scores[file * store.F + (this.number % store.F)];
    const status = loaded.maps.get(source.name)?.status;
    return el("label", { class: "check source" },
      el("input", { type: "checkbox", id: `source-${i}`, checked: state.shown.includes(source.name), on: { change: () => this.toggle(source.name) } }),
      el("span", { class: "grow" }, source.label, status && status !== "ok" && el("span", { class: "badge inline" }, status),
        !status && source.kind !== "reader" && el("span", { class: "muted small" }, " not stored")),
      el("span", { class: "score" }, decimal(score)));
  }

  readers(state) {
    const { store, loaded } = this;
    const there = new Set(loaded.marks.map((m) => m.reader));
    if (!there.size) return el("p", { class: "muted small" }, loaded.truth ? "" : "Nobody marked this finding here.");
    return store.index.readers.map((reader, i) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = i ? READERS[(i - 1) % READERS.length] : TRUTH;
      const shown = !state.hidden.includes(reader);
      return el("label", { class: "check" },
        el("input", { type: "checkbox", id: `reader-${i}`, checked: shown && there.has(reader), disabled: !there.has(reader), on: {
          change: () => this.set({ hide: shown ? [...state.hidden, reader] : state.hidden.filter((r) => r !== reader) }) } }),
        swatch, el("span", { class: "grow" }, store.index.simulated && i && !reader.includes("simulated") ? `simulated ${reader}` : reader),
        !there.has(reader) && el("span", { class: "muted small" }, "no mark"));
    });
  }

  gazeControls(state, check, flip) {
    const { loaded } = this;
    const gaze = loaded.gaze.find((g) => g.reader === state.gaze);
    const time = gaze ? Math.min(gaze.end, state.time ?? gaze.end) : 0;
    return [
      el("h2", {}, "Gaze"),
      choice("Reader", [["", "none"], ...loaded.gaze.map((g) => [g.reader, g.reader])], state.gaze, (reader) => this.set({ gaze: reader, time: null }), "gaze"),
      gaze && [
        check("path", "Path of the eyes", state.path, flip("path", state.path, null, "0")),
        check("density", "Density", state.density, flip("density", state.density, "1")),
        this.slider("time", "Time", time, gaze.start, gaze.end, 0.1, `${decimal(time - gaze.start, 1)} of ${decimal(gaze.end - gaze.start, 1)} s`),
        el("button", { type: "button", id: "play", on: { click: () => this.play(gaze) } }, this.playing ? "Stop" : "Play"),
        el("p", { class: "muted small phrase" }, gaze.phraseAt(time) ? `“${gaze.phraseAt(time)}”` : ""),
      ],
    ];
  }

  play(gaze) {
    if (this.playing) {
      clearInterval(this.playing);
      this.playing = 0;
      this.show();
      return;
    }
    let time = this.state.time ?? gaze.start;
    if (time >= gaze.end - 0.1) time = gaze.start;
    this.playing = setInterval(() => {
      time += 0.1;
      const over = time >= gaze.end || !this.element.isConnected || this.state.gaze !== gaze.reader;
      if (over) {
        clearInterval(this.playing);
        this.playing = 0;
      }
      if (!this.element.isConnected) return;
      tweak({ time: over ? null : time.toFixed(2) });
      this.show();
    }, 100);
  }

  /** Where the threshold stands: of the range of the first map. */
  threshold(state) {
    const placed = state.shown.map((s) => this.placed(s)).find(Boolean);
    return placed ? placed.cut(state.cut) / 5100 : 0.5;
  }

  cutText(state) {
    return state.cut.startsWith("above:") ? decimal(Number(state.cut.slice(6)), 3) : `${state.cut} ${decimal(this.threshold(state), 3)}`;
  }

  slider(id, label, value, low, high, step, text) {
    const said = el("output", { id: `${id}-said` }, text);
    const input = el("input", {
      type: "range", id, min: low, max: high, step, value, aria: { label },
      on: {
        input: (event) => {
          this.dragging = true;
          tweak({ [id]: event.target.value, ...(id === "cut" ? { mask: "1" } : {}) });
          this.paint();
          this.live();
        },
        change: () => {
          this.dragging = false;
          this.show();
        },
      },
    });
    input.value = value; // after min and max, which it is clamped by
    return el("label", { class: "slider" }, el("span", { class: "line small" }, el("span", { class: "muted" }, label), said), input);
  }

  /** Numbers beside the sliders, while one is moved. */
  live() {
    const { state } = this;
    const say = (id, text) => document.getElementById(`${id}-said`) && (document.getElementById(`${id}-said`).textContent = text);
    say("opacity", decimal(state.opacity));
    say("cut", this.cutText(state));
    const gaze = this.loaded.gaze.find((g) => g.reader === state.gaze);
    if (gaze) say("time", `${decimal((state.time ?? gaze.end) - gaze.start, 1)} of ${decimal(gaze.end - gaze.start, 1)} s`);
    const mask = document.getElementById("mask");
    if (mask) mask.checked = state.mask;
  }

  key_(event) {
    if (!this.loaded) return false;
    const { state, store } = this;
    const [before, after] = this.neighbors();
    const nudge = (by) => this.set({ cut: Math.min(0.995, Math.max(0, this.threshold(state) + by)).toFixed(3), mask: "1" });
    const keys = {
      j: () => this.goto(after), k: () => this.goto(before), n: () => this.goto(after), p: () => this.goto(before),
      o: () => this.set({ mode: state.over ? null : "over" }), m: () => this.set({ map: state.map ? "0" : null }),
      t: () => this.set({ mask: state.mask ? null : "1" }), ",": () => nudge(-0.01), ".": () => nudge(0.01),
      r: () => this.set({ regions: state.regions ? null : "1" }), a: () => this.set({ table: state.table ? null : "1" }),
      h: () => this.set({ hide: state.hidden.length ? null : store.index.readers }),
      Escape: () => go("cases", [], this.carried()),
    };
    if (/^[1-9]$/.test(event.key) && store.index.sources[event.key - 1]) this.toggle(store.index.sources[event.key - 1].name);
    else if (event.key in keys) keys[event.key]();
    else {
      const first = this.films.values().next().value?.film; // what a film answers, it answers without focus, too
      if (!first || !"+-=0[]{}iw".includes(event.key)) return false;
      first._key(event);
    }
    return true;
  }
}
