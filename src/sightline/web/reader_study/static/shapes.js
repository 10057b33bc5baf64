// Plane geometry of outlines; points are [row, col].

/** @param {Point} a @param {Point} b */
export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/**
 * Where on the segment from a to b the point p is nearest, and how far that is.
 * @param {Point} p @param {Point} a @param {Point} b
 * @returns {{ at: Point, far: number }}
 */
export function nearest(p, a, b) {
  const [dr, dc] = [b[0] - a[0], b[1] - a[1]];
  const length = dr * dr + dc * dc;
  const t = length ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dr + (p[1] - a[1]) * dc) / length)) : 0;
  /** @type {Point} */
  const at = [a[0] + t * dr, a[1] + t * dc];
  return { at, far: distance(p, at) };
}

/**
 * Twice the area, without sign.
 * @param {Point[]} points
 */
export function area(points) {
  let sum = 0;
  points.forEach(([r, c], i) => {
    const [s, d] = points[(i + 1) % points.length];
    sum += r * d - s * c;
  });
  return Math.abs(sum);
}

/**
 * Whether a point lies inside an outline (even-odd).
 * @param {Point} place @param {Point[]} points
 */
export function inside([row, col], points) {
  let within = false;
  points.forEach(([r, c], i) => {
    const [s, d] = points[(i + points.length - 1) % points.length];
    if (r > row !== s > row && col < ((d - c) * (row - r)) / (s - r) + c) within = !within;
  });
  return within;
}

/**
 * Fewer points along the same line, none farther from it than `most` (Douglas and Peucker 1973).
 * @param {Point[]} points @param {number} most
 */
export function simplify(points, most) {
  const kept = new Uint8Array(points.length);
  kept[0] = kept[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [from, to] = span;
    let [worst, where] = [most, -1];
    for (let i = from + 1; i < to; i++) {
      const { far } = nearest(points[i], points[from], points[to]);
      if (far > worst) [worst, where] = [far, i];
    }
    if (where < 0) continue;
    kept[where] = 1;
    spans.push([from, where], [where, to]);
  }
  return points.filter((_, i) => kept[i]);
}

/**
 * To a hundredth of a pixel, and not beyond the radiograph.
 * @param {Point} place @param {Size} size
 * @returns {Point}
 */
export function tidy([row, col], [height, width]) {
  /** @param {number} value @param {number} most */
  const cut = (value, most) => Math.round(Math.min(most, Math.max(0, value)) * 100) / 100;
  return [cut(row, height), cut(col, width)];
}
