// A reader's way through a study: in by the link, one case after the other, and out.

import { byId, el, fill, getJSON, messageOf, Refused, sendJSON, themeButton } from "/web/dom.js";
import { Picture } from "/web/picture.js";
import { drawing } from "./drawing.js";
import { help } from "./help.js";
import { Case } from "./log.js";
import { Outbox } from "./outbox.js";
import { sheet } from "./sheet.js";
import { Stopwatch } from "./stopwatch.js";

const page = byId("page");
const pause = (/** @type {number} */ seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** @param {string} title @param {...string} lines */
function note(title, ...lines) {
  fill(page, el("div", { class: "note" }, el("h1", {}, title), lines.map((line) => el("p", {}, line))));
}

/** Hand over the token that stands behind '#', once; it then leaves the address. */
async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  await sendJSON("POST", "/api/enter", { token });
  history.replaceState(null, "", location.pathname);
}

/**
 * Ask until the server answers; it may be starting again just now.
 * @template T
 * @param {() => Promise<T>} request @param {(error: Refused) => void} said
 * @returns {Promise<T>}
 */
async function insist(request, said) {
  for (let wait = 1; ; wait = Math.min(10, wait * 1.6)) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof Refused) || (error.status && error.status < 500)) throw error;
      said(error);
      await pause(wait);
    }
  }
}

/** @typedef {{ told: TurnFacts, turn: Case, watch: Stopwatch, desk: Desk }} Current */

class Study {
  /** @param {Me} me */
  constructor(me) {
    this.turns = me.turns;
    this.me = me;
    this.outbox = new Outbox(me.shelf);
    /** @type {Map<string, Promise<[TurnFacts, Picture]>>} */
    this.loaded = new Map(); // key -> promise of [told, picture]
    this.current = /** @type {Current | null} */ (null);
    this.opening = {};
    this.frame = el("div", { class: "study" });
    this.sentence = el("h1", { class: "sentence", aria: { live: "polite" } });
    this.place = el("span", { class: "place" });
    this.bar = el("progress", { max: this.turns.length, value: 0, aria: { label: "Cases done" } });
    this.saved = el("p", { class: "saved", role: "status" });
    this.rail = el("aside", { class: "rail", aria: { label: "Tools" } });
    this.desk = el("div", { class: "desk" });
    this.back = el("button", { type: "button", class: "back", on: { click: () => this._step(-1) } }, "‹ Back");
    this.done = el("button", { type: "button", class: "primary done", on: { click: () => this.finish() } },
      el("span", {}, "Done"), el("kbd", {}, "Enter"));
    this.lacks = el("p", { class: "lacks small muted", id: "lacks" });
    this.done.setAttribute("aria-describedby", "lacks");
    document.title = me.title;
    this._frame();
    this.outbox.addEventListener("state", () => this._saved());
    addEventListener("keydown", (event) => this._key(event));
    addEventListener("hashchange", () => {
      if (location.hash.includes("token=")) location.reload(); // a new link, pasted into this window
      else this.open(this._wanted());
    });
    addEventListener("beforeunload", (event) => {
      if (this.outbox.waiting.size && !this.outbox.stored) event.preventDefault();
    });
  }

  _frame() {
    const asks = el("button", { type: "button", class: "quiet", title: "How it works (?)", aria: { label: "How it works" },
      on: { click: () => this.current && help(this.current.told.task) } }, "?");
    fill(this.frame,
      el("header", {}, this.sentence, el("div", { class: "where" },
        el("div", { class: "bar" }, this.place, this.saved, el("span", { class: "grow" }), asks, themeButton()), this.bar)),
      this.desk, this.rail);
    fill(page, this.frame);
    this._saved();
  }

  _saved() {
    const { kind, waiting, sentence } = this.outbox.state;
    const changes = `${waiting} change${waiting === 1 ? "" : "s"}`;
    const kept = this.outbox.stored ? "kept on this device" : "only in this window: do not close it";
    const said = {
      saved: "Saved", saving: "Saving …", offline: `No connection: ${changes} ${kept}, sent when it is back`,
      refused: `Not accepted: ${sentence}`, shut: `${sentence}; ${changes} ${kept}`,
    };
    this.saved.dataset.kind = kind;
    if (this.saved.textContent !== said[kind]) this.saved.textContent = said[kind];
  }

  _wanted() {
    const key = new URLSearchParams(location.hash.slice(1)).get("case");
    return this.turns.find((turn) => turn.key === key)?.key ?? this._next()?.key;
  }

  /** The first unfinished case from a place on, else the first of all. */
  _next(from = 0) {
    const open = (/** @type {Me["turns"][number]} */ turn) => !turn.finished;
    return this.turns.slice(from).find(open) ?? this.turns.find(open) ?? null;
  }

  /**
   * Facts and picture of a case, asked for once.
   * @param {string} key
   */
  load(key) {
    const known = this.loaded.get(key);
    if (known) return known;
    /** @type {() => Promise<[TurnFacts, Picture]>} */
    const read = async () => {
      /** @type {TurnFacts} */
      const told = await getJSON(`/api/turns/${key}`);
      return [told, await Picture.load(`/api/turns/${key}/film`, told.size)];
    };
    const reading = read();
    this.loaded.set(key, reading);
    reading.catch(() => this.loaded.delete(key));
    return reading;
  }

  async start() {
    await this.open(this._wanted());
  }

