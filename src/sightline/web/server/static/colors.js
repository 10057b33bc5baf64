// Color scales of maps: perceptually uniform, and legible without red-green vision.

import { context2d } from "./dom.js";

// Magma, Viridis and Cividis as matplotlib gives them (CC0), at seventeen even places; the scale
// from blue to orange was designed in OKLCH, with equal lightness and chroma on both sides of a neutral middle.
/** @type {Record<string, string>} */
const TABLES = {
  magma: "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf",
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
  cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
  "blue-orange": "3472be4d82c56492cc7ba1d291b1d9a8c0dfbfcfe4d7dfe9eeeeeee8dbd4e1c8bbdab5a1d2a288c98f6fc17c55b7693aae5517",
};
const STEPS = 512;
/** @type {Map<string, Uint8Array>} */
const tables = new Map();

export const SEQUENTIAL = ["magma", "viridis", "cividis"];
export const DIVERGING = "blue-orange";

/**
 * Return a color scale as Uint8Array (512 * 3): red, green, blue.
 * @param {string} name
 * @returns {Uint8Array}
 */
export function colorTable(name) {
  const known = tables.get(name);
  if (known) return known;
  const hex = TABLES[name] ?? TABLES.magma;
  const knots = hex.length / 6;
  /** @param {number} knot @param {number} c */
  const channel = (knot, c) => parseInt(hex.slice(knot * 6 + c * 2, knot * 6 + c * 2 + 2), 16);
  const table = new Uint8Array(STEPS * 3);
  for (let i = 0; i < STEPS; i++) {
    const position = (i / (STEPS - 1)) * (knots - 1);
    const k = Math.min(knots - 2, Math.floor(position));
    for (let c = 0; c < 3; c++) table[i * 3 + c] = Math.round(channel(k, c) * (1 - position + k) + channel(k + 1, c) * (position - k));
  }
  tables.set(name, table);
  return table;
}

/**
 * Return the range over which a map is colored: symmetric about 0 for values of both signs, which get a diverging
 * scale, else from the lowest to the highest value.
 * @param {NumberArray} values
 * @returns {ValueRange}
 */
export function valueRange(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const signed = low < 0 && high > 0;
  const bound = Math.max(-low, high);
  return signed ? { low: -bound, high: bound, signed } : { low, high, signed };
}

/**
 * Color values on a canvas. fade: make values with little evidence transparent; the evidence of a signed map is the
 * distance from 0.
 * @param {NumberArray} values @param {number} height @param {number} width
 * @param {{ low: number, high: number, signed?: boolean, scale?: string, fade?: boolean }} options
 */
export function colorize(values, height, width, { low, high, signed = false, scale = "magma", fade = true }) {
  const table = colorTable(signed ? DIVERGING : scale);
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  const ramp = new Uint32Array(STEPS);
  for (let i = 0; i < STEPS; i++) {
    const share = i / (STEPS - 1);
    const strength = signed ? Math.abs(2 * share - 1) : share;
    const alpha = fade ? Math.round(255 * strength ** 0.7) : 255;
    ramp[i] = (alpha << 24) | (table[i * 3 + 2] << 16) | (table[i * 3 + 1] << 8) | table[i * 3];
  }
  const factor = (STEPS - 1) / Math.max(high - low, 1e-38);
  for (let i = 0; i < words.length; i++) {
    const position = (values[i] - low) * factor;
    words[i] = ramp[position > 0 ? (position < STEPS - 1 ? Math.round(position) : STEPS - 1) : 0];
  }
  const canvas = new OffscreenCanvas(width, height);
  context2d(canvas).putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * Return a color scale as a canvas one pixel high.
 * @param {string} name
 */
export function colorBar(name) {
  const line = Float32Array.from({ length: STEPS }, (_, i) => i / (STEPS - 1));
  return colorize(line, 1, STEPS, { low: 0, high: 1, signed: name === DIVERGING, scale: name, fade: false });
}
