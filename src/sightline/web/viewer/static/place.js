// A map laid on its radiograph, counted and cut: the definitions of sightline.geometry, histogram and binarize, step by
// step in float32, so that what a slider says is what a score says.

import { context2d } from "../web/dom.js";

const STEPS = 5100; // 255 × 20: gray levels of Otsu's threshold and multiples of 0.05 are exact edges
const PER_GRAY = STEPS / 255;
const f32 = Math.fround;

/**
 * Where a bin begins, as a share of the map's range.
 * @param {number} bin
 */
export function levelOf(bin) {
  return bin / STEPS;
}

/**
 * Bilinear weights along one axis: { first, low, high, upper } of the pixels whose centers lie inside.
 * @param {number} cells @param {number} length @param {number} start @param {number} stop @param {boolean} whole
 */
function taps(cells, length, start, stop, whole) {
  const first = whole ? 0 : Math.max(0, Math.floor(start - 0.5) + 1);
  let last = whole ? length - 1 : Math.min(length - 1, Math.ceil(stop - 0.5) - 1);
  if (last < first) last = first - 1;
  const count = last - first + 1;
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const upper = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let at = (first + i + 0.5 - start) * (cells / (stop - start)) - 0.5;
    if (whole) at = f32(at); // as OpenCV does it
    at = Math.min(cells - 1, Math.max(0, at));
    low[i] = Math.min(Math.floor(at), Math.max(cells - 2, 0));
    high[i] = Math.min(low[i] + 1, cells - 1);
    upper[i] = at - low[i];
  }
  return { first, count, low, high, upper };
}

/**
 * A map (h, w) over box [top, left, bottom, right] on an image of size [H, W]: { values, rows, cols, top, left } of the
 * pixels it covers. Half-pixel centers, edges clamped.
 * @param {NumberArray} values @param {Size} shape @param {Size} size @param {Box} box
 */
export function place(values, [h, w], [height, width], [top, left, bottom, right]) {
  const whole = top === 0 && left === 0 && bottom === height && right === width;
  const over = taps(w, width, left, right, whole);
  const down = taps(h, height, top, bottom, whole);
  const wide = new Float32Array(h * over.count);
  for (let r = 0; r < h; r++)
    for (let i = 0; i < over.count; i++) {
      const u = over.upper[i];
      const a = values[r * w + over.low[i]];
      const b = values[r * w + over.high[i]];
      wide[r * over.count + i] = f32(a * f32(1 - u)) + f32(b * u);
    }
  const out = new Float32Array(down.count * over.count);
  for (let j = 0; j < down.count; j++) {
    const u = down.upper[j];
    const rest = f32(1 - u);
    const low = down.low[j] * over.count;
    const high = down.high[j] * over.count;
    for (let i = 0; i < over.count; i++) out[j * over.count + i] = f32(wide[low + i] * rest) + f32(wide[high + i] * u);
  }
  return { values: out, rows: down.count, cols: over.count, top: down.first, left: over.first };
}

/**
 * The pixels of a mask, Uint8Array (H * W), from runs: row by row, outside first.
 * @param {NumberArray} runs @param {Size} size
 */
export function fromRuns(runs, [height, width]) {
  const mask = new Uint8Array(height * width);
  let at = 0;
  for (const [i, length] of runs.entries()) {
    if (i % 2) mask.fill(1, at, at + length);
    at += length;
  }
  return mask;
}

/** A map laid on its image and counted against a truth (Uint8Array (H * W), or null where there is no mark). */
export class Placed {
  /** @param {OpenMap} map @param {Uint8Array | null} truth */
  constructor(map, truth) {
    this.size = map.size;
    this.kind = map.kind;
    this.at = place(map.values, map.shape, map.size, map.box);
    const { values, rows, cols, top, left } = this.at;
    let low = Infinity;
    let high = -Infinity;
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    this.flat = !(high > low);
    this.bins = new Uint16Array(values.length);
    this.inside = new Float64Array(STEPS + 1);
    this.all = new Float64Array(STEPS + 1);
    const span = f32(high - low);
    const width = map.size[1];
    for (let r = 0, i = 0; r < rows; r++)
      for (let c = 0; c < cols; c++, i++) {
        const bin = this.flat ? 0 : Math.floor(f32(f32(f32(values[i] - f32(low)) / span) * STEPS));
        this.bins[i] = bin;
        this.all[bin]++;
        if (truth?.[(top + r) * width + left + c]) this.inside[bin]++;
      }
    this.marked = 0;
    if (truth) for (const pixel of truth) this.marked += pixel;
  }

