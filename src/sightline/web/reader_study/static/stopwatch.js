// Active time: the page is visible, and there was input within the last half minute.

const IDLE = 30;

export class Stopwatch {
  /**
   * onSeconds(seconds): called after every `interval` seconds of active time and when the page is left.
   * @param {(seconds: number) => void} onSeconds @param {number} interval
   */
  constructor(onSeconds, interval = 15) {
    this.onSeconds = onSeconds;
    this.interval = interval;
    this.total = 0;
    this._pending = 0;
    this._lastActivity = performance.now();
    this._lastTick = performance.now();
    const onActivity = () => {
      this._tick();
      this._lastActivity = performance.now();
    };
    this._ends = new AbortController();
    const { signal } = this._ends;
    for (const name of ["pointerdown", "pointermove", "keydown", "wheel"])
      addEventListener(name, onActivity, { signal, passive: true, capture: true });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.flush();
      else this._lastTick = this._lastActivity = performance.now();
    }, { signal });
    addEventListener("pagehide", () => this.flush(), { signal });
    this._timer = setInterval(() => this._tick(), 1000);
  }

  _tick() {
    const now = performance.now();
    const end = Math.min(now, this._lastActivity + IDLE * 1000);
    const active = document.visibilityState === "visible" ? Math.max(0, end - this._lastTick) / 1000 : 0;
    this._lastTick = now;
    this.total += active;
    this._pending += active;
    if (this._pending >= this.interval) this._report();
  }

  _report() {
    const seconds = this._pending;
    this._pending = 0;
    if (seconds >= 0.1) this.onSeconds(seconds);
  }

  /** Report the time that has not been reported. */
  flush() {
    this._tick();
    this._report();
  }

  stop() {
    this.flush();
    clearInterval(this._timer);
    this._ends.abort();
  }
}
