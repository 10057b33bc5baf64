// What the operations of a case come to: the same fold as `sightline.answers.log.replay`, and the same law. It depends
// on the set of operations alone, taken in the order of (clock, id): sent twice or late, they say the same.

const CONTENT = new Set(["put", "remove", "answer"]);

/**
 * { shapes: Map(id -> {points, closed, at}), answers: Map("question|letter" -> value), seconds, finished, clock }.
 * @param {Operation[]} operations
 * @returns {CaseState}
 */
export function replay(operations) {
  const once = [...new Map(operations.map((o) => [o.id, o])).values()];
  once.sort((a, b) => a.clock - b.clock || (a.id < b.id ? -1 : 1));
  /** @type {CaseState["shapes"]} */
  const shapes = new Map();
  /** @type {CaseState["answers"]} */
  const answers = new Map();
  let [seconds, changed, finished, clock] = [0, 0, 0, 0];
  for (const o of once) {
    clock = o.clock;
    if (o.kind === "put") shapes.set(o.shape, { points: o.points, closed: o.closed ?? false, at: o.at ?? 0 });
    else if (o.kind === "remove") shapes.delete(o.shape);
    else if (o.kind === "answer") answers.set(`${o.question}|${o.source ?? ""}`, o.value);
    else if (o.kind === "time") seconds += o.seconds;
    else finished = o.clock;
    if (CONTENT.has(o.kind)) changed = o.clock;
  }
  for (const [key, value] of answers) if (!value) answers.delete(key);
  return { shapes, answers, seconds, finished: finished > changed, clock };
}

/** A name nobody else makes up. */
export function fresh() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/**
 * One case as it is being worked on: its operations, what they come to, and a way back. Events: "change".
 *
 * keep: takes every new operation, to be kept and sent. Undoing is drawing again what was there before, as new
 * operations: the log only grows.
 */
export class Case extends EventTarget {
  /** @param {TurnFacts} told @param {Operation[]} operations @param {(made: Operation[]) => void} keep */
  constructor(told, operations, keep) {
    super();
    this.told = told;
    this.operations = operations;
    this.keep = keep;
    this.state = replay(operations);
    this._done = /** @type {[before: Content, after: Content][]} */ ([]);
    this._undone = /** @type {[before: Content, after: Content][]} */ ([]);
  }

  /**
   * Add operations, each without id and clock.
   * @param {...Act} said
   */
  _say(...said) {
    let { clock } = this.state;
    const made = said.map((o) => ({ ...o, id: fresh(), clock: ++clock }));
    this.operations.push(...made);
    this.state = replay(this.operations);
    this.keep(made);
    this.dispatchEvent(new Event("change"));
  }

  /**
   * How things stand of what an operation is about to change, as the operation that brings it back.
   * @param {Content} o
   * @returns {Content}
   */
  _before(o) {
    if (o.kind === "answer")
      return { kind: "answer", question: o.question, source: o.source, value: this.answer(o.question, o.source) };
    const there = this.state.shapes.get(o.shape);
    return there ? { kind: "put", shape: o.shape, ...there } : { kind: "remove", shape: o.shape };
  }

  /** @param {Content} o */
  _act(o) {
    this._done.push([this._before(o), o]);
    this._undone = [];
    this._say(o);
  }

  /**
   * Draw a shape, or draw it anew.
   * @param {string} shape @param {Point[]} points @param {{ closed?: boolean, at?: number }} options
   */
  put(shape, points, { closed = false, at = 0 } = {}) {
    this._act({ kind: "put", shape, points, closed, at });
  }

  /** @param {string} shape */
  remove(shape) {
    this._act({ kind: "remove", shape });
  }

  /** @param {string} question @param {string} value @param {string} source */
  say(question, value, source = "") {
    this._act({ kind: "answer", question, source, value });
  }

  /** @param {string} question @param {string} source */
  answer(question, source = "") {
    return this.state.answers.get(`${question}|${source}`) ?? "";
  }

  /** @param {number} seconds */
  spend(seconds) {
    this._say({ kind: "time", seconds: Math.min(600, Math.round(seconds * 10) / 10) });
  }

  finish() {
    this._say({ kind: "finish" });
  }

  get canUndo() {
    return this._done.length > 0;
  }

  get canRedo() {
    return this._undone.length > 0;
  }

  undo() {
    const step = this._done.pop();
    if (!step) return;
    this._undone.push(step);
    this._say(step[0]);
  }

  redo() {
    const step = this._undone.pop();
    if (!step) return;
    this._done.push(step);
    this._say(step[1]);
  }
}
