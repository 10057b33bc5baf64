// Map placed on its radiograph, with its histogram and masks: the definitions of sightline.imaging and of the metrics,
// step by step in float32, so that the slider of the threshold shows the same IoU as the scores.

import { context2d } from "../web/dom.js";

const STEPS = 5100; // 255 × 20: gray levels of Otsu's threshold and multiples of 0.05 are exact edges
const PER_GRAY = STEPS / 255;
const f32 = Math.fround;

/**
 * Return the lower edge of a bin, as a share of the map's range.
 * @param {number} bin
 */
export function thresholdOfBin(bin) {
  return bin / STEPS;
}

/**
 * Compute bilinear weights along one axis, for the pixels whose centers lie inside.
 * @param {number} cells @param {number} length @param {number} start @param {number} stop @param {boolean} whole
 */
function bilinearWeights(cells, length, start, stop, whole) {
  const first = whole ? 0 : Math.max(0, Math.floor(start - 0.5) + 1);
  let last = whole ? length - 1 : Math.min(length - 1, Math.ceil(stop - 0.5) - 1);
  if (last < first) last = first - 1;
  const count = last - first + 1;
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const upper = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let position = (first + i + 0.5 - start) * (cells / (stop - start)) - 0.5;
    if (whole) position = f32(position); // as in OpenCV
    position = Math.min(cells - 1, Math.max(0, position));
    low[i] = Math.min(Math.floor(position), Math.max(cells - 2, 0));
    high[i] = Math.min(low[i] + 1, cells - 1);
    upper[i] = position - low[i];
  }
  return { first, count, low, high, upper };
}

/**
 * Resample a map (h, w) over box [top, left, bottom, right] to the pixels of an image [H, W] that it covers:
 * { values, rows, cols, top, left }. Half-pixel centers, edges clamped.
 * @param {NumberArray} values @param {Size} shape @param {Size} size @param {Box} box
 */
export function placeMap(values, [h, w], [height, width], [top, left, bottom, right]) {
  const whole = top === 0 && left === 0 && bottom === height && right === width;
  const over = bilinearWeights(w, width, left, right, whole);
  const down = bilinearWeights(h, height, top, bottom, whole);
  const stretched = new Float32Array(h * over.count);
  for (let r = 0; r < h; r++)
    for (let i = 0; i < over.count; i++) {
      const u = over.upper[i];
      const a = values[r * w + over.low[i]];
      const b = values[r * w + over.high[i]];
      stretched[r * over.count + i] = f32(a * f32(1 - u)) + f32(b * u);
    }
  const out = new Float32Array(down.count * over.count);
  for (let j = 0; j < down.count; j++) {
    const u = down.upper[j];
    const rest = f32(1 - u);
    const low = down.low[j] * over.count;
    const high = down.high[j] * over.count;
    for (let i = 0; i < over.count; i++) out[j * over.count + i] = f32(stretched[low + i] * rest) + f32(stretched[high + i] * u);
  }
  return { values: out, rows: down.count, cols: over.count, top: down.first, left: over.first };
}

/**
 * Return the pixels of a mask, Uint8Array (H * W), from the lengths of its runs: row by row, outside first.
 * @param {NumberArray} runs @param {Size} size
 */
export function maskFromRuns(runs, [height, width]) {
  const mask = new Uint8Array(height * width);
  let start = 0;
  for (const [i, length] of runs.entries()) {
    if (i % 2) mask.fill(1, start, start + length);
    start += length;
  }
  return mask;
}

/** Map placed on its image, and its histogram inside and outside the reference mask (Uint8Array (H * W) or null). */
export class PlacedMap {
  /**
   * Count the values of a map; with `onlyPositive`, thresholds of a map with negative values act on its positive part.
   * @param {LoadedMap} map @param {Uint8Array | null} reference @param {boolean} [onlyPositive]
   */
  constructor(map, reference, onlyPositive = true) {
    this.size = map.size;
    this.kind = map.kind;
    this.placed = placeMap(map.values, map.shape, map.size, map.box);
    const { values, rows, cols, top, left } = this.placed;
    let low = Infinity;
    let high = -Infinity;
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    this.clipped = onlyPositive && low < 0 && map.kind === "map";
    if (this.clipped) [low, high] = [0, Math.max(high, 0)];
    this.flat = !(high > low);
    this.bins = new Uint16Array(values.length);
    this.inside = new Float64Array(STEPS + 1);
    this.all = new Float64Array(STEPS + 1);
    const span = f32(high - low);
    const width = map.size[1];
    for (let r = 0, i = 0; r < rows; r++)
      for (let c = 0; c < cols; c++, i++) {
        const bin = this.flat ? 0 : Math.floor(f32(f32(f32(Math.max(values[i], low) - f32(low)) / span) * STEPS));
        this.bins[i] = bin;
        this.all[bin]++;
        if (reference?.[(top + r) * width + left + c]) this.inside[bin]++;
      }
    this.nReference = 0;
    if (reference) for (const pixel of reference) this.nReference += pixel;
  }

