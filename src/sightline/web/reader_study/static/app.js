// Application of a reader: login by the link, one case after the other, and the end.

import { byId, el, fill, getJSON, errorMessage, RequestError, sendJSON, themeButton } from "/web/dom.js";
import { GrayImage } from "/web/gray-image.js";
import { createDrawingWorkspace } from "./drawing-workspace.js";
import { showHelp } from "./help.js";
import { CaseLog } from "./case-log.js";
import { Outbox } from "./outbox.js";
import { createRatingWorkspace } from "./rating-workspace.js";
import { Stopwatch } from "./stopwatch.js";

const page = byId("page");
const pause = (/** @type {number} */ seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** @param {string} title @param {...string} lines */
function showNote(title, ...lines) {
  fill(page, el("div", { class: "note" }, el("h1", {}, title), lines.map((line) => el("p", {}, line))));
}

/** Send the token in the fragment of the URL once, and remove it from the URL. */
async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  await sendJSON("POST", "/api/enter", { token });
  history.replaceState(null, "", location.pathname);
}

/**
 * Repeat a request until the server answers; it may be restarting.
 * @template T
 * @param {() => Promise<T>} send @param {(error: RequestError) => void} onRetry
 * @returns {Promise<T>}
 */
async function retryUntilAnswered(send, onRetry) {
  for (let wait = 1; ; wait = Math.min(10, wait * 1.6)) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof RequestError) || (error.status && error.status < 500)) throw error;
      onRetry(error);
      await pause(wait);
    }
  }
}

/** @typedef {{ info: CaseInfo, caseLog: CaseLog, stopwatch: Stopwatch, workspace: Workspace }} Current */

class Study {
  /** @param {ReaderInfo} reader */
  constructor(reader) {
    this.assignments = reader.turns;
    this.reader = reader;
    this.outbox = new Outbox(reader.shelf);
    /** @type {Map<string, Promise<[CaseInfo, GrayImage]>>} */
    this.loaded = new Map(); // by key of the assignment
    this.current = /** @type {Current | null} */ (null);
    this.opening = {};
    this.frame = el("div", { class: "study" });
    this.instruction = el("h1", { class: "sentence", aria: { live: "polite" } });
    this.position = el("span", { class: "place" });
    this.progress = el("progress", { max: this.assignments.length, value: 0, aria: { label: "Cases done" } });
    this.saved = el("p", { class: "saved", role: "status" });
    this.rail = el("aside", { class: "rail", aria: { label: "Tools" } });
    this.content = el("div", { class: "desk" });
    this.backButton = el("button", { type: "button", class: "back", on: { click: () => this._step(-1) } }, "‹ Back");
    this.doneButton = el("button", { type: "button", class: "primary done", on: { click: () => this.finish() } },
      el("span", {}, "Done"), el("kbd", {}, "Enter"));
    this.missing = el("p", { class: "lacks small muted", id: "lacks" });
    this.doneButton.setAttribute("aria-describedby", "lacks");
    document.title = reader.title;
    this._createFrame();
    this.outbox.addEventListener("state", () => this._showSaveState());
    addEventListener("keydown", (event) => this._handleKey(event));
    addEventListener("hashchange", () => {
      if (location.hash.includes("token=")) location.reload(); // a new link was opened in this window
      else this.open(this._requestedKey());
    });
    addEventListener("beforeunload", (event) => {
      if (this.outbox.waiting.size && !this.outbox.stored) event.preventDefault();
    });
  }

  _createFrame() {
    const helpButton = el("button", { type: "button", class: "quiet", title: "How it works (?)", aria: { label: "How it works" },
      on: { click: () => this.current && showHelp(this.current.info.task) } }, "?");
    fill(this.frame,
      el("header", {}, this.instruction, el("div", { class: "where" },
        el("div", { class: "bar" }, this.position, this.saved, el("span", { class: "grow" }), helpButton, themeButton()), this.progress)),
      this.content, this.rail);
    fill(page, this.frame);
    this._showSaveState();
  }

