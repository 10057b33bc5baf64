export * from "/web/gray-image.js";
