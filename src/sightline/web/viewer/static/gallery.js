// Cases as small pictures: only those in sight exist, however many there are.

import { getBundle } from "../web/bundle.js";
import { scaleOf, DIVERGING } from "../web/colors.js";
import { ask, context2d, decimal, el, fill } from "../web/dom.js";
import { asked, panel } from "./filters.js";
import { here, link, tweak } from "./state.js";

const GAP = 12;
const TEXT = 50;
const WIDTH = 190;
const AT_ONCE = 2; // of two requests each; a browser makes six at once

export class Gallery {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {Map<number, Promise<[ImageBitmap | null, Preview | null]>>} */
    this.kept = new Map(); // radiograph -> promise of { picture, preview }
    this.cards = /** @type {Map<number, HTMLElement>} */ (new Map()); // place -> element
    this.waiting = /** @type {[HTMLCanvasElement, number][]} */ ([]); // [canvas, case] to be painted
    this.painting = 0;
    this.canvasHolder = el("div", { class: "cards" });
    this.scroller = el("div", { class: "scroller", tabIndex: -1, on: { scroll: () => this.arrange() } }, this.canvasHolder);
    this.side = el("aside", { class: "side", id: "filters" });
    this.head = el("div", { class: "bar head", role: "status" });
    this.element = el("div", { class: "gallery" }, this.side, el("section", { class: "list" }, this.head, this.scroller));
    this.cases = new Uint32Array();
    this.selected = 0;
    this.turn = 0;
    this.now = asked(store, here().params);
    this.columns = /** @type {CaseColumns | null} */ (null);
    new ResizeObserver(() => this.arrange(true)).observe(this.scroller);
    addEventListener("tweaked", () => this.element.isConnected && this.update({ typing: true }));
  }

  /**
   * Show what the address asks for. typing: leave the controls alone.
   * @param {{ typing?: boolean }} options
   */
  async update({ typing = false } = {}) {
    const { store } = this;
    const began = performance.now();
    this.now = asked(store, here().params);
    const turn = ++this.turn;
    const columns = await store.gather(this.now);
    if (turn !== this.turn) return; // something newer was asked for
    this.columns = columns;
    this.cases = store.choose(this.now, columns);
    this.selected = 0;
    if (!typing) {
      const [top, focus] = [this.side.scrollTop, document.activeElement];
      const again = focus instanceof HTMLElement && this.side.contains(focus) && (focus.dataset.value ?? focus.id);
      fill(this.side, panel(store, this.now, columns, this.cases));
      this.side.scrollTop = top;
      if (again) (/** @type {HTMLElement | null} */ (this.side.querySelector(`[data-value="${CSS.escape(again)}"]`)) ?? document.getElementById(again))?.focus();
    }
    this.said();
    this.scroller.scrollTop = Number(history.state?.scroll ?? 0);
    this.arrange(true);
    this.element.dataset.cases = String(this.cases.length);
    this.element.dataset.milliseconds = (performance.now() - began).toFixed(1);
    this.element.dataset.turn = String(turn);
  }

  said() {
    const { store, now } = this;
    const there = new Uint8Array(store.patients.length);
    for (const i of this.cases) there[store.patient[store.rowOf(i)]] = 1;
    const patients = there.reduce((a, b) => a + b, 0);
    const score = now.metric && store.metric.get(now.metric);
    fill(this.head,
      el("h1", {}, `${this.cases.length.toLocaleString("en")} ${this.cases.length === 1 ? "case" : "cases"}`),
      el("span", { class: "muted" }, `of ${patients.toLocaleString("en")} ${patients === 1 ? "patient" : "patients"} · ${store.label(now.source)}` +
        (score ? ` · ${score.title}, ${now.protocol}${score.higher ? "" : " (lower is better)"}` : "")),
      el("span", { class: "grow" }),
      this.legend());
  }

  legend() {
    const { side } = this;
    return el("span", { class: "bar small muted" },
      el("span", { class: "swatch truth" }), "truth", el("span", { class: "swatch ramp" }), "map",
      el("button", { type: "button", class: "narrow", on: { click: () => side.classList.toggle("open") } }, "Filter"));
  }

  get columnsAcross() {
    return Math.max(1, Math.floor((this.scroller.clientWidth - GAP) / (WIDTH + GAP)));
  }

  get cardWidth() {
    return Math.floor((this.scroller.clientWidth - GAP) / this.columnsAcross) - GAP;
  }

  /** Put cards where they are in sight. */
  arrange(anew = false) {
    const across = this.columnsAcross;
    const width = this.cardWidth;
    const height = width + TEXT + GAP;
    if (anew) {
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
    const { store, now } = this;
    const id = store.radiographOf(number);
    const finding = store.findingOf(number);
    const status = columns.status[number];
    const canvas = el("canvas", { class: "thumb", width: width * 1.5, height: width * 1.5, aria: { hidden: "true" } });
    canvas.style.height = `${width}px`;
    const score = columns.score[number];
    const p = columns.probability[number];
    const wrong = [1, 2].includes(columns.outcome[number]);
    const card = el("a", { class: "card", href: this.caseLink(number), data: { place, case: number },
                           aria: { label: `${finding}, ${id}` }, on: { click: () => this.remember() } },
      canvas,
      el("span", { class: "line" }, el("b", {}, finding), now.metric && el("span", { class: "score" }, decimal(score))),
      el("span", { class: "line muted small" }, el("span", { class: "id" }, id),
        !Number.isNaN(p) && el("span", { class: wrong ? "wrong" : "" }, `p ${decimal(p)}`)),
      status > 0 && status < 255 && el("span", { class: "badge" }, store.index.statuses[status]));
    this.paint(canvas, number);
    return card;
  }

  /** @param {number} number */
  caseLink(number) {
    const params = here().params;
    return link("case", [this.store.radiographOf(number), this.store.findingOf(number)], params);
  }

  remember() {
    history.replaceState({ scroll: this.scroller.scrollTop }, "");
  }

  /** @param {number} r */
  pictures(r) {
    const known = this.kept.get(r);
    if (known) return known;
    const film = this.store.place[r] < 0 ? null
      : ask(this.store.url(`data/thumb/${r}.jpg`)).then((a) => a.blob()).then(createImageBitmap).catch(() => null);
    /** @type {Promise<Preview>} */
    const preview = getBundle(this.store.url(`data/preview/${r}.bin`));
    const pictures = Promise.all([film, preview.catch(() => null)]);
    this.kept.set(r, pictures);
    const [oldest] = this.kept.keys();
    if (this.kept.size > 300) this.kept.delete(oldest);
    return pictures;
  }

  /**
   * Ask for the pictures of a card, few at once, so that scores never wait behind them.
   * @param {HTMLCanvasElement} canvas @param {number} number
   */
  paint(canvas, number) {
    this.waiting.push([canvas, number]);
    if (this.painting < AT_ONCE) this.work();
  }

  async work() {
    this.painting++;
    await new Promise((done) => setTimeout(done, 30)); // a card that only flies by asks for nothing
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) {
      const [canvas, number] = next;
      if (canvas.isConnected) await this.draw(canvas, number);
    }
    this.painting--;
  }

  /** @param {HTMLCanvasElement} canvas @param {number} number */
  async draw(canvas, number) {
    const source = this.now.source;
    const [film, preview] = await this.pictures(this.store.rowOf(number));
    if (!canvas.isConnected) return;
    const context = context2d(canvas);
    const size = preview?.facts.size ?? (film ? [film.height, film.width] : [1, 1]);
    const scale = Math.min(canvas.width / size[1], canvas.height / size[0]);
    const [left, top] = [(canvas.width - size[1] * scale) / 2, (canvas.height - size[0] * scale) / 2];
    if (film) context.drawImage(film, left, top, size[1] * scale, size[0] * scale);
    if (!preview) return;
    const finding = this.store.findingOf(number);
    context.save();
    context.beginPath();
    context.rect(left, top, size[1] * scale, size[0] * scale);
    context.clip();
    context.translate(left, top);
    drawMap(context, preview, preview.facts.maps.findIndex((m) => m.finding === finding && m.source === source), scale);
    drawTruth(context, preview.facts.truth[finding] ?? [], scale);
    context.restore();
    canvas.dataset.painted = "1";
  }

  /**
   * Move the focus among cards.
   * @param {number} by
   */
  step(by) {
    const next = Math.max(0, Math.min(this.cases.length - 1, this.selected + by));
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
   * Answer a key; false for one that means nothing here.
   * @param {KeyboardEvent} event
   */
  press(event) {
    const focus = document.activeElement;
    const inCards = focus instanceof HTMLElement && focus.classList.contains("card");
    if (inCards) this.selected = Number(focus.dataset.place);
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1, ArrowDown: this.columnsAcross, ArrowUp: -this.columnsAcross };
    if (event.key in steps) {
      if (!inCards) this.step(0);
      else this.step(steps[event.key]);
      return true;
    }
    if (event.key === "x") {
      tweak({ status: here().params.has("status") ? null : this.store.index.statuses.slice(1) }, { replace: false });
      return true;
    }
    return false;
  }
}

