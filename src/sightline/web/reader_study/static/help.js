// How it works, in a few lines per task: shown before the first case of each, and whenever it is asked for.

import { el } from "/web/dom.js";

/** @type {Record<Task, KeyLines>} */
const LINES = {
  contour: [
    ["Freehand", "press and draw around the finding; let go where you began"],
    ["Polygon", "click corner by corner; click the first corner to close"],
    ["Several places", "draw one outline for each"],
    ["Edit", "click an outline, then drag its corners, its line or all of it; double click takes a corner away"],
    ["Nothing there", "press “Not visible”"],
  ],
  point: [
    ["One click", "on the place that shows the finding best; another click moves it"],
    ["Nothing there", "press “Not visible”"],
  ],
  search: [
    ["Click", "every place you look at, in the order in which you look; twice at the same place if you come back"],
    ["A slip", "“Last click” takes the last one back"],
  ],
  rate: [
    ["Each map", "lies over the same film; rate it from 1 to 5 by the words on the left"],
    ["Film alone", "hides the maps; the slider makes them stronger or weaker"],
  ],
  choice: [["Choose", "the one map you would want beside the film"], ["Film alone", "hides the maps"]],
};
/** @type {KeyLines} */
const ALWAYS = [
  ["Zoom", "wheel, two fingers, or + and −; 0 shows the whole film"],
  ["Move", "hold the space bar or the middle button and drag, two fingers, or the arrow keys"],
  ["Brightness", "the sliders, or drag with the right button"],
  ["Saving", "every stroke is kept at once, even without a connection; you can stop and come back at any time"],
];

/**
 * Open the sheet for a task; resolves when it is closed.
 * @param {Task} task @param {boolean} first
 * @returns {Promise<void>}
 */
export function help(task, first = false) {
  const list = (/** @type {KeyLines} */ lines) => el("dl", {}, lines.map(([what, how]) => [el("dt", {}, what), el("dd", {}, how)]));
  const close = el("button", { type: "button", class: "primary", on: { click: () => dialog.close() } }, first ? "Begin" : "Close");
  /** @type {HTMLDialogElement} */
  const dialog = el("dialog", { class: "help", aria: { label: "How it works" } },
    el("h1", {}, "How it works"), list(LINES[task]), el("h2", {}, "At any time"), list(ALWAYS), close);
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
  });
}
