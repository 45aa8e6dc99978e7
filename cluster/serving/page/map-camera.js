// Which part of the map is in sight, and the gestures that change it.

const EDGE = 26; // pixels around the map at zoom 1, so that no point is cut

/** Pixels are those of CSS, relative to the canvas. At zoom 1 the whole map fills the canvas; `most` is the largest zoom. */
export class Camera {
  constructor() {
    Object.assign(this, { x: 0.5, y: 0.5, zoom: 1, most: 1, width: 1, height: 1 });
  }

  get scaleX() { return Math.max(1, this.width - 2 * EDGE) * this.zoom; }
  get scaleY() { return Math.max(1, this.height - 2 * EDGE) * this.zoom; }

  toScreen(x, y) {
    return [(x - this.x) * this.scaleX + this.width / 2, (y - this.y) * this.scaleY + this.height / 2];
  }
  toMap(px, py) {
    return [(px - this.width / 2) / this.scaleX + this.x, (py - this.height / 2) / this.scaleY + this.y];
  }
  pan(dx, dy) {
    this.x = clamp(this.x - dx / this.scaleX, 0, 1);
    this.y = clamp(this.y - dy / this.scaleY, 0, 1);
  }
  /** Zooms by a factor; what is under the pixel stays there. */
  zoomAt(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toMap(px, py);
    this.zoom = clamp(this.zoom * factor, 1, this.most);
    const [nowX, nowY] = this.toScreen(x, y);
    this.pan(px - nowX, py - nowY);
    if (this.zoom === 1) Object.assign(this, { x: 0.5, y: 0.5 });
  }
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const STEP = 60; // pixels per arrow key
const TAP = 6; // a pointer that moved less than this many pixels has tapped

/**
 * Mouse, wheel, touch and keys on `canvas`. `on`: changed(), hover(px, py or null), tap(px, py, isTouch), enter().
 */
export function attachGestures(canvas, camera, on) {
  const pointers = new Map();
  let travelled = 0;
  const at = (event) => [event.offsetX, event.offsetY];

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, at(event));
    on.hover(null);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return on.hover(...at(event));
    const before = [...pointers.values()];
    const [px, py] = pointers.get(event.pointerId);
    pointers.set(event.pointerId, at(event));
    travelled += Math.hypot(event.offsetX - px, event.offsetY - py);
    if (travelled < TAP) return undefined;
    follow(before, [...pointers.values()]);
    return on.changed();
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, (event) => {
      if (pointers.delete(event.pointerId) && type === "pointerup" && !pointers.size && travelled < TAP) {
        on.tap(...at(event), event.pointerType !== "mouse");
      }
      if (pointers.size) travelled = TAP; // the fingers that stay do not tap
    });
  }
  canvas.addEventListener("pointerleave", () => on.hover(null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    camera.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...at(event));
    on.changed();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    const factor = { "+": 1.4, "=": 1.4, "-": 1 / 1.4, 0: 1e-9 }[event.key];
    if (event.key === "Enter") on.enter();
    else if (move) camera.pan(...move);
    else if (factor) camera.zoomAt(factor);
    else return;
    event.preventDefault();
    on.changed();
  });

  /** One finger drags; two drag by their middle and zoom by their distance. */
  function follow(before, now) {
    const middle = (p) => [(p[0][0] + p.at(-1)[0]) / 2, (p[0][1] + p.at(-1)[1]) / 2];
    const apart = (p) => Math.hypot(p[0][0] - p.at(-1)[0], p[0][1] - p.at(-1)[1]);
    const [[x0, y0], [x1, y1]] = [middle(before), middle(now)];
    camera.pan(x1 - x0, y1 - y0);
    if (now.length > 1 && apart(before) > 0) camera.zoomAt(apart(now) / apart(before), x1, y1);
  }
}
