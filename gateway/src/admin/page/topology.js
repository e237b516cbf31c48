// The picture of who talks to whom: clients, this gateway, its servers. A lane is as wide as what runs on it. The busiest servers
// have lanes of their own; all others share one, and are a dot each.

import { html, svg, put, set, level } from "./dom.js";
import * as format from "./format.js";

const ALONE = 12;
const BUSIEST = 8;
const WIDEST_LANE = 15;

const rateText = (value) => format.text(format.bytesPerSecond(value));
const countText = (value, one, many) => `${format.text(format.count(value))} ${value === 1 ? one : many}`;

export class Topology {
  #model = null;
  #width = 0;
  #onPick;
  #root = svg("svg", { role: "img" });
  #lanes = svg("g");
  #nodes = svg("g");
  #trunk = new Lanes(this.#lanes);
  #clients = new Card(this.#nodes, "clients");
  #gateway = new Card(this.#nodes, "gateway");
  #none = new Card(this.#nodes, "absent");
  #servers = new Map();
  #chosen = new Set();
  #clientDots = new Dots();
  #serverDots = new Dots();

  // `onPick` is called with the ID of a server that was clicked.
  constructor(parent, onPick) {
    this.#onPick = onPick;
    this.#serverDots.onPick = onPick;
    this.#root.append(this.#lanes, this.#nodes);
    parent.append(this.#root, this.#clientDots.element, this.#serverDots.element);
    new ResizeObserver(([{ contentRect }]) => {
      this.#width = Math.floor(contentRect.width);
      this.#draw();
    }).observe(parent);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  show(model) {
    this.#model = model;
    this.#draw();
  }

  #draw() {
    if (!this.#model || !this.#width) return;
    const { alone, others } = this.#choose(this.#model.servers);
    const plan = arrange(this.#width, alone.length, others.length);
    set(this.#root, "width", plan.width);
    set(this.#root, "height", plan.height);
    this.#drawClients(plan);
    this.#drawGateway(plan);
    this.#drawServers(plan, alone, others);
    this.#drawDots(plan, others);
    const { rates, status } = this.#model;
    const ends = `${format.grouped(status.now.clients)} clients, this gateway, ${format.grouped(status.now.servers)} servers`;
    set(this.#root, "aria-label", `${ends}; ${rateText(rates.toBytes)} to servers, ${rateText(rates.fromBytes)} to clients`);
  }

  // Who gets a lane of its own: all, as long as they are few; else those in trouble and the busiest. One that has a lane keeps it
  // until another one is clearly busier.
  #choose(servers) {
    if (servers.length <= ALONE) {
      this.#chosen.clear();
      return { alone: sorted(servers), others: [] };
    }
    const rank = (s) => (s.info.blocked ? 1e15 : 0) + (s.busy || 0) * (this.#chosen.has(s.info.id) ? 1.3 : 1);
    const ranked = servers.map((s) => [rank(s), s]).sort((a, b) => b[0] - a[0] || a[1].info.id - b[1].info.id);
    const alone = ranked.slice(0, BUSIEST).map(([, s]) => s);
    this.#chosen = new Set(alone.map((s) => s.info.id));
    return { alone: sorted(alone), others: sorted(ranked.slice(BUSIEST).map(([, s]) => s)) };
  }

  #drawClients({ clients: card, gateway, narrow }) {
    const { rates, slowest, status } = this.#model;
    const stuck = slowest.filter((s) => s.info.blocked).length;
    const x = card.x + 14;
    this.#clients.place(card);
    this.#clients.line(0, status.now.clients === 1 ? "client" : "clients", "name", x, card.y + 24);
    this.#clients.line(1, format.text(format.count(status.now.clients)), "large", x, card.y + 50);
    this.#clients.line(2, stuck ? `▪ ${stuck}${narrow ? "" : takeNothing(stuck)}` : "", "trouble", x, card.y + card.height - 13);
    this.#clientDots.place(x, card.y + 64, card.width - 28, card.height - 78 - (stuck ? 20 : 0));
    this.#clientDots.draw(status.now.clients, (index) => (index < stuck ? -1 : 0.5));

    const y = gateway.y + gateway.height / 2;
    const [to, from] = laneWidths(rates, rates);
    const [left, right] = [card.x + card.width, gateway.x];
    this.#trunk.draw(left, y, right, y, to, from, rates, false);
    this.#trunk.line(0, narrow ? "" : `→ ${rateText(rates.toBytes)}`, "rate to middle", (left + right) / 2, y - to - 9);
    this.#trunk.line(1, narrow ? "" : `← ${rateText(rates.fromBytes)}`, "rate from middle", (left + right) / 2, y + from + 18);
  }

  #drawGateway({ gateway: card, narrow }) {
    const { gateway, now } = this.#model.status;
    const x = card.x + card.width / 2;
    const y = card.y + card.height / 2;
    const used = now.max_buffered_bytes > 0 ? now.buffered_bytes / now.max_buffered_bytes : 0;
    this.#gateway.place(card, gateway.draining ? "draining" : "");
    this.#gateway.line(0, "gateway", "name middle", x, y - 24);
    this.#gateway.line(1, format.text(format.count(now.conns)), "large middle", x, y + 3);
    this.#gateway.line(2, narrow ? "conns" : now.conns === 1 ? "connection" : "connections", "small middle", x, y + 19);
    this.#gateway.gauge(card.x + 14, y + 34, card.width - 28, 5, used);
    this.#gateway.line(3, `${format.percent(used)}${narrow ? "" : " buffered"}`, "small middle", x, y + 55);
  }

  #drawServers(plan, alone, others) {
    const rows = alone.map((s) => ({ key: s.info.id, rates: s.rates, session: s }));
    if (others.length) rows.push({ key: "others", rates: sum(others), session: null });
    // Lanes leave the gateway one below the other, in the order of the servers, so that none crosses another.
    const widths = rows.map((row) => laneWidths(row.rates, this.#model.rates));
    const needed = widths.reduce((total, [to, from]) => total + to + from + 2, 0);
    const gap = Math.min(16, (plan.gateway.height - 24 - needed) / Math.max(1, rows.length));
    let y = plan.gateway.y + (plan.gateway.height - needed - gap * rows.length) / 2;
    const gone = new Set(this.#servers.keys());
    rows.forEach(({ key, rates, session }, index) => {
      const [to, from] = widths[index];
      const box = plan.rows[index];
      const { card, lanes } = this.#server(key);
      gone.delete(key);
      const start = y + (to + from + 2 + gap) / 2;
      y += to + from + 2 + gap;
      lanes.draw(plan.gateway.x + plan.gateway.width, start, box.x, box.y + (session ? box.height / 2 : 20), to, from, rates, session?.info.blocked);
      card.place(box, session?.info.blocked ? "blocked" : "");
      if (session) this.#drawServer(card, box, session, plan.narrow);
      else this.#drawOthers(card, box, others, plan.narrow);
      const below = box.y + (session ? 32 : 36);
      const beside = box.y + (session ? box.height / 2 + 4.5 : 24);
      if (plan.narrow) {
        card.line(2, rateText(rates.toBytes).replace("/s", ""), "rate to", box.x + 10, below);
        card.line(3, rateText(rates.fromBytes).replace("/s", ""), "rate from end", box.x + box.width - 10, below);
      } else {
        card.line(2, `→ ${rateText(rates.toBytes)}`, "rate to end", box.x + box.width - 106, beside);
        card.line(3, `← ${rateText(rates.fromBytes)}`, "rate from end", box.x + box.width - 12, beside);
      }
    });
    for (const key of gone) {
      const { card, lanes } = this.#servers.get(key);
      card.remove();
      lanes.remove();
      this.#servers.delete(key);
    }
    this.#drawNone(plan, rows.length === 0);
  }

  #drawServer(card, box, { info, fill }, narrow) {
    const y = narrow ? box.y + 16 : box.y + box.height / 2 + 4.5;
    card.title(`Server ${info.id}, ${info.peer ?? "address unknown"}, ${format.grouped(info.conns)} connections`);
    card.line(0, `${info.blocked ? "▪ " : ""}${info.id}`, "id", box.x + (narrow ? 10 : 12), y);
    card.line(1, narrow ? "" : countText(info.conns, "conn", "conns"), "small end", box.x + 140, y);
    card.gauge(box.x + 9, box.y + box.height - 3.5, box.width - 18, 2, fill);
  }

  #drawOthers(card, box, others, narrow) {
    const stuck = others.filter((s) => s.info.blocked).length;
    card.line(0, `and ${countText(others.length, "other", "others")}`, "id", box.x + (narrow ? 10 : 12), box.y + (narrow ? 18 : 24));
    card.line(1, stuck ? `▪ ${stuck}${takeNothing(stuck)}` : "", "trouble", box.x + 12, box.y + box.height - 10);
  }

  #drawNone(plan, none) {
    const box = plan.rows[0];
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    this.#none.hide(!none);
    this.#none.place(box);
    this.#none.line(0, plan.narrow ? "no server" : "no server yet", "name middle", x, y + (plan.narrow ? 4 : -3));
    this.#none.line(1, plan.narrow ? "" : `they connect to ${this.#model.status.gateway.server_addr}`, "small middle", x, y + 15);
  }

  // Dots are brighter the more runs there.
  #drawDots(plan, others) {
    this.#serverDots.element.hidden = !others.length;
    if (!others.length) return;
    const box = plan.rows[plan.rows.length - 1];
    const top = plan.narrow ? 46 : 38;
    const bottom = others.some((s) => s.info.blocked) ? 30 : 12;
    const most = others.reduce((max, s) => Math.max(max, s.busy || 0), 0);
    this.#serverDots.sessions = others;
    this.#serverDots.place(box.x + 12, box.y + top, box.width - 24, box.height - top - bottom);
    this.#serverDots.draw(others.length, (index) => {
      const { info, busy } = others[index];
      return info.blocked ? -1 : busy > 0 ? 0.1 + 0.9 * Math.sqrt(busy / most) : 0;
    });
  }

