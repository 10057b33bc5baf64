// Drawing outlines on a film: freehand, polygon, and editing. Every finished gesture is one operation of the case.

import { fresh } from "./log.js";
import { area, distance, inside, nearest, simplify, tidy } from "./shapes.js";

const COLOR = "#ffb454";
const CHOSEN = "#5fd3ff";
/** @type {Omit<ContoursLayer, "contours">} */
const LINE = { kind: "contours", color: COLOR, open: true };
/** @type {Record<string, number>} */
const REACH = { mouse: 9, pen: 12, touch: 22 }; // CSS pixels within which a handle is meant
const SMALLEST = 7; // CSS pixels: a shorter stroke was a click
const MOST = 2000; // vertices

/**
 * What is dragged: a corner of an outline, or all of it from a place on.
 * @typedef {{ id: string, at: number, start: Point[], vertex?: number, from?: Point, points?: Point[] }} Grip
 */

/** The tool of a film, and a layer of it. `mode` is "freehand", "polygon" or "edit". Events: "choose", "mode". */
export class Contours extends EventTarget {
  /** @param {Film} film @param {import("./log.js").Case} turn */
  constructor(film, turn) {
    super();
    this.film = film;
    this.turn = turn;
    this.mode = "freehand";
    this.chosen = /** @type {string | null} */ (null);
    this.stroke = /** @type {Point[] | null} */ (null); // what is being drawn freehand
    this.corner = /** @type {Point | null} */ (null); // the corner of a polygon that is being set
    this.pointer = /** @type {Point | null} */ (null); // where a mouse hovers, for the next side of a polygon
    this.grip = /** @type {Grip | null} */ (null);
    this.at = () => 0;
    film.layers = { [Symbol.iterator]: () => this._layers() };
    film.tool = this;
    turn.addEventListener("change", () => {
      if (this.chosen && !turn.state.shapes.has(this.chosen)) this.choose(null);
      film.redraw();
    });
    film.canvas.addEventListener("dblclick", (event) => this._double(event));
    film.canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      film.redraw();
    });
  }

  get shapes() {
    return [...this.turn.state.shapes];
  }

  /** The polygon that is not closed yet, [id, shape]. */
  get open() {
    return this.shapes.find(([, shape]) => !shape.closed) ?? null;
  }

  /** @param {string} mode */
  use(mode) {
    if (mode !== "polygon" && this.mode === "polygon") this.close();
    this.mode = mode;
    if (mode === "edit" && !this.chosen) this.choose(this.shapes.at(-1)?.[0] ?? null);
    if (mode !== "edit") this.choose(null);
    this.film.canvas.dataset.tool = mode;
    this.dispatchEvent(new Event("mode"));
    this.film.redraw();
  }

  /** @param {string | null} id */
  choose(id) {
    this.chosen = id;
    this.dispatchEvent(new Event("choose"));
    this.film.redraw();
  }

  /** Close the open polygon; with fewer than three corners it encloses nothing and goes. */
  close() {
    const open = this.open;
    if (!open) return;
    const [id, { points, at }] = open;
    if (points.length < 3) this.turn.remove(id);
    else this.turn.put(id, points, { closed: true, at });
  }

  /** Take away the open polygon, or else what is chosen. */
  discard() {
    const id = this.open?.[0] ?? this.chosen;
    if (id) this.turn.remove(id);
  }

  // -- the hand -----------------------------------------------------------------------------------------------------

  /** @param {Point} at @param {PointerEvent} event */
  down(at, event) {
    const place = tidy(at, this.film.size);
    this.pointer = null;
    if (this.mode === "freehand") this.stroke = [place];
    else if (this.mode === "polygon") this.corner = place;
    else this._grab(place, event);
  }

  /** @param {Point} at @param {PointerEvent} event */
  move(at, event) {
    const place = tidy(at, this.film.size);
    if (this.stroke) {
      for (const e of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        const next = tidy(this.film.toImage(e), this.film.size);
        if (distance(next, lastOf(this.stroke)) * this.film.current.scale >= 2) this.stroke.push(next);
      }
    } else if (this.corner) this.corner = place;
    else if (this.grip) this._drag(this.grip, place);
    this.film.redraw();
  }

  /** @param {Point} at @param {PointerEvent} event */
  up(at, event) {
    const { stroke, corner, grip } = this;
    this._release();
    const place = tidy(at, this.film.size);
    if (stroke) this._stroke(stroke, place);
    else if (corner) this._corner(place, event);
    else if (grip?.points) this.turn.put(grip.id, grip.points, { closed: true, at: grip.at });
    this.film.redraw();
  }

  _release() {
    this.stroke = this.corner = this.grip = null;
  }

  cancel() {
    this._release();
    this.film.redraw();
  }

  /** @param {Point} at */
  hover(at) {
    this.pointer = at;
    if (this.mode === "polygon" && this.open) this.film.redraw();
  }

  /** @param {Point[]} points @param {Point} place */
  _stroke(points, place) {
    const { scale } = this.film.current;
    const long = points.reduce((most, p) => Math.max(most, distance(p, points[0])), 0) * scale;
    if (long < SMALLEST) {
      const under = this._under(place);
      if (under) {
        this.use("edit");
        this.choose(under);
      }
      return;
    }
    let line = simplify(points, 0.8 / scale);
    for (let most = 1.6 / scale; line.length > MOST; most *= 2) line = simplify(points, most);
    if (line.length < 3 || area(line) * scale * scale < 2 * SMALLEST) return;
    this.turn.put(fresh(), line, { closed: true, at: this.at() });
  }

  /** @param {Point} place @param {PointerEvent} event */
  _corner(place, event) {
    const open = this.open;
    if (!open) {
      this.turn.put(fresh(), [place], { at: this.at() });
      return;
    }
    const [id, { points, at }] = open;
    const reach = REACH[event.pointerType] ?? REACH.mouse;
    const near = (/** @type {Point} */ p) => distance(place, p) * this.film.current.scale < reach;
    if (points.length >= 3 && near(points[0])) this.close();
    else if (!near(lastOf(points)) && points.length < MOST) this.turn.put(id, [...points, place], { at });
  }

  /**
   * Take hold of a corner of the chosen outline, of its line (a new corner), or of an outline as a whole.
   * @param {Point} place @param {PointerEvent} event
   */
  _grab(place, event) {
    const reach = (REACH[event.pointerType] ?? REACH.mouse) / this.film.current.scale;
    const id = this.chosen;
    const shape = this._shape(id);
    if (id && shape) {
      const { points, at } = shape;
      const vertex = points.reduce((best, p, i) => (distance(p, place) < distance(points[best], place) ? i : best), 0);
      if (distance(points[vertex], place) < reach) {
        this.grip = { id, at, vertex, start: points };
        return;
      }
      for (let i = 0; i < points.length; i++) {
        const { at: on, far } = nearest(place, points[i], points[(i + 1) % points.length]);
        if (far >= reach * 0.7) continue;
        this.grip = { id, at, vertex: i + 1, start: points.toSpliced(i + 1, 0, on) };
        return;
      }
    }
    const under = this._under(place);
    this.choose(under);
    const whole = this._shape(under);
    if (under && whole) this.grip = { id: under, at: whole.at, from: place, start: whole.points };
  }

  /** @param {string | null} id */
  _shape(id) {
    return this.turn.state.shapes.get(id ?? "");
  }

  /** @param {Grip} grip @param {Point} place */
  _drag(grip, place) {
    const [dr, dc] = grip.from ? [place[0] - grip.from[0], place[1] - grip.from[1]] : [0, 0];
    grip.points = grip.vertex === undefined
      ? grip.start.map(([r, c]) => tidy([r + dr, c + dc], this.film.size))
      : grip.start.with(grip.vertex, place);
  }

  /**
   * A double click closes a polygon; on a corner of the chosen outline it takes the corner away.
   * @param {MouseEvent} event
   */
  _double(event) {
    if (this.mode === "polygon") return this.close();
    const { chosen } = this;
    const shape = this._shape(chosen);
    if (this.mode !== "edit" || !chosen || !shape || shape.points.length < 4) return;
    const place = this.film.toImage(event);
    const reach = REACH.mouse / this.film.current.scale;
    const left = shape.points.filter((p) => distance(p, place) >= reach);
    if (left.length === shape.points.length - 1) this.turn.put(chosen, left, { closed: true, at: shape.at });
  }

  /**
   * The smallest outline around a place.
   * @param {Point} place
   */
  _under(place) {
    const around = this.shapes.filter(([, shape]) => shape.closed && inside(place, shape.points));
    around.sort(([, a], [, b]) => area(a.points) - area(b.points));
    return around[0]?.[0] ?? null;
  }

  // -- the picture --------------------------------------------------------------------------------------------------

  /**
   * What lies over the film, made anew for every picture.
   * @returns {Generator<Layer>}
   */
  *_layers() {
    for (const [id, shape] of this.shapes) {
      const points = (this.grip?.id === id && this.grip.points) || shape.points;
      const chosen = id === this.chosen;
      const fill = shape.closed ? (chosen ? "rgb(95 211 255 / 14%)" : "rgb(255 180 84 / 12%)") : null;
      yield { kind: "contours", contours: [points], color: chosen ? CHOSEN : COLOR, open: !shape.closed, fill };
      if (!shape.closed) yield* this._unclosed(points);
      else if (chosen && this.mode === "edit") yield this._corners(points);
    }
    if (this.stroke) {
      yield { ...LINE, contours: [this.stroke] };
      yield { ...LINE, contours: [[lastOf(this.stroke), this.stroke[0]]], dash: [4, 5], width: 1 };
    }
    if (this.corner && !this.open) yield this._corners([this.corner]);
  }

  /** @param {Point[]} points @returns {Generator<Layer>} */
  *_unclosed(points) {
    const next = this.corner ?? this.pointer;
    if (next) yield { ...LINE, contours: [[lastOf(points), next]], dash: [4, 5] };
    yield this._corners(points);
    if (points.length >= 3) yield { kind: "points", points: [points[0]], color: "#fff", radius: 8, shape: "ring" };
  }

  /**
   * Handles; of many corners, those that stand apart.
   * @param {Point[]} points
   * @returns {CustomLayer}
   */
  _corners(points) {
    const { scale } = this.film.current;
    /** @type {Point[]} */
    const shown = [];
    for (const p of points) if (!shown.length || distance(p, lastOf(shown)) * scale > 7) shown.push(p);
    /** @type {CustomLayer["draw"]} */
    const draw = (context, film) => {
      for (const [row, col] of shown) {
        const [x, y] = film.toScreen(row, col);
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
function lastOf(points) {
  return points[points.length - 1];
}
