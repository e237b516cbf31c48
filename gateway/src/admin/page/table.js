// A table of sessions. Only the rows in sight exist, whatever the number of sessions, and they are used again and again.

import { html, svg, put, set, quantity, bar } from "./dom.js";
import { path, peak } from "./history.js";
import * as format from "./format.js";

const ROW = 38;
const ROWS_IN_SIGHT = 16;
const SPARE = 4;
const CURVE = [112, 26];

// Each column: its key, heads, width, the value that it is sorted by, and what fills one cell of it: `cell` gets the element and
// gives a function that shows a session there.
const COLUMNS = {
  id: { head: "ID", width: 104, value: (s) => s.info.id, cell: identity },
  peer: { head: "Address", width: 178, value: (s) => s.info.peer ?? "", cell: address },
  conns: { head: "Conns", width: 74, hint: "virtual connections that are open", value: (s) => s.info.conns, cell: figure((s) => format.count(s.info.conns)), number: true },
  toMessages: { head: "→ msg", width: 104, hint: "messages to it", value: (s) => s.rates.toMessages, cell: figure((s) => format.perSecond(s.rates.toMessages)), number: true, tone: "to" },
  toBytes: { head: "→ bytes", width: 116, hint: "bytes to it", value: (s) => s.rates.toBytes, cell: figure((s) => format.bytesPerSecond(s.rates.toBytes)), number: true, tone: "to" },
  fromMessages: { head: "← msg", width: 104, hint: "messages from it", value: (s) => s.rates.fromMessages, cell: figure((s) => format.perSecond(s.rates.fromMessages)), number: true, tone: "from" },
  fromBytes: { head: "← bytes", width: 116, hint: "bytes from it", value: (s) => s.rates.fromBytes, cell: figure((s) => format.bytesPerSecond(s.rates.fromBytes)), number: true, tone: "from" },
  queue: { head: "Queue", width: 148, hint: "what waits for it, of its limit", value: (s) => s.fill + (s.info.blocked ? 1e-9 : 0), cell: queue },
  curve: { head: "Last minutes", width: 128, hint: "bytes to it and from it, up to five minutes", cell: curve },
  age: { head: "Age", width: 100, value: (s) => s.info.age_s, cell: figure((s) => [format.duration(s.info.age_s), ""]), number: true },
  close: { head: "", width: 40, cell: closer },
};

export class Table {
  #columns;
  #sort = null;
  #down = false;
  #box;
  #heads = new Map();
  #rows = [];
  #body = html("tbody");
  #above = html("td");
  #below = html("td");
  #none;
  #all = [];
  #shown = [];
  #words = "";
  #onClose;
  #clock = null;
  #frame = 0;
  #top = 0;
  #table;

  // `columns`: keys of COLUMNS. `sort`: the key that it is sorted by at first; without one it keeps the order that it is given.
  constructor(parent, { columns, label, none, sort, onClose }) {
    this.#columns = columns.map((key) => ({ key, ...COLUMNS[key] }));
    this.#onClose = onClose;
    const width = this.#columns.reduce((sum, column) => sum + column.width, 0);
    const cols = html("colgroup", {}, ...this.#columns.map((column) => html("col", { width: String(column.width) })));
    const heads = html("tr", {}, ...this.#columns.map((column) => this.#head(column, sort !== undefined)));
    const gap = (cell) => {
      cell.colSpan = this.#columns.length;
      return html("tbody", { class: "gap", "aria-hidden": "true" }, html("tr", {}, cell));
    };
    const table = (this.#table = html("table", { "aria-label": label }, cols, html("thead", {}, heads), gap(this.#above), this.#body, gap(this.#below)));
    table.style.minWidth = `${width}px`;
    this.#box = html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
    this.#box.style.maxHeight = `${(ROWS_IN_SIGHT + 0.5) * ROW + 34}px`;
    this.#none = html("p", { class: "none" }, none);
    this.#box.addEventListener("scroll", () => {
      this.#top = this.#box.scrollTop;
      this.#frame ||= requestAnimationFrame(() => this.#draw());
    });
    parent.append(this.#box, this.#none);
    if (sort) this.#sortBy(sort, false);
  }

  // Shows these sessions; `clock` says where their curves end, and how long they are.
  show(sessions, clock) {
    this.#all = sessions;
    this.#clock = clock;
    this.#choose();
  }

  // Shows those only whose ID or address has all of these words.
  filter(words) {
    this.#words = words.trim().toLowerCase();
    this.#box.scrollTop = 0;
    this.#top = 0;
    this.#choose();
  }

  get shown() {
    return this.#shown.length;
  }

  #head(column, sortable) {
    const head = html("th", { scope: "col", class: classes(column) });
    if (column.hint) head.title = column.hint;
    if (sortable && column.value) {
      const button = html("button", { type: "button" }, column.head);
      button.addEventListener("click", () => {
        this.#sortBy(column.key, this.#sort === column.key ? !this.#down : Boolean(column.number || column.key === "queue"));
        this.#choose();
      });
      head.append(button);
      this.#heads.set(column.key, head);
    } else {
      head.append(column.head || html("span", { class: "unseen" }, "Close"));
    }
    return head;
  }

  #sortBy(key, down) {
    this.#sort = key;
    this.#down = down;
    for (const [name, head] of this.#heads) {
      set(head, "aria-sort", name === key ? (down ? "descending" : "ascending") : null);
    }
  }

