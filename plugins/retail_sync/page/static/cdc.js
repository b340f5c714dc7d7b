/** CDC: how each replication is, how far behind, and what went wrong. */
import { html } from "./ui.js";
import { resync } from "./actions.js";
import { useData } from "./data.js";
import { ask } from "./dialog.js";
import { bytes, count, duration, when } from "./format.js";
import { Chip, Empty, letterOf, Loaded } from "./parts.js";

const [WIDTH, HEIGHT] = [240, 44];

/** The section. */
export function Cdc({ me }) {
  const from = useData("cdc");
  return html`<${Loaded} from=${from} what="CDC">${({ replications }) =>
    replications.length
      ? html`<div class="cards" id="cdc">${replications.map((one) => html`<${Replication} key=${one.name} one=${one} me=${me} />`)}</div>`
      : html`<${Empty}>No database is followed. Declare one in include/cdc/replications.yaml, then trigger the DAG cdc_replication with the action start.<//>`}<//>`;
}

function Replication({ one, me }) {
  const may = me.dags.cdc_replication?.trigger ?? false;
  const again = (tables) =>
    ask({
      title: `Resync ${one.name}`,
      note: "Copies the named tables anew, beside what readers see, and goes on from there; none named means all of them.",
      fields: [{ name: "tables", label: "Tables, schema.table, one a line", type: "lines", value: tables.join("\n") }],
      runs: (values) => resync(one.name, values.tables.split(/[\n,]/).map((name) => name.trim()).filter(Boolean)),
    });
  const tables = Object.entries(one.tables ?? {}).map(([status, n]) => `${count(n)} ${status}`);
  const reasons = (one.reasons ?? []).map((reason) => (typeof reason === "string" ? reason : (reason.text ?? reason.detail ?? JSON.stringify(reason))));
  return html`<article class="card" data-replication=${one.name} data-status=${one.status} aria-label=${one.name}>
    <header><h3>${one.name} <${Chip} state=${letterOf(one.status)}>${one.status}<//></h3>
      ${may && html`<button type="button" data-action="resync" onClick=${() => again([])}>Resync …</button>`}</header>
    ${reasons.length > 0 && html`<ul class="reasons">${reasons.map((reason) => html`<li>${reason}</li>`)}</ul>`}
    <dl class="facts">
      <div><dt>Lag</dt><dd data-lag-seconds=${one.lag_seconds}>${duration(one.lag_seconds)}</dd></div>
      <div><dt>Lag in the log</dt><dd>${bytes(one.lag_bytes)}</dd></div>
      <div><dt>Events</dt><dd data-events=${one.events}>${count(one.events)}</dd></div>
      <div><dt>Events a minute</dt><dd>${count(one.events_per_minute == null ? null : Math.round(10 * one.events_per_minute) / 10)}</dd></div>
      <div><dt>Applied</dt><dd>${when(one.applied_at, me.zone)}</dd></div>
      <div><dt>Tables</dt><dd>${tables.join(", ") || "–"}</dd></div>
    </dl>
    ${one.history?.length > 1 && html`<div class="sparks">
      <${Spark} label="Lag, seconds" points=${one.history.map(([at, , lag]) => [at, lag])} text=${duration} zone=${me.zone} />
      <${Spark} label="Events" points=${one.history.map(([at, events]) => [at, events])} text=${count} zone=${me.zone} />
    </div>`}
    <h4>Incidents</h4>
    ${one.incidents?.length
      ? html`<ul class="incidents">${one.incidents.map((incident) => html`<li data-incident=${incident.kind}>
          <${Chip} state=${letterOf(incident.severity)}>${incident.severity}<//> <strong>${incident.kind}</strong> ${incident.subject}
          <span class="muted"> since ${when(incident.opened_at, me.zone)}</span>
          ${may && /^[^\s.]+\.[^\s.]+$/.test(incident.subject ?? "") && html` <button type="button" data-action="resync-table" onClick=${() => again([incident.subject])}>Resync ${incident.subject} …</button>`}
          <div class="error">${incident.detail}</div></li>`)}</ul>`
      : html`<p class="muted">none open</p>`}
  </article>`;
}

function Spark({ label, points, text, zone }) {
  const values = points.map(([, value]) => value ?? 0);
  const [most, last] = [Math.max(1e-9, ...values), points.at(-1)];
  const line = values.map((value, index) => `${(index * WIDTH) / (values.length - 1)},${HEIGHT - 2 - ((HEIGHT - 4) * value) / most}`).join(" ");
  const told = `${label}: ${text(last[1])} at the end, at most ${text(Math.max(...values))}, since ${when(points[0][0], zone)}`;
  return html`<figure><svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${told} preserveAspectRatio="none"><polyline points=${line} /></svg>
    <figcaption>${label}, at most ${text(Math.max(...values))}</figcaption></figure>`;
}
