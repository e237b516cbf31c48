'use strict';
const D = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
const main = document.querySelector('main');
const picture = $('picture'), overview = $('overview'), tip = $('tip');

// Events, as rows of the page's data.
const INDEX = 0, AT = 1, KIND = 2, DIR = 3, HOST = 4, PEER = 5, LINK = 6, TEXT = 7;
const E = D.events;
const CLASSES = [
  ['data', 'data', ['data'], true],
  ['commands', 'commands', ['dial', 'accept', 'connect', 'refuse', 'close', 'malformed', 'hello'], true],
  ['pings', 'pings', ['ping'], true],
  ['ends', 'opens and closes', ['open', 'eof', 'failed', 'drop'], true],
  ['waits', 'waits', ['wait'], false],
  ['apps', 'applications', ['app'], false],
];
const HEAD = 26, AXIS = 66, OVERVIEW = 84, LABELS = 172, COLUMN = 11, MIN_LANE = 96;
// What is seen even in a crowd.
const LOUD = new Set(['malformed', 'failed', 'drop', 'open', 'world']);

let colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  const read = (known, name) => (known[name] ??= style.getPropertyValue('--' + String(name)).trim());
  colors = new Proxy({}, { get: read });
}

// Lanes: servers, gateways, clients from left to right.
const order = D.hosts.map((_, i) => i).sort((a, b) => D.hosts[a][1] - D.hosts[b][1] || a - b);
const laneOf = [];
order.forEach((host, lane) => { laneOf[host] = lane; });
const name = (host) => (host === null ? 'world' : D.hosts[host][0]);
const seconds = (ms, digits = 3) => (ms / 1000).toFixed(digits) + ' s';

// Columns of faults, so that those at the same time are beside each other.
const columnEnds = [];
for (const fault of D.faults) {
  let column = columnEnds.findIndex((end) => end <= fault.from[1]);
  if (column < 0) column = columnEnds.length;
  columnEnds[column] = fault.to[1];
  fault.column = column;
}
const LEFT = AXIS + (D.faults.length ? columnEnds.length * COLUMN + LABELS : 20);

// Time of each event: those of one tick are spread over it, in their order. A tick has its name from its end.
const spread = new Float64Array(E.length);
for (let i = 0; i < E.length;) {
  let j = i;
  while (j < E.length && E[j][AT] === E[i][AT]) j++;
  for (let k = i; k < j; k++) spread[k] = E[i][AT] - D.tick_ms * (1 - (k - i + 0.5) / (j - i));
  i = j;
}
const total = D.end_ms;

let shown = []; // Places in E that pass the filters.
let byRow = false;
const view = { top: 0, scale: 1, x: 0 }; // In ms and pixels per ms; or in rows and pixels per row.
let width = 0, height = 0, gap = MIN_LANE;
let hits = [], hovered = -1, picked = -1;

function lower(list, key, value) {
  let lo = 0, hi = list.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (key(list[mid], mid) < value) lo = mid + 1; else hi = mid;
  }
  return lo;
}
const violated = D.violation ? lower(E, (e) => e[INDEX], D.violation[1]) : -1;

/** The position of a place [ms, index] along the time. */
function along(place) {
  if (byRow) return lower(shown, (i) => E[i][INDEX], place[1]);
  const i = lower(E, (e) => e[INDEX], place[1]);
  return i < E.length && E[i][INDEX] === place[1] ? spread[i] : place[0];
}
const position = (k) => (byRow ? k + 0.5 : spread[shown[k]]);
const y = (at) => HEAD + (at - view.top) * view.scale;
const extent = () => (byRow ? Math.max(1, shown.length) : total);
const lane = (host) => LEFT + (laneOf[host] + 0.5) * gap - view.x;
/** The time at a position, in ms. */
function timeAt(at) {
  if (!byRow) return at;
  const k = Math.min(shown.length - 1, Math.max(0, Math.floor(at)));
  return shown.length ? E[shown[k]][AT] : 0;
}
const ofTime = (ms) => (byRow ? lower(shown, (i) => E[i][AT], ms) : ms);

