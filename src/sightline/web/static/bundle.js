// Blocks of facts and arrays, as `sightline.web.pixels.pack` writes them.

import { ask } from "./dom.js";

const TYPES = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array, int32: Int32Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
};

/** { facts, arrays: name -> typed array, shapes: name -> shape } of an ArrayBuffer. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  const shapes = {};
  for (const [name, told] of Object.entries(header.arrays)) {
    const count = told.shape.reduce((a, b) => a * b, 1);
    arrays[name] = new TYPES[told.dtype](buffer, 4 + length + told.start, count);
    shapes[name] = told.shape;
  }
  return { facts: header.facts, arrays, shapes };
}

export async function getBundle(url, options) {
  return unpack(await (await ask(url, options)).arrayBuffer());
}
