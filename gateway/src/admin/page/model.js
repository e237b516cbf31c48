// What the gateway has said so far: the last status, the rates between it and the one before, and the curves.

import { SPAN, Series } from "./history.js";

const PRESENT = ["clients", "servers", "conns", "buffered_bytes"];
const NO_RATES = { toMessages: NaN, toBytes: NaN, fromMessages: NaN, fromBytes: NaN };

export class Model {
  status = null;
  servers = [];
  slowest = [];
  reasons = [];
  rates = NO_RATES;
  // Where curves end, in seconds of the gateway's own clock, and how many seconds they show: of a short past, only that.
  clock = { now: 0, span: 60 };
  curves = {};
  #since = null;
  #totals = null;
  #counts = new Map();
  #sessions = { server: new Map(), client: new Map() };

  // Takes the next status. A gateway that was started anew begins with counters at zero, and with no past.
  take(status) {
    const uptime = status.gateway.uptime_s;
    const before = this.status;
    if (before?.gateway.started !== status.gateway.started) this.#begin();
    const elapsed = this.#totals ? uptime - before.gateway.uptime_s : NaN;
    this.status = status;
    const now = Math.floor(uptime);
    this.#since ??= now;
    this.clock = { now, span: Math.min(SPAN, Math.max(60, now - this.#since)) };
    this.#takeTotals(status.now, elapsed);
    this.servers = this.#takeSessions("server", status.servers, elapsed);
    this.slowest = this.#takeSessions("client", status.slowest_clients, elapsed);
    this.#takeReasons(status, elapsed);
  }

  #begin() {
    this.#since = null;
    this.#totals = null;
    this.#counts = new Map();
    this.#sessions = { server: new Map(), client: new Map() };
    for (const name of [...PRESENT, ...Object.keys(NO_RATES)]) this.curves[name] = new Series();
  }

  #takeTotals(now, elapsed) {
    // To servers goes what comes from clients, and the other way round.
    const totals = {
      toMessages: now.received.client.messages,
      toBytes: now.received.client.bytes,
      fromMessages: now.sent.client.messages,
      fromBytes: now.sent.client.bytes,
    };
    this.rates = between(this.#totals, totals, elapsed);
    this.#totals = totals;
    for (const name in totals) this.curves[name].push(this.clock.now, this.rates[name]);
    for (const name of PRESENT) this.curves[name].push(this.clock.now, now[name]);
  }

  // A session that began after the status before has counted from zero since it began.
  #takeSessions(side, list, elapsed) {
    const known = this.#sessions[side];
    const next = new Map();
    const sessions = list.map((info) => {
      const totals = {
        toMessages: info.sent.messages,
        toBytes: info.sent.bytes,
        fromMessages: info.received.messages,
        fromBytes: info.received.bytes,
      };
      let session = known.get(info.id);
      if (!session || info.age_s < session.info.age_s) {
        session = { side, toBytes: new Series(), fromBytes: new Series(), totals: null, busy: NaN };
      }
      const since = session.totals ? elapsed : info.age_s < elapsed ? info.age_s : NaN;
      session.rates = between(session.totals ?? zeros(totals), totals, since);
      session.totals = totals;
      session.info = info;
      session.fill = info.queue_limit_bytes > 0 ? Math.min(1, info.queued_bytes / info.queue_limit_bytes) : 0;
      if (side === "server") {
        session.toBytes.push(this.clock.now, session.rates.toBytes);
        session.fromBytes.push(this.clock.now, session.rates.fromBytes);
        const sum = session.rates.toBytes + session.rates.fromBytes;
        if (Number.isFinite(sum)) session.busy = Number.isFinite(session.busy) ? session.busy * 0.7 + sum * 0.3 : sum;
      }
      next.set(info.id, session);
      return session;
    });
    this.#sessions[side] = next;
    return sessions;
  }

  #takeReasons(status, elapsed) {
    const refused = status.refusals.map((line) => ({ what: "refused", words: line.words, count: line.count }));
    const ended = status.ended.map((line) => ({ what: `${line.side} ended`, words: line.words ?? line.reason, count: line.count }));
    const counts = new Map();
    this.reasons = [...refused, ...ended].filter((line) => line.count > 0);
    for (const line of this.reasons) {
      const key = `${line.what} ${line.words}`;
      line.rate = (line.count - (this.#counts.get(key) ?? 0)) / elapsed;
      counts.set(key, line.count);
    }
    this.#counts = counts;
    this.reasons.sort((a, b) => b.count - a.count);
  }
}

function between(before, after, seconds) {
  if (!before || !(seconds > 0)) return NO_RATES;
  const rates = {};
  for (const name in after) rates[name] = Math.max(0, after[name] - before[name]) / seconds;
  return rates;
}

function zeros(totals) {
  return Object.fromEntries(Object.keys(totals).map((name) => [name, 0]));
}