function limit() {
  const room = height - HEAD;
  const most = byRow ? 60 : 3000;
  const least = room / (extent() * 1.06);
  view.scale = Math.min(Math.max(view.scale, Math.min(least, most)), most);
  const margin = 20 / view.scale;
  const start = byRow ? -margin : -margin - D.tick_ms;
  view.top = Math.max(start, Math.min(view.top, extent() + margin - room / view.scale));
  if ((extent() + 2 * margin) * view.scale <= room) view.top = start;
  view.x = Math.max(0, Math.min(view.x, LEFT + gap * D.hosts.length - width));
}
function zoom(factor, at = HEAD + (height - HEAD) / 2) {
  const here = view.top + (at - HEAD) / view.scale;
  view.scale *= factor;
  limit();
  view.top = here - (at - HEAD) / view.scale;
  draw();
}
function center(at, part = 0.5) {
  limit();
  view.top = at - ((height - HEAD) * part) / view.scale;
  draw();
}
function whole() {
  view.scale = 0;
  view.top = 0;
  draw();
}
/** Shows an event with about as many others around it as can be read. */
function goTo(at, ms) {
  if (byRow) {
    view.scale = Math.max(view.scale, 16);
  } else {
    const k = lower(shown, (i) => spread[i], ms);
    const around = Math.floor((height - HEAD) / 38);
    const from = shown.length ? spread[shown[Math.max(0, k - around)]] : 0;
    const to = shown.length ? spread[shown[Math.min(shown.length - 1, k + Math.floor(around / 3))]] : total;
    view.scale = (height - HEAD) / Math.max(to - from, D.tick_ms / 4);
  }
  center(at, 0.7);
}
function goToViolation() {
  if (D.violation) goTo(along(D.violation), D.violation[0]);
}

/** The filter's words; a number is not found inside of a longer one. */
function matcher(text) {
  const parts = text.split(',').map((part) => part.trim()).filter(Boolean);
  if (!parts.length) return null;
  const exact = parts.map((part) => {
    const quoted = part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    return (/^\w/.test(part) ? '(?<![\\w-])' : '') + quoted + (/\d$/.test(part) ? '(?!\\d)' : '');
  });
  return new RegExp(exact.join('|'), 'i');
}
function applyFilters(keep = true) {
  const middle = height ? view.top + (height - HEAD) / 2 / view.scale : 0;
  const ms = timeAt(middle);
  const on = new Set(['world']);
  for (const [id, , kinds] of CLASSES) if ($('class-' + id).checked) kinds.forEach((kind) => on.add(kind));
  const wanted = matcher($('filter').value);
  shown = [];
  for (let i = 0; i < E.length; i++) {
    const e = E[i];
    const passes = on.has(e[KIND]) && (!wanted || e[KIND] === 'world'
      || wanted.test(e[TEXT] + ' ' + name(e[HOST]) + ' ' + (e[PEER] === null ? '' : name(e[PEER]))));
    if (passes || i === violated || i === picked) shown.push(i);
  }
  const ofWorld = shown.filter((i) => E[i][KIND] === 'world').length;
  $('found').textContent = (shown.length - ofWorld).toLocaleString('en') + ' events shown';
  if (keep && byRow) view.top = ofTime(ms) - (height - HEAD) / 2 / view.scale;
  if (keep) draw();
}
function setByRow(on) {
  if (byRow === on) return;
  const ms = timeAt(view.top + (height - HEAD) / 2 / view.scale);
  const atViolation = D.violation && Math.abs(y(along(D.violation)) - height / 2) < height / 2;
  byRow = on;
  $('order').checked = on;
  view.scale = on ? 16 : view.scale;
  if (atViolation) goToViolation();
  else if (on) center(ofTime(ms));
  else goTo(ms, ms);
}

