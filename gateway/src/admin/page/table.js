// A table of sessions. Only the rows in sight exist, whatever the number of sessions, and they are used again and again.

import { html, svg, put, set, quantity, bar } from "./dom.js";
import { path, peak } from "./history.js";
import * as format from "./format.js";

const HEAD = 35;
const ROW = 38;
const ROWS_IN_SIGHT = 16;
const SPARE = 4;
const CURVE = [112, 26];

// Each column: its head, its width, the value that it is sorted by, and `cell`, which gets an element of it and gives a function
// that shows a session there.
const COLUMNS = {
  id: { head: "ID", width: 104, value: (s) => s.info.id, cell: identity },
  peer: { head: "Address", width: 178, value: (s) => s.info.peer ?? "", cell: address },
  conns: number("Conns", 74, "virtual connections that are open", (s) => s.info.conns, format.count),
  toMessages: number("→ msg", 104, "messages to it", (s) => s.rates.toMessages, format.perSecond),
  toBytes: number("→ bytes", 116, "bytes to it", (s) => s.rates.toBytes, format.bytesPerSecond),
  fromMessages: number("← msg", 104, "messages from it", (s) => s.rates.fromMessages, format.perSecond),
  fromBytes: number("← bytes", 116, "bytes from it", (s) => s.rates.fromBytes, format.bytesPerSecond),
  queue: { head: "Queue", width: 148, hint: "what waits for it, of its limit", value: (s) => s.fill, cell: queue },
  curve: { head: "Last minutes", width: 128, hint: "bytes to it and from it, up to five minutes", cell: curve },
  age: number("Age", 100, "since it connected", (s) => s.info.age_s, (age) => [format.duration(age), ""]),
  close: { head: "", width: 40, cell: closer },
};

// A table in `parent`, of these keys of COLUMNS. `sort` is the key that it is sorted by at first; without one it keeps the order
// that it is given, and cannot be sorted.
export function createTable(parent, { columns: keys, label, none, sort, onClose }) {
  const columns = keys.map((key) => ({ key, ...COLUMNS[key] }));
  const body = html("tbody");
  const [above, below] = [html("td"), html("td")];
  const heads = new Map();
  const rows = [];
  let down = false;
  let all = [];
  let shown = [];
  let words = [];
  let clock = null;
  let top = 0;
  let frame = 0;

  const cols = columns.map((column) => html("col", { width: column.width }));
  const gap = (cell) => html("tbody", { class: "gap", "aria-hidden": true }, html("tr", {}, cell));
  const head = html("thead", {}, html("tr", {}, ...columns.map(createHead)));
  const table = html("table", { "aria-label": label }, html("colgroup", {}, ...cols), head, gap(above), body, gap(below));
  const box = html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
  const nobody = html("p", { class: "none" }, none);
  above.colSpan = below.colSpan = columns.length;
  table.style.minWidth = `${columns.reduce((sum, column) => sum + column.width, 0)}px`;
  box.addEventListener("scroll", () => {
    top = box.scrollTop;
    frame ||= requestAnimationFrame(draw);
  });
  parent.append(box, nobody);
  markSort();

  function createHead(column) {
    const cell = html("th", { scope: "col", class: classes(column), title: column.hint ?? "" }, column.head);
    if (sort && column.value) {
      const button = html("button", { type: "button" }, column.head);
      button.addEventListener("click", () => {
        down = sort === column.key ? !down : column.isNumber || column.key === "queue";
        sort = column.key;
        markSort();
        choose();
      });
      cell.replaceChildren(button);
      heads.set(column.key, cell);
    }
    return cell;
  }

  function markSort() {
    for (const [key, cell] of heads) set(cell, "aria-sort", key === sort ? (down ? "descending" : "ascending") : null);
  }

  function choose() {
    const has = (s) => words.every((word) => `#${s.info.id}` === word || `${s.info.id} ${(s.info.peer ?? "").toLowerCase()}`.includes(word));
    shown = all.filter(has);
    if (sort) {
      const { value } = COLUMNS[sort];
      const sign = down ? -1 : 1;
      // Sessions that are equal keep the order of their IDs, or rows would jump.
      shown.sort((a, b) => sign * compare(value(a), value(b)) || a.info.id - b.info.id);
    }
    draw();
  }

  function draw() {
    frame = 0;
    const total = shown.length;
    const inSight = Math.min(total, ROWS_IN_SIGHT + 2 * SPARE);
    const first = Math.max(0, Math.min(Math.floor(top / ROW) - SPARE, total - inSight));
    box.hidden = !total;
    nobody.hidden = total > 0;
    while (rows.length < inSight) rows.push(createRow());
    while (rows.length > inSight) rows.pop().element.remove();
    rows.forEach((row, index) => {
      row.session = shown[first + index];
      set(row.element, "aria-rowindex", first + index + 2);
      set(row.element, "class", row.session.info.blocked ? "blocked" : null);
      for (const show of row.cells) show(row.session, clock);
    });
    set(table, "aria-rowcount", total + 1);
    height(box, HEAD + Math.min(total, ROWS_IN_SIGHT + 0.5) * ROW);
    height(above, first * ROW);
    height(below, (total - inSight - first) * ROW);
  }

  function createRow() {
    const row = { session: null };
    const cells = columns.map((column) => html("td", { class: classes(column) }));
    row.cells = columns.map((column, index) => column.cell(cells[index], () => onClose(row.session)));
    row.element = body.appendChild(html("tr", {}, ...cells));
    return row;
  }

  return {
    // Shows these sessions; the clock says where their curves end, and how long they are.
    show(sessions, now) {
      all = sessions;
      clock = now;
      choose();
    },
    // Shows those only whose ID or address has all of these words; #12 is the one whose ID is 12.
    filter(text) {
      words = text.toLowerCase().split(/\s+/).filter(Boolean);
      top = box.scrollTop = 0;
      choose();
    },
    count: () => shown.length,
  };
}

function classes(column) {
  return column.key + (column.isNumber ? " number" : "");
}

// Numbers that are not known yet come last.
function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  return (Number.isFinite(a) ? a : -1) - (Number.isFinite(b) ? b : -1);
}

function height(element, pixels) {
  const value = `${Math.max(0, pixels)}px`;
  if (element.style.height !== value) element.style.height = value;
}

// A column of numbers.
function number(head, width, hint, value, words) {
  const cell = (element) => {
    const show = quantity(element);
    return (session) => show(words(value(session)));
  };
  return { head, width, hint, value, cell, isNumber: true };
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
