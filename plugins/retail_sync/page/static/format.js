/** Figures and times as people read them. */

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const DASH = "–";
const UNITS = ["B", "kB", "MB", "GB", "TB"];
const moments = new Map();

/** Return a count with all its digits. */
export const count = (n) => (n == null ? DASH : whole.format(n));

/** Return a count in few characters, `1.4M`. */
export const brief = (n) => (n == null ? DASH : short.format(n));

/** Return a count with its noun, `1 row`, `2 rows`. */
export const counted = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** Return a difference with its sign. */
export const signed = (n) => (n == null ? DASH : n > 0 ? `+${whole.format(n)}` : whole.format(n).replace("-", "−"));

/** Return a size, `81.2 GB`. */
export function bytes(n) {
  if (n == null) return DASH;
  let [value, unit] = [n, 0];
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${tenth.format(value)} ${UNITS[unit]}`;
}

/** Return a duration given in seconds, `11 min 3 s`. */
export function duration(n) {
  if (n == null) return DASH;
  if (n < 10) return `${tenth.format(n)} s`;
  const [days, hours, minutes, seconds] = [n / 86400, (n % 86400) / 3600, (n % 3600) / 60, n % 60].map(Math.floor);
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes) return seconds ? `${minutes} min ${seconds} s` : `${minutes} min`;
  return `${seconds} s`;
}

/** Return a moment, Unix seconds or ISO 8601, by the clocks of a zone: `2026-01-02 03:04`. */
export function when(moment, zone) {
  if (moment == null) return DASH;
  const date = new Date(typeof moment === "number" ? moment * 1000 : moment);
  if (Number.isNaN(date.getTime())) return String(moment);
  const { year, month, day, hour, minute } = parts(date, zone);
  return `${year}-${month}-${day} ${hour}:${minute}`;
}

/** Return the present day of a zone, `2026-01-02`. */
export function today(zone, now = new Date()) {
  const { year, month, day } = parts(now, zone);
  return `${year}-${month}-${day}`;
}

/** Return the day that is some days after one. */
export function plusDays(day, days) {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

function parts(date, zone) {
  if (!moments.has(zone)) {
    const shape = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" };
    moments.set(zone, new Intl.DateTimeFormat("en", { ...shape, hourCycle: "h23", timeZone: zone }));
  }
  return Object.fromEntries(moments.get(zone).formatToParts(date).map(({ type, value }) => [type, value]));
}
