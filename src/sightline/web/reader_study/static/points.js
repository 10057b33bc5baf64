// Pointing on a film: the one most telling point, or a trail of clicks in the order of looking.

import { fresh } from "./log.js";
import { distance, tidy } from "./shapes.js";

const COLOR = "#ffb454";
const ONE = "point";
const SLIP = 8; // CSS pixels: a longer drag was no click

/** @typedef {[row: number, col: number]} Place */

/** One point. A click sets it, another one moves it. */
export class Point {
  /** @param {Film} film @param {import("./log.js").Case} turn */
  constructor(film, turn) {
    this.film = film;
    this.turn = turn;
    this.held = /** @type {Place | null} */ (null);
    this.at = () => 0;
    film.layers = { [Symbol.iterator]: () => this._layers() };
    film.tool = this;
    film.canvas.dataset.tool = "point";
    turn.addEventListener("change", () => film.redraw());
  }

  /** @param {Place} at */
  down(at) {
    this.held = tidy(at, this.film.size);
    this.film.redraw();
  }

  /** @param {Place} at */
  move(at) {
    this.down(at);
  }

  /** @param {Place} at */
  up(at) {
    this.held = null;
    this.turn.put(ONE, [tidy(at, this.film.size)], { closed: true, at: this.at() });
  }

  cancel() {
    this.held = null;
    this.film.redraw();
  }

  discard() {
    if (this.turn.state.shapes.has(ONE)) this.turn.remove(ONE);
  }

  /** @returns {Generator<Layer>} */
  *_layers() {
    const point = this.held ?? this.turn.state.shapes.get(ONE)?.points[0];
    if (!point) return;
    yield { kind: "points", points: [point], color: COLOR, radius: 14, shape: "ring" };
    yield { kind: "points", points: [point], color: COLOR, radius: 5 };
  }
}

/** Clicks in order, each with its second. */
export class Trail {
  /** @param {Film} film @param {import("./log.js").Case} turn */
  constructor(film, turn) {
    this.film = film;
    this.turn = turn;
    this.from = /** @type {Place | null} */ (null);
    this.at = () => 0;
    film.layers = { [Symbol.iterator]: () => this._layers() };
    film.tool = this;
    film.canvas.dataset.tool = "point";
    turn.addEventListener("change", () => film.redraw());
  }

  get clicks() {
    return [...this.turn.state.shapes].sort(([, a], [, b]) => a.at - b.at);
  }

  /** @param {Place} at */
  down(at) {
    this.from = at;
  }

  /** @param {Place} at */
  up(at) {
    if (this.from && distance(at, this.from) * this.film.current.scale > SLIP) return;
    this.turn.put(fresh(), [tidy(at, this.film.size)], { closed: true, at: this.at() });
  }

  cancel() {
    this.from = null;
  }

  /** Take the last click back. */
  discard() {
    const last = this.clicks.at(-1);
    if (last) this.turn.remove(last[0]);
  }

  /** @returns {Generator<Layer>} */
  *_layers() {
    const places = this.clicks.map(([, shape]) => shape.points[0]);
    if (places.length > 1) yield { kind: "contours", contours: [places], color: COLOR, open: true, width: 1.2 };
    yield {
      kind: "custom",
      draw: (context, film) => {
        for (const [i, place] of places.entries()) number(context, film, place, i + 1);
      },
    };
  }
}

/** @param {Context2D} context @param {Film} film @param {Place} place @param {number} said */
function number(context, film, [row, col], said) {
  const [x, y] = film.toScreen(row, col);
  context.beginPath();
  context.arc(x, y, 11, 0, 2 * Math.PI);
  context.fillStyle = COLOR;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#0b0d0f";
  context.stroke();
  context.fillStyle = "#0b0d0f";
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(said), x, y + 0.5);
}
