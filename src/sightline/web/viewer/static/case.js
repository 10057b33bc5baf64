// One case: its radiograph, any number of maps, what readers marked and looked at, and every score.

import { decimal, el, fill } from "../web/dom.js";
import { CaseFile } from "./casefile.js";
import { Controls } from "./controls.js";
import { Films } from "./films.js";
import { asked, choice } from "./filters.js";
import { scoreTable } from "./parts.js";
import { cutAt, flipped, settingsOf } from "./settings.js";
import { go, here, link, tweak } from "./state.js";
import { CORRECT, OUTCOMES } from "./store.js";

export class CasePage {
  /** @param {import("./store.js").Store} store @param {import("./gallery.js").Gallery} gallery */
  constructor(store, gallery) {
    this.store = store;
    this.gallery = gallery;
    this.films = new Films();
    this.controls = new Controls(this);
    this.head = el("div", { class: "bar head" });
    this.notes = el("div", { class: "notes" });
    this.table = el("div", { class: "scores", hidden: true });
    this.element = el("div", { class: "case" },
      el("section", { class: "stage" }, this.head, this.notes, this.films.element, this.table), this.controls.element);
    this.columns = /** @type {CaseColumns | null} */ (null);
    this.number = -1; // the case that the address names
    this.turn = 0; // counts requests, so that an older answer is dropped
    this.file = /** @type {CaseFile | null} */ (null); // of the case that was opened last
  }

  get settings() {
    return settingsOf(this.store, this.file?.finding ?? "");
  }

  /** Show the case that the address names. */
  async update() {
    if (!this.gallery.cases.length) await this.gallery.update();
    const { parts: [id, finding], params } = here();
    const { store } = this;
    const turn = ++this.turn;
    this.number = store.caseOf(id, finding);
    if (this.number < 0) {
      this.missing(id, finding);
      return;
    }
    const [file, columns] = await Promise.all([
      this.file?.number === this.number ? this.file : CaseFile.load(store, this.number, this.file),
      store.gather(asked(store, params)), // anew for the same case: the source may be another
    ]);
    if (turn !== this.turn) return; // something newer was asked for
    this.file = file;
    this.columns = columns;
    this.show();
  }

  /** @param {string} [id] @param {string} [finding] */
  missing(id, finding) {
    fill(this.head, el("h1", {}, "No such case"));
    fill(this.notes, el("p", { class: "alarm" }, `This run has no case ${finding ?? ""} of ${id ?? ""}.`));
    fill(this.films.element);
    fill(this.controls.element);
  }

  /** Show the open case as the address says; while another one is loaded, nothing. */
  show() {
    const { file, columns, settings } = this;
    if (!file || !columns || file.number !== this.number) return;
    this.heading(file, columns, settings);
    fill(this.notes, [...this.store.index.notes, ...file.troubles].map((t) => el("p", { class: "alarm small" }, t)));
    this.films.show(file, settings);
    this.controls.show(file, settings);
    this.table.hidden = !settings.table;
    if (settings.table) fill(this.table, scoreTable(file, settings, (s) => this.toggle(s)));
    this.element.dataset.case = String(file.number);
  }

  /** @param {CaseFile} file @param {CaseColumns} columns @param {CaseSettings} settings */
  heading(file, columns, settings) {
    const { store } = this;
    const { number, row, finding } = file;
    const findings = store.index.findings.map((f, i) => {
      const other = row * store.F + i;
      return [f, `${f} · ${store.marked[other] ? "marked" : store.labelText(other)}`];
    });
    const [before, after] = this.neighbors();
    /** @param {number} to @param {string} text @param {string} title */
    const arrow = (to, text, title) => el("button", { type: "button", class: "square", title, disabled: to < 0, aria: { label: title },
      on: { click: () => this.goto(to) } }, text);
    fill(this.head,
      el("a", { class: "back", href: link("cases", [], this.carried()) }, "‹ Cases"),
      arrow(before, "‹", "Case before (k)"), arrow(after, "›", "Next case (j)"),
      el("h1", { class: "id" }, store.radiographOf(number)),
      choice("", findings, finding, (f) => this.goto(store.caseOf(store.radiographOf(number), f)), "finding"),
      el("span", { class: "muted" }, [store.patientOf(number), store.views[row], store.splits[row]].filter(Boolean).join(" · ")),
      this.prediction(file, columns, settings.source),
      el("span", { class: "grow" }),
      el("button", { type: "button", aria: { pressed: String(settings.table) }, on: { click: () => this.flip("table") } }, "All scores"));
  }