// Drawing.
const hatch = document.createElement('canvas');
function makeHatch() {
  hatch.width = hatch.height = 8;
  const c = hatch.getContext('2d');
  c.clearRect(0, 0, 8, 8);
  c.strokeStyle = colors.down;
  c.lineWidth = 1.6;
  c.beginPath();
  for (const x of [-8, 0, 8]) { c.moveTo(x, 8); c.lineTo(x + 8, 0); }
  c.stroke();
}
function fit(canvas, w, h) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    canvas.style.width = w + 'px';
    canvas.style.height = h + 'px';
  }
  const c = canvas.getContext('2d');
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  return c;
}
const measures = new Map();
function cut(c, text, room) {
  const measure = (t) => {
    const key = c.font + t;
    if (!measures.has(key)) measures.set(key, c.measureText(t).width);
    return measures.get(key);
  };
  if (measure(text) <= room) return text;
  const letters = Math.floor((room / measure(text)) * text.length) - 1;
  return letters < 3 ? '' : text.slice(0, letters) + '…';
}
/** A stretch between two positions, cut to what is visible; null if none of it is. */
function stretch(from, to, least = 2) {
  const a = y(from), b = Math.max(y(to), a + least);
  if (b < HEAD || a > height) return null;
  return [Math.max(a, HEAD - 4), Math.min(b, height + 4)];
}

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}
function paint() {
  width = Math.max(200, main.clientWidth - OVERVIEW);
  height = main.clientHeight;
  gap = Math.max(MIN_LANE, (width - LEFT) / D.hosts.length);
  limit();
  const c = fit(picture, width, height);
  c.font = '11px system-ui, sans-serif';
  c.textBaseline = 'middle';
  hits = [];
  c.save();
  c.beginPath();
  c.rect(LEFT, 0, width - LEFT, height);
  c.clip();
  paintNotHere(c);
  paintLanes(c);
  paintHighlights(c);
  paintViolation(c, true);
  paintEvents(c);
  paintPhases(c);
  c.restore();
  paintAxis(c);
  paintFaults(c);
  paintViolation(c, false);
  paintHead(c);
  paintOverview();
}
function paintNotHere(c) {
  const left = D.left_out;
  const stretches = [];
  if (left.before) stretches.push([0, ofTime(left.from_ms), left.before]);
  if (left.after) stretches.push([ofTime(left.to_ms + (byRow ? 1 : 0)), extent(), left.after]);
  for (const [from, to, count] of stretches) {
    const s = stretch(from, to, 0);
    if (!s || s[1] - s[0] < 3) continue;
    c.fillStyle = colors.strip;
    c.fillRect(LEFT, s[0], width - LEFT, s[1] - s[0]);
    if (s[1] - s[0] < 24) continue;
    c.fillStyle = colors.dim;
    c.textAlign = 'center';
    const text = count.toLocaleString('en') + ' events of this time are not on this page';
    c.fillText(text, (LEFT + width) / 2, (s[0] + s[1]) / 2);
  }
}
function paintLanes(c) {
  for (const host of order) {
    const x = Math.round(lane(host)) + 0.5;
    c.strokeStyle = colors.lane;
    c.lineWidth = D.hosts[host][1] === 1 ? 2 : 1;
    c.beginPath();
    c.moveTo(x, Math.max(HEAD, y(0)));
    c.lineTo(x, Math.min(height, y(extent())));
    c.stroke();
  }
  const half = Math.min(26, gap * 0.2);
  for (const fault of D.faults) {
    const s = stretch(along(fault.from), along(fault.to));
    if (!s) continue;
    c.globalAlpha = 0.13;
    c.fillStyle = colors.fault;
    for (const host of fault.hosts) c.fillRect(lane(host) - half, s[0], 2 * half, s[1] - s[0]);
    c.globalAlpha = 1;
  }
  makeHatch();
  const pattern = c.createPattern(hatch, 'repeat');
  for (const [host, from, to] of D.down) {
    const s = stretch(along(from), along(to), 3);
    if (!s) continue;
    const x = lane(host) - 9;
    c.fillStyle = colors.page;
    c.fillRect(x, s[0], 18, s[1] - s[0]);
    c.fillStyle = pattern;
    c.fillRect(x, s[0], 18, s[1] - s[0]);
    c.strokeStyle = colors.down;
    c.lineWidth = 1;
    c.strokeRect(x, s[0], 18, s[1] - s[0]);
    const text = `${name(host)} does not run, ${seconds(from[0])} to ${seconds(to[0])}`;
    hits.push({ x: x + 9, y: s[0], x2: x + 9, y2: s[1], r: 9, text });
  }
  const bands = new Map();
  for (const [host, from, to, link] of D.blocked) {
    const s = stretch(along(from), along(to), 1.5);
    if (!s) continue;
    // Links that wait at the same time are beside each other, as far as there is room.
    const used = bands.get(host) ?? bands.set(host, []).get(host);
    let place = used.findIndex((end) => end <= s[0] + 0.5);
    if (place < 0) place = used.length < 5 ? used.length : 4;
    used[place] = s[1];
    const x = lane(host) + 3 + place * 4;
    c.fillStyle = colors.wait;
    c.globalAlpha = 0.7;
    c.fillRect(x, s[0], 3, s[1] - s[0]);
    c.globalAlpha = 1;
    const text = `link ${link} takes no more, ${seconds(from[0])} to ${seconds(to[0])}`;
    hits.push({ x: x + 1.5, y: s[0], x2: x + 1.5, y2: s[1], r: 2, text });
  }
}
const visible = () => {
  const key = (_, k) => position(k);
  const from = lower(shown, key, view.top - 30 / view.scale);
  const to = lower(shown, key, view.top + (height - HEAD + 30) / view.scale);
  return [from, to];
};
/** Where an event is drawn: its gateway's end, and the other host's. */
function ends(e, at) {
  const x = lane(e[HOST]), x2 = e[PEER] === null ? x : lane(e[PEER]);
  const slant = e[DIR] ? Math.min(5, Math.max(1, view.scale * (byRow ? 0.35 : 4))) : 0;
  return [x, at, x2, at + (e[DIR] === 1 ? -slant : slant)];
}
function paintEvents(c) {
  const [from, to] = visible();
  const many = to - from > 1500;
  const faint = Math.max(0.12, Math.min(1, 900 / (to - from)));
  const seen = new Set(), crowds = new Map(), loud = [];
  for (let k = from; k < to; k++) {
    const i = shown[k], e = E[i];
    if (e[HOST] === null) continue;
    const at = y(position(k));
    const [x, y1, x2, y2] = ends(e, at);
    const side = x2 < x ? -1 : 1;
    const between = laneOf[e[HOST]] + (side < 0 ? 0 : 1);
    const crowd = crowds.get(between) ?? crowds.set(between, []).get(between);
    crowd.push({ e, at, x, side });
    if (many && i !== violated) {
      const key = `${Math.round(at)} ${e[KIND]} ${e[DIR]} ${e[HOST]} ${e[PEER]}`;
      if (seen.has(key)) continue;
      seen.add(key);
    }
    hits.push({ x, y: y1, x2: e[DIR] || e[KIND] === 'drop' ? x2 : x, y2, r: 4, event: i });
    if (LOUD.has(e[KIND])) loud.push([e, x, y1, x2, y2]);
    else paintEvent(c, e, x, y1, x2, y2, faint * (e[KIND] === 'ping' ? 0.6 : 1));
  }
  for (const [e, x, y1, x2, y2] of loud) paintEvent(c, e, x, y1, x2, y2, Math.min(1, faint * 3));
  for (const crowd of crowds.values()) paintLabels(c, crowd);
}
function paintEvent(c, e, x, y1, x2, y2, alpha) {
  const kind = e[KIND];
  c.strokeStyle = c.fillStyle = colors[kind];
  c.lineWidth = kind === 'data' || kind === 'ping' ? 1 : 1.5;
  c.globalAlpha = alpha;
  if (kind === 'malformed' || kind === 'failed') c.lineWidth = 2;
  if (e[DIR]) {
    c.setLineDash(kind === 'open' ? [5, 3] : kind === 'eof' ? [2, 3] : kind === 'failed' ? [6, 2, 1, 2] : []);
    c.beginPath();
    c.moveTo(x, y1);
    c.lineTo(x2, y2);
    c.stroke();
    c.setLineDash([]);
    const [hx, hy, tx, ty] = e[DIR] === 1 ? [x, y1, x2, y2] : [x2, y2, x, y1];
    const angle = Math.atan2(hy - ty, hx - tx);
    c.beginPath();
    c.moveTo(hx, hy);
    c.lineTo(hx - 8 * Math.cos(angle - 0.4), hy - 8 * Math.sin(angle - 0.4));
    c.lineTo(hx - 8 * Math.cos(angle + 0.4), hy - 8 * Math.sin(angle + 0.4));
    c.fill();
  }
  c.beginPath();
  if (kind === 'open') {
    c.arc(x, y1, 4.5, 0, 7);
    c.fill();
  } else if (kind === 'drop' || kind === 'failed') {
    if (kind === 'drop') {
      c.moveTo(x, y1);
      c.lineTo(x + Math.sign(x2 - x) * Math.min(gap * 0.3, Math.abs(x2 - x)), y1);
    }
    c.moveTo(x - 4, y1 - 4); c.lineTo(x + 4, y1 + 4);
    c.moveTo(x + 4, y1 - 4); c.lineTo(x - 4, y1 + 4);
    c.lineWidth = 2;
    c.stroke();
  } else if (kind === 'wait') {
    c.arc(x + 4, y1, 2, 0, 7);
    c.fill();
  } else if (kind === 'app') {
    c.moveTo(x - 4, y1); c.lineTo(x, y1 - 4); c.lineTo(x + 4, y1); c.lineTo(x, y1 + 4);
    c.fill();
  } else if (kind === 'world') {
    c.fillRect(x - 5, y1 - 2, 10, 4);
  }
  c.globalAlpha = 1;
}
/** For labels: the number of the link, and what; the whole text is under the pointer. */
function shortText(e) {
  const text = e[TEXT].replace(/ bytes \([0-9a-f]+\)$/, ' B');
  if (e[KIND] === 'open') return text.replace(/^(\S+ link \d+) from .*/, '$1');
  return text.replace(/^link (\d+) \S+ (<- |-> )?/, '$1: ');
}
/** Beside the lane where it happened, if that is not too crowded; of one place between two lanes. */
function paintLabels(c, crowd) {
  let last = -99;
  crowd.forEach(({ e, at, x, side }, n) => {
    if (at < HEAD + 4 || at > height || at - last < 12) return;
    const next = crowd[n + 6], before = crowd[n - 6];
    const crowded = (next && next.at - at < 12) || (before && at - before.at < 12);
    if (crowded && e[KIND] !== 'world') return;
    const text = cut(c, shortText(e), gap - 32);
    if (!text) return;
    last = at;
    c.textAlign = side < 0 ? 'right' : 'left';
    const start = x + side * (side > 0 ? 24 : 13);
    const w = c.measureText(text).width;
    c.fillStyle = colors.page;
    c.globalAlpha = 0.85;
    c.fillRect(side < 0 ? start - w - 2 : start - 2, at - 6, w + 4, 12);
    c.globalAlpha = 1;
    c.fillStyle = e[KIND] === 'data' ? colors.text : colors[e[KIND]];
    c.fillText(text, start, at);
  });
}
function paintHighlights(c) {
  const one = hovered >= 0 ? hovered : picked;
  if (one < 0) return;
  const link = E[one][LINK];
  const [from, to] = visible();
  c.lineCap = 'round';
  for (let k = from; k < to; k++) {
    const i = shown[k], e = E[i];
    if (e[HOST] === null || (i !== one && (link === null || e[LINK] !== link || to - from > 3000))) continue;
    const [x, y1, x2, y2] = ends(e, y(position(k)));
    c.strokeStyle = colors[e[KIND]];
    c.lineWidth = i === one ? 5 : 3;
    c.globalAlpha = i === one ? 0.6 : 0.3;
    c.beginPath();
    c.moveTo(x, y1);
    c.lineTo(e[DIR] ? x2 : x, e[DIR] ? y2 : y1);
    c.stroke();
  }
  c.globalAlpha = 1;
  c.lineCap = 'butt';
}
function paintPhases(c) {
  c.textAlign = 'right';
  let last = -99;
  for (const [place, text] of D.phases) {
    const at = Math.round(y(along(place))) + 0.5;
    if (at < HEAD - 1 || at > height + 12) continue;
    c.strokeStyle = colors.world;
    c.lineWidth = 1;
    c.setLineDash([8, 4]);
    c.beginPath();
    c.moveTo(LEFT, at);
    c.lineTo(width, at);
    c.stroke();
    c.setLineDash([]);
    const shift = Math.max(at + 9, last + 14);
    last = shift;
    c.font = 'bold 12px system-ui, sans-serif';
    const w = c.measureText(text).width;
    c.fillStyle = colors.page;
    c.fillRect(width - w - 12, shift - 7, w + 8, 14);
    c.fillStyle = colors.world;
    c.fillText(text, width - 8, shift);
    c.font = '11px system-ui, sans-serif';
  }
}
function paintAxis(c) {
  c.fillStyle = colors.page;
  c.fillRect(0, HEAD, LEFT, height - HEAD);
  c.strokeStyle = colors.rule;
  c.lineWidth = 1;
  c.fillStyle = colors.dim;
  c.textAlign = 'right';
  const line = (at, text) => {
    const h = Math.round(at) + 0.5;
    c.beginPath();
    c.moveTo(AXIS - 6, h);
    c.lineTo(AXIS, h);
    c.stroke();
    c.fillText(text, AXIS - 9, h);
  };
  if (byRow) {
    const [from, to] = visible();
    let last = -99, lastMs = -1;
    for (let k = from; k < to; k++) {
      const ms = E[shown[k]][AT], at = y(k + 0.5);
      const idle = k > 0 ? ms - E[shown[k - 1]][AT] : 0;
      if (idle >= 200 && view.scale > 6) {
        c.setLineDash([1, 4]);
        c.beginPath();
        c.moveTo(LEFT, Math.round(y(k)) + 0.5);
        c.lineTo(width, Math.round(y(k)) + 0.5);
        c.stroke();
        c.setLineDash([]);
      }
      if (ms !== lastMs && at - last >= 13) { line(at, seconds(ms)); last = at; lastMs = ms; }
    }
  } else {
    let step = D.tick_ms;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000];
    for (const nice of steps) {
      step = nice;
      if (nice >= D.tick_ms && nice * view.scale >= 50) break;
    }
    const digits = step >= 1000 ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
    const first = Math.max(0, Math.floor(view.top / step) * step);
    let any = false;
    for (let ms = first; y(ms) < height && ms <= total; ms += step) {
      if (y(ms) >= HEAD + 4) { line(y(ms), seconds(ms, digits)); any = true; }
    }
    if (!any) c.fillText(seconds(Math.max(0, first)), AXIS - 9, HEAD + 10);
  }
  c.beginPath();
  c.moveTo(AXIS + 0.5, HEAD);
  c.lineTo(AXIS + 0.5, height);
  c.stroke();
}
function paintFaults(c) {
  c.save();
  c.beginPath();
  c.rect(AXIS + 1, HEAD, LEFT - AXIS - 1, height - HEAD);
  c.clip();
  const start = AXIS + 6 + columnEnds.length * COLUMN;
  const labels = [];
  for (const fault of D.faults) {
    const s = stretch(along(fault.from), along(fault.to), 3);
    if (!s) continue;
    const x = AXIS + 4 + fault.column * COLUMN;
    c.fillStyle = colors.fault;
    c.globalAlpha = 0.4;
    c.fillRect(x, s[0], COLUMN - 2, s[1] - s[0]);
    c.globalAlpha = 1;
    const text = `${fault.text}, ${seconds(fault.from[0])} to ${seconds(fault.to[0])}`;
    hits.push({ x: x + 4, y: s[0], x2: x + 4, y2: s[1], r: 5, text });
    labels.push({ at: Math.max(s[0], HEAD) + 8, x: x + COLUMN - 2, text: fault.text, whole: text });
  }
  labels.sort((a, b) => a.at - b.at);
  c.textAlign = 'left';
  let last = HEAD - 6;
  for (const one of labels) {
    const lines = [];
    for (const word of one.text.split(' ')) {
      const longer = lines.length ? lines[lines.length - 1] + ' ' + word : word;
      if (lines.length && c.measureText(longer).width <= LEFT - start - 12) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    const at = Math.max(one.at, last + 15);
    c.strokeStyle = colors.fault;
    c.globalAlpha = 0.6;
    c.beginPath();
    c.moveTo(one.x, one.at - 6);
    c.lineTo(start, at);
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = colors.text;
    lines.forEach((text, n) => c.fillText(text, start + 4, at + n * 12));
    last = at + (lines.length - 1) * 12;
    hits.push({ x: start, y: at, x2: LEFT - 8, y2: at, r: 7, text: one.whole });
  }
  c.restore();
}
/** The line is below the events, its name above them. */
function paintViolation(c, below) {
  if (!D.violation) return;
  const found = violated >= 0 && violated < E.length && E[violated][INDEX] === D.violation[1];
  const at = Math.round(y(byRow && !found ? ofTime(D.violation[0]) : along(D.violation) + (byRow ? 0.5 : 0))) + 0.5;
  if (at < HEAD || at > height) return;
  c.strokeStyle = c.fillStyle = colors.bad;
  c.lineWidth = 2;
  c.beginPath();
  c.moveTo(0, at);
  c.lineTo(below ? width : LEFT, at);
  c.stroke();
  if (below) return;
  const text = 'violation ' + seconds(D.violation[0]);
  c.font = 'bold 11px system-ui, sans-serif';
  const w = c.measureText(text).width + 12;
  c.fillRect(width - w, at - 8, w, 16);
  c.fillStyle = colors.page;
  c.textAlign = 'left';
  c.fillText(text, width - w + 6, at);
  c.font = '11px system-ui, sans-serif';
}
function paintHead(c) {
  c.fillStyle = colors.strip;
  c.fillRect(0, 0, width, HEAD);
  c.fillStyle = colors.dim;
  c.textAlign = 'right';
  c.fillText('time', AXIS - 9, HEAD / 2);
  c.textAlign = 'left';
  if (D.faults.length) c.fillText('faults', AXIS + 4, HEAD / 2);
  c.save();
  c.beginPath();
  c.rect(LEFT, 0, width - LEFT, HEAD);
  c.clip();
  c.font = 'bold 12px system-ui, sans-serif';
  c.textAlign = 'center';
  for (const host of order) {
    c.fillStyle = D.hosts[host][1] === 1 ? colors.dial : colors.text;
    c.fillText(cut(c, name(host), gap - 8), lane(host), HEAD / 2);
  }
  c.restore();
  c.fillStyle = colors.bad;
  if (view.x > 0) c.fillText('◂', LEFT + 6, HEAD / 2);
  if (LEFT + gap * D.hosts.length - view.x > width + 1) c.fillText('▸', width - 6, HEAD / 2);
  c.strokeStyle = colors.rule;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(0, HEAD - 0.5);
  c.lineTo(width, HEAD - 0.5);
  c.moveTo(LEFT - 0.5, HEAD);
  c.lineTo(LEFT - 0.5, height);
  c.stroke();
}
const overviewY = (ms) => HEAD + (ms / total) * (height - HEAD);
function paintOverview() {
  const c = fit(overview, OVERVIEW, height);
  c.font = '11px system-ui, sans-serif';
  c.textBaseline = 'middle';
  c.fillStyle = colors.strip;
  c.fillRect(0, 0, OVERVIEW, HEAD);
  const left = D.left_out;
  c.fillRect(0, HEAD, OVERVIEW, overviewY(left.from_ms) - HEAD);
  if (left.after) c.fillRect(0, overviewY(left.to_ms), OVERVIEW, height);
  c.fillStyle = colors.dim;
  c.textAlign = 'left';
  c.fillText('whole time', 8, HEAD / 2);
  c.globalAlpha = 0.18;
  c.fillStyle = colors.fault;
  for (const fault of D.faults) {
    const a = overviewY(fault.from[0]);
    c.fillRect(0, a, OVERVIEW, Math.max(2, overviewY(fault.to[0]) - a));
  }
  c.globalAlpha = 1;
  const most = Math.sqrt(Math.max(1, ...D.density));
  c.fillStyle = colors.data;
  D.density.forEach((count, n) => {
    const a = HEAD + (n / D.density.length) * (height - HEAD);
    c.fillRect(0, a, (Math.sqrt(count) / most) * (OVERVIEW - 6), Math.max(1, (height - HEAD) / D.density.length));
  });
  c.fillStyle = c.strokeStyle = colors.world;
  c.textAlign = 'right';
  let last = -99;
  for (const [place, text] of D.phases) {
    const a = Math.round(overviewY(place[0])) + 0.5;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, a);
    c.lineTo(OVERVIEW, a);
    c.stroke();
    last = Math.max(a + 8, last + 12);
    const w = c.measureText(text).width;
    c.fillStyle = colors.page;
    c.fillRect(OVERVIEW - 8 - w, last - 6, w + 4, 12);
    c.fillStyle = colors.world;
    c.fillText(text, OVERVIEW - 6, last);
  }
  if (D.violation) {
    c.fillStyle = colors.bad;
    c.fillRect(0, overviewY(D.violation[0]) - 1, OVERVIEW, 3);
  }
  const a = overviewY(Math.max(0, timeAt(view.top)));
  const b = overviewY(Math.min(total, timeAt(view.top + (height - HEAD) / view.scale)));
  c.strokeStyle = colors.dial;
  c.lineWidth = 2;
  c.strokeRect(1, Math.max(HEAD, a - 1), OVERVIEW - 2, Math.max(4, b - a));
}

