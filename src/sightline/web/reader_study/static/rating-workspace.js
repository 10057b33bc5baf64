// Workspace of a rating case: the image several times, a map under each letter, and questions about every map.

import { getBundle } from "/web/bundle.js";
import { colorize, valueRange } from "/web/colors.js";
import { el } from "/web/dom.js";
import { ImageCanvas } from "/web/image-canvas.js";
import { button, windowControls } from "./controls.js";

/** @typedef {Bundle<{ box: Box }, { values: Float32Array<ArrayBuffer> }>} MapBundle */

/**
 * Load the maps of a case as layers over its image, in the order of their letters.
 * @param {CaseInfo} info
 * @returns {Promise<RasterLayer[]>}
 */
export async function loadMapLayers({ letters, key }) {
  /** @type {MapBundle[]} */
  const bundles = await Promise.all(letters.map((letter) => getBundle(`/api/turns/${key}/maps/${letter}`)));
  return bundles.map(({ fields, arrays, shapes }) => {
    const [height, width] = shapes.values;
    const image = colorize(arrays.values, height, width, valueRange(arrays.values));
    return { kind: "raster", image, box: fields.box, smooth: true, opacity: 0.55 };
  });
}

/**
 * Create the workspace for the tasks "rate" and "choice".
 * @param {import("./case-log.js").CaseLog} caseLog @param {GrayImage} image
 * @returns {Promise<Workspace>}
 */
export async function createRatingWorkspace(caseLog, image) {
  const { letters, questions, finding } = caseLog.info;
  const layers = await loadMapLayers(caseLog.info);
  const imageCanvases = letters.map((letter) => new ImageCanvas({ label: `Radiograph with map ${letter} of ${finding}` }));
  imageCanvases.forEach((imageCanvas, i) => {
    imageCanvas.layers = [layers[i]];
    imageCanvas.show(image);
    const others = imageCanvases.filter((other) => other !== imageCanvas);
    imageCanvas.on("view", (view) => {
      for (const other of others) other.setView(view);
    });
    imageCanvas.on("window", () => {
      for (const other of others) other.setWindow(imageCanvas.window);
    });
  });
  const [opacity, hideButton] = mapOpacityControls(layers, imageCanvases);
  const rows = questions.length ? questions.map((q) => questionRow(caseLog, letters, q)) : [choiceRow(caseLog, letters)];
  const element = el("div", { class: questions.length ? "sheet" : "sheet bare", data: { maps: letters.length } },
    el("div", { class: "row films" }, el("div", { class: "legend" }),
      imageCanvases.map((imageCanvas, i) => el("figure", {}, el("figcaption", {}, letters[i]), imageCanvas.element))),
    rows);
  return {
    element, imageCanvases,
    rail: [
      opacityGroup(opacity, hideButton),
      windowControls(imageCanvases),
    ],
    keys: { m: () => hideButton.click() },
    enter: () => false,
    missing: () => {
      const required = questions.length ? questions.length * letters.length : 1;
      const open = required - caseLog.state.answers.size;
      return open > 0 ? (questions.length ? `${open} of ${required} answers are open.` : "Choose one of the maps.") : "";
    },
    close: () => {},
  };
}

/**
 * Return a slider of the maps' opacity, and a button that hides them.
 * @param {RasterLayer[]} layers @param {ImageCanvas[]} imageCanvases
 * @returns {[HTMLInputElement, HTMLButtonElement]}
 */
export function mapOpacityControls(layers, imageCanvases) {
  const change = (/** @type {Partial<RasterLayer>} */ style) => {
    for (const layer of layers) Object.assign(layer, style);
    for (const imageCanvas of imageCanvases) imageCanvas.redraw();
  };
  /** @type {HTMLInputElement} */
  const opacity = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0.55", aria: { label: "Map opacity" },
    on: { input: () => change({ opacity: Number(opacity.value) }) } });
  /** @type {HTMLButtonElement} */
  const hideButton = button("", "Image only", "M", () => {
    const hidden = hideButton.getAttribute("aria-pressed") !== "true";
    hideButton.setAttribute("aria-pressed", String(hidden));
    change({ visible: !hidden });
  }, { class: "tool plain", aria: { pressed: "false", keyshortcuts: "M" } });
  return [opacity, hideButton];
}

/** @param {HTMLInputElement} opacity @param {HTMLButtonElement} hideButton */
export function opacityGroup(opacity, hideButton) {
  return el("div", { class: "group" }, el("label", { class: "slider" }, el("span", {}, "Map opacity"), opacity), hideButton);
}

/**
 * Return a question: its scale in words, and five buttons below every map.
 * @param {import("./case-log.js").CaseLog} caseLog @param {string[]} letters @param {Question} question
 */
function questionRow(caseLog, letters, { name, text, anchors }) {
  const legend = el("div", { class: "legend" }, el("h2", {}, text),
    el("ol", {}, anchors.map((anchor) => el("li", {}, anchor))));
  const cells = letters.map((letter) => {
    const points = anchors.map((anchor, i) => el("button", {
      type: "button", title: anchor, aria: { label: `${letter}: ${i + 1}, ${anchor}` },
      on: { click: () => caseLog.setAnswer(name, caseLog.answer(name, letter) === String(i + 1) ? "" : String(i + 1), letter) },
    }, String(i + 1)));
    const anchorText = el("p", { class: "small muted" });
    const refresh = () => {
      const value = caseLog.answer(name, letter);
      for (const [i, point] of points.entries()) point.setAttribute("aria-pressed", String(value === String(i + 1)));
      anchorText.textContent = value ? anchors[Number(value) - 1] : "";
    };
    caseLog.addEventListener("change", refresh);
    refresh();
    return el("div", { class: "cell" }, el("span", { class: "letter" }, letter), el("div", { class: "scale" }, points), anchorText);
  });
  return el("div", { class: "row", role: "group", aria: { label: text } }, legend, cells);
}

/** @param {import("./case-log.js").CaseLog} caseLog @param {string[]} letters */
function choiceRow(caseLog, letters) {
  const buttons = letters.map((letter) => el("button", {
    type: "button", class: "choose", on: { click: () => caseLog.setAnswer("choice", caseLog.answer("choice") === letter ? "" : letter) },
  }, `Choose ${letter}`));
  const refresh = () => {
    for (const [i, chooseButton] of buttons.entries()) chooseButton.setAttribute("aria-pressed", String(caseLog.answer("choice") === letters[i]));
  };
  caseLog.addEventListener("change", refresh);
  refresh();
  return el("div", { class: "row", role: "group", aria: { label: "Your choice" } }, el("div", { class: "legend" }),
    buttons.map((chooseButton) => el("div", { class: "cell" }, chooseButton)));
}
