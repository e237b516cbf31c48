// The picture of who talks to whom: clients, this gateway, its servers. A lane is as wide as what runs on it. The busiest servers
// have lanes of their own; all others share one, and are a dot each.

import { html, svg, put, set, level } from "./dom.js";
import * as format from "./format.js";

const ALONE = 12;
const BUSIEST = 8;
const WIDEST_LANE = 15;

const dark = matchMedia("(prefers-color-scheme: dark)");
const rateText = (value) => format.text(format.bytesPerSecond(value));

// The picture in `parent`. `onPick` is called with the ID of a server that was clicked. Gives what shows a model in it.
export function createTopology(parent, onPick) {
  const lanes = svg("g");
  const nodes = svg("g");
  const root = svg("svg", { role: "img" }, lanes, nodes);
  const trunk = new Lanes(lanes);
  const clients = new Card(nodes, "clients");
  const gateway = new Card(nodes, "gateway");
  const nobody = new Card(nodes, "absent");
  const clientDots = new Dots(() => {});
  const serverDots = new Dots(onPick);
  const servers = new Map();
  let chosen = new Set();
  let model = null;
  let plan = { width: 0 };

  parent.append(root, clientDots.element, serverDots.element);
  new ResizeObserver(([{ contentRect }]) => {
    plan = { width: Math.floor(contentRect.width) };
    draw();
  }).observe(parent);
  dark.addEventListener("change", draw);

  function draw() {
    if (!model || !plan.width) return;
    const { alone, others } = choose();
    plan = arrange(plan.width, alone.length, others.length);
    set(root, "width", plan.width);
    set(root, "height", plan.height);
    drawClients(plan.clients, plan.gateway);
    drawGateway(plan.gateway);
    drawServers(alone, others);
    const { rates, status: { now } } = model;
    const ends = `${format.many(now.clients, "client")}, this gateway, ${format.many(now.servers, "server")}`;
    set(root, "aria-label", `${ends}; ${rateText(rates.toBytes)} to servers, ${rateText(rates.fromBytes)} to clients`);
  }

  // Who gets a lane of its own: all, as long as they are few; else those in trouble and the busiest. One that has a lane keeps it
  // until another one is clearly busier.
  function choose() {
    if (model.servers.length <= ALONE) return { alone: sorted(model.servers), others: [] };
    const rank = (s) => (s.info.blocked ? 1e15 : 0) + (s.busy || 0) * (chosen.has(s.info.id) ? 1.3 : 1);
    const ranked = model.servers.map((s) => [rank(s), s]).sort((a, b) => b[0] - a[0] || a[1].info.id - b[1].info.id).map(([, s]) => s);
    const alone = ranked.slice(0, BUSIEST);
    chosen = new Set(alone.map((s) => s.info.id));
    return { alone: sorted(alone), others: sorted(ranked.slice(BUSIEST)) };
  }

  function drawClients(box, next) {
    const { rates, slowest, status: { now } } = model;
    const stuck = slowest.filter((s) => s.info.blocked).length;
    const x = box.x + 14;
    clients.place(box);
    clients.line(0, now.clients === 1 ? "client" : "clients", "name", x, box.y + 24);
    clients.line(1, format.text(format.count(now.clients)), "large", x, box.y + 50);
    clients.line(2, stuckText(stuck), "trouble", x, box.y + box.height - 13);
    clientDots.place(x, box.y + 64, box.width - 28, box.height - 78 - (stuck ? 20 : 0));
    clientDots.draw(now.clients, (index) => (index < stuck ? -1 : 0.5));

    const y = next.y + next.height / 2;
    const [left, right] = [box.x + box.width, next.x];
    const [to, from] = laneWidths(rates, rates);
    trunk.draw(left, y, right, y, to, from, rates);
    trunk.line(0, plan.narrow ? "" : `→ ${rateText(rates.toBytes)}`, "rate to middle", (left + right) / 2, y - to - 9);
    trunk.line(1, plan.narrow ? "" : `← ${rateText(rates.fromBytes)}`, "rate from middle", (left + right) / 2, y + from + 18);
  }

  function drawGateway(box) {
    const { now } = model.status;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const used = now.max_buffered_bytes > 0 ? now.buffered_bytes / now.max_buffered_bytes : 0;
    gateway.place(box, model.status.gateway.draining ? "draining" : "");
    gateway.line(0, "gateway", "name middle", x, y - 24);
    gateway.line(1, format.text(format.count(now.conns)), "large middle", x, y + 3);
    gateway.line(2, plan.narrow ? "conns" : now.conns === 1 ? "connection" : "connections", "small middle", x, y + 19);
    gateway.gauge(box.x + 14, y + 34, box.width - 28, 5, used);
    gateway.line(3, `${format.percent(used)}${plan.narrow ? "" : " buffered"}`, "small middle", x, y + 55);
  }

  function drawServers(alone, others) {
    const rows = alone.map((session) => ({ key: session.info.id, rates: session.rates, session }));
    if (others.length) rows.push({ key: "others", rates: sum(others) });
    // Lanes leave the gateway one below the other, in the order of the servers, so that none crosses another.
    const from = plan.gateway;
    const widths = rows.map((row) => laneWidths(row.rates, model.rates));
    const needed = widths.reduce((total, [there, back]) => total + there + back + 2, 0);
    const gap = Math.min(16, (from.height - 24 - needed) / rows.length);
    let y = from.y + (from.height - needed - gap * rows.length) / 2;
    const gone = new Set(servers.keys());
    rows.forEach(({ key, rates, session }, index) => {
      const box = plan.rows[index];
      const tall = widths[index][0] + widths[index][1] + 2 + gap;
      const stuck = session?.info.blocked;
      const node = server(key);
      gone.delete(key);
      node.lanes.draw(from.x + from.width, y + tall / 2, box.x, box.y + (session ? box.height / 2 : 20), ...widths[index], rates, stuck);
      y += tall;
      node.card.place(box, stuck ? "blocked" : "");
      if (session) drawServer(node.card, box, session);
      else drawOthers(node.card, box, others);
      drawRates(node.card, box, rates, session);
    });
    for (const key of gone) {
      servers.get(key).card.element.remove();
      servers.get(key).lanes.element.remove();
      servers.delete(key);
    }
    serverDots.element.hidden = !others.length;
    drawNobody(plan.rows[0], !rows.length);
  }

  function drawServer(card, box, { info, fill }) {
    card.title(`Server ${info.id}, ${info.peer ?? "address unknown"}, ${format.grouped(info.conns)} connections`);
    card.line(0, `${info.blocked ? "▪ " : ""}${info.id}`, "id", box.x + 11, box.y + (plan.narrow ? 16 : 20.5));
    card.line(1, plan.narrow ? "" : format.many(info.conns, "conn"), "small end", box.x + 140, box.y + 20.5);
    card.gauge(box.x + 9, box.y + box.height - 3.5, box.width - 18, 2, fill);
  }

  // All others in one: brighter dots for those where more runs.
  function drawOthers(card, box, others) {
    const stuck = others.filter((s) => s.info.blocked).length;
    const top = plan.narrow ? 46 : 38;
    const most = others.reduce((max, s) => Math.max(max, s.busy || 0), 0);
    card.line(0, `and ${format.many(others.length, "other")}`, "id", box.x + 11, box.y + (plan.narrow ? 18 : 24));
    card.line(1, stuckText(stuck), "trouble", box.x + 11, box.y + box.height - 10);
    serverDots.sessions = others;
    serverDots.place(box.x + 11, box.y + top, box.width - 22, box.height - top - (stuck ? 30 : 12));
    serverDots.draw(others.length, (index) => {
      const { info, busy } = others[index];
      return info.blocked ? -1 : busy > 0 ? 0.1 + 0.9 * Math.sqrt(busy / most) : 0;
    });
  }

  function drawRates(card, box, { toBytes, fromBytes }, session) {
    const right = box.x + box.width - 11;
    if (plan.narrow) {
      const y = box.y + (session ? 32 : 36);
      card.line(2, format.text(format.bytes(toBytes)), "rate to", box.x + 11, y);
      card.line(3, format.text(format.bytes(fromBytes)), "rate from end", right, y);
    } else {
      const y = box.y + (session ? 20.5 : 24);
      card.line(2, `→ ${rateText(toBytes)}`, "rate to end", right - 94, y);
      card.line(3, `← ${rateText(fromBytes)}`, "rate from end", right, y);
    }
  }

  function drawNobody(box, none) {
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    set(nobody.element, "visibility", none ? null : "hidden");
    nobody.place(box);
    nobody.line(0, "no server yet", "name middle", x, y - 3);
    nobody.line(1, plan.narrow ? "" : `they connect to ${model.status.gateway.server_addr}`, "small middle", x, y + 15);
  }

  function server(key) {
    if (!servers.has(key)) {
      const card = new Card(nodes, key === "others" ? "others" : "server");
      if (key !== "others") card.button(`Show server ${key} in the table`, () => onPick(key));
      servers.set(key, { card, lanes: new Lanes(lanes) });
    }
    return servers.get(key);
  }

  const stuckText = (number) => (number ? `▪ ${number}${plan.narrow ? "" : number === 1 ? " takes nothing" : " take nothing"}` : "");

  return (next) => {
    model = next;
    draw();
  };
}

