// Content of the run in the browser: names, cases, and columns of scores that are loaded when they are used.

import { getBundle } from "../web/bundle.js";
import { request, getJSON } from "../web/dom.js";

const UNKNOWN_LABEL = -128;
const NO_MAP = 255;
export const OUTCOMES = ["true positive", "false negative", "false positive", "true negative"];
/** @type {Record<string, number[]>} */
export const CORRECT = { correct: [0, 3], incorrect: [1, 2] };

export class Store {
  static async open() {
    /** @type {RunIndex} */
    const index = await getJSON("data/index.json");
    /** @type {Bundle<CaseFields, CaseArrays>} */
    const { fields, arrays } = await getBundle(`data/cases.bin?v=${index.stamp}`);
    return new Store(index, fields, arrays);
  }

  /** @param {RunIndex} index @param {CaseFields} fields @param {CaseArrays} arrays */
  constructor(index, fields, arrays) {
    this.index = index;
    this.radiographs = fields.radiographs;
    this.patients = fields.patients;
    this.splits = fields.splits;
    this.views = fields.views;
    this.labels = arrays.label;
    this.annotated = arrays.annotated;
    this.patient = arrays.patient;
    this.place = arrays.place;
    this.area = arrays.area;
    this.elongation = arrays.elongation;
    this.irrectangularity = arrays.irrectangularity;
    this.instances = arrays.instances;
    this.nFindings = index.findings.length;
    this.count = this.radiographs.length * this.nFindings;
    this.sourceNumber = new Map(index.sources.map((s, i) => [s.name, i]));
    this.radiographNumber = new Map(this.radiographs.map((id, i) => [id, i]));
    this.files = new Map(index.columns.map((c) => [`${c.protocol}\n${c.metric}\n${c.source}`, c.file]));
    this.metric = new Map(index.metrics.map((m) => [m.name, m]));
    this._loaded = /** @type {Map<string, Promise<any>>} */ (new Map());
  }

  /** @param {string} path */
  url(path) {
    return `${path}?v=${this.index.stamp}`;
  }

  /** @param {string} id @param {string} finding */
  caseNumber(id, finding) {
    const r = this.radiographNumber.get(id);
    const f = this.index.findings.indexOf(finding);
    return r === undefined || f < 0 ? -1 : r * this.nFindings + f;
  }

  /**
   * Return the number of a case's radiograph.
   * @param {number} number
   */
  rowOf(number) {
    return Math.floor(number / this.nFindings);
  }

  /** @param {number} number */
  radiographOf(number) {
    return this.radiographs[this.rowOf(number)];
  }

  /** @param {number} number */
  findingOf(number) {
    return this.index.findings[number % this.nFindings];
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
    const pending = this._loaded.get(path);
    if (pending) return pending;
    const loading = request(this.url(path)).then((a) => a.arrayBuffer()).then((b) => new Type(b));
    loading.catch(() => this._loaded.delete(path));
    this._loaded.set(path, loading);
    const [oldest] = this._loaded.keys();
    if (this._loaded.size > 60) this._loaded.delete(oldest);
    return loading;
  }

  /**
   * Load the scores of a source, Float32Array (cases,), or null.
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
   * Return the probability from which a model predicts a finding.
   * @param {string} source @param {string} finding
   */
  cutoff(source, finding) {
    const model = this._source(source)?.model ?? "";
    /** @param {string} name */
    const cutoffOf = (name) => this.index.cutoffs.find((c) => c.model === name && c.finding === finding)?.cutoff;
    return cutoffOf(model) ?? cutoffOf("") ?? 0.5;
  }

  /**
   * Compute the position in OUTCOMES per case, or NO_MAP where label or probability are unknown.
   * @param {string} source
   */
  async outcomes(source) {
    const probability = await this.probability(source);
    const cutoffs = this.index.findings.map((f) => this.cutoff(source, f));
    const out = new Uint8Array(this.count);
    for (let i = 0; i < out.length; i++) {
      const [label, p] = [this.labels[i], probability[i]];
      if ((label !== 0 && label !== 1) || Number.isNaN(p)) out[i] = NO_MAP;
      else out[i] = label === 1 ? (p >= cutoffs[i % this.nFindings] ? 0 : 1) : p >= cutoffs[i % this.nFindings] ? 2 : 3;
    }
    return out;
  }

  /** @param {number} number */
  labelText(number) {
    const value = this.labels[number];
    if (value === UNKNOWN_LABEL) return "label unknown";
    return value === 1 ? "present" : value === 0 ? "absent" : "uncertain";
  }

