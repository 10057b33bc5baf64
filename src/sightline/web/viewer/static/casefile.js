// What is on file of one case: its radiograph, maps, marks, gazes and scores, read together when it is opened.

import { getBundle } from "../web/bundle.js";
import { colorize, rangeOf } from "../web/colors.js";
import { ask, messageOf } from "../web/dom.js";
import { Picture } from "../web/picture.js";
import { Gaze } from "./gaze.js";
import { Placed, fromRuns, levelOf, place } from "./place.js";

const DRAWN = 640; // pixels along the longer side at which a map is colored

export class CaseFile {
  /**
   * Read a case. before: the file that was open, whose radiograph may be the same. What fails to load is left out and
   * named in `troubles`.
   * @param {import("./store.js").Store} store @param {number} number @param {CaseFile | null} before
   */
  static async load(store, number, before) {
    const row = store.rowOf(number);
    /** @type {string[]} */
    const troubles = [];
    const trouble = (/** @type {unknown} */ error) => {
      troubles.push(messageOf(error));
      return null;
    };
    const gone = store.place[row] < 0;
    const film = before?.row === row ? before.film : null;
    /** @type {Promise<MapsBundle>} */
    const maps = getBundle(store.url(`data/maps/${row}-${number % store.F}.bin`));
    /** @type {Promise<MarksBundle> | null} */
    const marks = gone ? null : getBundle(store.url(`data/marks/${row}.bin`));
    const read = await Promise.all([
      maps.catch(trouble),
      marks?.catch(trouble) ?? null,
      ask(store.url(`data/scores/${row}.bin`)).then((a) => a.arrayBuffer()).then((b) => new Float32Array(b)).catch(trouble),
      gone ? null : film || Picture.load(store.url(`data/film/${row}.png`)).catch(trouble),
    ]);
    return new CaseFile(store, number, troubles, ...read);
  }

  /**
   * @param {import("./store.js").Store} store @param {number} number @param {string[]} troubles
   * @param {MapsBundle | null} maps @param {MarksBundle | null} marks @param {Float32Array | null} scores
   * @param {Picture | null} film
   */
  constructor(store, number, troubles, maps, marks, scores, film) {
    this.store = store;
    this.number = number;
    this.troubles = troubles;
    this.scores = scores;
    this.film = film;
    this.row = store.rowOf(number);
    this.finding = store.findingOf(number);
    /** @type {Map<string, OpenMap>} */
    this.maps = new Map(maps?.facts.maps.map((m, i) => [m.source, { ...m, values: maps.arrays[`m${i}`] }]));
    this.marks = (marks?.facts.marks ?? []).filter((m) => m.finding === this.finding);
    this.regions = marks?.facts.regions ?? [];
    this.gazes = marks?.facts.gaze.map((g) => new Gaze(g, marks.arrays[g.fixations])) ?? [];
    const runs = this.marks.find((m) => m.runs)?.runs;
    this.truth = marks && runs ? fromRuns(marks.arrays[runs], marks.facts.size) : null;
    this.picture = film ?? new Picture(new Uint16Array(64 * 64), 64, 64);
    /** @type {Size} */
    this.size = maps?.facts.maps[0]?.size ?? marks?.facts.size ?? film?.size ?? [1, 1];
    this.picture.size = this.size;
    this._placed = /** @type {Map<string, Placed | null>} */ (new Map());
    this._colored = /** @type {Map<string, ReturnType<typeof colored>>} */ (new Map());
  }

  /**
   * The score of a source; NaN where it has none.
   * @param {{ protocol: string, metric: string }} of @param {string} source
   */
  score({ protocol, metric }, source) {
    const file = this.store.files.get(`${protocol}\n${metric}\n${source}`);
    return file === undefined || !this.scores ? NaN : this.scores[file * this.store.F + (this.number % this.store.F)];
  }

  /** @param {string} reader */
  gazeOf(reader) {
    return this.gazes.find((g) => g.reader === reader);
  }

  /**
   * A source's map laid on the radiograph, or null where it has none to lay.
   * @param {string} source
   */
  placed(source) {
    const known = this._placed.get(source);
    if (known !== undefined) return known;
    const m = this.maps.get(source);
    const placed = m && m.status === "ok" && m.values.length ? new Placed(m, this.truth) : null;
    this._placed.set(source, placed);
    return placed;
  }

  /**
   * Where a cut stands in the range of the first map that is shown.
   * @param {{ shown: string[], cut: string }} settings
   */
  threshold({ shown, cut }) {
    const placed = shown.map((s) => this.placed(s)).find((p) => p !== null);
    return placed ? levelOf(placed.cut(cut)) : 0.5;
  }

  /**
   * A source's map in colors: { image, box, range }; null where it has none.
   * @param {string} source @param {string} scale
   */
  colored(source, scale) {
    const key = `${source}\n${scale}`;
    const known = this._colored.get(key);
    const map = this.maps.get(source);
    if (known || !map) return known ?? null;
    const made = colored(map, scale);
    this._colored.set(key, made);
    return made;
  }
}

/** @param {OpenMap} map @param {string} scale */
function colored(map, scale) {
  const k = Math.min(1, DRAWN / Math.max(...map.size));
  /** @type {Size} */
  const size = [Math.max(1, Math.round(map.size[0] * k)), Math.max(1, Math.round(map.size[1] * k))];
  const [sr, sc] = [size[0] / map.size[0], size[1] / map.size[1]];
  const [t, l, b, r] = map.box;
  const at = place(map.values, map.shape, size, [t * sr, l * sc, b * sr, r * sc]);
  const range = rangeOf(map.values);
  const image = colorize(at.values, at.rows, at.cols, { ...range, scale });
  /** @type {Box} */
  const box = [at.top / sr, at.left / sc, (at.top + at.rows) / sr, (at.left + at.cols) / sc];
  return { image, range, box };
}