// Where everything is, in pixels.
function arrange(width, alone, others) {
  const narrow = width < 720;
  const [row, gap] = narrow ? [42, 6] : [32, 8];
  const heights = Array(alone).fill(row);
  if (others) heights.push(Math.round(Math.min(190, 78 + Math.sqrt(others) * 3.2)));
  if (!heights.length) heights.push(84);
  const needed = heights.reduce((sum, height) => sum + height + gap, -gap);
  const height = Math.max(200, needed + 8);
  const tall = Math.max(190, Math.min(260, height * 0.6));
  const serverWidth = narrow ? Math.max(126, Math.round(width * 0.36)) : Math.min(380, Math.round(width * 0.33));
  const [clientWidth, gatewayWidth] = narrow ? [84, 84] : [168, 128];
  const right = width - serverWidth;
  const middle = Math.round(clientWidth + (right - clientWidth - gatewayWidth) * 0.42);
  const box = (x, width) => ({ x, y: (height - tall) / 2, width, height: tall });
  let y = (height - needed) / 2 - gap;
  const rows = heights.map((height) => {
    y += gap;
    const row = { x: right, y, width: serverWidth, height };
    y += height;
    return row;
  });
  return { width, height, narrow, clients: box(0, clientWidth), gateway: box(middle, gatewayWidth), rows };
}

