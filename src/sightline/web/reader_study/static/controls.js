// Tools next to an image: buttons with their keys, gray window, zoom and undo.

import { el, svg } from "/web/dom.js";

/** @type {Record<string, string>} */
const ICONS = {
  freehand: "M4 17c3-9 6-12 9-9s-4 7-1 8 5-3 8-2",
  polygon: "M5 19 4 8l8-4 8 6-4 9Z",
  edit: "M5 19l1-4L16 5l3 3L9 18Zm9-12 3 3",
  undo: "M9 6 4 11l5 5M4 11h10a5 5 0 0 1 0 10h-3",
  redo: "m15 6 5 5-5 5m5-5H10a5 5 0 0 0 0 10h3",
  remove: "M5 7h14M10 7V4h4v3m3 0-1 13H8L7 7m3 4v6m4-6v6",
  zoomIn: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14Zm5 12 5 5M8 11h6m-3-3v6",
  zoomOut: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14Zm5 12 5 5M8 11h6",
  fit: "M4 9V4h5m6 0h5v5m0 6v5h-5m-6 0H4v-5",
  invert: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 0v18m0-14h6.5M12 12h9m-9 5h6.5",
  reset: "M5 5v5h5M5.5 15a7 7 0 1 0 .5-7",
};

/** @param {string} name */
function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/**
 * Return a button with icon, label and key; screen readers announce `key`.
 * @param {string} name @param {string} label @param {string} key @param {() => void} run
 * @param {Props<HTMLButtonElement>} props
 */
export function button(name, label, key, run, props = {}) {
  return el("button", {
    type: "button", class: "tool", title: key ? `${label} (${key})` : label, on: { click: run },
    aria: { keyshortcuts: key || undefined }, ...props,
  }, ICONS[name] && icon(name), el("span", {}, label), key && el("kbd", {}, key));
}

/**
 * Return the controls of brightness and contrast, for one or several canvases.
 * @param {ImageCanvas[]} imageCanvases
 */
export function windowControls(imageCanvases) {
  const [first] = imageCanvases;
  /**
   * @param {string} label @param {number} value @param {(value: number) => void} set
   * @returns {[HTMLElement, HTMLInputElement]}
   */
  const slider = (label, value, set) => {
    /** @type {HTMLInputElement} */
    const input = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(value), aria: { label: label },
      on: { input: () => set(Number(input.value)) } });
    return [el("label", { class: "slider" }, el("span", {}, label), input), input];
  };
  const setWindow = (/** @type {Partial<GrayWindow>} */ change) => {
    const window = { ...first.window, ...change };
    for (const imageCanvas of imageCanvases) imageCanvas.setWindow(window);
  };
  // Brighter is a lower level; more contrast a narrower window, in even steps of its logarithm.
  const width = (/** @type {number} */ share) => 2 * 0.02 ** share;
  const [brightness, brightnessInput] = slider("Brightness", 0.5, (v) => setWindow({ center: 1 - v }));
  const [contrast, contrastInput] = slider("Contrast", 0.18, (v) => setWindow({ width: width(v) }));
  const updateSliders = () => {
    brightnessInput.value = String(1 - first.window.center);
    contrastInput.value = String(Math.log(first.window.width / 2) / Math.log(0.02));
  };
  for (const imageCanvas of imageCanvases) imageCanvas.on("window", updateSliders);
  return el("div", { class: "group window" }, brightness, contrast,
    el("div", { class: "pair" },
      button("invert", "Invert", "I", () => { first.invert(); setWindow(first.window); }),
      button("reset", "Reset", "W", () => { first.resetWindow(); setWindow(first.window); })));
}

/** @param {ImageCanvas} imageCanvas */
export function zoomControls(imageCanvas) {
  return el("div", { class: "group three" },
    button("zoomIn", "Zoom in", "+", () => imageCanvas.zoom(1.4), { class: "tool only" }),
    button("zoomOut", "Zoom out", "−", () => imageCanvas.zoom(1 / 1.4), { class: "tool only" }),
    button("fit", "Whole image", "0", () => imageCanvas.fit(), { class: "tool only" }));
}
