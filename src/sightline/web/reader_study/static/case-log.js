// State of a case from its operations: the same computation as `sightline.data.reader_study.events.replay`. It depends
// on the set of operations only, applied in the order of (clock, id); duplicates and delays change nothing.

const CONTENT = new Set(["put", "remove", "answer"]);

/**
 * Compute the state: shapes by id, answers by 'question|letter', seconds, finished, clock.
 * @param {Operation[]} operations
 * @returns {CaseState}
 */
export function replay(operations) {
  const unique = [...new Map(operations.map((o) => [o.id, o])).values()];
  unique.sort((a, b) => a.clock - b.clock || (a.id < b.id ? -1 : 1));
  /** @type {CaseState["shapes"]} */
  const shapes = new Map();
  /** @type {CaseState["answers"]} */
  const answers = new Map();
  let [seconds, changed, finished, clock] = [0, 0, 0, 0];
  for (const o of unique) {
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

/** Return a random identifier. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/**
 * Log of a case that is being read: its operations, its state, and undo. Events: "change".
 *
 * onOperations: called with every new operation, to store and send it. Undo restores the earlier state by new
 * operations: the log only grows.
 */
export class CaseLog extends EventTarget {
  /** @param {CaseInfo} info @param {Operation[]} operations @param {(added: Operation[]) => void} onOperations */
  constructor(info, operations, onOperations) {
    super();
    this.info = info;
    this.operations = operations;
    this.onOperations = onOperations;
    this.state = replay(operations);
    this._done = /** @type {[before: Content, after: Content][]} */ ([]);
    this._undone = /** @type {[before: Content, after: Content][]} */ ([]);
  }

  /**
   * Append operations that have no id and clock yet.
   * @param {...Action} actions
   */
  _append(...actions) {
    let { clock } = this.state;
    const added = actions.map((o) => ({ ...o, id: randomId(), clock: ++clock }));
    this.operations.push(...added);
    this.state = replay(this.operations);
    this.onOperations(added);
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Return the operation that restores what an operation is about to change.
   * @param {Content} o
   * @returns {Content}
   */
  _inverse(o) {
    if (o.kind === "answer")
      return { kind: "answer", question: o.question, source: o.source, value: this.answer(o.question, o.source) };
    const shape = this.state.shapes.get(o.shape);
    return shape ? { kind: "put", shape: o.shape, ...shape } : { kind: "remove", shape: o.shape };
  }

  /** @param {Content} o */
  _do(o) {
    this._done.push([this._inverse(o), o]);
    this._undone = [];
    this._append(o);
  }

  /**
   * Add or replace a shape.
   * @param {string} shape @param {Point[]} points @param {{ closed?: boolean, at?: number }} options
   */
  put(shape, points, { closed = false, at = 0 } = {}) {
    this._do({ kind: "put", shape, points, closed, at });
  }

  /** @param {string} shape */
  remove(shape) {
    this._do({ kind: "remove", shape });
  }

  /** @param {string} question @param {string} value @param {string} source */
  setAnswer(question, value, source = "") {
    this._do({ kind: "answer", question, source, value });
  }

  /** @param {string} question @param {string} source */
  answer(question, source = "") {
    return this.state.answers.get(`${question}|${source}`) ?? "";
  }

  /** @param {number} seconds */
  addTime(seconds) {
    this._append({ kind: "time", seconds: Math.min(600, Math.round(seconds * 10) / 10) });
  }

  finish() {
    this._append({ kind: "finish" });
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
    this._append(step[0]);
  }

  redo() {
    const step = this._undone.pop();
    if (!step) return;
    this._done.push(step);
    this._append(step[1]);
  }
}
