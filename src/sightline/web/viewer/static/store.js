// What the run holds, as the browser needs it: names, cases, and columns of scores that are loaded when they are used.

import { getBundle } from "../web/bundle.js";
import { ask, getJSON } from "../web/dom.js";

const UNKNOWN = -128;
const NOTHING = 255;
export const OUTCOMES = ["true positive", "false negative", "false positive", "true negative"];
/** @type {Record<string, number[]>} */
export const CORRECT = { correct: [0, 3], incorrect: [1, 2] };

export class Store {
  static async open() {
    /** @type {RunIndex} */
    const index = await getJSON("data/index.json");
    /** @type {Bundle<CaseFacts, CaseArrays>} */
    const { facts, arrays } = await getBundle(`data/cases.bin?v=${index.stamp}`);
    return new Store(index, facts, arrays);
  }

  /** @param {RunIndex} index @param {CaseFacts} facts @param {CaseArrays} arrays */
  constructor(index, facts, arrays) {
    this.index = index;
    this.radiographs = facts.radiographs;
    this.patients = facts.patients;
    this.splits = facts.splits;
    this.views = facts.views;
    this.labels = arrays.label;
    this.marked = arrays.annotated;
    this.patient = arrays.patient;
    this.place = arrays.place;
    this.area = arrays.area;
    this.elongation = arrays.elongation;
    this.irrectangularity = arrays.irrectangularity;
    this.instances = arrays.instances;
    this.F = index.findings.length;
    this.count = this.radiographs.length * this.F;
    this.sourceNumber = new Map(index.sources.map((s, i) => [s.name, i]));
    this.radiographNumber = new Map(this.radiographs.map((id, i) => [id, i]));
    this.files = new Map(index.columns.map((c) => [`${c.protocol}\n${c.metric}\n${c.source}`, c.file]));
    this.metric = new Map(index.metrics.map((m) => [m.name, m]));
    this._kept = /** @type {Map<string, Promise<any>>} */ (new Map());
  }

  /** @param {string} path */
  url(path) {
    return `${path}?v=${this.index.stamp}`;
  }

  /** @param {string} id @param {string} finding */
  caseOf(id, finding) {
    const r = this.radiographNumber.get(id);
    const f = this.index.findings.indexOf(finding);
    return r === undefined || f < 0 ? -1 : r * this.F + f;
  }

  /**
   * Place of a case's radiograph.
   * @param {number} number
   */
  rowOf(number) {
    return Math.floor(number / this.F);
  }

  /** @param {number} number */
  radiographOf(number) {
    return this.radiographs[this.rowOf(number)];
  }

  /** @param {number} number */
  findingOf(number) {
    return this.index.findings[number % this.F];
  }

  /** @param {number} number */
  patientOf(number) {
    return this.patients[this.patient[this.rowOf(number)]];
  }

  /** @param {string} source */
  label(source) {
    return this._source(source)?.label ?? source;
  }

  /** @param {string} source */
  kindOf(source) {
    return this._source(source)?.kind;
  }

  /** @param {string} metric */
  titleOf(metric) {
    return this.metric.get(metric)?.title ?? metric;
  }

  /** @param {string} source @returns {Source | undefined} */
  _source(source) {
    return this.index.sources[this.sourceNumber.get(source) ?? -1];
  }

  /**
   * @template {NumberArray} T
   * @param {string} path @param {new (buffer: ArrayBuffer) => T} Type
   * @returns {Promise<T>}
   */
  _file(path, Type) {
    const known = this._kept.get(path);
    if (known) return known;
    const loading = ask(this.url(path)).then((a) => a.arrayBuffer()).then((b) => new Type(b));
    loading.catch(() => this._kept.delete(path));
    this._kept.set(path, loading);
    const [oldest] = this._kept.keys();
    if (this._kept.size > 60) this._kept.delete(oldest);
    return loading;
  }

  /**
   * Scores, Float32Array (cases,), or null where this source has none.
   * @param {string} protocol @param {string} metric @param {string} source
   */
  async column(protocol, metric, source) {
    const file = this.files.get(`${protocol}\n${metric}\n${source}`);
    return file === undefined ? null : this._file(`data/columns/${file}.f32`, Float32Array);
  }

  /** @param {string} source */
  status(source) {
    return this._file(`data/status/${this.sourceNumber.get(source)}.bin`, Uint8Array);
  }

  /** @param {string} source */
  probability(source) {
    return this._file(`data/probability/${this.sourceNumber.get(source)}.bin`, Float32Array);
  }

  /**
   * From which probability a model calls a finding present.
   * @param {string} source @param {string} finding
   */
  cutoff(source, finding) {
    const model = this._source(source)?.model ?? "";
    /** @param {string} name */
    const of = (name) => this.index.cutoffs.find((c) => c.model === name && c.finding === finding)?.cutoff;
    return of(model) ?? of("") ?? 0.5;
  }

