// What the page remembers: the last five minutes of a value, second by second of the gateway's own clock.

export const SPAN = 300;

export class Series {
  #values = new Float32Array(SPAN);
  #newest = -1;
  #oldest = 0;

  // `value` holds for all seconds since the last one that was told: a rate is a mean over them.
  push(second, value) {
    if (!Number.isFinite(value)) return;
    if (this.#newest < 0) this.#oldest = second;
    const from = this.#newest < 0 ? second : Math.max(this.#newest + 1, second - SPAN + 1);
    for (let at = Math.min(from, second); at <= second; at += 1) this.#values[at % SPAN] = value;
    this.#newest = second;
    this.#oldest = Math.max(this.#oldest, second - SPAN + 1);
  }

  // The last `span` seconds, as about so many points: [seconds before now, mean], oldest first. The seconds of a mean begin at
  // multiples of their number, so that a curve moves to the left and keeps its shape.
  points({ now, span }, many) {
    const points = [];
    if (this.#newest < 0) return points;
    const step = Math.ceil(span / many);
    const end = Math.min(this.#newest, now);
    const first = Math.max(this.#oldest, now - span + 1);
    for (let at = first; at <= end; ) {
      const next = Math.min(end + 1, (Math.floor(at / step) + 1) * step);
      let sum = 0;
      for (let second = at; second < next; second += 1) sum += this.#values[second % SPAN];
      points.push([now - (at + next - 1) / 2, sum / (next - at)]);
      at = next;
    }
    return points;
  }
}

// The largest value of several curves.
export function peak(...curves) {
  let max = 0;
  for (const points of curves) for (const [, value] of points) if (value > max) max = value;
  return max;
}

// The path of a curve in a box, the newest value at its right edge; with `closed`, of the area below it.
export function path(points, { span }, width, height, max, closed) {
  if (!points.length) return "";
  const y = (value) => (height - 1 - (max > 0 ? value / max : 0) * (height - 2)).toFixed(1);
  const x = (age) => (width * (1 - age / (span - 1))).toFixed(1);
  const last = points[points.length - 1];
  let d = "";
  for (const [age, value] of points) d += `${d ? "L" : "M"}${x(age)} ${y(value)}`;
  d += `L${width} ${y(last[1])}`;
  return closed ? `${d}L${width} ${height}L${x(points[0][0])} ${height}Z` : d;
}
