// Playback of a reader's gaze: advances the time in the URL to the end, or until another gaze is selected.

const STEP = 0.1; // seconds

export class Playback {
  /** @param {import("./case-page.js").CasePage} page */
  constructor(page) {
    this.page = page;
    this._timer = 0;
  }

  get playing() {
    return this._timer !== 0;
  }

  /**
   * Start at a time, or from the beginning if there is none or it is the end; or stop.
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
      const isOver = time >= gaze.end || !page.element.isConnected || page.settings.gaze !== gaze.reader;
      if (isOver) this._stop();
      if (page.element.isConnected) page.set({ time: isOver ? null : time.toFixed(2) });
    }, STEP * 1000);
  }

  _stop() {
    clearInterval(this._timer);
    this._timer = 0;
  }
}