// What is under the pointer.
function distance(hit, px, py) {
  const dx = hit.x2 - hit.x, dy = hit.y2 - hit.y, length = dx * dx + dy * dy;
  const t = length ? Math.max(0, Math.min(1, ((px - hit.x) * dx + (py - hit.y) * dy) / length)) : 0;
  return Math.hypot(px - hit.x - t * dx, py - hit.y - t * dy);
}
function under(px, py) {
  const all = hits.map((hit) => [distance(hit, px, py), hit]);
  const near = all.filter(([far, hit]) => far <= hit.r + 2);
  return near.sort((a, b) => a[0] - b[0]).map(([, hit]) => hit);
}
function describe(i) {
  const e = E[i];
  const here = name(e[HOST]), there = name(e[PEER]);
  const way = [here, `${there} → ${here}`, `${here} → ${there}`][e[DIR]];
  return `${seconds(e[AT])}  ${way}  ${e[TEXT]}`;
}
function hover(px, py) {
  const near = under(px, py);
  const first = near.find((hit) => hit.event !== undefined);
  const now = first ? first.event : -1;
  if (now !== hovered) { hovered = now; draw(); }
  tip.style.display = near.length ? 'block' : 'none';
  if (!near.length) return;
  const lines = near.slice(0, 8).map((hit) => hit.text ?? describe(hit.event));
  if (near.length > 8) lines.push(`and ${near.length - 8} more: zoom in`);
  tip.textContent = lines.join('\n');
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = (px + 16 + w > main.clientWidth ? Math.max(0, px - w - 12) : px + 16) + 'px';
  tip.style.top = (py + 14 + h > height ? Math.max(0, py - h - 10) : py + 14) + 'px';
}
function pick(i) {
  picked = i;
  const box = $('picked');
  box.textContent = '';
  if (i >= 0) {
    const code = document.createElement('code');
    code.textContent = describe(i);
    box.append(code);
    const conn = /#\d+/.exec(E[i][TEXT]);
    const wanted = [E[i][LINK] === null ? null : 'link ' + E[i][LINK], conn && conn[0]];
    for (const text of wanted.filter(Boolean)) {
      const button = document.createElement('button');
      button.textContent = 'only ' + text;
      button.onclick = () => { $('filter').value = text; applyFilters(); };
      box.append(button);
    }
  }
  draw();
}

