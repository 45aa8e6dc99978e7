// The map's bytes as arrays, and a grid that finds the point under a finger. Coordinates run from 0 to 1, y downwards.

const MAGIC = "SRM1";
const FULL = 65535;
const CELLS = 128; // per side
const OUTSIDE = -9; // where neither eye nor pointer gets

/** Reads what `semrec/reports/map.py` packs. */
export function parseMap(buffer) {
  const view = new DataView(buffer);
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== MAGIC) throw new Error(`the map begins with ${magic}, expected ${MAGIC}`);
  const length = view.getUint32(4, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const n = head.num_points;
  const [start, points] = [8 + length, new Float32Array(2 * n)];
  const [xs, ys] = [new Uint16Array(buffer, start, n), new Uint16Array(buffer, start + 2 * n, n)];
  for (let i = 0; i < n; i += 1) {
    points[2 * i] = xs[i] / FULL;
    points[2 * i + 1] = 1 - ys[i] / FULL;
  }
  for (const i of head.gone) points[2 * i] = points[2 * i + 1] = OUTSIDE;
  return { ...head, points, codes: new Uint8Array(buffer, start + 4 * n, n) };
}

const cellOf = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));

/** Points by cell of a grid: a counting sort. */
export class Grid {
  constructor(points) {
    const n = points.length / 2;
    this.points = points;
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i += 1) {
      cells[i] = cellOf(points[2 * i + 1]) * CELLS + cellOf(points[2 * i]);
      this.starts[cells[i] + 1] += 1;
    }
    for (let c = 0; c < CELLS * CELLS; c += 1) this.starts[c + 1] += this.starts[c];
    this.members = new Uint32Array(n);
    const next = this.starts.slice(0, -1);
    for (let i = 0; i < n; i += 1) this.members[next[cells[i]]++] = i;
  }

  /** Calls `visit(point)` for the points of all cells that touch a rectangle. */
  inside(x0, y0, x1, y1, visit) {
    for (let row = cellOf(y0); row <= cellOf(y1); row += 1) {
      const from = this.starts[row * CELLS + cellOf(x0)];
      const to = this.starts[row * CELLS + cellOf(x1) + 1];
      for (let m = from; m < to; m += 1) visit(this.members[m]);
    }
  }

  /** The nearest point for which `wanted(point)` holds within radii in map units, or -1. */
  nearest(x, y, radiusX, radiusY, wanted = () => true) {
    let [best, least] = [-1, 1];
    this.inside(x - radiusX, y - radiusY, x + radiusX, y + radiusY, (i) => {
      const [dx, dy] = [(this.points[2 * i] - x) / radiusX, (this.points[2 * i + 1] - y) / radiusY];
      const squared = dx * dx + dy * dy;
      if (squared < least && wanted(i)) [best, least] = [i, squared];
    });
    return best;
  }
}
