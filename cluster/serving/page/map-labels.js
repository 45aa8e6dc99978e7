// Titles on the map: those of marked points first, then of what is in sight, as long as there is room.

const GAP = 3;
const FONT = 12;

/** Keeps the boxes that are taken. */
export class Room {
  constructor(width, height) {
    Object.assign(this, { width, height, taken: [] });
  }
  take(x, y, width, height) {
    if (x < 0 || y < 0 || x + width > this.width || y + height > this.height) return false;
    if (this.taken.some((b) => x < b.x + b.width && b.x < x + width && y < b.y + b.height && b.y < y + height)) return false;
    this.taken.push({ x, y, width, height });
    return true;
  }
}

/** Writes `text` beside a point where there is room: right, left, below, above. `always`: on the right if there is none. */
export function writeLabel(pen, room, text, px, py, radius, { always = false, strong = false } = {}) {
  pen.font = `${strong ? 600 : 400} ${FONT}px ${getComputedStyle(document.body).fontFamily}`;
  const shown = text.length > 42 ? `${text.slice(0, 40)}…` : text;
  const [width, height, off] = [pen.measureText(shown).width + 2 * GAP, FONT + 2 * GAP, radius + 2];
  const spots = [
    [px + off, py - height / 2], [px - off - width, py - height / 2],
    [px - width / 2, py + off], [px - width / 2, py - off - height],
  ];
  const spot = spots.find(([x, y]) => room.take(x, y, width, height)) ?? (always ? spots[px > room.width / 2 ? 1 : 0] : null);
  if (!spot) return;
  const style = getComputedStyle(pen.canvas);
  pen.lineJoin = "round";
  pen.lineWidth = 3.5;
  pen.strokeStyle = style.getPropertyValue("--map-paper");
  pen.fillStyle = style.getPropertyValue("--map-ink");
  pen.textBaseline = "middle";
  pen.strokeText(shown, spot[0] + GAP, spot[1] + height / 2);
  pen.fillText(shown, spot[0] + GAP, spot[1] + height / 2);
}
