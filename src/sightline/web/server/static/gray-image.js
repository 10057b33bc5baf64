// Pixels of a radiograph, and their rendering under a gray window.

import { request, context2d } from "./dom.js";

/** Gray values of a radiograph, 0 to 65535, shared by all canvases that show it. */
export class GrayImage {
  /** @param {Uint16Array} values @param {number} height @param {number} width */
  constructor(values, height, width) {
    this.values = values; // Uint16Array (height * width)
    this.height = height;
    this.width = width;
    this.size = /** @type {Size} */ ([height, width]); // of the original image, which may be larger than the values
    this._rendered = /** @type {{ key: string, canvas: OffscreenCanvas } | null} */ (null);
  }

  /**
   * Load a PNG of `sightline.web.server.encoding.encode_image`, whose gray is 256 × red + green. size: (H, W) of the original.
   * @param {string} url @param {Size | null} size @param {RequestInit} options
   */
  static async load(url, size = null, options = {}) {
    const blob = await (await request(url, options)).blob();
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = context2d(canvas, { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, width, height);
    const values = new Uint16Array(width * height);
    for (let i = 0, j = 0; i < values.length; i++, j += 4) values[i] = (data[j] << 8) | data[j + 1];
    const image = new GrayImage(values, height, width);
    if (size) image.size = size;
    return image;
  }

  /**
   * Return the gray value at a pixel of the original image, in [0, 1]; NaN outside.
   * @param {number} row @param {number} col
   */
  grayAt(row, col) {
    const i = Math.floor((row / this.size[0]) * this.height);
    const j = Math.floor((col / this.size[1]) * this.width);
    if (i < 0 || j < 0 || i >= this.height || j >= this.width) return NaN;
    return this.values[i * this.width + j] / 65535;
  }

  /**
   * Return the image under a gray window, as a canvas; it is drawn again only if the window has changed.
   * @param {GrayWindow} window
   */
  render({ center, width, invert }) {
    const key = `${center} ${width} ${invert}`;
    if (this._rendered?.key === key) return this._rendered.canvas;
    const canvas = this._rendered?.canvas ?? new OffscreenCanvas(this.width, this.height);
    const low = (center - width / 2) * 65535;
    const scale = 255 / Math.max(width * 65535, 1);
    const gray = new Uint32Array(65536);
    for (let v = 0; v < 65536; v++) {
      let g = Math.min(255, Math.max(0, Math.round((v - low) * scale)));
      if (invert) g = 255 - g;
      gray[v] = 0xff000000 | (g << 16) | (g << 8) | g;
    }
    const pixels = new ImageData(this.width, this.height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = gray[this.values[i]];
    context2d(canvas).putImageData(pixels, 0, 0);
    this._rendered = { key, canvas };
    return canvas;
  }
}
