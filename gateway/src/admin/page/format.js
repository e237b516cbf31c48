// Numbers as people read them: three figures and a unit.

const DECIMAL = ["", "k", "M", "G", "T", "P"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

// `[figures, unit]`, for example ["1.20", "MiB"]. What would round to 1000 is of the next unit already.
function scaled(value, base, units, decimals) {
  if (!Number.isFinite(value)) return ["–", ""];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  let digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  if (unit === 0) digits = value > 0 && value < 9.95 ? decimals : 0;
  return [value.toFixed(digits), units[unit]];
}

// A rate of things: 1.20 k/s.
export function perSecond(value) {
  const [figures, unit] = scaled(value, 1000, DECIMAL, 1);
  return [figures, figures === "–" ? "" : `${unit}/s`];
}

// A rate of bytes: 3.40 MiB/s.
export function bytesPerSecond(value) {
  const [figures, unit] = bytes(value);
  return [figures, unit && `${unit}/s`];
}

// A size: 64.0 KiB.
export function bytes(value) {
  return scaled(value, 1024, BINARY, 0);
}

// How many: all figures as long as they are few, 1.20 M beyond.
export function count(value) {
  if (!Number.isFinite(value)) return ["–", ""];
  return value < 1e6 ? [grouped(value), ""] : scaled(value, 1000, DECIMAL, 0);
}

// 12,345
export function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

// Figures and unit in one text.
export function text([figures, unit]) {
  return unit ? `${figures} ${unit}` : figures;
}

// 1 client, 2 clients
export function many(number, what) {
  return `${text(count(number))} ${what}${number === 1 ? "" : "s"}`;
}

// The two largest units of a duration: 3 d 4 h.
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => whole >= size);
  if (first < 0) return "0 s";
  const [size, unit] = parts[first];
  const rest = parts[first + 1];
  const head = `${Math.floor(whole / size)} ${unit}`;
  return rest ? `${head} ${Math.floor((whole % size) / rest[0])} ${rest[1]}` : head;
}

// A share of a whole: 0.3 %.
export function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const value = share * 100;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} %`;
}