let dragged = null;
picture.addEventListener('pointerdown', (event) => {
  dragged = { x: event.clientX, y: event.clientY, top: view.top, left: view.x, moved: false };
  picture.setPointerCapture(event.pointerId);
});
picture.addEventListener('pointermove', (event) => {
  if (!dragged) return hover(event.offsetX, event.offsetY);
  const dx = event.clientX - dragged.x, dy = event.clientY - dragged.y;
  if (Math.abs(dx) + Math.abs(dy) > 3) dragged.moved = true;
  view.top = dragged.top - dy / view.scale;
  view.x = dragged.left - dx;
  draw();
});
picture.addEventListener('pointerup', (event) => {
  if (dragged && !dragged.moved) {
    const hit = under(event.offsetX, event.offsetY).find((one) => one.event !== undefined);
    pick(hit ? hit.event : -1);
  }
  dragged = null;
});
picture.addEventListener('pointerleave', () => { tip.style.display = 'none'; hovered = -1; draw(); });
picture.addEventListener('dblclick', (event) => zoom(event.shiftKey ? 0.4 : 2.5, event.offsetY));
picture.addEventListener('wheel', (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 20 : 1;
  if (event.ctrlKey || event.metaKey) return zoom(Math.exp(-event.deltaY * unit * 0.004), event.offsetY);
  view.x += (event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX) * unit;
  if (!event.shiftKey) view.top += (event.deltaY * unit) / view.scale;
  tip.style.display = 'none';
  draw();
}, { passive: false });
function fromOverview(event) {
  if (event.type === 'pointermove' && !event.buttons) return;
  center(ofTime(((event.offsetY - HEAD) / (height - HEAD)) * total));
}
overview.addEventListener('pointerdown', fromOverview);
overview.addEventListener('pointermove', fromOverview);

