// The status page: asks the gateway for its status once a second and shows it.

import { byId, html, svg, put, set, quantity, level } from "./dom.js";
import { path, peak } from "./history.js";
import { Model } from "./model.js";
import { Table } from "./table.js";
import { Topology } from "./topology.js";
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

const topology = new Topology(byId("topology"), (id) => {
  byId("filter").value = String(id);
  servers.filter(String(id));
  showCount();
  byId("servers").parentElement.scrollIntoView({ block: "nearest" });
});
const servers = new Table(byId("servers"), {
  columns: ["id", "peer", "conns", "toMessages", "toBytes", "fromMessages", "fromBytes", "queue", "curve", "age", "close"],
  label: "Servers",
  none: "No server.",
  sort: "id",
  onClose: askToClose,
});
const slowest = new Table(byId("slowest"), {
  columns: ["id", "peer", "queue", "age", "close"],
  label: "Slowest clients",
  none: "Nothing waits for any client.",
  onClose: askToClose,
});
const big = Object.fromEntries(
  ["clients", "servers", "conns", "to-messages", "from-messages", "to-bytes", "from-bytes", "buffered"].map((name) => {
    const element = byId(`n-${name}`);
    element.replaceChildren();
    return [name, quantity(element)];
  }),
);

async function poll() {
  const begun = performance.now();
  if (!page.paused) {
    try {
      const response = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!response.ok) throw new Error(await explain(response));
      const status = await response.json();
      if (!page.paused) {
        page.reached = new Date();
        page.trouble = null;
        show(status);
      }
    } catch (error) {
      page.trouble = error.name === "TimeoutError" ? "it does not answer" : error instanceof TypeError ? "no connection" : error.message;
    }
    showState();
  }
  setTimeout(poll, Math.max(0, EVERY_MS - (performance.now() - begun)));
}

function show(status) {
  const begun = performance.now();
  model.take(status);
  showFacts(status);
  showTiles(status.now);
  showWarnings(status.warnings);
  topology.show(model);
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
  byId("drain").disabled = gateway.draining;
}

function showTiles(now) {
  const { rates, curves } = model;
  big.clients(format.count(now.clients));
  big.servers(format.count(now.servers));
  big.conns(format.count(now.conns));
  big["to-messages"](format.perSecond(rates.toMessages));
  big["from-messages"](format.perSecond(rates.fromMessages));
  big["to-bytes"](format.bytesPerSecond(rates.toBytes));
  big["from-bytes"](format.bytesPerSecond(rates.fromBytes));
  big.buffered(format.bytes(now.buffered_bytes));
  const used = now.max_buffered_bytes > 0 ? now.buffered_bytes / now.max_buffered_bytes : 0;
  put(byId("n-buffered-of"), `${format.percent(used)} of ${format.text(format.bytes(now.max_buffered_bytes))}`);
  set(byId("n-buffered"), "data-level", level(used));
  for (const name of ["clients", "servers", "conns", "buffered"]) showCurve(byId(`c-${name}`), { plain: curves[name] });
  showCurve(byId("c-messages"), { to: curves.toMessages, from: curves.fromMessages });
  showCurve(byId("c-bytes"), { to: curves.toBytes, from: curves.fromBytes });
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
  const key = JSON.stringify(warnings);
  if (list.seenWarnings === key) return;
  list.seenWarnings = key;
  list.replaceChildren(
    ...warnings.map(({ level, text }) => {
      const critical = level === "critical";
      return html("li", { class: critical ? "critical" : "warning" }, html("b", {}, critical ? "▪ Critical" : "▲ Warning"), html("span", {}, text));
    }),
  );
}

