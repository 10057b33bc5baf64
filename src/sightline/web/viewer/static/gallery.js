// Gallery of cases: only the visible cards exist, however many cases there are.

import { getBundle } from "../web/bundle.js";
import { colorTable, DIVERGING } from "../web/colors.js";
import { request, context2d, decimal, el, fill } from "../web/dom.js";
import { caseQuery, filterPanel } from "./filters.js";
import { currentRoute, pageUrl, updateParams } from "./router.js";

const GAP = 12;
const TEXT = 50;
const WIDTH = 190;
const MAX_WORKERS = 2; // each sends two requests; a browser sends six at a time

export class Gallery {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {Map<number, Promise<[ImageBitmap | null, Preview | null]>>} */
    this.loaded = new Map(); // by radiograph: [thumbnail, preview]
    this.cards = /** @type {Map<number, HTMLElement>} */ (new Map()); // by position
    this.waiting = /** @type {[HTMLCanvasElement, number][]} */ ([]); // [canvas, case]
    this.painting = 0;
    this.canvasHolder = el("div", { class: "cards" });
    this.scroller = el("div", { class: "scroller", tabIndex: -1, on: { scroll: () => this.arrange() } }, this.canvasHolder);
    this.side = el("aside", { class: "side", id: "filters" });
    this.head = el("div", { class: "bar head", role: "status" });
    this.element = el("div", { class: "gallery" }, this.side, el("section", { class: "list" }, this.head, this.scroller));
    this.cases = new Uint32Array();
    this.selected = 0;
    this.requestNumber = 0;
    this.query = caseQuery(store, currentRoute().params);
    this.columns = /** @type {CaseColumns | null} */ (null);
    new ResizeObserver(() => this.arrange(true)).observe(this.scroller);
    addEventListener("paramschanged", () => this.element.isConnected && this.update({ typing: true }));
  }

  /**
   * Show the cases of the query in the URL. typing: keep the controls as they are.
   * @param {{ typing?: boolean }} options
   */
  async update({ typing = false } = {}) {
    const { store } = this;
    const began = performance.now();
    this.query = caseQuery(store, currentRoute().params);
    const requestNumber = ++this.requestNumber;
    const columns = await store.loadColumns(this.query);
    if (requestNumber !== this.requestNumber) return; // a later request replaced this one
    this.columns = columns;
    this.cases = store.selectCases(this.query, columns);
    this.selected = 0;
    if (!typing) {
      const [top, focus] = [this.side.scrollTop, document.activeElement];
      const focusId = focus instanceof HTMLElement && this.side.contains(focus) && (focus.dataset.value ?? focus.id);
      fill(this.side, filterPanel(store, this.query, columns, this.cases));
      this.side.scrollTop = top;
      if (focusId) (/** @type {HTMLElement | null} */ (this.side.querySelector(`[data-value="${CSS.escape(focusId)}"]`)) ?? document.getElementById(focusId))?.focus();
    }
    this.showSummary();
    this.scroller.scrollTop = Number(history.state?.scroll ?? 0);
    this.arrange(true);
    this.element.dataset.cases = String(this.cases.length);
    this.element.dataset.milliseconds = (performance.now() - began).toFixed(1);
    this.element.dataset.requestNumber = String(requestNumber);
  }

  showSummary() {
    const { store, query } = this;
    const isPresent = new Uint8Array(store.patients.length);
    for (const i of this.cases) isPresent[store.patient[store.rowOf(i)]] = 1;
    const patients = isPresent.reduce((a, b) => a + b, 0);
    const score = query.metric && store.metric.get(query.metric);
    fill(this.head,
      el("h1", {}, `${this.cases.length.toLocaleString("en")} ${this.cases.length === 1 ? "case" : "cases"}`),
      el("span", { class: "muted" }, `of ${patients.toLocaleString("en")} ${patients === 1 ? "patient" : "patients"} · ${store.label(query.source)}` +
        (score ? ` · ${score.title}, ${query.protocol}${score.higher ? "" : " (lower is better)"}` : "")),
      el("span", { class: "grow" }),
      this.legend());
  }

  legend() {
    const { side } = this;
    return el("span", { class: "bar small muted" },
      el("span", { class: "swatch truth" }), "reference", el("span", { class: "swatch ramp" }), "map",
      el("button", { type: "button", class: "narrow", on: { click: () => side.classList.toggle("open") } }, "Filter"));
  }

  get columnsAcross() {
    return Math.max(1, Math.floor((this.scroller.clientWidth - GAP) / (WIDTH + GAP)));
  }

  get cardWidth() {
    return Math.floor((this.scroller.clientWidth - GAP) / this.columnsAcross) - GAP;
  }

  /** Create the visible cards and remove the others. */
  arrange(fromScratch = false) {
    const across = this.columnsAcross;
    const width = this.cardWidth;
    const height = width + TEXT + GAP;
    if (fromScratch) {
      for (const card of this.cards.values()) card.remove();
      this.cards.clear();
      this.canvasHolder.style.height = `${Math.ceil(this.cases.length / across) * height + GAP}px`;
    }
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / height) - 1) * across;
    const last = Math.min(this.cases.length, (Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / height) + 1) * across);
    for (const [place, card] of this.cards)
      if (place < first || place >= last) {
        card.remove();
        this.cards.delete(place);
      }
    for (let place = first; place < last && this.columns; place++) {
      if (this.cards.has(place)) continue;
      const card = this.card(this.cases[place], place, width, this.columns);
      card.style.transform = `translate(${GAP + (place % across) * (width + GAP)}px, ${GAP + Math.floor(place / across) * height}px)`;
      card.style.width = `${width}px`;
      this.cards.set(place, card);
      this.canvasHolder.append(card);
    }
  }

  /** @param {number} number @param {number} place @param {number} width @param {CaseColumns} columns */
  card(number, place, width, columns) {
    const { store, query } = this;
    const id = store.radiographOf(number);
    const finding = store.findingOf(number);
    const status = columns.status[number];
    const canvas = el("canvas", { class: "thumb", width: width * 1.5, height: width * 1.5, aria: { hidden: "true" } });
    canvas.style.height = `${width}px`;
    const score = columns.score[number];
    const p = columns.probability[number];
    const isWrong = [1, 2].includes(columns.outcome[number]);
    const card = el("a", { class: "card", href: this.caseLink(number), data: { place, case: number },
                           aria: { label: `${finding}, ${id}` }, on: { click: () => this.saveScroll() } },
      canvas,
      el("span", { class: "line" }, el("b", {}, finding), query.metric && el("span", { class: "score" }, decimal(score))),
      el("span", { class: "line muted small" }, el("span", { class: "id" }, id),
        !Number.isNaN(p) && el("span", { class: isWrong ? "wrong" : "" }, `p ${decimal(p)}`)),
      status > 0 && status < 255 && el("span", { class: "badge" }, store.index.statuses[status]));
    this.paint(canvas, number);
    return card;
  }

  /** @param {number} number */
  caseLink(number) {
    const params = currentRoute().params;
    return pageUrl("case", [this.store.radiographOf(number), this.store.findingOf(number)], params);
  }

  saveScroll() {
    history.replaceState({ scroll: this.scroller.scrollTop }, "");
  }

  /** @param {number} r */
  pictures(r) {
    const known = this.loaded.get(r);
    if (known) return known;
    const thumbnail = this.store.place[r] < 0 ? null
      : request(this.store.url(`data/thumb/${r}.jpg`)).then((a) => a.blob()).then(createImageBitmap).catch(() => null);
    /** @type {Promise<Preview>} */
    const preview = getBundle(this.store.url(`data/preview/${r}.bin`));
    const pictures = Promise.all([thumbnail, preview.catch(() => null)]);
    this.loaded.set(r, pictures);
    const [oldest] = this.loaded.keys();
    if (this.loaded.size > 300) this.loaded.delete(oldest);
    return pictures;
  }

  /**
   * Queue a card for painting; few are painted at a time, so that scores need not wait for images.
   * @param {HTMLCanvasElement} canvas @param {number} number
   */
  paint(canvas, number) {
    this.waiting.push([canvas, number]);
    if (this.painting < MAX_WORKERS) this.paintWaiting();
  }

  async paintWaiting() {
    this.painting++;
    await new Promise((done) => setTimeout(done, 30)); // a card that scrolls past requests nothing
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) {
      const [canvas, number] = next;
      if (canvas.isConnected) await this.draw(canvas, number);
    }
    this.painting--;
  }

  /** @param {HTMLCanvasElement} canvas @param {number} number */
  async draw(canvas, number) {
    const source = this.query.source;
    const [thumbnail, preview] = await this.pictures(this.store.rowOf(number));
    if (!canvas.isConnected) return;
    const context = context2d(canvas);
    const size = preview?.fields.size ?? (thumbnail ? [thumbnail.height, thumbnail.width] : [1, 1]);
    const scale = Math.min(canvas.width / size[1], canvas.height / size[0]);
    const [left, top] = [(canvas.width - size[1] * scale) / 2, (canvas.height - size[0] * scale) / 2];
    if (thumbnail) context.drawImage(thumbnail, left, top, size[1] * scale, size[0] * scale);
    if (!preview) return;
    const finding = this.store.findingOf(number);
    context.save();
    context.beginPath();
    context.rect(left, top, size[1] * scale, size[0] * scale);
    context.clip();
    context.translate(left, top);
    drawMap(context, preview, preview.fields.maps.findIndex((m) => m.finding === finding && m.source === source), scale);
    drawReference(context, preview.fields.truth[finding] ?? [], scale);
    context.restore();
    canvas.dataset.painted = "1";
  }

  /**
   * Move the focus to another card.
   * @param {number} offset
   */
  moveFocus(offset) {
    const next = Math.max(0, Math.min(this.cases.length - 1, this.selected + offset));
    this.selected = next;
    const height = this.cardWidth + TEXT + GAP;
    const top = Math.floor(next / this.columnsAcross) * height;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    if (top + height > this.scroller.scrollTop + this.scroller.clientHeight)
      this.scroller.scrollTop = top + height - this.scroller.clientHeight + GAP;
    this.arrange();
    this.cards.get(next)?.focus({ preventScroll: true });
  }

  /**
   * Handle a key; return false for one without a meaning here.
   * @param {KeyboardEvent} event
   */
  handleKey(event) {
    const focus = document.activeElement;
    const inCards = focus instanceof HTMLElement && focus.classList.contains("card");
    if (inCards) this.selected = Number(focus.dataset.place);
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1, ArrowDown: this.columnsAcross, ArrowUp: -this.columnsAcross };
    if (event.key in steps) {
      if (!inCards) this.moveFocus(0);
      else this.moveFocus(steps[event.key]);
      return true;
    }
    if (event.key === "x") {
      updateParams({ status: currentRoute().params.has("status") ? null : this.store.index.statuses.slice(1) }, { replace: false });
      return true;
    }
    return false;
  }
}

