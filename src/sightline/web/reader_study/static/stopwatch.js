// Seconds at work: the page is seen, and a hand has moved within the last half minute.

const IDLE = 30;

export class Stopwatch {
  /**
   * told(seconds): called every `every` seconds of work, and when the page is left, with what has not been told.
   * @param {(seconds: number) => void} told @param {number} every
   */
  constructor(told, every = 15) {
    this.told = told;
    this.every = every;
    this.total = 0;
    this._pending = 0;
    this._moved = performance.now();
    this._last = performance.now();
    const moved = () => {
      this._tick();
      this._moved = performance.now();
    };
    this._ends = new AbortController();
    const { signal } = this._ends;
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel"])
      addEventListener(name, moved, { signal, passive: true, capture: true });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.flush();
      else this._last = this._moved = performance.now();
    }, { signal });
    addEventListener("pagehide", () => this.flush(), { signal });
    this._timer = setInterval(() => this._tick(), 1000);
  }

  _tick() {
    const now = performance.now();
    const end = Math.min(now, this._moved + IDLE * 1000);
    const worked = document.visibilityState === "visible" ? Math.max(0, end - this._last) / 1000 : 0;
    this._last = now;
    this.total += worked;
    this._pending += worked;
    if (this._pending >= this.every) this._tell();
  }

  _tell() {
    const seconds = this._pending;
    this._pending = 0;
    if (seconds >= 0.1) this.told(seconds);
  }

  /** Tell what has not been told. */
  flush() {
    this._tick();
    this._tell();
  }

  stop() {
    this.flush();
    clearInterval(this._timer);
    this._ends.abort();
  }
}
