// Data of a case: radiograph, maps, annotations, gaze and scores, loaded together.

import { getBundle } from "../web/bundle.js";
import { colorize, valueRange } from "../web/colors.js";
import { request, errorMessage } from "../web/dom.js";
import { GrayImage } from "../web/gray-image.js";
import { Gaze } from "./gaze.js";
import { PlacedMap, maskFromRuns, placeMap, thresholdOfBin } from "./placed-map.js";

const COLORED_SIDE = 640; // longer side of a colored map, in pixels

export class CaseData {
  /**
   * Load a case. before: the case that was open, whose radiograph may be the same. What fails to load is left out and
   * named in `problems`.
   * @param {import("./store.js").Store} store @param {number} number @param {CaseData | null} before
   */
  static async load(store, number, before) {
    const row = store.rowOf(number);
    /** @type {string[]} */
    const problems = [];
    const note = (/** @type {unknown} */ error) => {
      problems.push(errorMessage(error));
      return null;
    };
    const isGone = store.place[row] < 0;
    const original = before?.row === row ? before.original : null;
    /** @type {Promise<MapsBundle>} */
    const maps = getBundle(store.url(`data/maps/${row}-${number % store.nFindings}.bin`));
    /** @type {Promise<AnnotationsBundle> | null} */
    const annotations = isGone ? null : getBundle(store.url(`data/marks/${row}.bin`));
    const read = await Promise.all([
      maps.catch(note),
      annotations?.catch(note) ?? null,
      request(store.url(`data/scores/${row}.bin`)).then((a) => a.arrayBuffer()).then((b) => new Float32Array(b)).catch(note),
      isGone ? null : original || GrayImage.load(store.url(`data/film/${row}.png`)).catch(note),
    ]);
    return new CaseData(store, number, problems, ...read);
  }

  /**
   * @param {import("./store.js").Store} store @param {number} number @param {string[]} problems
   * @param {MapsBundle | null} maps @param {AnnotationsBundle | null} annotations @param {Float32Array | null} scores
   * @param {GrayImage | null} original
   */
  constructor(store, number, problems, maps, annotations, scores, original) {
    this.store = store;
    this.number = number;
    this.problems = problems;
    this.scores = scores;
    this.original = original;
    this.row = store.rowOf(number);
    this.finding = store.findingOf(number);
    /** @type {Map<string, LoadedMap>} */
    this.maps = new Map(maps?.fields.maps.map((m, i) => [m.source, { ...m, values: maps.arrays[`m${i}`] }]));
    this.annotations = (annotations?.fields.marks ?? []).filter((m) => m.finding === this.finding);
    this.regions = annotations?.fields.regions ?? [];
    this.gazes = annotations?.fields.gaze.map((g) => new Gaze(g, annotations.arrays[g.fixations])) ?? [];
    const runs = this.annotations.find((m) => m.runs)?.runs;
    this.reference = annotations && runs ? maskFromRuns(annotations.arrays[runs], annotations.fields.size) : null;
    this.image = original ?? new GrayImage(new Uint16Array(64 * 64), 64, 64);
    /** @type {Size} */
    this.size = maps?.fields.maps[0]?.size ?? annotations?.fields.size ?? original?.size ?? [1, 1];
    this.image.size = this.size;
    this._placed = /** @type {Map<string, PlacedMap | null>} */ (new Map());
    this._colored = /** @type {Map<string, ReturnType<typeof colorMap>>} */ (new Map());
  }

  /**
   * Return the score of a source; NaN without one.
   * @param {{ protocol: string, metric: string }} of @param {string} source
   */
  score({ protocol, metric }, source) {
    const file = this.store.files.get(`${protocol}\n${metric}\n${source}`);
    return file === undefined || !this.scores ? NaN : this.scores[file * this.store.nFindings + (this.number % this.store.nFindings)];
  }

  /** @param {string} reader */
  gazeOfReader(reader) {
    return this.gazes.find((g) => g.reader === reader);
  }

  /**
   * Return the map of a source placed on the radiograph, or null; see `PlacedMap` for `onlyPositive`.
   * @param {string} source @param {boolean} [onlyPositive]
   */
  placed(source, onlyPositive = true) {
    const key = `${source}\n${onlyPositive}`;
    const known = this._placed.get(key);
    if (known !== undefined) return known;
    const m = this.maps.get(source);
    const placed = m && m.status === "ok" && m.values.length ? new PlacedMap(m, this.reference, onlyPositive) : null;
    this._placed.set(key, placed);
    return placed;
  }

  /**
   * Return the threshold of a binarizer, as a share of the range of the first visible map.
   * @param {{ visibleSources: string[], cut: string, onlyPositive: boolean }} settings
   */
  threshold({ visibleSources, cut, onlyPositive }) {
    const placed = visibleSources.map((s) => this.placed(s, onlyPositive)).find((p) => p !== null);
    return placed ? thresholdOfBin(placed.thresholdBin(cut)) : 0.5;
  }

  /**
   * Return the colored map of a source, { image, box, range }, or null.
   * @param {string} source @param {string} scale
   */
  colored(source, scale) {
    const key = `${source}\n${scale}`;
    const known = this._colored.get(key);
    const map = this.maps.get(source);
    if (known || !map) return known ?? null;
    const result = colorMap(map, scale);
    this._colored.set(key, result);
    return result;
  }
}

/** @param {LoadedMap} map @param {string} scale */
function colorMap(map, scale) {
  const k = Math.min(1, COLORED_SIDE / Math.max(...map.size));
  /** @type {Size} */
  const size = [Math.max(1, Math.round(map.size[0] * k)), Math.max(1, Math.round(map.size[1] * k))];
  const [sr, sc] = [size[0] / map.size[0], size[1] / map.size[1]];
  const [t, l, b, r] = map.box;
  const placed = placeMap(map.values, map.shape, size, [t * sr, l * sc, b * sr, r * sc]);
  const range = valueRange(map.values);
  const image = colorize(placed.values, placed.rows, placed.cols, { ...range, scale });
  /** @type {Box} */
  const box = [placed.top / sr, placed.left / sc, (placed.top + placed.rows) / sr, (placed.left + placed.cols) / sc];
  return { image, range, box };
}
