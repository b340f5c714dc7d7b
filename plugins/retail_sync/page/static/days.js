/** The days of a month of a table: counts on both sides, what was repaired, and the runs behind it. */
import { html, useEffect, useRef } from "./ui.js";
import { repair } from "./actions.js";
import { useData } from "./data.js";
import { ask } from "./dialog.js";
import { bytes, count, counted, duration, when } from "./format.js";
import { Chip, Empty, figures, letterOf, Loaded, Run, RunLink, Table } from "./parts.js";
import { change } from "./place.js";
import { STATES } from "./status.js";

/** The panel of the month that the address names. */
export function Days({ me, params }) {
  const { table, month } = params;
  const from = useData(`coverage/${encodeURIComponent(table)}/${encodeURIComponent(month)}`);
  const head = useRef(null);
  useEffect(() => {
    head.current.focus({ preventScroll: true });
    head.current.scrollIntoView({ block: "nearest" });
  }, []);
  const close = () => {
    change({ table: null, month: null, days: null });
    document.querySelector(`[data-table="${CSS.escape(table)}"][data-month="${CSS.escape(month)}"]`)?.focus();
  };
  return html`<section class="panel" id="days" aria-labelledby="days-title" data-table-open=${table} data-month-open=${month}>
    <header><h3 id="days-title" tabindex="-1" ref=${head}>${table}, ${month}</h3>
      <button type="button" id="days-close" onClick=${close}>Close</button></header>
    <${Loaded} from=${from} what=${`${table}, ${month}`}>${(data) => html`
      <${ByDay} days=${data.days} table=${table} me=${me} chosen=${params.days} />
      <h4>Windows</h4>
      ${data.windows.length ? html`<${Windows} windows=${data.windows} me=${me} />` : html`<${Empty}>No run has touched this month.<//>`}
    `}<//>
  </section>`;
}

function ByDay({ days, table, me, chosen }) {
  const may = me.dags.replica_audit?.trigger ?? false;
  const picked = new Set((chosen ?? "").split(",").filter(Boolean));
  const pick = (day) => {
    picked.has(day) ? picked.delete(day) : picked.add(day);
    change({ days: [...picked].sort().join(",") }, { replace: true });
  };
  const mend = (which) =>
    ask({
      title: `Repair ${which.length === 1 ? which[0] : counted(which.length, "day")} of ${table}`,
      note: "Compares these days with the source, repairs the rows that differ, and compares again. No other day is touched.",
      fields: [{ name: "mend", label: "Repair (otherwise only compare)", type: "checkbox", value: true }],
      runs: ({ mend }) => repair(table, which, mend),
    });
  if (!days.length) return html`<${Empty}>No day of this month is known yet.<//>`;
  return html`
    ${may && html`<div class="actions"><button type="button" data-action="repair-days" disabled=${!picked.size}
      onClick=${() => mend([...picked])}>Repair the selected days …</button></div>`}
    <${Table} id="days-table" caption="Days" heads=${[
      "Day", "State", figures("Rows, source"), figures("Rows, warehouse"), figures("Inserted"), figures("Updated"),
      figures("Deleted"), "When", "Run", "Log", "Error", ...(may ? ["Action"] : []),
    ]}>${days.map((day) => html`<tr key=${day.day} data-day=${day.day} data-status=${day.status} data-equal=${day.equal == null ? "" : String(day.equal)}
        class=${picked.has(day.day) ? "picked" : ""}>
      <th scope="row">${may
        ? html`<label><input type="checkbox" checked=${picked.has(day.day)} onChange=${() => pick(day.day)} /> ${day.day}</label>`
        : day.day}</th>
      <td>${day.status && html`<${Chip} state=${day.status}>${STATES[day.status] ?? day.status}<//>`}
        ${day.equal === false && html` <b class="bad">differs</b>`}</td>
      <td class="number">${count(day.rows_source)}</td><td class="number">${count(day.rows_warehouse)}</td>
      <td class="number">${count(day.inserted)}</td><td class="number">${count(day.updated)}</td><td class="number">${count(day.deleted)}</td>
      <td>${when(day.at, me.zone)}</td>
      <td><${Run} base=${me.base} url=${day.run_url} run=${day.run} /></td>
      <td><${RunLink} base=${me.base} url=${day.log_url}>log<//></td>
      <td class="error">${day.error}</td>
      ${may && html`<td><button type="button" data-action="repair" aria-label=${`Repair ${day.day}`} onClick=${() => mend([day.day])}>Repair …</button></td>`}
    </tr>`)}<//>`;
}

function Windows({ windows, me }) {
  return html`<${Table} id="windows-table" caption="Windows" heads=${[
    "Window", "Phase", "State", figures("Attempt"), figures("Rows, source"), figures("Rows, published"), figures("Size"),
    "Took", "Checksum", "Finished", "Run", "Log", "Error",
  ]}>${windows.map((one) => html`<tr>
    <th scope="row">${one.window}</th><td>${one.phase}</td><td><${Chip} state=${letterOf(one.status)}>${one.status}<//></td>
    <td class="number">${count(one.attempt)}</td><td class="number">${count(one.rows_source)}</td><td class="number">${count(one.rows_published)}</td>
    <td class="number">${bytes(one.bytes)}</td><td>${duration(one.seconds)}</td><td class="hash" title=${one.checksum}>${one.checksum}</td>
    <td>${when(one.finished_at ?? one.started_at, me.zone)}</td>
    <td><${Run} base=${me.base} url=${one.run_url} run=${one.run} /></td>
    <td><${RunLink} base=${me.base} url=${one.log_url}>log<//></td><td class="error">${one.error}</td>
  </tr>`)}<//>`;
}