/** @param {Context2D} context @param {Preview} preview @param {number} i @param {number} scale */
function drawMap(context, { facts, arrays }, i, scale) {
  if (i < 0 || !arrays[`m${i}`].length) return;
  const { box: [top, left, bottom, right], shape, signed } = facts.maps[i];
  context.globalAlpha = 0.75;
  context.imageSmoothingEnabled = true;
  context.drawImage(tinted(arrays[`m${i}`], shape, signed), left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  context.globalAlpha = 1;
}

/** @param {Context2D} context @param {Point[][]} contours @param {number} scale */
function drawTruth(context, contours, scale) {
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
const tints = new Map();

/** @param {Uint8Array} values @param {Size} shape @param {boolean} signed */
function tinted(values, [height, width], signed) {
  const known = tints.get(values);
  if (known) return known;
  const table = scaleOf(signed ? DIVERGING : "magma");
  const pixels = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const at = Math.round((values[i] / 255) * 511);
    const strength = signed ? Math.abs(values[i] - 127.5) / 127.5 : values[i] / 255;
    pixels.data.set([table[at * 3], table[at * 3 + 1], table[at * 3 + 2], 255 * strength ** 0.7], i * 4);
  }
  const canvas = new OffscreenCanvas(width, height);
  context2d(canvas).putImageData(pixels, 0, 0);
  if (tints.size > 500) tints.clear();
  tints.set(values, canvas);
  return canvas;
}

