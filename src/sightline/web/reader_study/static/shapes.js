// Plane geometry of outlines; points are [row, col].

/** @param {Point} a @param {Point} b */
export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/**
 * Return the point of the segment from a to b that is nearest to p, and its distance.
 * @param {Point} p @param {Point} a @param {Point} b
 * @returns {{ point: Point, distance: number }}
 */
export function nearest(p, a, b) {
  const [dr, dc] = [b[0] - a[0], b[1] - a[1]];
  const length = dr * dr + dc * dc;
  const t = length ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dr + (p[1] - a[1]) * dc) / length)) : 0;
  /** @type {Point} */
  const point = [a[0] + t * dr, a[1] + t * dc];
  return { point, distance: distance(p, point) };
}

/**
 * Return twice the area, without sign.
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
 * Return true if a point lies inside an outline (even-odd).
 * @param {Point} point @param {Point[]} points
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
 * Simplify a line so that no point is farther from it than `tolerance` (Douglas and Peucker 1973).
 * @param {Point[]} points @param {number} tolerance
 */
export function simplify(points, tolerance) {
  const isKept = new Uint8Array(points.length);
  isKept[0] = isKept[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [from, to] = span;
    let [worst, where] = [tolerance, -1];
    for (let i = from + 1; i < to; i++) {
      const { distance: far } = nearest(points[i], points[from], points[to]);
      if (far > worst) [worst, where] = [far, i];
    }
    if (where < 0) continue;
    isKept[where] = 1;
    spans.push([from, where], [where, to]);
  }
  return points.filter((_, i) => isKept[i]);
}

/**
 * Round a point to a hundredth of a pixel, inside the image.
 * @param {Point} point @param {Size} size
 * @returns {Point}
 */
export function roundToImage([row, col], [height, width]) {
  /** @param {number} value @param {number} limit */
  const clamp = (value, limit) => Math.round(Math.min(limit, Math.max(0, value)) * 100) / 100;
  return [clamp(row, height), clamp(col, width)];
}