  /**
   * The value at a pixel of the image; undefined where the map does not reach.
   * @param {number} row @param {number} col
   */
  valueAt(row, col) {
    const { values, rows, cols, top, left } = this.at;
    const [r, c] = [row - top, col - left];
    return r >= 0 && c >= 0 && r < rows && c < cols ? values[r * cols + c] : undefined;
  }

  /**
   * The middle of the pixel with the highest value, [row, col].
   * @returns {Point}
   */
  peak() {
    const { values, cols, top, left } = this.at;
    const at = values.reduce((best, v, i) => (v > values[best] ? i : best), 0);
    return [top + Math.floor(at / cols) + 0.5, left + (at % cols) + 0.5];
  }

  /** First bin above Otsu's threshold at 256 gray levels. */
  otsu() {
    const gray = new Float64Array(256);
    for (let bin = 0; bin <= STEPS; bin++) gray[Math.floor(bin / PER_GRAY)] += this.all[bin];
    const total = gray.reduce((a, b) => a + b, 0);
    const moment = gray.reduce((sum, n, level) => sum + n * level, 0) / total;
    let [weight, mean, best, at] = [0, 0, -1, 0];
    for (let level = 0; level < 256; level++) {
      weight += gray[level] / total;
      mean += (gray[level] * level) / total;
      if (Math.min(weight, 1 - weight) <= 1.1920929e-7) continue;
      const between = (moment * weight - mean) ** 2 / (weight * (1 - weight));
      if (between > best) [best, at] = [between, level];
    }
    return (at + 1) * PER_GRAY;
  }

  /**
   * First bin of the highest share of the pixels, ties included.
   * @param {number} fraction
   */
  top(fraction) {
    const wanted = fraction * this.at.values.length;
    let above = 0;
    for (let bin = STEPS; bin >= 0; bin--) {
      above += this.all[bin];
      if (above >= wanted) return bin;
    }
    return 0;
  }

  /**
   * First bin of the mask under a binarizer: "otsu", "above:T" or "top:FRACTION". A mask is cut in the middle.
   * @param {string} binarizer
   */
  cut(binarizer) {
    if (this.kind === "mask") return STEPS / 2;
    const [name, argument] = binarizer.split(":");
    if (name === "above") return Math.floor(Number(argument) * STEPS + 1e-9);
    return name === "top" ? this.top(Number(argument)) : this.otsu();
  }

  /**
   * { iou, dice, precision, recall, share } of the mask of the pixels in `bin` and above; NaN without a mark.
   * @param {number} bin
   */
  scores(bin) {
    let [tp, claimed] = [0, 0];
    for (let b = bin; b <= STEPS; b++) {
      tp += this.inside[b];
      claimed += this.all[b];
    }
    if (this.flat) [tp, claimed] = [0, 0]; // a map that points nowhere claims nothing
    const share = claimed / (this.size[0] * this.size[1]);
    if (!this.marked) return { iou: NaN, dice: NaN, precision: NaN, recall: NaN, share };
    return {
      iou: tp / (claimed + this.marked - tp), dice: (2 * tp) / (claimed + this.marked),
      precision: claimed ? tp / claimed : 0, recall: tp / this.marked, share,
    };
  }

  /**
   * The mask as a canvas, filled thinly with a firm edge, and the box it covers.
   * @param {number} bin @param {RGB} color
   * @returns {{ image: OffscreenCanvas, box: Box }}
   */
  mask(bin, [red, green, blue]) {
    const { rows, cols, top, left } = this.at;
    const step = Math.max(1, Math.ceil(Math.max(rows, cols) / 900));
    const h = Math.ceil(rows / step);
    const w = Math.ceil(cols / step);
    const pixels = new ImageData(w, h);
    const words = new Uint32Array(pixels.data.buffer);
    const color = (blue << 16) | (green << 8) | red;
    /** @param {number} r @param {number} c */
    const inside = (r, c) => r >= 0 && c >= 0 && r < h && c < w && this.bins[r * step * cols + c * step] >= bin;
    for (let r = 0; r < h; r++)
      for (let c = 0; c < w; c++) {
        if (this.flat || !inside(r, c)) continue;
        const edge = !inside(r - 1, c) || !inside(r + 1, c) || !inside(r, c - 1) || !inside(r, c + 1);
        words[r * w + c] = ((edge ? 255 : 56) << 24) | color;
      }
    const canvas = new OffscreenCanvas(w, h);
    context2d(canvas).putImageData(pixels, 0, 0);
    return { image: canvas, box: [top, left, top + h * step, left + w * step] };
  }
}