  #choose() {
    const words = this.#words.split(/\s+/).filter(Boolean);
    const has = (s) => words.every((word) => String(s.info.id).includes(word) || (s.info.peer ?? "").toLowerCase().includes(word));
    this.#shown = words.length ? this.#all.filter(has) : this.#all.slice();
    if (this.#sort) {
      const { value } = COLUMNS[this.#sort];
      const sign = this.#down ? -1 : 1;
      // Sessions that are equal keep the order of their IDs, or rows would jump.
      this.#shown.sort((a, b) => sign * compare(value(a), value(b)) || a.info.id - b.info.id);
    }
    this.#draw();
  }

  #draw() {
    this.#frame = 0;
    const total = this.#shown.length;
    this.#box.hidden = total === 0;
    this.#none.hidden = total !== 0;
    set(this.#table, "aria-rowcount", total + 1);
    const inSight = Math.min(total, ROWS_IN_SIGHT + 2 * SPARE);
    const first = Math.max(0, Math.min(Math.floor(this.#top / ROW) - SPARE, total - inSight));
    while (this.#rows.length < inSight) this.#rows.push(this.#row());
    while (this.#rows.length > inSight) this.#rows.pop().element.remove();
    this.#rows.forEach((row, index) => {
      row.session = this.#shown[first + index];
      set(row.element, "aria-rowindex", first + index + 2);
      set(row.element, "class", row.session.info.blocked ? "blocked" : null);
      for (const show of row.cells) show(row.session, this.#clock);
    });
    height(this.#above, first * ROW);
    height(this.#below, (total - inSight - first) * ROW);
  }

  #row() {
    const row = { session: null };
    const cells = this.#columns.map((column) => html("td", { class: classes(column) }));
    row.cells = this.#columns.map((column, index) => column.cell(cells[index], () => this.#onClose(row.session)));
    row.element = html("tr", {}, ...cells);
    this.#body.append(row.element);
    return row;
  }
}

function classes(column) {
  return [column.key, column.number && "number", column.tone].filter(Boolean).join(" ");
}

// Numbers that are not known yet come last.
function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  return (Number.isFinite(a) ? a : -1) - (Number.isFinite(b) ? b : -1);
}

function height(cell, pixels) {
  const value = `${Math.max(0, pixels)}px`;
  if (cell.style.height !== value) cell.style.height = value;
}

function figure(of) {
  return (cell) => {
    const show = quantity(cell);
    return (session) => show(of(session));
  };
}

function identity(cell) {
  const mark = html("i", { class: "dot" });
  const id = html("b");
  cell.append(mark, id);
  return (session) => {
    set(mark, "title", session.info.blocked ? "takes nothing now" : null);
    put(id, String(session.info.id));
  };
}

function address(cell) {
  return (session) => {
    put(cell, session.info.peer ?? "–");
    set(cell, "title", session.info.peer ?? null);
  };
}

function queue(cell) {
  const box = html("div", { class: "bar" }, html("i"));
  const size = html("span");
  const show = quantity(size);
  const fill = bar(box);
  cell.append(html("div", { class: "meter" }, box, size));
  return ({ info, fill: share }) => {
    show(format.bytes(info.queued_bytes));
    fill(share);
    const limit = format.text(format.bytes(info.queue_limit_bytes));
    set(cell, "title", `${format.grouped(info.queued_messages)} messages wait, ${format.percent(share)} of ${limit}`);
  };
}

function curve(cell) {
  const [width, tall] = CURVE;
  const to = svg("path", { class: "line to" });
  const from = svg("path", { class: "line from" });
  cell.append(svg("svg", { class: "spark", width, height: tall, "aria-hidden": "true" }, from, to));
  return (session, clock) => {
    const there = session.toBytes.points(clock, 50);
    const back = session.fromBytes.points(clock, 50);
    const max = peak(there, back);
    set(to, "d", path(there, clock, width, tall, max));
    set(from, "d", path(back, clock, width, tall, max));
  };
}

function closer(cell, onClose) {
  const button = html("button", { type: "button", class: "x" }, "×");
  button.addEventListener("click", onClose);
  cell.append(button);
  return (session) => {
    const name = `Close ${session.side} ${session.info.id}`;
    set(button, "aria-label", name);
    set(button, "title", name);
  };
}