$('in').onclick = () => zoom(2);
$('out').onclick = () => zoom(0.5);
$('all').onclick = whole;
$('there').onclick = goToViolation;
$('there').hidden = !D.violation;
$('order').onchange = () => setByRow($('order').checked);
$('filter').oninput = () => applyFilters();
document.addEventListener('keydown', (event) => {
  if (event.target === $('filter')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = (height - HEAD) / view.scale;
  const scroll = { ArrowDown: 0.1, ArrowUp: -0.1, PageDown: 0.9, PageUp: -0.9, Home: -1e9, End: 1e9 }[event.key];
  if (scroll) { view.top += scroll * page; draw(); }
  else if (event.key === '+' || event.key === '=') zoom(2);
  else if (event.key === '-') zoom(0.5);
  else if (event.key === '0') whole();
  else if (event.key === 'v') goToViolation();
  else if (event.key === 'o') setByRow(!byRow);
  else if (event.key === '/') $('filter').focus();
  else return;
  event.preventDefault();
});
if ($('last')) {
  $('last').onclick = (event) => {
    const line = event.target.closest('span');
    if (!line) return;
    const ms = Math.round(parseFloat(line.textContent) * 1000);
    const i = E.findIndex((e) => e[AT] === ms && line.textContent.endsWith('  ' + e[TEXT]));
    if (i < 0) return goTo(ofTime(ms), ms);
    pick(i);
    applyFilters(false);
    goTo(along([ms, E[i][INDEX]]), ms);
  };
  $('last').scrollTop = 1e6;
}
if ($('violation')) $('violation').ontoggle = draw;

// Texts around the picture.
const n = (count) => count.toLocaleString('en');
function texts() {
  const judged = D.violation ? 'violated' : 'nothing violated';
  const sums = [seconds(D.end_ms) + ' simulated', n(D.left_out.total) + ' events', D.faults.length + ' faults', judged];
  $('counts').textContent = sums.join(', ');
  const left = D.left_out, parts = [];
  if (left.before) parts.push(`${n(left.before)} events before ${seconds(left.from_ms)}`);
  if (left.after) parts.push(`${n(left.after)} events after ${seconds(left.to_ms)}`);
  if (left.waits) parts.push(`${n(left.waits)} times that a gateway waits for more to read`);
  if (left.blocked) parts.push(`${n(left.blocked)} of the shortest orange stretches`);
  const all = 'All events are on this page.';
  $('left').textContent = parts.length ? 'Not on this page: ' + parts.join('; ') + '.' : all;
}
function legend() {
  const box = $('legend');
  box.textContent = '';
  const arrows = [
    ['data', 'message'], ['dial', 'Dial'], ['accept', 'Accept'], ['connect', 'Connect'], ['refuse', 'Refuse'],
    ['close', 'Close'], ['ping', 'Ping'], ['hello', 'handshake'], ['malformed', 'malformed'], ['open', 'link opened'],
    ['eof', 'end of file'], ['failed', 'reset, failed'], ['drop', 'link dropped'], ['app', 'application'],
  ];
  const rest = [['blocked', 'link takes no more'], ['down', 'does not run'], ['fault', 'fault']];
  for (const [kind, text] of [...arrows, ...rest]) {
    const item = document.createElement('span');
    const small = document.createElement('canvas');
    small.style.position = 'static';
    const c = fit(small, 26, 12);
    if (kind === 'down') {
      makeHatch();
      c.fillStyle = c.createPattern(hatch, 'repeat');
      c.fillRect(3, 0, 20, 12);
    } else if (kind === 'fault') {
      c.globalAlpha = 0.4;
      c.fillStyle = colors.fault;
      c.fillRect(3, 0, 20, 12);
    } else if (kind === 'blocked') {
      c.fillStyle = colors.wait;
      c.fillRect(11, 0, 3, 12);
    } else {
      const to = { open: 1, failed: 1, drop: 0, app: 0 }[kind] ?? 2;
      const x = { open: 19, failed: 19, drop: 8, app: 13 }[kind] ?? 1;
      paintEvent(c, ['', 0, kind, to], x, 6, to === 1 ? 1 : 25, 6, 1);
    }
    item.append(small, text);
    box.append(item);
  }
}
for (const [id, text, , on] of CLASSES) {
  const box = document.createElement('label');
  const input = document.createElement('input');
  input.type = 'checkbox';
  input.id = 'class-' + id;
  input.checked = on;
  input.onchange = () => applyFilters();
  box.append(input, text);
  $('classes').append(box);
}
function theme() {
  readColors();
  legend();
  draw();
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', theme);
window.addEventListener('resize', draw);
texts();
theme();
applyFilters(false);
paint();
if (D.violation) {
  setByRow(true);
  goToViolation();
} else {
  whole();
}
