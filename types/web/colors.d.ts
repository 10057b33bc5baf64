export * from "/web/colors.js";
