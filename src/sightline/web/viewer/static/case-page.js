// Page of a case: its radiograph, any number of maps, annotations, gaze, and all scores.

import { decimal, el, fill } from "../web/dom.js";
import { CaseData } from "./case-data.js";
import { Controls } from "./controls.js";
import { ImageGrid } from "./image-grid.js";
import { caseQuery, choice } from "./filters.js";
import { scoreTable } from "./widgets.js";
import { thresholdParams, toggleParams, caseSettings } from "./settings.js";
import { navigate, currentRoute, pageUrl, updateParams } from "./router.js";
import { CORRECT, OUTCOMES } from "./store.js";

export class CasePage {
  /** @param {import("./store.js").Store} store @param {import("./gallery.js").Gallery} gallery */
  constructor(store, gallery) {
    this.store = store;
    this.gallery = gallery;
    this.images = new ImageGrid();
    this.controls = new Controls(this);
    this.head = el("div", { class: "bar head" });
    this.notes = el("div", { class: "notes" });
    this.table = el("div", { class: "scores", hidden: true });
    this.element = el("div", { class: "case" },
      el("section", { class: "stage" }, this.head, this.notes, this.images.element, this.table), this.controls.element);
    this.columns = /** @type {CaseColumns | null} */ (null);
    this.number = -1; // the case that the URL names
    this.requestNumber = 0; // counts requests, so that an outdated response is ignored
    this.file = /** @type {CaseData | null} */ (null); // data of the case that was opened last
  }

  get settings() {
    return caseSettings(this.store, this.file?.finding ?? "");
  }

  /** Show the case that the URL names. */
  async update() {
    if (!this.gallery.cases.length) await this.gallery.update();
    const { parts: [id, finding], params } = currentRoute();
    const { store } = this;
    const requestNumber = ++this.requestNumber;
    this.number = store.caseNumber(id, finding);
    if (this.number < 0) {
      this.showMissing(id, finding);
      return;
    }
    const [file, columns] = await Promise.all([
      this.file?.number === this.number ? this.file : CaseData.load(store, this.number, this.file),
      store.loadColumns(caseQuery(store, params)), // again for the same case, because the source may differ
    ]);
    if (requestNumber !== this.requestNumber) return; // a later request replaced this one
    this.file = file;
    this.columns = columns;
    this.show();
  }

  /** @param {string} [id] @param {string} [finding] */
  showMissing(id, finding) {
    fill(this.head, el("h1", {}, "No such case"));
    fill(this.notes, el("p", { class: "alarm" }, `This run has no case ${finding ?? ""} of ${id ?? ""}.`));
    fill(this.images.element);
    fill(this.controls.element);
  }

  /** Show the open case with the settings of the URL; nothing while another one is loaded. */
  show() {
    const { file, columns, settings } = this;
    if (!file || !columns || file.number !== this.number) return;
    this.showHeading(file, columns, settings);
    fill(this.notes, [...this.store.index.notes, ...file.problems].map((t) => el("p", { class: "alarm small" }, t)));
    this.images.show(file, settings);
    this.controls.show(file, settings);
    this.table.hidden = !settings.table;
    if (settings.table) fill(this.table, scoreTable(file, settings, (s) => this.toggleSource(s)));
    this.element.dataset.case = String(file.number);
  }

  /** @param {CaseData} file @param {CaseColumns} columns @param {CaseSettings} settings */
  showHeading(file, columns, settings) {
    const { store } = this;
    const { number, row, finding } = file;
    const findings = store.index.findings.map((f, i) => {
      const other = row * store.nFindings + i;
      return [f, `${f} · ${store.annotated[other] ? "annotated" : store.labelText(other)}`];
    });
    const [before, after] = this.neighbors();
    /** @param {number} to @param {string} text @param {string} title */
    const arrowButton = (to, text, title) => el("button", { type: "button", class: "square", title, disabled: to < 0, aria: { label: title },
      on: { click: () => this.openCase(to) } }, text);
    fill(this.head,
      el("a", { class: "back", href: pageUrl("cases", [], this.sharedParams()) }, "‹ Cases"),
      arrowButton(before, "‹", "Previous case (k)"), arrowButton(after, "›", "Next case (j)"),
      el("h1", { class: "id" }, store.radiographOf(number)),
      choice("", findings, finding, (f) => this.openCase(store.caseNumber(store.radiographOf(number), f)), "finding"),
      el("span", { class: "muted" }, [store.patientOf(number), store.views[row], store.splits[row]].filter(Boolean).join(" · ")),
      this.prediction(file, columns, settings.source),
      el("span", { class: "grow" }),
      el("button", { type: "button", aria: { pressed: String(settings.table) }, on: { click: () => this.toggleLayer("table") } }, "All scores"));
  }