  _showSaveState() {
    const { kind, waiting, sentence } = this.outbox.state;
    const changes = `${waiting} change${waiting === 1 ? "" : "s"}`;
    const kept = this.outbox.stored ? "kept on this device" : "only in this window: do not close it";
    const sentences = {
      saved: "Saved", saving: "Saving …", offline: `No connection: ${changes} ${kept}, sent when the connection is back`,
      refused: `Not accepted: ${sentence}`, shut: `${sentence}; ${changes} ${kept}`,
    };
    this.saved.dataset.kind = kind;
    if (this.saved.textContent !== sentences[kind]) this.saved.textContent = sentences[kind];
  }

  _requestedKey() {
    const key = new URLSearchParams(location.hash.slice(1)).get("case");
    return this.assignments.find((assignment) => assignment.key === key)?.key ?? this._nextUnfinished()?.key;
  }

  /** Return the first unfinished assignment from an index on, else the first of all. */
  _nextUnfinished(from = 0) {
    const isOpen = (/** @type {ReaderInfo["turns"][number]} */ assignment) => !assignment.finished;
    return this.assignments.slice(from).find(isOpen) ?? this.assignments.find(isOpen) ?? null;
  }

  /**
   * Load the description and the image of a case once.
   * @param {string} key
   */
  load(key) {
    const pending = this.loaded.get(key);
    if (pending) return pending;
    /** @type {() => Promise<[CaseInfo, GrayImage]>} */
    const read = async () => {
      /** @type {CaseInfo} */
      const info = await getJSON(`/api/turns/${key}`);
      return [info, await GrayImage.load(`/api/turns/${key}/film`, info.size)];
    };
    const reading = read();
    this.loaded.set(key, reading);
    reading.catch(() => this.loaded.delete(key));
    return reading;
  }

  async start() {
    await this.open(this._requestedKey());
  }

  /** @param {string} [key] */
  async open(key) {
    if (key && this.current?.info.key === key) return;
    const opening = {}; // identifies this call: a later one replaces it
    this.opening = opening;
    this._closeCase();
    if (!key) return this._showEnd();
    const wait = setTimeout(() => fill(this.content, el("p", { class: "note" }, "The next image is loading …")), 400);
    try {
      const [info, image] = await retryUntilAnswered(() => this.load(key), (error) =>
        fill(this.content, el("p", { class: "note" }, `${error.message}; trying again …`)));
      clearTimeout(wait);
      if (opening !== this.opening) return;
      this.loaded.delete(key); // its log is outdated as soon as the case is worked on
      await this._showCase(info, image, opening);
    } catch (error) {
      if (opening === this.opening) this._showError(error);
    } finally {
      clearTimeout(wait);
    }
  }

  /** @param {CaseInfo} info @param {GrayImage} image @param {object} opening */
  async _showCase(info, image, opening) {
    const caseLog = new CaseLog(info, [...info.operations, ...this.outbox.pending(info.key)], (operations) => this.outbox.add(info.key, operations));
    const before = caseLog.state.seconds;
    const stopwatch = new Stopwatch((seconds) => caseLog.addTime(seconds));
    const isRating = info.task === "rate" || info.task === "choice";
    const workspace = isRating ? await createRatingWorkspace(caseLog, image) : await createDrawingWorkspace(caseLog, image, () => Math.round((before + stopwatch.total) * 10) / 10);
    if (opening !== this.opening) return stopwatch.stop();
    this.current = { info, caseLog, stopwatch, workspace };
    history.replaceState(null, "", `#case=${info.key}`);
    fill(this.instruction, info.before, info.task !== "search" && el("b", {}, info.finding), info.after);
    fill(this.content, workspace.element);
    fill(this.rail, workspace.rail, el("div", { class: "group end" }, this.missing, el("div", { class: "pair" }, this.backButton, this.doneButton)));
    this.frame.dataset.task = info.task;
    caseLog.addEventListener("change", () => this._refresh());
    this._refresh();
    workspace.imageCanvases[0].canvas.focus({ preventScroll: true });
    const index = this.assignments.findIndex((assignment) => assignment.key === info.key);
    const next = this._nextUnfinished(index + 1);
    if (next && next.key !== info.key) this.load(next.key).catch(() => {});
    await this._showHelpOnce(info.task);
    return undefined;
  }

