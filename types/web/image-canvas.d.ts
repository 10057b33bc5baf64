export * from "/web/image-canvas.js";