/** @param {Context2D} context @param {Preview} preview @param {number} i @param {number} scale */
function drawMap(context, { fields, arrays }, i, scale) {
  if (i < 0 || !arrays[`m${i}`].length) return;
  const { box: [top, left, bottom, right], shape, signed } = fields.maps[i];
  context.globalAlpha = 0.75;
  context.imageSmoothingEnabled = true;
  context.drawImage(colorPreview(arrays[`m${i}`], shape, signed), left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  context.globalAlpha = 1;
}

/** @param {Context2D} context @param {Point[][]} contours @param {number} scale */
function drawReference(context, contours, scale) {
  context.beginPath();
  for (const contour of contours) {
    for (const [k, [row, col]] of contour.entries()) {
      if (k) context.lineTo(col * scale, row * scale);
      else context.moveTo(col * scale, row * scale);
    }
    context.closePath();
  }
  context.strokeStyle = "rgb(0 0 0 / 60%)";
  context.lineWidth = 5;
  context.stroke();
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--truth");
  context.lineWidth = 2.5;
  context.stroke();
}

/** @type {Map<Uint8Array, OffscreenCanvas>} */
const coloredPreviews = new Map();

/** @param {Uint8Array} values @param {Size} shape @param {boolean} signed */
function colorPreview(values, [height, width], signed) {
  const known = coloredPreviews.get(values);
  if (known) return known;
  const table = colorTable(signed ? DIVERGING : "magma");
  const pixels = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const color = Math.round((values[i] / 255) * 511);
    const strength = signed ? Math.abs(values[i] - 127.5) / 127.5 : values[i] / 255;
    pixels.data.set([table[color * 3], table[color * 3 + 1], table[color * 3 + 2], 255 * strength ** 0.7], i * 4);
  }
  const canvas = new OffscreenCanvas(width, height);
  context2d(canvas).putImageData(pixels, 0, 0);
  if (coloredPreviews.size > 500) coloredPreviews.clear();
  coloredPreviews.set(values, canvas);
  return canvas;
}

