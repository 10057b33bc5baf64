// What is on file of one case: its radiograph, maps, marks, gazes and scores, read together when it is opened.

import { getBundle } from "../web/bundle.js";
import { colorize, rangeOf } from "../web/colors.js";
import { ask } from "../web/dom.js";
import { Picture } from "../web/film.js";
import { Gaze } from "./gaze.js";
import { Placed, fromRuns, levelOf, place } from "./place.js";

const DRAWN = 640; // pixels along the longer side at which a map is colored

export class CaseFile {
  /** Read a case. before: the file that was open, whose radiograph may be the same. What fails to load is left out and
   *  named in `troubles`. */
  static async load(store, number, before) {
    const row = store.rowOf(number);
    const troubles = [];
    const trouble = (error) => {
      troubles.push(error.message);
      return null;
    };
    const gone = store.place[row] < 0;
    const film = before?.row === row && before.film;
    const read = await Promise.all([
      getBundle(store.url(`data/maps/${row}-${number % store.F}.bin`)).catch(trouble),
      gone ? null : getBundle(store.url(`data/marks/${row}.bin`)).catch(trouble),
      ask(store.url(`data/scores/${row}.bin`)).then((a) => a.arrayBuffer()).then((b) => new Float32Array(b)).catch(trouble),
      gone ? null : film || Picture.load(store.url(`data/film/${row}.png`)).catch(trouble),
    ]);
    return new CaseFile(store, number, troubles, ...read);
  }

  constructor(store, number, troubles, maps, marks, scores, film) {
    Object.assign(this, { store, number, troubles, scores, film });
    this.row = store.rowOf(number);
    this.finding = store.findingOf(number);
    this.maps = new Map((maps?.facts.maps ?? []).map((m, i) => [m.source, { ...m, values: maps.arrays[`m${i}`] }]));
    this.marks = (marks?.facts.marks ?? []).filter((m) => m.finding === this.finding);
    this.regions = marks?.facts.regions ?? [];
    this.gazes = (marks?.facts.gaze ?? []).map((g) => new Gaze(g, marks.arrays[g.fixations]));
    const reference = this.marks.find((m) => m.runs);
    this.truth = reference ? fromRuns(marks.arrays[reference.runs], marks.facts.size) : null;
    this.picture = film ?? new Picture(new Uint16Array(64 * 64), 64, 64);
    this.size = maps?.facts.maps[0]?.size ?? marks?.facts.size ?? film?.size ?? [1, 1];
    this.picture.size = this.size;
    this._placed = new Map();
    this._colored = new Map();
  }

  /** The score of a source; NaN where it has none. */
  score({ protocol, metric }, source) {
    const file = this.store.files.get(`${protocol}\n${metric}\n${source}`);
    return file === undefined || !this.scores ? NaN : this.scores[file * this.store.F + (this.number % this.store.F)];
  }

  gazeOf(reader) {
    return this.gazes.find((g) => g.reader === reader);
  }

  /** A source's map laid on the radiograph, or null where it has none to lay. */
  placed(source) {
    if (!this._placed.has(source)) {
      const m = this.maps.get(source);
      this._placed.set(source, m && m.status === "ok" && m.values.length ? new Placed(m, this.truth) : null);
    }
    return this._placed.get(source);
  }

  /** Where a cut stands in the range of the first map that is shown. */
  threshold({ shown, cut }) {
    const placed = shown.map((s) => this.placed(s)).find(Boolean);
    return placed ? levelOf(placed.cut(cut)) : 0.5;
  }

  /** A source's map in colors: { image, box, range }. */
  colored(source, scale) {
    const key = `${source}\n${scale}`;
    if (!this._colored.has(key)) this._colored.set(key, colored(this.maps.get(source), scale));
    return this._colored.get(key);
  }
}

function colored(map, scale) {
  const k = Math.min(1, DRAWN / Math.max(...map.size));
  const size = map.size.map((side) => Math.max(1, Math.round(side * k)));
  const [sr, sc] = [size[0] / map.size[0], size[1] / map.size[1]];
  const [t, l, b, r] = map.box;
  const at = place(map.values, map.shape, size, [t * sr, l * sc, b * sr, r * sc]);
  const range = rangeOf(map.values);
  const image = colorize(at.values, at.rows, at.cols, { ...range, scale });
  return { image, range, box: [at.top / sr, at.left / sc, (at.top + at.rows) / sr, (at.left + at.cols) / sc] };
}