  /**
   * Show the instructions before the first case of a task.
   * @param {Task} task
   */
  async _showHelpOnce(task) {
    const name = `sightline-readers|seen|${this.reader.shelf}|${task}`;
    let wasShown = false;
    try {
      wasShown = Boolean(localStorage.getItem(name));
      localStorage.setItem(name, "1");
    } catch {
      // Without storage it is shown again after a reload.
    }
    if (!wasShown) await showHelp(task, true);
    this.current?.workspace.imageCanvases[0].canvas.focus({ preventScroll: true });
  }

  _refresh() {
    if (!this.current) return;
    const { info, caseLog, workspace } = this.current;
    const index = this.assignments.findIndex((assignment) => assignment.key === info.key);
    this.assignments[index].finished = caseLog.state.finished;
    const done = this.assignments.filter((assignment) => assignment.finished).length;
    this.position.textContent = `Case ${index + 1} of ${this.assignments.length}`;
    this.progress.value = done;
    this.backButton.disabled = index === 0;
    const missing = workspace.missing();
    this.missing.textContent = missing;
    this.doneButton.disabled = Boolean(missing);
  }

  finish() {
    if (!this.current) return;
    const { info, caseLog, stopwatch, workspace } = this.current;
    workspace.close();
    if (workspace.missing()) return;
    stopwatch.flush();
    if (!caseLog.state.finished) caseLog.finish();
    const index = this.assignments.findIndex((assignment) => assignment.key === info.key);
    this.assignments[index].finished = true;
    this.open(this._nextUnfinished(index + 1)?.key);
  }

  /** @param {number} offset */
  _step(offset) {
    const index = this.assignments.findIndex((assignment) => assignment.key === this.current?.info.key) + offset;
    if (this.assignments[index]) this.open(this.assignments[index].key);
  }

  _closeCase() {
    this.current?.workspace.close();
    this.current?.stopwatch.stop();
    this.current = null;
  }

  /** @param {unknown} error */
  _showError(error) {
    this.current = null;
    fill(this.instruction, "This case cannot be shown");
    fill(this.content, el("p", { class: "note" }, errorMessage(error)));
    fill(this.rail);
  }

  _showEnd() {
    history.replaceState(null, "", location.pathname);
    this.progress.value = this.assignments.length;
    this.position.textContent = `${this.assignments.length} of ${this.assignments.length} cases`;
    fill(this.instruction, "Thank you. That was the last case.");
    fill(this.rail);
    this.frame.dataset.task = "end";
    const last = this.assignments.at(-1);
    fill(this.content, el("div", { class: "note" },
      el("p", {}, "All answers are stored once “Saved” appears above. You may then close this window."),
      el("button", { type: "button", on: { click: () => this.open(last?.key) } }, "Back to the last case")));
  }

  /** @param {KeyboardEvent} event */
  _handleKey(event) {
    if (event.key === "?" && this.current && !document.querySelector("dialog[open]")) return void showHelp(this.current.info.task);
    if (!this.current || document.querySelector("dialog[open]") || event.altKey) return undefined;
    const { workspace } = this.current;
    const pressed = `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${event.shiftKey && event.key.length === 1 && (event.ctrlKey || event.metaKey) ? "shift+" : ""}${event.key.toLowerCase()}`;
    if (pressed === "enter") {
      if (event.target instanceof Element && event.target.closest("button, a, summary")) return undefined; // Enter activates the focused element
      event.preventDefault();
      if (!workspace.enter()) this.finish();
      return undefined;
    }
    const run = workspace.keys[pressed];
    if (!run) return undefined;
    event.preventDefault();
    run();
    return undefined;
  }
}

async function main() {
  try {
    const waiting = (/** @type {RequestError} */ error) => showNote("One moment …", `${error.message}; trying again …`);
    await retryUntilAnswered(enter, waiting);
    const reader = await retryUntilAnswered(() => getJSON("/api/me"), waiting);
    if (!reader.turns.length) return showNote(reader.title, "There is no case for you here.");
    await new Study(reader).start();
  } catch (error) {
    if (error instanceof RequestError && error.status === 401)
      return showNote("This page opens with a personal link", "Use the link that you received. If it no longer works, ask for a new one.");
    showNote("Something went wrong", errorMessage(error));
  }
  return undefined;
}

main();