  /**
   * Load all columns that the selection of cases depends on.
   * @param {CaseQuery} query
   * @returns {Promise<CaseColumns>}
   */
  async loadColumns({ protocol, metric, source }) {
    const [score, status, probability, outcome] = await Promise.all([
      this.column(protocol, metric, source), this.status(source), this.probability(source), this.outcomes(source),
    ]);
    return { score: score ?? new Float32Array(this.count).fill(NaN), status, probability, outcome };
  }

  /**
   * Return the cases that match a query, in its order: Uint32Array.
   * @param {CaseQuery} query @param {CaseColumns} columns
   */
  selectCases(query, columns) {
    const { score, status, outcome } = columns;
    const findings = new Set(query.findings.map((f) => this.index.findings.indexOf(f)));
    const statuses = new Set(query.statuses.map((s) => this.index.statuses.indexOf(s)));
    const outcomes = new Set(query.outcomes.flatMap((o) => CORRECT[o] ?? [OUTCOMES.indexOf(o)]));
    const rows = this._radiographsWith(query.text);
    const [low, high] = [query.low ?? -Infinity, query.high ?? Infinity];
    const ranged = query.low !== null || query.high !== null;
    const selected = new Uint32Array(this.count);
    let n = 0;
    for (let i = 0; i < this.count; i++) {
      if (query.onlyAnnotated && !this.annotated[i]) continue;
      if (!query.onlyAnnotated && status[i] === NO_MAP && Number.isNaN(score[i])) continue;
      if (findings.size && !findings.has(i % this.nFindings)) continue;
      if (statuses.size && !statuses.has(status[i])) continue;
      if (outcomes.size && !outcomes.has(outcome[i])) continue;
      if (rows && !rows[Math.floor(i / this.nFindings)]) continue;
      if (ranged && !(score[i] >= low && score[i] <= high)) continue;
      selected[n++] = i;
    }
    return this._sorted(selected.slice(0, n), this._sortKey(query.sort, columns), query.descending);
  }

  /**
   * @param {string} sort @param {CaseColumns} columns
   * @returns {NumberArray | null}
   */
  _sortKey(sort, columns) {
    /** @type {Record<string, NumberArray>} */
    const keys = { score: columns.score, probability: columns.probability, area: this.area, elongation: this.elongation,
                   irrectangularity: this.irrectangularity, instances: this.instances };
    return keys[sort] ?? null;
  }

  /**
   * Sort cases; undefined values come last in both directions.
   * @param {Uint32Array<ArrayBuffer>} cases @param {NumberArray | null} key @param {boolean} descending
   */
  _sorted(cases, key, descending) {
    if (!key) return descending ? cases.reverse() : cases;
    const sign = descending ? -1 : 1;
    let known = cases.filter((i) => !Number.isNaN(key[i]));
    const rest = cases.filter((i) => Number.isNaN(key[i]));
    if (this.count < 2 ** 21) known = rankCases(known, key, sign);
    else known.sort((a, b) => sign * (key[a] - key[b]) || a - b);
    const out = new Uint32Array(cases.length);
    out.set(known);
    out.set(rest, known.length);
    return out;
  }

  /** @param {string} text */
  _radiographsWith(text) {
    if (!text) return null;
    const needle = text.toLowerCase();
    const patientMatches = this.patients.map((p) => p.toLowerCase().includes(needle));
    return Uint8Array.from(this.radiographs, (id, r) => Number(id.toLowerCase().includes(needle) || patientMatches[this.patient[r]]));
  }
}

/**
 * Sort cases by a float32 key, equal ones by their number. The bits of a float, arranged to count upward, and the number
 * of the case fit the 53 bits of a double, and doubles are sorted without a comparison function.
 * @param {Uint32Array<ArrayBuffer>} cases @param {NumberArray} key @param {number} sign
 */
function rankCases(cases, key, sign) {
  const bits = new Int32Array(Float32Array.from(cases, (i) => sign * key[i] + 0).buffer); // + 0: no negative zero
  const packed = new Float64Array(cases.length);
  for (let k = 0; k < cases.length; k++) {
    const upward = bits[k] < 0 ? -2147483648 - bits[k] : bits[k];
    packed[k] = upward * 2 ** 21 + cases[k];
  }
  packed.sort();
  return Uint32Array.from(packed, (v) => v - Math.floor(v / 2 ** 21) * 2 ** 21);
}