  /**
   * Return the value at a pixel of the image; undefined outside the map.
   * @param {number} row @param {number} col
   */
  valueAt(row, col) {
    const { values, rows, cols, top, left } = this.placed;
    const [r, c] = [row - top, col - left];
    return r >= 0 && c >= 0 && r < rows && c < cols ? values[r * cols + c] : undefined;
  }

  /**
   * Return the center of the pixel with the highest value, [row, col].
   * @returns {Point}
   */
  peak() {
    const { values, cols, top, left } = this.placed;
    const index = values.reduce((best, v, i) => (v > values[best] ? i : best), 0);
    return [top + Math.floor(index / cols) + 0.5, left + (index % cols) + 0.5];
  }

  /** Return the first bin above Otsu's threshold at 256 gray levels. */
  otsuBin() {
    const gray = new Float64Array(256);
    for (let bin = 0; bin <= STEPS; bin++) gray[Math.floor(bin / PER_GRAY)] += this.all[bin];
    const total = gray.reduce((a, b) => a + b, 0);
    const moment = gray.reduce((sum, n, level) => sum + n * level, 0) / total;
    let [weight, mean, best, threshold] = [0, 0, -1, 0];
    for (let level = 0; level < 256; level++) {
      weight += gray[level] / total;
      mean += (gray[level] * level) / total;
      if (Math.min(weight, 1 - weight) <= 1.1920929e-7) continue;
      const between = (moment * weight - mean) ** 2 / (weight * (1 - weight));
      if (between > best) [best, threshold] = [between, level];
    }
    return (threshold + 1) * PER_GRAY;
  }

  /**
   * Return the first bin of the highest share of the pixels, ties included.
   * @param {number} fraction
   */
  topBin(fraction) {
    const required = fraction * this.placed.values.length;
    let above = 0;
    for (let bin = STEPS; bin >= 0; bin--) {
      above += this.all[bin];
      if (above >= required) return bin;
    }
    return 0;
  }

  /**
   * Return the first bin of the mask of a binarizer: "otsu", "above:T" or "top:FRACTION". The threshold of a mask is 0.5.
   * @param {string} binarizer
   */
  thresholdBin(binarizer) {
    if (this.kind === "mask") return STEPS / 2;
    const [name, argument] = binarizer.split(":");
    const lowest = this.clipped ? 1 : 0; // of a clipped map, bin 0 holds all that is not positive
    if (name === "above") return Math.max(lowest, Math.floor(Number(argument) * STEPS + 1e-9));
    return Math.max(lowest, name === "top" ? this.topBin(Number(argument)) : this.otsuBin());
  }

  /**
   * Score the mask of the pixels in `bin` and above: { iou, dice, precision, recall, share }; NaN without a reference.
   * @param {number} bin
   */
  scores(bin) {
    let [tp, predicted] = [0, 0];
    for (let b = bin; b <= STEPS; b++) {
      tp += this.inside[b];
      predicted += this.all[b];
    }
    if (this.flat) [tp, predicted] = [0, 0]; // a constant map has an empty mask
    const share = predicted / (this.size[0] * this.size[1]);
    if (!this.nReference) return { iou: NaN, dice: NaN, precision: NaN, recall: NaN, share };
    return {
      iou: tp / (predicted + this.nReference - tp), dice: (2 * tp) / (predicted + this.nReference),
      precision: predicted ? tp / predicted : 0, recall: tp / this.nReference, share,
    };
  }

  /**
   * Draw the mask on a canvas, with an opaque edge and a transparent area; return it with the box that it covers.
   * @param {number} bin @param {RGB} color
   * @returns {{ image: OffscreenCanvas, box: Box }}
   */
  mask(bin, [red, green, blue]) {
    const { rows, cols, top, left } = this.placed;
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
