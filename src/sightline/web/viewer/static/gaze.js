// Gaze of a reader up to a time: the scan path, and the density of fixations.

const CELLS = 96;

/** Gaze of `payloads.encode_annotations`: (row, col, begin, duration, vertical and horizontal degree) per fixation. */
export class Gaze {
  /** @param {GazeFields} fields @param {NumberArray} table */
  constructor(fields, table) {
    this.reader = fields.reader;
    this.size = fields.size;
    this.phrases = fields.phrases;
    this.fixations = [];
    for (let i = 0; i < table.length; i += 6) {
      const [row, col, begin, duration, down, across] = table.subarray(i, i + 6);
      this.fixations.push({ row, col, begin, duration, down, across });
    }
    this.start = this.fixations[0]?.begin ?? 0;
    this.end = this.fixations.reduce((end, f) => Math.max(end, f.begin + f.duration), this.start);
  }

  /**
   * Return the fixations that began before a time, the last one cut at that time.
   * @param {number} time
   */
  until(time) {
    return this.fixations.filter((f) => f.begin < time)
      .map((f) => ({ ...f, duration: Math.min(f.duration, time - f.begin) }));
  }

  /**
   * Return the requested time, at most the end; without one, the end.
   * @param {number | null} time
   */
  moment(time) {
    return Math.min(this.end, time ?? this.end);
  }

  /**
   * Return the phrase spoken at a time.
   * @param {number} time
   */
  phraseAt(time) {
    return this.phrases.find((p) => p.begin <= time && time < p.end)?.text ?? "";
  }

  /**
   * Compute the density until a time: every fixation a Gaussian one degree of visual angle wide, by its duration (the kernel
   * `corrected` of sightline.data.gaze, at the centers of a grid): { values, shape }.
   * @param {number} time
   * @returns {{ values: Float32Array<ArrayBuffer>, shape: Size }}
   */
  density(time) {
    const scale = CELLS / Math.max(...this.size);
    const [h, w] = this.size.map((side) => Math.max(1, Math.round(side * scale)));
    const values = new Float32Array(h * w);
    const across = new Float64Array(w);
    for (const f of this.until(time)) {
      const [sr, sc] = [Math.max(f.down, 1e-6), Math.max(f.across, 1e-6)];
      for (let c = 0; c < w; c++) across[c] = Math.exp(-((((c + 0.5) / w) * this.size[1] - f.col) ** 2) / (2 * sc * sc));
      for (let r = 0; r < h; r++) {
        const weight = (f.duration / (sr * sc)) * Math.exp(-((((r + 0.5) / h) * this.size[0] - f.row) ** 2) / (2 * sr * sr));
        if (weight < 1e-12) continue;
        for (let c = 0; c < w; c++) values[r * w + c] += weight * across[c];
      }
    }
    return { values, shape: [h, w] };
  }

  /**
   * Return a function that draws the scan path: circles by duration, recent ones joined.
   * @param {number} time
   * @returns {(context: Context2D, imageCanvas: ImageCanvas) => void}
   */
  path(time) {
    const fixations = this.until(time);
    return (context, imageCanvas) => {
      const { scale } = imageCanvas.currentView;
      context.lineWidth = 1.5;
      fixations.forEach((f, i) => {
        const [x, y] = imageCanvas.toScreen(f.row, f.col);
        const recent = Math.max(0.25, 1 - (fixations.length - 1 - i) / 12);
        if (i) {
          const [px, py] = imageCanvas.toScreen(fixations[i - 1].row, fixations[i - 1].col);
          context.strokeStyle = `rgb(255 220 120 / ${recent * 0.8})`;
          context.beginPath();
          context.moveTo(px, py);
          context.lineTo(x, y);
          context.stroke();
        }
        const radius = Math.max(3, Math.min(28, Math.sqrt(f.duration) * 14 * Math.min(1.6, Math.max(0.5, (scale * this.size[0]) / 500))));
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fillStyle = `rgb(255 190 60 / ${recent * 0.35})`;
        context.strokeStyle = `rgb(255 220 120 / ${recent})`;
        context.fill();
        context.stroke();
      });
    };
  }
}