  #server(key) {
    let node = this.#servers.get(key);
    if (!node) {
      node = { card: new Card(this.#nodes, key === "others" ? "others" : "server"), lanes: new Lanes(this.#lanes) };
      if (key !== "others") node.card.button(`Show server ${key} in the table`, () => this.#onPick(key));
      this.#servers.set(key, node);
    }
    return node;
  }
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

const takeNothing = (number) => (number === 1 ? " takes nothing" : " take nothing");

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

  hide(hidden) {
    set(this.element, "visibility", hidden ? "hidden" : null);
  }

  remove() {
    this.element.remove();
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
  #box = svg("rect", { rx: 9 });
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
  element = html("canvas", { "aria-hidden": "true" });
  sessions = [];
  onPick = () => {};
  #width = 0;
  #height = 0;
  #pitch = 1;
  #columns = 1;
  #each = 1;

  constructor() {
    this.element.addEventListener("mousemove", (event) => {
      const info = this.#at(event)?.info;
      this.element.title = info ? `Server ${info.id}, ${info.peer ?? "address unknown"}` : "";
    });
    this.element.addEventListener("click", (event) => {
      const session = this.#at(event);
      if (session) this.onPick(session.info.id);
    });
  }

  place(left, top, width, height) {
    const { style } = this.element;
    for (const [name, pixels] of Object.entries({ left, top, width, height })) {
      if (style[name] !== `${pixels}px`) style[name] = `${pixels}px`;
    }
    [this.#width, this.#height] = [width, height];
  }

  // `tone(index)`: from 0 to 1, or -1 for one in trouble.
  draw(total, tone) {
    const canvas = this.element;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.#width * scale), Math.round(this.#height * scale)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.#width, this.#height);
    if (!total) return;
    this.#fit(total);
    const count = Math.ceil(total / this.#each);
    const size = this.#pitch - Math.max(1, this.#pitch * 0.22);
    const dot = (index) => context.fillRect((index % this.#columns) * this.#pitch, Math.floor(index / this.#columns) * this.#pitch, size, size);
    const [idle, busy, trouble] = colours(canvas);
    const stuck = [];
    context.fillStyle = idle;
    for (let index = 0; index < count; index += 1) dot(index);
    context.fillStyle = busy;
    for (let index = 0; index < count; index += 1) {
      const value = tone(index * this.#each);
      if (value < 0) stuck.push(index);
      if (value > 0) {
        context.globalAlpha = value;
        dot(index);
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = trouble;
    stuck.forEach(dot);
  }

  #fit(total) {
    const fits = (pitch, count) => Math.floor(this.#width / pitch) * Math.floor(this.#height / pitch) >= count;
    for (this.#each = 1; ; this.#each *= 2) {
      const count = Math.ceil(total / this.#each);
      this.#pitch = 13;
      while (this.#pitch >= 4 && !fits(this.#pitch, count)) this.#pitch -= 0.5;
      if (this.#pitch >= 4 || this.#each >= total) break;
    }
    this.#columns = Math.max(1, Math.floor(this.#width / this.#pitch));
  }

  #at({ offsetX, offsetY }) {
    const column = Math.floor(offsetX / this.#pitch);
    if (column >= this.#columns) return undefined;
    return this.sessions[(Math.floor(offsetY / this.#pitch) * this.#columns + column) * this.#each];
  }
}

function colours(element) {
  const style = getComputedStyle(element);
  return ["--dot", "--to", "--critical"].map((name) => style.getPropertyValue(name));
}
