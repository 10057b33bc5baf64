export * from "/web/dom.js";
