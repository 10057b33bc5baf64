// The desk of a case that is drawn on: outlines, one point, or a trail of clicks.

import { el } from "/web/dom.js";
import { Film } from "/web/film.js";
import { Contours } from "./contours.js";
import { button, windowing, zooming } from "./controls.js";
import { Point, Trail } from "./points.js";

/** @type {Partial<Record<Task, [mode: string, words: string, key: string][]>>} */
const MODES = { contour: [["freehand", "Freehand", "F"], ["polygon", "Polygon", "P"], ["edit", "Edit", "E"]] };
/** @type {Partial<Record<Task, string>>} */
const LACKS = {
  contour: "Outline the finding, or say that it is not visible.",
  point: "Click the finding, or say that it is not visible.",
  search: "Click at least once.",
};

/**
 * { element, films, rail, keys, enter(), lacks(), close() } of a case. seconds(): how long it has been worked on.
 * @param {import("./log.js").Case} turn @param {Picture} picture @param {() => number} seconds
 * @returns {Desk}
 */
export function drawing(turn, picture, seconds) {
  const { task, finding } = turn.told;
  const film = new Film({ label: `Radiograph; ${task === "search" ? "click where you look" : `mark ${finding}`}` });
  const tool = toolOf(film, turn);
  tool.at = seconds;
  film.show(picture);
  const absence = el("p", { class: "absence", role: "status", hidden: true }, "Marked as not visible");
  film.element.append(absence);
  const buttons = buttonsOf(turn, tool);
  const { modes, undo, redo, remove, none } = buttons;
  const absent = () => turn.answer("absent") === "yes";

  function refresh() {
    const marked = turn.state.shapes.size > 0;
    film.tool = absent() ? null : tool;
    absence.hidden = !absent();
    undo.disabled = !turn.canUndo;
    redo.disabled = !turn.canRedo;
    remove.disabled = task === "contour" ? !(tool.chosen || tool.open) : !marked;
    none.disabled = marked;
    none.setAttribute("aria-pressed", String(absent()));
    for (const [mode, shown] of Object.entries(modes)) {
      shown.disabled = absent();
      shown.setAttribute("aria-pressed", String(mode === tool.mode));
    }
  }
  turn.addEventListener("change", refresh);
  tool.addEventListener?.("choose", refresh);
  tool.addEventListener?.("mode", refresh);
  tool.use?.(tool.open ? "polygon" : "freehand"); // a polygon that a reload broke off goes on
  refresh();

  return {
    element: film.element,
    films: [film],
    rail: [
      Object.keys(modes).length > 0 && el("div", { class: "group three" }, Object.values(modes)),
      el("div", { class: "group three" }, undo, redo, remove), zooming(film), windowing([film]),
      task !== "search" && el("div", { class: "group" }, none),
    ],
    keys: keysOf(tool, buttons, task !== "search"),
    enter: () => {
      const open = Boolean(tool.open);
      if (open) tool.close?.();
      return open;
    },
    lacks: () => (absent() || turn.state.shapes.size ? "" : (LACKS[task] ?? "")),
    close: () => tool.close?.(),
  };
}

/**
 * @param {Film} film @param {import("./log.js").Case} turn
 * @returns {DrawingTool}
 */
function toolOf(film, turn) {
  if (turn.told.task === "contour") return new Contours(film, turn);
  return turn.told.task === "point" ? new Point(film, turn) : new Trail(film, turn);
}

/** @param {import("./log.js").Case} turn @param {DrawingTool} tool */
function buttonsOf(turn, tool) {
  const { task } = turn.told;
  return {
    modes: Object.fromEntries((MODES[task] ?? []).map(([mode, words, key]) => [mode, button(mode, words, key, () => tool.use?.(mode))])),
    undo: button("undo", "Undo", "Z", () => turn.undo()),
    redo: button("redo", "Redo", "Y", () => turn.redo()),
    remove: button("remove", task === "search" ? "Last click" : "Delete", "Del", () => tool.discard()),
    none: button("", "Not visible", "N", () => turn.say("absent", turn.answer("absent") ? "" : "yes"), { class: "tool plain" }),
  };
}

/**
 * Keys press what the hand would press; n only where a finding can be said not to be visible.
 * @param {DrawingTool} tool @param {ReturnType<typeof buttonsOf>} buttons @param {boolean} deniable
 * @returns {Desk["keys"]}
 */
function keysOf(tool, { modes, undo, redo, remove, none }, deniable) {
  const press = (/** @type {HTMLButtonElement} */ shown) => () => {
    if (!shown.disabled) shown.click();
  };
  return {
    z: press(undo), "ctrl+z": press(undo), y: press(redo), "ctrl+y": press(redo), "ctrl+shift+z": press(redo),
    delete: press(remove), backspace: press(remove), escape: () => {
      if (tool.open) tool.discard();
    },
    ...Object.fromEntries(Object.entries(modes).map(([mode, shown]) => [mode[0], press(shown)])),
    ...(deniable ? { n: press(none) } : {}),
  };
}