function showReasons() {
  const box = byId("reasons");
  if (!model.reasons.length) {
    box.replaceChildren(html("p", { class: "none" }, "Nobody was refused, and no session has ended."));
    return;
  }
  let list = box.querySelector("ul");
  if (!list) {
    list = html("ul", { class: "reasons" });
    box.replaceChildren(list);
  }
  while (list.children.length > model.reasons.length) list.lastChild.remove();
  model.reasons.forEach((reason, index) => {
    let line = list.children[index];
    if (!line) {
      line = html("li", {}, html("b"), html("span", { class: "rate" }), html("span", { class: "what" }), html("span", { class: "words" }));
      list.append(line);
    }
    const [count, rate, what, words] = line.children;
    put(count, format.text(format.count(reason.count)));
    put(rate, reason.rate > 0 ? `+${format.text(format.perSecond(reason.rate))}` : "");
    put(what, reason.what);
    put(words, reason.words);
    set(what, "class", reason.what === "refused" ? "what refused" : "what");
  });
}

function showCount() {
  const all = model.servers.length;
  put(byId("servers-count"), servers.shown === all ? format.grouped(all) : `${format.grouped(servers.shown)} of ${format.grouped(all)}`);
}

// The state in the head, in the tab's title and in its icon; and, if the gateway is gone, since when.
function showState() {
  const [state, words] = stateNow();
  const element = byId("state");
  set(element, "data-state", state);
  put(element.lastElementChild, words);
  const lost = byId("lost");
  lost.hidden = state !== "lost";
  document.body.classList.toggle("stale", state === "lost");
  if (state === "lost") {
    put(lost, page.reached
      ? `The gateway cannot be reached since ${clock(page.reached)}: ${page.trouble}. What you see is from then. Trying again each second.`
      : `The gateway cannot be reached: ${page.trouble}. Trying again each second.`);
  }
  for (const button of document.querySelectorAll("#drain, .x")) button.disabled = state === "lost" || (button.id === "drain" && state === "draining");
  const { now } = model.status ?? {};
  const detail = state === "ready" && now ? `${format.text(format.count(now.clients))} clients, ${format.text(format.count(now.servers))} servers` : words.toLowerCase();
  const title = `${{ ready: "●", draining: "◐", waiting: "○", lost: "✕", paused: "‖" }[state]} ${detail} – fastway`;
  if (document.title !== title) document.title = title;
  showIcon(state);
}

function stateNow() {
  if (page.trouble) return ["lost", "Unreachable"];
  if (!model.status) return ["waiting", "Connecting"];
  if (page.paused) return ["paused", "Paused"];
  const { gateway } = model.status;
  if (gateway.draining) return ["draining", "Draining"];
  return gateway.ready ? ["ready", "Ready"] : ["waiting", "Not ready"];
}

function showIcon(state) {
  const icon = document.querySelector("link[rel=icon]");
  const shape = {
    ready: '<circle cx="8" cy="8" r="6" fill="#12a594"/>',
    draining: '<path d="M8 2a6 6 0 0 0 0 12z" fill="#d4820a"/><circle cx="8" cy="8" r="5.2" fill="none" stroke="#d4820a" stroke-width="1.6"/>',
    lost: '<path d="M3 3l10 10M13 3L3 13" stroke="#d13415" stroke-width="3"/>',
  }[state] ?? '<circle cx="8" cy="8" r="5" fill="none" stroke="#8a94a3" stroke-width="2"/>';
  set(icon, "href", `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${shape}</svg>`)}`);
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
  const from = info.peer ? ` (${info.peer})` : "";
  const conns = info.conns === 1 ? "Its virtual connection is" : `Its ${format.grouped(info.conns)} virtual connections are`;
  ask(`Close ${side} ${info.id}?`, `${side === "server" ? "Server" : "Client"} ${info.id}${from} is disconnected. ${conns} closed. It may connect again.`, "Close it", `sessions/${side}/${info.id}/close`);
}

byId("drain").addEventListener("click", () => {
  const clients = model.status?.now.clients ?? 0;
  ask("Drain this gateway?", `It takes no more clients, and the ${format.grouped(clients)} that are here go to another gateway. This cannot be undone; the gateway ends when it is empty or told to.`, "Drain", "drain");
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
