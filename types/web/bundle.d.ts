export * from "/web/bundle.js";
