/** Reference: the tables that are replaced as a whole. */
import { html } from "./ui.js";
import { useData } from "./data.js";
import { count, duration, signed, when } from "./format.js";
import { Chip, Empty, figures, letterOf, Loaded, Run, Search, Table } from "./parts.js";
import { change } from "./place.js";

/** The section. */
export function Reference({ me, params }) {
  const from = useData("reference");
  return html`<${Loaded} from=${from} what="Reference">${({ tables }) =>
    tables.length
      ? html`<div class="tools"><${Search} id="reference-search" label="Table" value=${params.q}
            onChange=${(q) => change({ q }, { replace: true })} /></div>
          <${Tables} me=${me} tables=${tables.filter(({ name }) => !params.q || name.toLowerCase().includes(params.q.toLowerCase()))} />`
      : html`<${Empty}>No reference table has been refreshed yet. The DAG reference_tables runs at 01:00 (${me.zone}); unpause it, or trigger it by hand.<//>`}<//>`;
}

function Tables({ tables, me }) {
  return html`<${Table} id="reference-table" caption="Reference tables" heads=${[
    "Table", figures("Rows"), figures("Change"), "State", "Last refresh", "Took", "Run", "Error",
  ]}>${tables.map((table) => html`<tr key=${table.name} data-table=${table.name} data-rows=${table.rows} data-status=${table.status}>
    <th scope="row">${table.name}</th><td class="number">${count(table.rows)}</td>
    <td class="number">${signed(table.rows == null || table.rows_before == null ? null : table.rows - table.rows_before)}</td>
    <td><${Chip} state=${letterOf(table.status)}>${table.status ?? "never refreshed"}<//></td>
    <td>${when(table.finished_at, me.zone)}</td><td>${duration(table.seconds)}</td>
    <td><${Run} base=${me.base} url=${table.run_url} run=${table.run} /></td><td class="error">${table.error}</td>
  </tr>`)}<//>`;
}
