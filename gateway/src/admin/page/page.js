// The status page: asks the gateway for its status once a second and shows it.

import { byId, html, svg, put, set, quantity, level } from "./dom.js";
import { path, peak } from "./history.js";
import { Model } from "./model.js";
import { createTable } from "./table.js";
import { createTopology } from "./topology.js";
import * as format from "./format.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;

const model = new Model();
const page = {
  paused: false,
  // When the gateway was reached for the last time, and what has gone wrong since.
  reached: null,
  trouble: null,
};

const showTopology = createTopology(byId("topology"), (id) => {
  byId("filter").value = `#${id}`;
  servers.filter(`#${id}`);
  showCount();
  byId("servers").parentElement.scrollIntoView({ block: "nearest" });
});
const servers = createTable(byId("servers"), {
  columns: ["id", "peer", "conns", "toMessages", "toBytes", "fromMessages", "fromBytes", "queue", "curve", "age", "close"],
  label: "Servers",
  none: "No server.",
  sort: "id",
  onClose: askToClose,
});
const slowest = createTable(byId("slowest"), {
  columns: ["id", "peer", "queue", "age", "close"],
  label: "Slowest clients",
  none: "Nothing waits for any client.",
  onClose: askToClose,
});
const tiles = Object.fromEntries([...document.querySelectorAll(".big")].map((tile) => [tile.id.slice(2), quantity(tile)]));

async function poll() {
  const begun = performance.now();
  try {
    const status = page.paused ? null : await askForStatus();
    if (status && !page.paused) show(status);
    showState();
  } finally {
    setTimeout(poll, Math.max(0, EVERY_MS - (performance.now() - begun)));
  }
}

// What the gateway says; null if it says nothing, and then `page.trouble` is why.
async function askForStatus() {
  try {
    const response = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!response.ok) throw new Error(await explain(response));
    const status = await response.json();
    page.reached = new Date();
    page.trouble = null;
    return status;
  } catch (error) {
    page.trouble = { TimeoutError: "it does not answer", TypeError: "no connection", SyntaxError: "its answer is not JSON" }[error.name] ?? error.message;
    return null;
  }
}

function show(status) {
  const begun = performance.now();
  model.take(status);
  showFacts(status);
  showTiles(status.now);
  showWarnings(status.warnings);
  showTopology(model);
  servers.show(model.servers, model.clock);
  showCount();
  slowest.show(model.slowest.filter((s) => s.info.queued_bytes > 0 || s.info.blocked), model.clock);
  showReasons();
  // With the layout, which would be done after this anyway.
  document.body.offsetHeight;
  const took = performance.now() - begun;
  put(byId("drawn"), `as of ${clock(page.reached)} · drawn in ${took.toFixed(1)} ms`);
}

function showFacts({ gateway }) {
  put(byId("client-addr"), gateway.client_addr);
  put(byId("server-addr"), gateway.server_addr);
  put(byId("uptime"), format.duration(gateway.uptime_s));
  set(byId("uptime"), "title", `since ${gateway.started}`);
  put(byId("threads"), String(gateway.threads));
  put(byId("version"), gateway.version);
}

function showTiles(now) {
  const { rates, curves } = model;
  const used = now.max_buffered_bytes > 0 ? now.buffered_bytes / now.max_buffered_bytes : 0;
  for (const name of ["clients", "servers", "conns"]) {
    tiles[name](format.count(now[name]));
    showCurve(byId(`c-${name}`), { plain: curves[name] });
  }
  tiles["to-messages"](format.perSecond(rates.toMessages));
  tiles["from-messages"](format.perSecond(rates.fromMessages));
  tiles["to-bytes"](format.bytesPerSecond(rates.toBytes));
  tiles["from-bytes"](format.bytesPerSecond(rates.fromBytes));
  tiles.buffered(format.bytes(now.buffered_bytes));
  put(byId("n-buffered-of"), `${format.percent(used)} of ${format.text(format.bytes(now.max_buffered_bytes))}`);
  set(byId("n-buffered"), "data-level", level(used));
  showCurve(byId("c-messages"), { to: curves.toMessages, from: curves.fromMessages });
  showCurve(byId("c-bytes"), { to: curves.toBytes, from: curves.fromBytes });
  showCurve(byId("c-buffered"), { plain: curves.buffered_bytes });
}

function showCurve(element, series) {
  const [width, height] = [300, 44];
  set(element, "viewBox", `0 0 ${width} ${height}`);
  set(element, "preserveAspectRatio", "none");
  const points = Object.entries(series).map(([tone, values]) => [tone, values.points(model.clock, 100)]);
  const max = peak(...points.map(([, values]) => values)) * 1.05;
  if (!element.firstChild) {
    for (const [tone] of points) element.append(svg("path", { class: `area ${tone}` }));
    for (const [tone] of points) element.append(svg("path", { class: `line ${tone}` }));
  }
  points.forEach(([, values], index) => {
    set(element.children[index], "d", path(values, model.clock, width, height, max, true));
    set(element.children[index + points.length], "d", path(values, model.clock, width, height, max));
  });
}