  /**
   * Place in OUTCOMES per case, or NOTHING where label or probability are unknown.
   * @param {string} source
   */
  async outcomes(source) {
    const probability = await this.probability(source);
    const cutoffs = this.index.findings.map((f) => this.cutoff(source, f));
    const out = new Uint8Array(this.count);
    for (let i = 0; i < out.length; i++) {
      const [label, p] = [this.labels[i], probability[i]];
      if ((label !== 0 && label !== 1) || Number.isNaN(p)) out[i] = NOTHING;
      else out[i] = label === 1 ? (p >= cutoffs[i % this.F] ? 0 : 1) : p >= cutoffs[i % this.F] ? 2 : 3;
    }
    return out;
  }

  /** @param {number} number */
  labelText(number) {
    const value = this.labels[number];
    if (value === UNKNOWN) return "label unknown";
    return value === 1 ? "present" : value === 0 ? "absent" : "uncertain";
  }

  /**
   * Everything that the choice of cases goes by, loaded together.
   * @param {CaseQuery} query
   * @returns {Promise<CaseColumns>}
   */
  async gather({ protocol, metric, source }) {
    const [score, status, probability, outcome] = await Promise.all([
      this.column(protocol, metric, source), this.status(source), this.probability(source), this.outcomes(source),
    ]);
    return { score: score ?? new Float32Array(this.count).fill(NaN), status, probability, outcome };
  }

  /**
   * Cases that meet what is asked, in its order: Uint32Array.
   * @param {CaseQuery} asked @param {CaseColumns} columns
   */
  choose(asked, columns) {
    const { score, status, outcome } = columns;
    const findings = new Set(asked.findings.map((f) => this.index.findings.indexOf(f)));
    const statuses = new Set(asked.statuses.map((s) => this.index.statuses.indexOf(s)));
    const outcomes = new Set(asked.outcomes.flatMap((o) => CORRECT[o] ?? [OUTCOMES.indexOf(o)]));
    const rows = this._matching(asked.text);
    const [low, high] = [asked.low ?? -Infinity, asked.high ?? Infinity];
    const ranged = asked.low !== null || asked.high !== null;
    const kept = new Uint32Array(this.count);
    let n = 0;
    for (let i = 0; i < this.count; i++) {
      if (asked.marked && !this.marked[i]) continue;
      if (!asked.marked && status[i] === NOTHING && Number.isNaN(score[i])) continue;
      if (findings.size && !findings.has(i % this.F)) continue;
      if (statuses.size && !statuses.has(status[i])) continue;
      if (outcomes.size && !outcomes.has(outcome[i])) continue;
      if (rows && !rows[Math.floor(i / this.F)]) continue;
      if (ranged && !(score[i] >= low && score[i] <= high)) continue;
      kept[n++] = i;
    }
    return this._sorted(kept.slice(0, n), this._sortedBy(asked.sort, columns), asked.descending);
  }

  /**
   * @param {string} sort @param {CaseColumns} columns
   * @returns {NumberArray | null}
   */
  _sortedBy(sort, columns) {
    /** @type {Record<string, NumberArray>} */
    const keys = { score: columns.score, probability: columns.probability, area: this.area, elongation: this.elongation,
                   irrectangularity: this.irrectangularity, instances: this.instances };
    return keys[sort] ?? null;
  }

  /**
   * Undefined values stand last either way.
   * @param {Uint32Array<ArrayBuffer>} cases @param {NumberArray | null} key @param {boolean} descending
   */
  _sorted(cases, key, descending) {
    if (!key) return descending ? cases.reverse() : cases;
    const sign = descending ? -1 : 1;
    let known = cases.filter((i) => !Number.isNaN(key[i]));
    const rest = cases.filter((i) => Number.isNaN(key[i]));
    if (this.count < 2 ** 21) known = ranked(known, key, sign);
    else known.sort((a, b) => sign * (key[a] - key[b]) || a - b);
    const out = new Uint32Array(cases.length);
    out.set(known);
    out.set(rest, known.length);
    return out;
  }

  /** @param {string} text */
  _matching(text) {
    if (!text) return null;
    const wanted = text.toLowerCase();
    const ofPatient = this.patients.map((p) => p.toLowerCase().includes(wanted));
    return Uint8Array.from(this.radiographs, (id, r) => Number(id.toLowerCase().includes(wanted) || ofPatient[this.patient[r]]));
  }
}

/**
 * Cases by a float32 key, equals by their number: the bits of a float, made to count upward, and the number below them
 * fit the 53 bits of a double, and doubles are sorted without asking us about every pair.
 * @param {Uint32Array<ArrayBuffer>} cases @param {NumberArray} key @param {number} sign
 */
function ranked(cases, key, sign) {
  const bits = new Int32Array(Float32Array.from(cases, (i) => sign * key[i] + 0).buffer); // + 0: no negative zero
  const both = new Float64Array(cases.length);
  for (let k = 0; k < cases.length; k++) {
    const upward = bits[k] < 0 ? -2147483648 - bits[k] : bits[k];
    both[k] = upward * 2 ** 21 + cases[k];
  }
  both.sort();
  return Uint32Array.from(both, (v) => v - Math.floor(v / 2 ** 21) * 2 ** 21);
}
