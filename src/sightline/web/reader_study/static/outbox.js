// Operations that the server has not stored yet. They are in the storage of this browser until the server acknowledges
// them; sending twice has no effect, so that everything in doubt is sent again.

import { RequestError, errorMessage, sendJSON } from "/web/dom.js";
import { randomId } from "./case-log.js";

const MAX_OPERATIONS = 200; // per request
const MAX_PAUSE = 15; // seconds between two attempts

/**
 * Events: "state" (detail: { kind: "saved" | "saving" | "offline" | "refused" | "shut", waiting, sentence }).
 * shelf: name under which unsent work of this reader is stored. Every window has its own entries, and also sends those
 * that earlier windows left.
 */
export class Outbox extends EventTarget {
  /** @param {string} shelf */
  constructor(shelf) {
    super();
    this.prefix = `sightline-readers|${shelf}|`;
    this.window = randomId();
    this.waiting = /** @type {Map<string, Operation[]>} */ (new Map()); // by key of the assignment
    this.stored = true;
    this.refused = /** @type {Set<string>} */ (new Set()); // assignments whose operations the server refused; others are sent regardless
    this.state = /** @type {SaveState} */ ({ kind: "saved", waiting: 0, sentence: "" });
    this._pause = 1;
    this._timer = 0;
    this._sending = /** @type {Promise<void> | null} */ (null);
    this._loadStored();
    addEventListener("online", () => this._schedule(0));
    if (!this.waiting.size) return;
    this._setState("saving"); // 'saved' is reported only after the server has acknowledged
    this._schedule(0);
  }

  /** Load what other windows of this reader have left. Their entries stay until the server has stored the content. */
  _loadStored() {
    try {
      for (const name of Object.keys(localStorage).filter((n) => n.startsWith(this.prefix))) {
        const key = name.slice(this.prefix.length).split("|")[0];
        this._enqueue(key, JSON.parse(localStorage.getItem(name) ?? "[]"));
      }
    } catch {
      this.stored = false;
    }
  }

  /** @param {string} key @param {Operation[]} operations */
  _enqueue(key, operations) {
    const all = new Map([...(this.waiting.get(key) ?? []), ...operations].map((o) => [o.id, o]));
    this.waiting.set(key, [...all.values()]);
  }

  /**
   * Return the waiting operations of a case, which belong to its log.
   * @param {string} key
   * @returns {Operation[]}
   */
  pending(key) {
    return this.waiting.get(key) ?? [];
  }

  /**
   * Store operations, and send them as soon as possible.
   * @param {string} key @param {Operation[]} operations
   */
  add(key, operations) {
    this._enqueue(key, operations);
    this._store(key);
    if (this.state.kind === "shut") return this._setState("shut", this.state.sentence);
    this._setState(this.state.kind === "offline" ? "offline" : "saving");
    if (this.state.kind !== "offline") this._schedule(0);
  }

  /** @param {string} key */
  _store(key) {
    const remaining = this.pending(key);
    try {
      const name = `${this.prefix}${key}|${this.window}`;
      if (remaining.length) localStorage.setItem(name, JSON.stringify(remaining));
      else localStorage.removeItem(name);
      this.stored = true;
    } catch {
      this.stored = false; // full or disabled: operations are then only in this window until they are sent
    }
  }

  /**
   * Remove sent operations from all entries that hold them.
   * @param {string} key @param {Operation[]} sent
   */
  _removeSent(key, sent) {
    const ids = new Set(sent.map((o) => o.id));
    const remaining = this.pending(key).filter((o) => !ids.has(o.id));
    if (remaining.length) this.waiting.set(key, remaining);
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
  _schedule(seconds) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.send(), seconds * 1000);
  }

  /** Send all waiting operations; resolves when none is left, or when they cannot be sent now. */
  send() {
    this._sending ??= this._send().finally(() => {
      this._sending = null;
      if (this.state.kind === "saving") this._schedule(0); // added during the last request
    });
    return this._sending;
  }

  async _send() {
    let refusal = this.refused.size ? this.state.sentence : "";
    const first = () => [...this.waiting].find(([key]) => !this.refused.has(key));
    for (let next = first(); next; next = first()) {
      const [key, operations] = next;
      const batch = operations.slice(0, MAX_OPERATIONS);
      this._setState(this.state.kind === "offline" ? "offline" : "saving");
      // A browser that is closed still completes a short request with keepalive.
      const keepalive = JSON.stringify(batch).length < 30_000;
      try {
        await sendJSON("POST", `/api/turns/${key}/operations`, { operations: batch }, { keepalive });
      } catch (error) {
        const status = error instanceof RequestError ? error.status : 0;
        if (status < 400 || status >= 500 || [401, 408, 429].includes(status)) return this._retryLater(status, errorMessage(error));
        this.refused.add(key);
        refusal = errorMessage(error);
        continue;
      }
      this._pause = 1;
      this._removeSent(key, batch);
    }
    this._setState(this.refused.size ? "refused" : "saved", refusal);
  }

  /** @param {number} status @param {string} sentence */
  _retryLater(status, sentence) {
    if (status === 401) return this._setState("shut", sentence);
    this._setState("offline", sentence);
    this._schedule(this._pause);
    this._pause = Math.min(MAX_PAUSE, this._pause * 2);
  }

  /** @param {SaveKind} kind @param {string} sentence */
  _setState(kind, sentence = "") {
    const waiting = [...this.waiting.values()].reduce((sum, operations) => sum + operations.length, 0);
    this.state = { kind, waiting, sentence };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }
}