  /** @param {string} [key] */
  async open(key) {
    if (key && this.current?.told.key === key) return;
    const opening = {};
    this.opening = opening;
    this._leave();
    if (!key) return this._end();
    const wait = setTimeout(() => fill(this.desk, el("p", { class: "note" }, "The next film is on its way …")), 400);
    try {
      const [told, picture] = await insist(() => this.load(key), (error) =>
        fill(this.desk, el("p", { class: "note" }, `${error.message}; trying again …`)));
      clearTimeout(wait);
      if (opening !== this.opening) return;
      this.loaded.delete(key); // what it says of the log is old once it is worked on
      await this._show(told, picture, opening);
    } catch (error) {
      if (opening === this.opening) this._sorry(error);
    } finally {
      clearTimeout(wait);
    }
  }

  /** @param {TurnFacts} told @param {Picture} picture @param {object} opening */
  async _show(told, picture, opening) {
    const turn = new Case(told, [...told.operations, ...this.outbox.of(told.key)], (made) => this.outbox.add(told.key, made));
    const before = turn.state.seconds;
    const watch = new Stopwatch((seconds) => turn.spend(seconds));
    const judged = told.task === "rate" || told.task === "choice";
    const made = judged ? await sheet(turn, picture) : drawing(turn, picture, () => Math.round((before + watch.total) * 10) / 10);
    if (opening !== this.opening) return watch.stop();
    this.current = { told, turn, watch, desk: made };
    history.replaceState(null, "", `#case=${told.key}`);
    fill(this.sentence, told.before, told.task !== "search" && el("b", {}, told.finding), told.after);
    fill(this.desk, made.element);
    fill(this.rail, made.rail, el("div", { class: "group end" }, this.lacks, el("div", { class: "pair" }, this.back, this.done)));
    this.frame.dataset.task = told.task;
    turn.addEventListener("change", () => this._refresh());
    this._refresh();
    made.films[0].canvas.focus({ preventScroll: true });
    const index = this.turns.findIndex((one) => one.key === told.key);
    const next = this._next(index + 1);
    if (next && next.key !== told.key) this.load(next.key).catch(() => {});
    await this._explain(told.task);
    return undefined;
  }

  /**
   * How it works, before the first case of a task.
   * @param {Task} task
   */
  async _explain(task) {
    const name = `sightline-readers|seen|${this.me.shelf}|${task}`;
    let seen = false;
    try {
      seen = Boolean(localStorage.getItem(name));
      localStorage.setItem(name, "1");
    } catch {
      // Then it is shown again after a reload.
    }
    if (!seen) await help(task, true);
    this.current?.desk.films[0].canvas.focus({ preventScroll: true });
  }

  _refresh() {
    if (!this.current) return;
    const { told, turn, desk } = this.current;
    const index = this.turns.findIndex((one) => one.key === told.key);
    this.turns[index].finished = turn.state.finished;
    const done = this.turns.filter((one) => one.finished).length;
    this.place.textContent = `Case ${index + 1} of ${this.turns.length}`;
    this.bar.value = done;
    this.back.disabled = index === 0;
    const lacks = desk.lacks();
    this.lacks.textContent = lacks;
    this.done.disabled = Boolean(lacks);
  }

  finish() {
    if (!this.current) return;
    const { told, turn, watch, desk } = this.current;
    desk.close();
    if (desk.lacks()) return;
    watch.flush();
    if (!turn.state.finished) turn.finish();
    const index = this.turns.findIndex((one) => one.key === told.key);
    this.turns[index].finished = true;
    this.open(this._next(index + 1)?.key);
  }

  /** @param {number} by */
  _step(by) {
    const index = this.turns.findIndex((one) => one.key === this.current?.told.key) + by;
    if (this.turns[index]) this.open(this.turns[index].key);
  }

  _leave() {
    this.current?.desk.close();
    this.current?.watch.stop();
    this.current = null;
  }

  /** @param {unknown} error */
  _sorry(error) {
    this.current = null;
    fill(this.sentence, "This case cannot be shown");
    fill(this.desk, el("p", { class: "note" }, messageOf(error)));
    fill(this.rail);
  }

  _end() {
    history.replaceState(null, "", location.pathname);
    this.bar.value = this.turns.length;
    this.place.textContent = `${this.turns.length} of ${this.turns.length} cases`;
    fill(this.sentence, "Thank you. That was the last case.");
    fill(this.rail);
    this.frame.dataset.task = "end";
    const last = this.turns.at(-1);
    fill(this.desk, el("div", { class: "note" },
      el("p", {}, "Everything is kept once “Saved” stands above. You may close this window."),
      el("button", { type: "button", on: { click: () => this.open(last?.key) } }, "Back to the last case")));
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.key === "?" && this.current && !document.querySelector("dialog[open]")) return void help(this.current.told.task);
    if (!this.current || document.querySelector("dialog[open]") || event.altKey) return undefined;
    const { desk } = this.current;
    const pressed = `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${event.shiftKey && event.key.length === 1 && (event.ctrlKey || event.metaKey) ? "shift+" : ""}${event.key.toLowerCase()}`;
    if (pressed === "enter") {
      if (event.target instanceof Element && event.target.closest("button, a, summary")) return undefined; // Enter presses what is focused
      event.preventDefault();
      if (!desk.enter()) this.finish();
      return undefined;
    }
    const run = desk.keys[pressed];
    if (!run) return undefined;
    event.preventDefault();
    run();
    return undefined;
  }
}

async function main() {
  try {
    const waiting = (/** @type {Refused} */ error) => note("One moment …", `${error.message}; trying again …`);
    await insist(enter, waiting);
    const me = await insist(() => getJSON("/api/me"), waiting);
    if (!me.turns.length) return note(me.title, "There is no case for you here.");
    await new Study(me).start();
  } catch (error) {
    if (error instanceof Refused && error.status === 401)
      return note("This page opens with a personal link", "Use the link that you were sent. If it does not work any more, ask for a new one.");
    note("Something went wrong", messageOf(error));
  }
  return undefined;
}

main();
