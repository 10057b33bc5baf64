// Plane geometry of outlines; points are [row, col].

export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** Where on the segment from a to b the point p is nearest, and how far that is. */
export function nearest(p, a, b) {
  const [dr, dc] = [b[0] - a[0], b[1] - a[1]];
  const length = dr * dr + dc * dc;
  const t = length ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dr + (p[1] - a[1]) * dc) / length)) : 0;
  const at = [a[0] + t * dr, a[1] + t * dc];
  return { at, far: distance(p, at) };
}

/** Twice the area, without sign. */
export function area(points) {
  let sum = 0;
  points.forEach(([r, c], i) => {
    const [s, d] = points[(i + 1) % points.length];
    sum += r * d - s * c;
  });
  return Math.abs(sum);
}

/** Whether a point lies inside an outline (even-odd). */
export function inside([row, col], points) {
  let within = false;
  points.forEach(([r, c], i) => {
    const [s, d] = points[(i + points.length - 1) % points.length];
    if (r > row !== s > row && col < ((d - c) * (row - r)) / (s - r) + c) within = !within;
  });
  return within;
}

/** Fewer points along the same line, none farther from it than `most` (Douglas and Peucker 1973). */
export function simplify(points, most) {
  const kept = new Uint8Array(points.length);
  kept[0] = kept[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [from, to] = spans.pop();
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

/** To a hundredth of a pixel, and not beyond the radiograph. */
export function tidy([row, col], [height, width]) {
  const cut = (value, most) => Math.round(Math.min(most, Math.max(0, value)) * 100) / 100;
  return [cut(row, height), cut(col, width)];
}