function showWarnings(warnings) {
  const list = byId("warnings");
  list.hidden = !warnings.length;
  fill(list, warnings, ({ level, text }) => {
    const critical = level === "critical";
    return html("li", { class: critical ? "critical" : "warning" }, html("b", {}, critical ? "▪ Critical" : "▲ Warning"), html("span", {}, text));
  });
}

function showReasons() {
  byId("no-reasons").hidden = model.reasons.length > 0;
  fill(byId("reasons"), model.reasons, ({ what, words, count, rate }) =>
    html("li", { class: what === "refused" ? "refused" : "" },
      html("b", {}, format.text(format.count(count))),
      html("span", { class: "rate" }, rate > 0 ? `+${format.text(format.perSecond(rate))}` : ""),
      html("span", { class: "what" }, what),
      html("span", {}, words)));
}

// Lists are short, and mostly as they were.
function fill(list, items, line) {
  const key = JSON.stringify(items);
  if (list.shows === key) return;
  list.shows = key;
  list.replaceChildren(...items.map(line));
}

function showCount() {
  const all = model.servers.length;
  const shown = servers.count();
  put(byId("servers-count"), shown === all ? format.grouped(all) : `${format.grouped(shown)} of ${format.grouped(all)}`);
}

// Sign, words, and colour of the sign.
const STATES = {
  ready: ["●", "Ready", "#12a594"],
  draining: ["◐", "Draining", "#d4820a"],
  waiting: ["○", "Not ready", "#8a94a3"],
  paused: ["‖", "Paused", "#8a94a3"],
  lost: ["✕", "Unreachable", "#d13415"],
};

function stateNow() {
  if (page.trouble) return "lost";
  if (page.paused) return "paused";
  const { draining, ready } = model.status?.gateway ?? {};
  return draining ? "draining" : ready ? "ready" : "waiting";
}

// The state in the head, in the tab's title and in its icon; and, if the gateway is gone, since when.
function showState() {
  const state = stateNow();
  const [sign, words, colour] = STATES[state];
  const lost = state === "lost";
  set(byId("state"), "data-state", state);
  put(byId("state").firstElementChild, sign);
  put(byId("state").lastElementChild, words);
  document.body.classList.toggle("stale", lost);
  byId("lost").hidden = !lost;
  if (lost) {
    const since = page.reached ? ` since ${clock(page.reached)} (${format.duration((Date.now() - page.reached) / 1000)})` : "";
    const shown = page.reached ? " What you see is from then." : "";
    put(byId("lost"), `The gateway cannot be reached${since}: ${page.trouble}.${shown} Trying again each second.`);
  }
  for (const button of document.querySelectorAll(".x")) button.disabled = lost;
  byId("drain").disabled = lost || !model.status || model.status.gateway.draining;
  const now = model.status?.now;
  const detail = state === "ready" ? `${format.many(now.clients, "client")}, ${format.many(now.servers, "server")}` : words.toLowerCase();
  document.title = `${sign} ${detail} – fastway`;
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><text x="8" y="14" font-size="18" text-anchor="middle" fill="${colour}">${sign}</text></svg>`;
  set(document.querySelector("link[rel=icon]"), "href", `data:image/svg+xml,${encodeURIComponent(icon)}`);
}

function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

// Asks before something is done that cannot be undone.
function ask(title, text, action, path) {
  const dialog = byId("ask");
  const yes = byId("ask-yes");
  const error = byId("ask-error");
  put(byId("ask-title"), title);
  put(byId("ask-text"), text);
  put(yes, action);
  error.hidden = true;
  yes.disabled = false;
  yes.onclick = async () => {
    yes.disabled = true;
    try {
      const response = await fetch(path, { method: "POST", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!response.ok) throw new Error(await explain(response));
      dialog.close();
    } catch (failure) {
      put(error, failure.message);
      error.hidden = false;
      yes.disabled = false;
    }
  };
  dialog.showModal();
}

// The gateway's own sentence, if it gives one.
async function explain(response) {
  const said = await response.json().catch(() => ({}));
  return said.error ?? `The gateway answers ${response.status} ${response.statusText}`;
}

function askToClose({ side, info }) {
  const name = `${side} ${info.id}${info.peer ? ` (${info.peer})` : ""}`;
  const text = `This disconnects ${name} and closes ${format.many(info.conns, "virtual connection")}. It may connect again.`;
  ask(`Close ${side} ${info.id}?`, text, "Close it", `sessions/${side}/${info.id}/close`);
}

byId("drain").addEventListener("click", () => {
  const text = `It lets nobody in any more. After a while ${format.many(model.status.now.clients, "client")} will be told to go, one by one, and then it ends. This cannot be undone.`;
  ask("Drain this gateway?", text, "Drain", "drain");
});
byId("pause").addEventListener("click", () => {
  page.paused = !page.paused;
  set(byId("pause"), "aria-pressed", String(page.paused));
  put(byId("pause"), page.paused ? "Go on" : "Pause");
  document.body.classList.toggle("paused", page.paused);
  showState();
});
byId("filter").addEventListener("input", (event) => {
  servers.filter(event.target.value);
  showCount();
});

poll();
