// Workspace of a case that is drawn on: outlines, one point, or a sequence of clicks.

import { el } from "/web/dom.js";
import { ImageCanvas } from "/web/image-canvas.js";
import { Contours } from "./contours.js";
import { button, windowControls, zoomControls } from "./controls.js";
import { Point, Trail } from "./points.js";
import { loadMapLayers, mapOpacityControls, opacityGroup } from "./rating-workspace.js";

/** @type {Partial<Record<Task, [mode: string, label: string, key: string][]>>} */
const MODES = { contour: [["freehand", "Freehand", "F"], ["polygon", "Polygon", "P"], ["edit", "Edit", "E"]] };
/** @type {Partial<Record<Task, string>>} */
const MISSING = {
  contour: "Outline the finding, or answer that it is not visible.",
  point: "Click the finding, or answer that it is not visible.",
  search: "Click at least once.",
};

/**
 * Create the workspace, with the map under the drawing where one aids the reading. seconds(): active time on the case.
 * @param {import("./case-log.js").CaseLog} caseLog @param {GrayImage} image @param {() => number} seconds
 * @returns {Promise<Workspace>}
 */
export async function createDrawingWorkspace(caseLog, image, seconds) {
  const { task, finding } = caseLog.info;
  const maps = await loadMapLayers(caseLog.info);
  const imageCanvas = new ImageCanvas({ label: `Radiograph; ${task === "search" ? "click where you look" : `annotate ${finding}`}` });
  const tool = createTool(imageCanvas, caseLog);
  tool.seconds = seconds;
  const drawing = imageCanvas.layers;
  imageCanvas.layers = { *[Symbol.iterator]() { yield* maps; yield* drawing; } };
  const [opacity, hideButton] = mapOpacityControls(maps, [imageCanvas]);
  imageCanvas.show(image);
  const absenceNote = el("p", { class: "absence", role: "status", hidden: true }, "Answered: not visible");
  imageCanvas.element.append(absenceNote);
  const buttons = createButtons(caseLog, tool);
  const { modes, undo, redo, remove, absent } = buttons;
  const isAbsent = () => caseLog.answer("absent") === "yes";

  function refresh() {
    const hasShapes = caseLog.state.shapes.size > 0;
    imageCanvas.tool = isAbsent() ? null : tool;
    absenceNote.hidden = !isAbsent();
    undo.disabled = !caseLog.canUndo;
    redo.disabled = !caseLog.canRedo;
    remove.disabled = task === "contour" ? !(tool.selected || tool.open) : !hasShapes;
    absent.disabled = hasShapes;
    absent.setAttribute("aria-pressed", String(isAbsent()));
    for (const [mode, element] of Object.entries(modes)) {
      element.disabled = isAbsent();
      element.setAttribute("aria-pressed", String(mode === tool.mode));
    }
  }
  caseLog.addEventListener("change", refresh);
  tool.addEventListener?.("choose", refresh);
  tool.addEventListener?.("mode", refresh);
  tool.use?.(tool.open ? "polygon" : "freehand"); // an open polygon is continued after a reload
  refresh();

  return {
    element: imageCanvas.element,
    imageCanvases: [imageCanvas],
    rail: [
      Object.keys(modes).length > 0 && el("div", { class: "group three" }, Object.values(modes)),
      el("div", { class: "group three" }, undo, redo, remove), maps.length > 0 && opacityGroup(opacity, hideButton),
      zoomControls(imageCanvas), windowControls([imageCanvas]),
      task !== "search" && el("div", { class: "group" }, absent),
    ],
    keys: { ...keyBindings(tool, buttons, task !== "search"), ...(maps.length > 0 ? { m: () => hideButton.click() } : {}) },
    enter: () => {
      const open = Boolean(tool.open);
      if (open) tool.close?.();
      return open;
    },
    missing: () => (isAbsent() || caseLog.state.shapes.size ? "" : (MISSING[task] ?? "")),
    close: () => tool.close?.(),
  };
}

/**
 * @param {ImageCanvas} imageCanvas @param {import("./case-log.js").CaseLog} caseLog
 * @returns {DrawingTool}
 */
function createTool(imageCanvas, caseLog) {
  if (caseLog.info.task === "contour") return new Contours(imageCanvas, caseLog);
  return caseLog.info.task === "point" ? new Point(imageCanvas, caseLog) : new Trail(imageCanvas, caseLog);
}

/** @param {import("./case-log.js").CaseLog} caseLog @param {DrawingTool} tool */
function createButtons(caseLog, tool) {
  const { task } = caseLog.info;
  return {
    modes: Object.fromEntries((MODES[task] ?? []).map(([mode, label, key]) => [mode, button(mode, label, key, () => tool.use?.(mode))])),
    undo: button("undo", "Undo", "Z", () => caseLog.undo()),
    redo: button("redo", "Redo", "Y", () => caseLog.redo()),
    remove: button("remove", task === "search" ? "Last click" : "Delete", "Del", () => tool.discard()),
    absent: button("", "Not visible", "N", () => caseLog.setAnswer("absent", caseLog.answer("absent") ? "" : "yes"), { class: "tool plain" }),
  };
}

/**
 * Return the keys of the buttons; n only where a finding can be answered as not visible.
 * @param {DrawingTool} tool @param {ReturnType<typeof createButtons>} buttons @param {boolean} canBeAbsent
 * @returns {Workspace["keys"]}
 */
function keyBindings(tool, { modes, undo, redo, remove, absent }, canBeAbsent) {
  const press = (/** @type {HTMLButtonElement} */ element) => () => {
    if (!element.disabled) element.click();
  };
  return {
    z: press(undo), "ctrl+z": press(undo), y: press(redo), "ctrl+y": press(redo), "ctrl+shift+z": press(redo),
    delete: press(remove), backspace: press(remove), escape: () => {
      if (tool.open) tool.discard();
    },
    ...Object.fromEntries(Object.entries(modes).map(([mode, element]) => [mode[0], press(element)])),
    ...(canBeAbsent ? { n: press(absent) } : {}),
  };
}
