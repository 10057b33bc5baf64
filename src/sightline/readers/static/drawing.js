// The desk of a case that is drawn on: outlines, one point, or a trail of clicks.

import { el } from "/web/dom.js";
import { Film } from "/web/film.js";
import { Contours } from "./contours.js";
import { button, windowing, zooming } from "./controls.js";
import { Point, Trail } from "./points.js";

const LACKS = {
  contour: "Outline the finding, or say that it is not visible.",
  point: "Click the finding, or say that it is not visible.",
  look: "Click at least once.",
};

/** { element, rail, keys, ready(), lacks, close(), films } of a case. seconds(): how long it has been worked on. */
export function drawing(turn, picture, seconds) {
  const { task, finding } = turn.told;
  const film = new Film({ label: `Radiograph; ${task === "look" ? "click where you look" : `mark ${finding}`}` });
  const tool = new { contour: Contours, point: Point, look: Trail }[task](film, turn);
  tool.at = seconds;
  film.show(picture);
  const absence = el("p", { class: "absence", role: "status", hidden: true }, "Marked as not visible");
  film.element.append(absence);

  const modes = task !== "contour" ? {} : {
    freehand: button("freehand", "Freehand", "F", () => tool.use("freehand")),
    polygon: button("polygon", "Polygon", "P", () => tool.use("polygon")),
    edit: button("edit", "Edit", "E", () => tool.use("edit")),
  };
  const undo = button("undo", "Undo", "Z", () => turn.undo());
  const redo = button("redo", "Redo", "Y", () => turn.redo());
  const remove = button("remove", task === "look" ? "Last click" : "Delete", "Del", () => tool.discard());
  const none = button("", "Not visible", "N", () => turn.say("absent", absent() ? "" : "yes"), { class: "tool plain" });
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

  const press = (shown) => () => !shown.disabled && shown.click();
  const keys = {
    z: press(undo), "ctrl+z": press(undo), y: press(redo), "ctrl+y": press(redo), "ctrl+shift+z": press(redo),
    delete: press(remove), backspace: press(remove), escape: () => tool.open && tool.discard(),
    ...Object.fromEntries(Object.entries(modes).map(([mode, shown]) => [mode[0], press(shown)])),
    ...(task === "look" ? {} : { n: press(none) }),
  };
  return {
    element: film.element,
    films: [film],
    rail: [
      Object.keys(modes).length > 0 && el("div", { class: "group three" }, Object.values(modes)),
      el("div", { class: "group three" }, undo, redo, remove),
      zooming(film),
      windowing([film]),
      task !== "look" && el("div", { class: "group" }, none),
    ],
    keys,
    enter: () => Boolean(tool.open) && (tool.close(), true),
    lacks: () => (absent() || turn.state.shapes.size ? "" : LACKS[task]),
    close: () => tool.close?.(),
  };
}