  /** @param {CaseData} file @param {CaseColumns} columns @param {string} source */
  prediction({ number, finding }, columns, source) {
    const { store } = this;
    const p = columns.probability[number];
    const outcome = columns.outcome[number];
    if (Number.isNaN(p)) return null;
    return el("span", { class: CORRECT.incorrect.includes(outcome) ? "wrong" : "" },
      `p ${decimal(p)}, cutoff ${decimal(store.cutoff(source, finding))}: ${OUTCOMES[outcome] ?? "label unknown"}`);
  }

  // -- from case to case ----------------------------------------------------------------------------------------------

  /** Return the previous and the next case of the selection; -1 where there is none. */
  neighbors() {
    const { cases } = this.gallery;
    const at = cases.indexOf(this.number);
    return [at > 0 ? cases[at - 1] : -1, at >= 0 && at + 1 < cases.length ? cases[at + 1] : -1];
  }

  /** What of the address goes along to another case. */
  sharedParams() {
    const { params } = currentRoute();
    for (const name of ["view", "time", "table"]) params.delete(name);
    return params;
  }

  /** @param {number} number */
  openCase(number) {
    if (number >= 0) navigate("case", [this.store.radiographOf(number), this.store.findingOf(number)], this.sharedParams());
  }

  // -- changes --------------------------------------------------------------------------------------------------------

  /** @param {Changes} changes */
  set(changes) {
    updateParams(changes);
    this.show();
  }

  /**
   * Like `set`, while a slider is moved: the controls are not created again.
   * @param {Changes} changes
   */
  setWhileSliding(changes) {
    updateParams(changes);
    const { file, settings } = this;
    if (!file) return;
    this.images.paint(file, settings);
    this.controls.updateTexts(file, settings);
  }

  /** @param {LayerSwitch} name */
  toggleLayer(name) {
    this.set(toggleParams(this.settings, name));
  }

  /**
   * Show or hide the map of a source.
   * @param {string} source
   */
  toggleSource(source) {
    const { visibleSources } = this.settings;
    const next = visibleSources.includes(source) ? visibleSources.filter((s) => s !== source) : [...visibleSources, source];
    this.set({ maps: next.length ? next : ["none"] });
  }

  /**
   * Handle a key; return false for one without a meaning here.
   * @param {KeyboardEvent} event
   */
  handleKey(event) {
    if (!this.file) return false;
    const { file, settings, store } = this;
    const [before, after] = this.neighbors();
    const shiftThreshold = (/** @type {number} */ change) => this.set(thresholdParams(file.threshold(settings) + change));
    /** @type {Record<string, () => void>} */
    const keys = {
      j: () => this.openCase(after), k: () => this.openCase(before), n: () => this.openCase(after), p: () => this.openCase(before),
      o: () => this.set({ mode: settings.over ? null : "over" }),
      m: () => this.toggleLayer("map"), t: () => this.toggleLayer("mask"), r: () => this.toggleLayer("regions"), a: () => this.toggleLayer("table"),
      ",": () => shiftThreshold(-0.01), ".": () => shiftThreshold(0.01),
      h: () => this.set({ hide: settings.hidden.length ? null : store.index.readers }),
      Escape: () => navigate("cases", [], this.sharedParams()),
    };
    const source = /^[1-9]$/.test(event.key) && store.index.sources[Number(event.key) - 1];
    if (source) this.toggleSource(source.name);
    else if (event.key in keys) keys[event.key]();
    else return this.images.handleKey(event);
    return true;
  }
}
