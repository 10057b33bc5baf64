// The desk of a sheet of maps: one film several times, a map under each letter, and questions about every map.

import { getBundle } from "/web/bundle.js";
import { colorize, rangeOf } from "/web/colors.js";
import { el } from "/web/dom.js";
import { Film } from "/web/film.js";
import { button, windowing } from "./controls.js";

/** @typedef {Bundle<{ box: Box }, { values: Float32Array<ArrayBuffer> }>} MapBundle */

/**
 * What `drawing` gives, for tasks "rate" and "choice".
 * @param {import("./log.js").Case} turn @param {Picture} picture
 * @returns {Promise<Desk>}
 */
export async function sheet(turn, picture) {
  const { letters, key, questions, finding } = turn.told;
  /** @type {MapBundle[]} */
  const bundles = await Promise.all(letters.map((letter) => getBundle(`/api/turns/${key}/maps/${letter}`)));
  const films = letters.map((letter) => new Film({ label: `Radiograph with map ${letter} of ${finding}` }));
  /** @type {RasterLayer[]} */
  const layers = bundles.map(({ facts, arrays, shapes }) => {
    const [height, width] = shapes.values;
    const image = colorize(arrays.values, height, width, rangeOf(arrays.values));
    return { kind: "raster", image, box: facts.box, smooth: true, opacity: 0.55 };
  });
  films.forEach((film, i) => {
    film.layers = [layers[i]];
    film.show(picture);
    const others = films.filter((other) => other !== film);
    film.on("view", (view) => {
      for (const other of others) other.look(view);
    });
    film.on("window", () => {
      for (const other of others) other.see(film.window);
    });
  });
  const [strength, veil] = overFilm(layers, films);
  const rows = questions.length ? questions.map((q) => question(turn, letters, q)) : [choice(turn, letters)];
  const element = el("div", { class: questions.length ? "sheet" : "sheet bare", data: { maps: letters.length } },
    el("div", { class: "row films" }, el("div", { class: "legend" }),
      films.map((film, i) => el("figure", {}, el("figcaption", {}, letters[i]), film.element))),
    rows);
  return {
    element, films,
    rail: [
      el("div", { class: "group" }, el("label", { class: "slider" }, el("span", {}, "Map over film"), strength), veil),
      windowing(films),
    ],
    keys: { m: () => veil.click() },
    enter: () => false,
    lacks: () => {
      const due = questions.length ? questions.length * letters.length : 1;
      const open = due - turn.state.answers.size;
      return open > 0 ? (questions.length ? `${open} of ${due} answers are open.` : "Choose one of the maps.") : "";
    },
    close: () => {},
  };
}

/**
 * How strongly the maps lie over the film: a slider, and a button that takes them away.
 * @param {RasterLayer[]} layers @param {Film[]} films
 * @returns {[HTMLInputElement, HTMLButtonElement]}
 */
function overFilm(layers, films) {
  const change = (/** @type {Partial<RasterLayer>} */ what) => {
    for (const layer of layers) Object.assign(layer, what);
    for (const film of films) film.redraw();
  };
  /** @type {HTMLInputElement} */
  const strength = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0.55", aria: { label: "Map over film" },
    on: { input: () => change({ opacity: Number(strength.value) }) } });
  /** @type {HTMLButtonElement} */
  const veil = button("", "Film alone", "M", () => {
    const hidden = veil.getAttribute("aria-pressed") !== "true";
    veil.setAttribute("aria-pressed", String(hidden));
    change({ visible: !hidden });
  }, { class: "tool plain", aria: { pressed: "false", keyshortcuts: "M" } });
  return [strength, veil];
}

/**
 * One question: its scale in words, and five buttons below every map.
 * @param {import("./log.js").Case} turn @param {string[]} letters @param {Question} question
 */
function question(turn, letters, { name, text, anchors }) {
  const legend = el("div", { class: "legend" }, el("h2", {}, text),
    el("ol", {}, anchors.map((said) => el("li", {}, said))));
  const cells = letters.map((letter) => {
    const points = anchors.map((said, i) => el("button", {
      type: "button", title: said, aria: { label: `${letter}: ${i + 1}, ${said}` },
      on: { click: () => turn.say(name, turn.answer(name, letter) === String(i + 1) ? "" : String(i + 1), letter) },
    }, String(i + 1)));
    const words = el("p", { class: "small muted" });
    const refresh = () => {
      const value = turn.answer(name, letter);
      for (const [i, point] of points.entries()) point.setAttribute("aria-pressed", String(value === String(i + 1)));
      words.textContent = value ? anchors[Number(value) - 1] : "";
    };
    turn.addEventListener("change", refresh);
    refresh();
    return el("div", { class: "cell" }, el("span", { class: "letter" }, letter), el("div", { class: "scale" }, points), words);
  });
  return el("div", { class: "row", role: "group", aria: { label: text } }, legend, cells);
}

/** @param {import("./log.js").Case} turn @param {string[]} letters */
function choice(turn, letters) {
  const buttons = letters.map((letter) => el("button", {
    type: "button", class: "choose", on: { click: () => turn.say("choice", turn.answer("choice") === letter ? "" : letter) },
  }, `Choose ${letter}`));
  const refresh = () => {
    for (const [i, shown] of buttons.entries()) shown.setAttribute("aria-pressed", String(turn.answer("choice") === letters[i]));
  };
  turn.addEventListener("change", refresh);
  refresh();
  return el("div", { class: "row", role: "group", aria: { label: "Your choice" } }, el("div", { class: "legend" }),
    buttons.map((shown) => el("div", { class: "cell" }, shown)));
}
