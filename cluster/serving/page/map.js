// The map of the catalogue: points, marks of the list shown, titles, legend. Draws only when something has changed.

import { el, fill } from "./dom.js";
import { attachGestures, Camera } from "./map-camera.js";
import { Grid } from "./map-data.js";
import { Room, writeLabel } from "./map-labels.js";
import { makePoints, pointSize } from "./map-points.js";
import { cssColour, onTheme, rgbColours } from "./palette.js";

const REACH = { mouse: 14, touch: 26 }; // pixels
const MOST_TITLES = 70; // titles are asked for when so few points are in sight
const SETTLE_MS = 180;
const NEAR = 14; // zoom with which an item is shown
const BUTTONS = { width: 64, height: 160 }; // pixels in the upper right corner that titles keep clear of

export class MapView {
  /** `on`: items(rows) -> Promise of items with `row`; open(item). */
  constructor(box, legend, on) {
    Object.assign(this, { box, legend, on, camera: new Camera(), items: new Map(), marks: [], liked: [], spot: -1, only: null });
    [this.under, this.over] = ["points", "marks"].map((name) => box.querySelector(`.${name}`));
    this.pen = this.over.getContext("2d");
    this.renderer = makePoints(this.under);
    box.dataset.renderer = this.renderer.kind;
    new ResizeObserver(() => this.resize()).observe(box);
    attachGestures(this.over, this.camera, {
      changed: () => this.changed(),
      hover: (px, py) => this.hover(px, py),
      tap: (px, py, touch) => this.tap(px, py, touch),
      enter: () => this.openAt(this.camera.width / 2, this.camera.height / 2, 60),
    });
    for (const type of ["focus", "blur"]) this.over.addEventListener(type, () => this.redraw());
    box.querySelector(".zoom").addEventListener("click", (event) => this.button(event.target.dataset.zoom));
    onTheme(() => this.data && this.recolour());
  }

  /** `data` is what `parseMap` gives. */
  show(data) {
    this.data = data;
    this.grid = new Grid(data.points);
    this.camera.most = Math.max(16, Math.sqrt(data.num_points)); // a few dozen points are left in sight
    this.box.dataset.points = data.num_points;
    this.box.querySelector(".map-state").textContent = "";
    this.recolour();
    this.resize();
  }

  /** What cannot be shown, in words. */
  say(text) {
    this.box.querySelector(".map-state").textContent = text;
  }

  /** Lights up items of the list shown, in its order, and rings around liked ones; both have `row`. */
  mark(items, liked = []) {
    for (const item of [...items, ...liked]) this.items.set(item.row, item);
    [this.marks, this.liked] = [items, liked].map((list) => list.map((item) => this.pointOf(item.row)).filter((p) => p >= 0));
    this.box.dataset.marks = this.marks.length;
    this.redraw();
  }

  /** Points at an item, from a card under the pointer; null: at none. */
  point(item) {
    this.spot = item ? this.pointOf(item.row) : -1;
    this.redraw();
  }

  /** Flies to an item. */
  locate(item) {
    const point = this.pointOf(item.row);
    if (point < 0) return this.say("This item is not on the map.");
    this.items.set(item.row, item);
    this.spot = point;
    const [x, y] = [this.data.points[2 * point], this.data.points[2 * point + 1]];
    return this.fly(x, y, Math.max(this.camera.zoom, Math.min(NEAR, this.camera.most / 4)));
  }

  pointOf(row) {
    if (!this.data || row === null || row % this.data.stride) return -1;
    return row / this.data.stride;
  }

  recolour() {
    const { points, codes, legend } = this.data;
    this.renderer.load(points, codes, rgbColours());
    fill(this.legend, [...legend.values, { value: "other" }].map(({ value, count }, code) =>
      el("button", { type: "button", "aria-pressed": this.only === code, vars: { colour: cssColour(code) },
        title: count ? `${count.toLocaleString("en")} items` : null, on: { click: () => this.isolate(code) } }, value)));
    this.redraw();
  }

  /** Shows one colour alone, or all again. */
  isolate(code) {
    this.only = this.only === code ? null : code;
    [...this.legend.children].forEach((button, i) => button.setAttribute("aria-pressed", this.only === i));
    this.redraw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.under, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    Object.assign(this.camera, { width, height });
    this.changed();
  }

  button(kind) {
    if (kind === "all") this.fly(0.5, 0.5, 1);
    else if (kind) this.fly(this.camera.x, this.camera.y, Math.max(1, this.camera.zoom * (kind === "in" ? 2 : 0.5)));
  }