// The widths of a pair of lanes. All of them together are a little wider for each doubling of what runs there; each has a share of
// that, but small ones more than they are due, or nobody would see them.
function laneWidths(rates, all) {
  const most = Math.max(all.toBytes || 0, all.fromBytes || 0);
  const whole = Math.min(WIDEST_LANE, 2 + Math.max(0, Math.log2(most / 64)) * 0.7);
  const width = (rate) => (rate > 0 && most > 0 ? Math.max(1.5, whole * Math.min(1, rate / most) ** 0.4) : 1);
  return [width(rates.toBytes), width(rates.fromBytes)];
}

function sum(sessions) {
  const of = (name) => sessions.reduce((total, s) => total + (s.rates[name] || 0), 0);
  return { toBytes: of("toBytes"), fromBytes: of("fromBytes") };
}

function sorted(servers) {
  return servers.slice().sort((a, b) => a.info.id - b.info.id);
}

// Shapes and lines of text that come and go together.
class Group {
  #lines = [];

  constructor(parent, name = "") {
    this.element = svg("g", name && { class: name });
    parent.append(this.element);
  }

  line(index, words, kind, x, y) {
    if (!words && !this.#lines[index]) return;
    const line = (this.#lines[index] ??= this.element.appendChild(svg("text")));
    set(line, "class", kind);
    set(line, "x", x.toFixed(1));
    set(line, "y", y.toFixed(1));
    put(line, words);
  }
}

// Two lanes side by side, one for each direction, with what flows on them.
class Lanes extends Group {
  #paths = ["lane to", "lane from", "flow to", "flow from"].map((name) => svg("path", { class: name }));

  constructor(parent) {
    super(parent);
    this.element.append(...this.#paths);
  }

  draw(x0, y0, x1, y1, to, from, rates, stuck) {
    const half = (x0 + x1) / 2;
    const curve = (dy) => {
      const [start, end] = [(y0 + dy).toFixed(1), (y1 + dy).toFixed(1)];
      return `M${x0} ${start}C${half} ${start} ${half} ${end} ${x1} ${end}`;
    };
    set(this.element, "class", stuck ? "stuck" : null);
    [[curve(-to / 2 - 1), to, rates.toBytes], [curve(from / 2 + 1), from, rates.fromBytes]].forEach(([d, width, rate], index) => {
      const [lane, flow] = [this.#paths[index], this.#paths[index + 2]];
      set(lane, "d", d);
      set(lane, "stroke-width", width.toFixed(1));
      set(flow, "d", rate > 0 ? d : "");
      set(flow, "stroke-width", Math.max(1, width * 0.45).toFixed(1));
    });
  }
}

class Card extends Group {
  #kind;
  #box = svg("rect", { class: "box", rx: 9 });
  #gauge = null;
  #title = null;

  constructor(parent, kind) {
    super(parent);
    this.#kind = kind;
    this.element.append(this.#box);
  }

  place({ x, y, width, height }, state = "") {
    set(this.element, "class", `node ${this.#kind} ${state}`);
    rect(this.#box, x + 0.5, y + 0.5, width - 1, height - 1);
  }

  // How full something is.
  gauge(x, y, width, height, share) {
    this.#gauge ??= [svg("rect", { class: "gauge back", rx: height / 2 }), svg("rect", { class: "gauge", rx: height / 2 })];
    if (!this.#gauge[0].parentNode) this.element.append(...this.#gauge);
    const [back, front] = this.#gauge;
    rect(back, x, y, width, height);
    rect(front, x, y, width * Math.min(1, share), height);
    set(front, "data-level", level(share));
  }

  title(words) {
    if (!this.#title) this.element.prepend((this.#title = svg("title")));
    put(this.#title, words);
  }

  button(label, onPick) {
    for (const [name, value] of Object.entries({ role: "button", tabindex: 0, "aria-label": label })) set(this.element, name, value);
    this.element.addEventListener("click", onPick);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onPick();
    });
  }
}

function rect(element, x, y, width, height) {
  for (const [name, value] of Object.entries({ x, y, width, height })) set(element, name, value.toFixed(1));
}

// A field of dots, as large as there is room for; where they are too many, each stands for several.
class Dots {
  element = html("canvas", { "aria-hidden": true });
  sessions = [];
  #width = 0;
  #height = 0;
  #pitch = 1;
  #columns = 1;
  #each = 1;

  constructor(onPick) {
    const at = ({ offsetX, offsetY }) => {
      const column = Math.floor(offsetX / this.#pitch);
      const row = Math.floor(offsetY / this.#pitch);
      return column < this.#columns ? this.sessions[(row * this.#columns + column) * this.#each]?.info : undefined;
    };
    this.element.addEventListener("mousemove", (event) => {
      const info = at(event);
      this.element.title = info ? `Server ${info.id}, ${info.peer ?? "address unknown"}` : "";
    });
    this.element.addEventListener("click", (event) => {
      const info = at(event);
      if (info) onPick(info.id);
    });
  }

  place(left, top, width, height) {
    for (const [name, pixels] of Object.entries({ left, top, width, height })) {
      if (this.element.style[name] !== `${pixels}px`) this.element.style[name] = `${pixels}px`;
    }
    [this.#width, this.#height] = [width, height];
  }

  // `tone(index)`: from 0 to 1, or -1 for one in trouble.
  draw(total, tone) {
    const canvas = this.element;
    const scale = devicePixelRatio;
    // This clears it too.
    canvas.width = Math.round(this.#width * scale);
    canvas.height = Math.round(this.#height * scale);
    if (!total) return;
    this.#fit(total);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const count = Math.ceil(total / this.#each);
    const size = this.#pitch - Math.max(1, this.#pitch * 0.22);
    const [idle, busy, trouble] = colours(canvas);
    const dot = (index, colour, alpha) => {
      context.fillStyle = colour;
      context.globalAlpha = alpha;
      context.fillRect((index % this.#columns) * this.#pitch, Math.floor(index / this.#columns) * this.#pitch, size, size);
    };
    for (let index = 0; index < count; index += 1) {
      const value = tone(index * this.#each);
      dot(index, value < 0 ? trouble : idle, 1);
      if (value > 0) dot(index, busy, value);
    }
  }

  // The largest pitch at which there is room for all; below 4 pixels, two share a dot.
  #fit(total) {
    for (this.#each = 1; ; this.#each *= 2) {
      for (this.#pitch = 13; this.#pitch >= 4; this.#pitch -= 0.5) {
        this.#columns = Math.floor(this.#width / this.#pitch);
        if (this.#columns * Math.floor(this.#height / this.#pitch) >= total / this.#each) return;
      }
      if (this.#each > total) return;
    }
  }
}

// Asked for once in each scheme, for the answer costs a layout.
const known = new Map();
function colours(element) {
  if (!known.has(dark.matches)) {
    const { color, caretColor, outlineColor } = getComputedStyle(element);
    known.set(dark.matches, [color, caretColor, outlineColor]);
  }
  return known.get(dark.matches);
}
