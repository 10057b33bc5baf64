export * from "/web/picture.js";
