// Blocks of fields and arrays, as `sightline.web.server.encoding.encode_bundle` writes them.

import { request } from "./dom.js";

const TYPES = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array, int32: Int32Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
};

/**
 * Decode a block to { fields, arrays: typed arrays by name, shapes: shapes by name }.
 * @template F, A
 * @param {ArrayBuffer} buffer
 * @returns {Bundle<F, A>}
 */
export function decodeBundle(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  /** @type {Record<string, { shape: number[], dtype: keyof typeof TYPES, start: number }>} */
  const entries = header.arrays;
  /** @type {Record<string, NumberArray>} */
  const arrays = {};
  /** @type {Record<string, number[]>} */
  const shapes = {};
  for (const [name, { shape, dtype, start }] of Object.entries(entries)) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = new TYPES[dtype](buffer, 4 + length + start, count);
    shapes[name] = shape;
  }
  return { fields: header.fields, arrays: /** @type {A} */ (arrays), shapes };
}

/**
 * Request and decode a block.
 * @template F, A
 * @param {string} url @param {RequestInit} [options]
 * @returns {Promise<Bundle<F, A>>}
 */
export async function getBundle(url, options) {
  return decodeBundle(await (await request(url, options)).arrayBuffer());
}
