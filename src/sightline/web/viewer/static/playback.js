// A reader's gaze, played: the moment in the address moves on until the end, or until another gaze is chosen.

const STEP = 0.1; // seconds

export class Playback {
  /** @param {import("./case.js").CasePage} page */
  constructor(page) {
    this.page = page;
    this._timer = 0;
  }

  get playing() {
    return this._timer !== 0;
  }

  /**
   * Play from a moment on, from the start if there is none or it is the last; or stop.
   * @param {import("./gaze.js").Gaze} gaze @param {number | null} moment
   */
  toggle(gaze, moment) {
    if (this.playing) {
      this._stop();
      this.page.show();
      return;
    }
    let time = moment === null || moment >= gaze.end - STEP ? gaze.start : moment;
    this._timer = setInterval(() => {
      const { page } = this;
      time += STEP;
      const over = time >= gaze.end || !page.element.isConnected || page.settings.gaze !== gaze.reader;
      if (over) this._stop();
      if (page.element.isConnected) page.set({ time: over ? null : time.toFixed(2) });
    }, STEP * 1000);
  }

  _stop() {
    clearInterval(this._timer);
    this._timer = 0;
  }
}
