export * from "/web/film.js";
