// What is not on the server yet. Everything lies in this browser's storage until the server has said that it is kept;
// sending twice does no harm, so whatever is in doubt is sent again.

import { Refused, messageOf, sendJSON } from "/web/dom.js";
import { fresh } from "./log.js";

const MOST = 200; // operations in one request
const SLOWEST = 15; // seconds between two tries

/**
 * Events: "state" (detail: { kind: "saved" | "saving" | "offline" | "refused" | "shut", waiting, sentence }).
 * shelf: what this reader's unsent work is filed under. Every window has a file of its own, and empties those that
 * windows before it have left.
 */
export class Outbox extends EventTarget {
  /** @param {string} shelf */
  constructor(shelf) {
    super();
    this.prefix = `sightline-readers|${shelf}|`;
    this.window = fresh();
    this.waiting = /** @type {Map<string, Operation[]>} */ (new Map()); // key of the case -> operations
    this.stored = true;
    this.aside = /** @type {Set<string>} */ (new Set()); // cases whose changes the server refused: they wait, and nothing waits for them
    this.state = /** @type {SaveState} */ ({ kind: "saved", waiting: 0, sentence: "" });
    this._pause = 1;
    this._timer = 0;
    this._sending = /** @type {Promise<void> | null} */ (null);
    this._collect();
    addEventListener("online", () => this._soon(0));
    if (!this.waiting.size) return;
    this._tell("saving"); // nothing is called saved before the server has said so
    this._soon(0);
  }

  /** Take up what other windows of this reader have left. Their files stay until the server has what is in them. */
  _collect() {
    try {
      for (const name of Object.keys(localStorage).filter((n) => n.startsWith(this.prefix))) {
        const key = name.slice(this.prefix.length).split("|")[0];
        this._hold(key, JSON.parse(localStorage.getItem(name) ?? "[]"));
      }
    } catch {
      this.stored = false;
    }
  }

  /** @param {string} key @param {Operation[]} operations */
  _hold(key, operations) {
    const all = new Map([...(this.waiting.get(key) ?? []), ...operations].map((o) => [o.id, o]));
    this.waiting.set(key, [...all.values()]);
  }

  /**
   * What waits of a case; belongs to its log.
   * @param {string} key
   * @returns {Operation[]}
   */
  of(key) {
    return this.waiting.get(key) ?? [];
  }

  /**
   * Keep operations, and send them as soon as can be.
   * @param {string} key @param {Operation[]} operations
   */
  add(key, operations) {
    this._hold(key, operations);
    this._store(key);
    if (this.state.kind === "shut") return this._tell("shut", this.state.sentence);
    this._tell(this.state.kind === "offline" ? "offline" : "saving");
    if (this.state.kind !== "offline") this._soon(0);
  }

  /** @param {string} key */
  _store(key) {
    const left = this.of(key);
    try {
      const name = `${this.prefix}${key}|${this.window}`;
      if (left.length) localStorage.setItem(name, JSON.stringify(left));
      else localStorage.removeItem(name);
      this.stored = true;
    } catch {
      this.stored = false; // full or forbidden: what is drawn then lives in this window alone until it is sent
    }
  }

  /**
   * Take sent operations out of every file that holds them.
   * @param {string} key @param {Operation[]} sent
   */
  _forget(key, sent) {
    const ids = new Set(sent.map((o) => o.id));
    const left = this.of(key).filter((o) => !ids.has(o.id));
    if (left.length) this.waiting.set(key, left);
    else this.waiting.delete(key);
    this._store(key);
    try {
      for (const name of Object.keys(localStorage).filter((n) => n.startsWith(`${this.prefix}${key}|`))) {
        const others = JSON.parse(localStorage.getItem(name) ?? "[]").filter((/** @type {Operation} */ o) => !ids.has(o.id));
        if (others.length) localStorage.setItem(name, JSON.stringify(others));
        else localStorage.removeItem(name);
      }
    } catch {
      this.stored = false;
    }
  }

  /** @param {number} seconds */
  _soon(seconds) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.send(), seconds * 1000);
  }

  /** Send all that waits. Resolves when nothing waits any more, or it cannot be sent now. */
  send() {
    this._sending ??= this._send().finally(() => {
      this._sending = null;
      if (this.state.kind === "saving") this._soon(0); // added while the last answer was on its way
    });
    return this._sending;
  }

  async _send() {
    let refusal = this.aside.size ? this.state.sentence : "";
    const first = () => [...this.waiting].find(([key]) => !this.aside.has(key));
    for (let next = first(); next; next = first()) {
      const [key, operations] = next;
      const some = operations.slice(0, MOST);
      this._tell(this.state.kind === "offline" ? "offline" : "saving");
      // A browser that closes still sends what is marked to outlive it, as long as it is short.
      const keepalive = JSON.stringify(some).length < 30_000;
      try {
        await sendJSON("POST", `/api/turns/${key}/operations`, { operations: some }, { keepalive });
      } catch (error) {
        const status = error instanceof Refused ? error.status : 0;
        if (status < 400 || status >= 500 || [401, 408, 429].includes(status)) return this._wait(status, messageOf(error));
        this.aside.add(key);
        refusal = messageOf(error);
        continue;
      }
      this._pause = 1;
      this._forget(key, some);
    }
    this._tell(this.aside.size ? "refused" : "saved", refusal);
  }

  /** @param {number} status @param {string} sentence */
  _wait(status, sentence) {
    if (status === 401) return this._tell("shut", sentence);
    this._tell("offline", sentence);
    this._soon(this._pause);
    this._pause = Math.min(SLOWEST, this._pause * 2);
  }

  /** @param {SaveKind} kind @param {string} sentence */
  _tell(kind, sentence = "") {
    const waiting = [...this.waiting.values()].reduce((sum, of) => sum + of.length, 0);
    this.state = { kind, waiting, sentence };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }
}