  fly(x, y, zoom) {
    const { camera } = this;
    const from = { x: camera.x, y: camera.y, zoom: camera.zoom };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    const step = (now) => {
      const t = still ? 1 : Math.min(1, Math.max(0, (now - start) / 450));
      const eased = t * t * (3 - 2 * t);
      const at = (a, b) => a + (b - a) * eased;
      Object.assign(camera, { x: at(from.x, x), y: at(from.y, y), zoom: from.zoom * (zoom / from.zoom) ** eased });
      this.changed();
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  hover(px, py) {
    const point = px === null ? -1 : this.pick(px, py, REACH.mouse);
    this.over.style.cursor = point < 0 ? "grab" : "pointer";
    if (point === this.spot) return;
    this.spot = point;
    this.title(point);
    this.redraw();
  }

  /** A click opens; a first touch shows the title, a second one on the same point opens. */
  tap(px, py, touch) {
    const point = this.pick(px, py, touch ? REACH.touch : REACH.mouse);
    if (!touch || (point >= 0 && point === this.spot)) return this.openAt(px, py, touch ? REACH.touch : REACH.mouse);
    this.spot = point;
    this.title(point);
    return this.redraw();
  }

  async openAt(px, py, reach) {
    const point = this.pick(px, py, reach);
    const item = point >= 0 && (await this.title(point));
    if (item) this.on.open(item);
  }

  /** The point under a pixel; marked ones come first, points of hidden colours not at all. */
  pick(px, py, reach) {
    if (!this.data) return -1;
    const [x, y] = this.camera.toMap(px, py);
    const [rx, ry] = [reach / this.camera.scaleX, reach / this.camera.scaleY];
    const marked = new Set(this.marks);
    const near = this.grid.nearest(x, y, rx, ry, (i) => marked.has(i));
    return near >= 0 ? near : this.grid.nearest(x, y, rx, ry, (i) => this.only === null || this.data.codes[i] === this.only);
  }

  /** The item at a point, asked for once. */
  async title(point) {
    if (point < 0) return null;
    const row = point * this.data.stride;
    if (!this.items.has(row)) await this.fetch([row]);
    return this.items.get(row) ?? null;
  }

  async fetch(rows) {
    try {
      for (const item of await this.on.items(rows)) this.items.set(item.row, item);
    } catch {
      return; // titles come with the next move
    }
    this.redraw();
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), SETTLE_MS);
    this.redraw();
  }

  /** Once the map rests: asks for the titles in sight when they are few. */
  settle() {
    if (!this.data) return;
    this.inSight = this.sight();
    const missing = this.inSight.map((i) => i * this.data.stride).filter((row) => !this.items.has(row));
    if (missing.length) this.fetch(missing);
    else this.redraw();
  }

  sight() {
    const { camera, data } = this;
    const [x0, y0] = camera.toMap(0, 0);
    const [x1, y1] = camera.toMap(camera.width, camera.height);
    const found = [];
    this.grid.inside(x0, y0, x1, y1, (i) => {
      const [x, y] = [data.points[2 * i], data.points[2 * i + 1]];
      if (x > x0 && x < x1 && y > y0 && y < y1) found.push(i);
    });
    return found.length <= MOST_TITLES ? found : [];
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.data) this.draw();
    });
  }

  draw() {
    const base = this.data.num_points > 5000 ? 0.55 : 0.85;
    const strength = this.marks.length ? base * 0.6 : base;
    const alphas = [...this.data.legend.values, null].map((_, code) =>
      this.only === null ? strength : this.only === code ? 0.95 : 0.05);
    this.renderer.draw(this.camera, this.ratio, alphas);
    this.drawMarks();
  }

  drawMarks() {
    const { pen, camera } = this;
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, camera.width, camera.height);
    const radius = Math.max(5, pointSize(camera, this.data.num_points) / 2 + 2);
    const room = new Room(camera.width, camera.height);
    room.take(camera.width - BUTTONS.width, 0, BUTTONS.width, BUTTONS.height);
    for (const point of this.liked) this.ring(point, radius + 1);
    for (const point of [...this.marks].reverse()) this.dot(point, radius);
    if (this.spot >= 0) this.dot(this.spot, radius + 2);
    if (document.activeElement === this.over && this.over.matches(":focus-visible")) this.cross();
    this.label(this.spot, radius + 2, room, { always: true, strong: true });
    for (const point of this.marks) this.label(point, radius, room, { strong: true });
    for (const point of this.inSight ?? []) this.label(point, radius, room);
  }

  label(point, radius, room, how) {
    const item = point >= 0 && this.items.get(point * this.data.stride);
    if (item) writeLabel(this.pen, room, item.title, ...this.screen(point), radius, how);
  }

  screen(point) {
    return this.camera.toScreen(this.data.points[2 * point], this.data.points[2 * point + 1]);
  }

  dot(point, radius) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(...this.screen(point), radius, 0, 2 * Math.PI);
    pen.fillStyle = cssColour(this.data.codes[point]);
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(this.over).getPropertyValue("--map-ink");
    pen.stroke();
  }

  ring(point, radius) {
    const { pen } = this;
    pen.beginPath();
    pen.arc(...this.screen(point), radius, 0, 2 * Math.PI);
    pen.setLineDash([3, 3]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = getComputedStyle(this.over).getPropertyValue("--map-ink");
    pen.stroke();
    pen.setLineDash([]);
  }

  cross() {
    const { pen, camera } = this;
    const [x, y] = [camera.width / 2, camera.height / 2];
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 5 * dx, y + 5 * dy);
      pen.lineTo(x + 14 * dx, y + 14 * dy);
    }
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(this.over).getPropertyValue("--map-ink");
    pen.stroke();
  }
}
