// Instructions for each task: shown before its first case, and on request.

import { el } from "/web/dom.js";

/** @type {Record<Task, KeyLines>} */
const LINES = {
  contour: [
    ["Freehand", "press and draw around the finding; let go where you began"],
    ["Polygon", "click corner by corner; click the first corner to close"],
    ["Several places", "draw one outline for each"],
    ["Edit", "click an outline, then drag its corners, its line or all of it; a double click removes a corner"],
    ["Nothing there", "press “Not visible”"],
  ],
  point: [
    ["One click", "on the most representative point of the finding; another click moves it"],
    ["Nothing there", "press “Not visible”"],
  ],
  search: [
    ["Click", "every place you look at, in the order in which you look; twice at the same place if you come back"],
    ["Correction", "“Last click” removes the last click"],
  ],
  rate: [
    ["Each map", "is shown over the same image; rate it from 1 to 5 by the words on the left"],
    ["Image only", "hides the maps; the slider makes them stronger or weaker"],
  ],
  choice: [["Choose", "the one map that you would want with the image"], ["Image only", "hides the maps"]],
};
/** @type {KeyLines} */
const ALWAYS = [
  ["Zoom", "wheel, two fingers, or + and −; 0 shows the whole image"],
  ["Move", "hold the space bar or the middle button and drag, two fingers, or the arrow keys"],
  ["Brightness", "the sliders, or drag with the right button"],
  ["Saving", "every change is stored at once, even without a connection; you can stop and come back at any time"],
];

/**
 * Open the instructions for a task; resolves when they are closed.
 * @param {Task} task @param {boolean} first
 * @returns {Promise<void>}
 */
export function showHelp(task, first = false) {
  const list = (/** @type {KeyLines} */ lines) => el("dl", {}, lines.map(([action, description]) => [el("dt", {}, action), el("dd", {}, description)]));
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
