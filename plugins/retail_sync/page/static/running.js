/** Running now: a bar a window and table; asked every two seconds while anybody looks. */
import { html, useEffect, useRef } from "./ui.js";
import { load, refresh, useData } from "./data.js";
import { count, counted, duration, when } from "./format.js";
import { Empty, Loaded, Run, say } from "./parts.js";

const EVERY = 2000;
const AFTER_AN_ERROR = 10_000;
const KINDS = { window: "window", copy: "copy", orders: "orders", stream: "stream" };

/** Poll while the page is visible; what has ended makes the other sections fetch again. */
export function usePolled() {
  const from = useData("running");
  const before = useRef(null);
  useEffect(() => {
    const every = from.error ? AFTER_AN_ERROR : EVERY;
    const timer = setInterval(() => document.visibilityState === "visible" && load("running"), every);
    const seen = () => document.visibilityState === "visible" && load("running");
    document.addEventListener("visibilitychange", seen);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [!from.error]);
  useEffect(() => {
    if (!from.data) return;
    const now = new Set(from.data.items.map(keyOf));
    const ended = [...(before.current ?? [])].filter((key) => !now.has(key));
    before.current = now;
    if (!ended.length) return;
    say(`${counted(ended.length, "item")} ended`);
    refresh((path) => path !== "running" && path !== "me");
  }, [from.data]);
  return from;
}

/** The section. */
export function Running({ me, from }) {
  return html`<${Loaded} from=${from} what="Running now">${({ items, at }) => html`
    ${items.length
      ? html`<ul class="running" id="running">${items.map((item) => html`<${Item} key=${keyOf(item)} item=${item} me=${me} />`)}</ul>`
      : html`<${Empty}>Nothing runs now. What is due and what has run is in the other sections.<//>`}
    <p class="muted">as of ${when(at, me.zone)}, refreshed every two seconds</p>`}<//>`;
}

function Item({ item, me }) {
  const { rows, expected, kind } = item;
  const share = expected ? Math.min(100, (100 * (rows ?? 0)) / expected) : null;
  const name = [item.table, item.window].filter(Boolean).join(", ");
  const told = `${count(rows)} of ${expected == null ? "unknown" : count(expected)} rows, ${item.step ?? ""}`;
  return html`<li data-running=${item.table} data-window=${item.window} data-kind=${kind} data-rows=${rows} data-expected=${expected}>
    <div class="title"><strong>${name}</strong> <span class="muted">${KINDS[kind] ?? kind}, ${item.dag}</span>
      <span class="step" data-step=${item.step}>${item.step}</span></div>
    <div class=${`progress ${share == null ? "unknown" : ""}`} role="progressbar" aria-label=${name} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${share == null ? undefined : Math.floor(share)} aria-valuetext=${told}><i style=${{ width: share == null ? "100%" : `${share}%` }} /></div>
    <div class="facts-line">
      <span>${count(rows)} of ${expected == null ? "?" : count(expected)} rows${share == null ? "" : `, ${Math.floor(share)} %`}</span>
      <span>${item.rows_per_second == null ? "" : `${count(Math.round(item.rows_per_second))} rows/s`}</span>
      <span>${item.seconds_left == null ? "" : `${duration(Math.round(item.seconds_left))} left`}</span>
      <span class="muted">since ${when(item.started_at, me.zone)}</span>
      <${Run} base=${me.base} url=${item.run_url} run=${item.run} />
    </div>
  </li>`;
}

const keyOf = ({ kind, dag, table, window, run }) => [kind, dag, table, window, run].join("|");