  /** @param {CaseFile} file @param {CaseColumns} columns @param {string} source */
  prediction({ number, finding }, columns, source) {
    const { store } = this;
    const p = columns.probability[number];
    const outcome = columns.outcome[number];
    if (Number.isNaN(p)) return null;
    return el("span", { class: CORRECT.incorrect.includes(outcome) ? "wrong" : "" },
      `p ${decimal(p)}, cutoff ${decimal(store.cutoff(source, finding))}: ${OUTCOMES[outcome] ?? "label unknown"}`);
  }

  // -- from case to case ----------------------------------------------------------------------------------------------

  /** The cases before and after this one among those chosen; -1 where there is none. */
  neighbors() {
    const { cases } = this.gallery;
    const at = cases.indexOf(this.number);
    return [at > 0 ? cases[at - 1] : -1, at >= 0 && at + 1 < cases.length ? cases[at + 1] : -1];
  }

  /** What of the address goes along to another case. */
  carried() {
    const { params } = here();
    for (const name of ["view", "time", "table"]) params.delete(name);
    return params;
  }

  /** @param {number} number */
  goto(number) {
    if (number >= 0) go("case", [this.store.radiographOf(number), this.store.findingOf(number)], this.carried());
  }

  // -- changes --------------------------------------------------------------------------------------------------------

  /** @param {Changes} changes */
  set(changes) {
    tweak(changes);
    this.show();
  }

  /**
   * As `set`, while a slider is moved: no control is made anew.
   * @param {Changes} changes
   */
  slide(changes) {
    tweak(changes);
    const { file, settings } = this;
    if (!file) return;
    this.films.paint(file, settings);
    this.controls.follow(file, settings);
  }

  /** @param {LayerSwitch} name */
  flip(name) {
    this.set(flipped(this.settings, name));
  }

  /**
   * Show a source's map, or hide it.
   * @param {string} source
   */
  toggle(source) {
    const { shown } = this.settings;
    const next = shown.includes(source) ? shown.filter((s) => s !== source) : [...shown, source];
    this.set({ maps: next.length ? next : ["none"] });
  }

  /**
   * Answer a key; false for one that means nothing here.
   * @param {KeyboardEvent} event
   */
  press(event) {
    if (!this.file) return false;
    const { file, settings, store } = this;
    const [before, after] = this.neighbors();
    const nudge = (/** @type {number} */ by) => this.set(cutAt(file.threshold(settings) + by));
    /** @type {Record<string, () => void>} */
    const keys = {
      j: () => this.goto(after), k: () => this.goto(before), n: () => this.goto(after), p: () => this.goto(before),
      o: () => this.set({ mode: settings.over ? null : "over" }),
      m: () => this.flip("map"), t: () => this.flip("mask"), r: () => this.flip("regions"), a: () => this.flip("table"),
      ",": () => nudge(-0.01), ".": () => nudge(0.01),
      h: () => this.set({ hide: settings.hidden.length ? null : store.index.readers }),
      Escape: () => go("cases", [], this.carried()),
    };
    const source = /^[1-9]$/.test(event.key) && store.index.sources[Number(event.key) - 1];
    if (source) this.toggle(source.name);
    else if (event.key in keys) keys[event.key]();
    else return this.films.press(event);
    return true;
  }
}
