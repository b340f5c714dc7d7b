/** Coverage: a heat map, tables down, months across. */
import { html, useMemo } from "./ui.js";
import { ask } from "./dialog.js";
import { replicate, replicates, verify } from "./actions.js";
import { useData } from "./data.js";
import { Days } from "./days.js";
import { count, counted, today } from "./format.js";
import { HeatMap } from "./heatmap.js";
import { Empty, Loaded, RunLink, say, Search } from "./parts.js";
import { change } from "./place.js";
import { readPicks, writePicks } from "./picks.js";
import { STATES } from "./status.js";

/** The section. */
export function Coverage({ me, params }) {
  const from = useData("coverage");
  return html`<${Loaded} from=${from} what="Coverage">${(data) => html`<${Shown} data=${data} me=${me} params=${params} />`}<//>`;
}

function Shown({ data, me, params }) {
  const tables = useMemo(() => data.tables.map((table) => laid(table, data.months.length)), [data]);
  const shown = tables.filter(
    ({ name, group, states }) =>
      (!params.q || name.toLowerCase().includes(params.q.toLowerCase())) &&
      (!params.group || group === params.group) &&
      (!params.only || states.includes(params.only)),
  );
  const may = (dag) => me.dags[dag]?.trigger ?? false;
  const acting = may("replica_audit") || tables.some(({ dag }) => replicates(dag) && may(dag));
  const picks = useMemo(() => (acting ? readPicks(params.sel) : new Set()), [params.sel, acting]);
  if (!tables.some(({ cells }) => cells.some(Boolean))) {
    return html`<${Empty}>No month has been copied yet. Trigger the DAG
      ${" "}<${RunLink} base=${me.base} url="/dags/sales_replication">sales_replication<//> with a start_date and an end_date, or wait for
      its run on the first of the month.<//>`;
  }
  const pick = (next) => {
    change({ sel: writePicks(next) || null }, { replace: true });
    say(`${counted(next.size, "month")} selected`);
  };
  return html`
    <${Tools} tables=${tables} params=${params} />
    ${acting && html`<${Actions} picks=${picks} tables=${tables} me=${me} may=${may} clear=${() => pick(new Set())} />`}
    ${shown.length
      ? html`<${HeatMap} data=${data} tables=${shown} me=${me} only=${params.only} picks=${picks} pick=${acting ? pick : null}
          open=${params.table && params.month && `${params.table} ${params.month}`} />`
      : html`<${Empty}>No table fits the filter.<//>`}
    ${params.table && params.month && html`<${Days} key=${`${params.table} ${params.month}`} me=${me} params=${params} />`}
  `;
}

function Tools({ tables, params }) {
  const groups = [...new Set(tables.map(({ group }) => group))];
  const counts = Object.groupBy(tables.flatMap(({ states }) => states), (state) => state);
  const set = (name) => (value) => change({ [name]: value }, { replace: true });
  return html`<div class="tools">
    <${Search} id="coverage-search" label="Table" value=${params.q} onChange=${set("q")} />
    ${groups.length > 1 && html`<label class="field" for="coverage-group">Group
      <select id="coverage-group" value=${params.group ?? ""} onChange=${(event) => set("group")(event.target.value)}>
        <option value="">all</option>${groups.map((group) => html`<option value=${group}>${group}</option>`)}
      </select></label>`}
    <div class="legend" role="group" aria-label="Show only a state">
      ${Object.entries(STATES).map(([letter, text]) => html`<button type="button" class="key" data-state=${letter}
        aria-pressed=${params.only === letter} onClick=${() => set("only")(params.only === letter ? null : letter)}>
        <i class="cell" data-status=${letter} aria-hidden="true" />${text} <b>${count(counts[letter]?.length ?? 0)}</b>
      </button>`)}
    </div>
  </div>`;
}

function Actions({ picks, tables, me, may, clear }) {
  const dags = new Map(tables.map(({ name, dag }) => [name, dag]));
  const cells = [...picks].map((key) => key.split(" ")).map(([table, month]) => ({ table, month, dag: dags.get(table) }));
  const loadable = cells.filter(({ dag }) => replicates(dag) && may(dag));
  const now = today(me.zone);
  const named = `${counted(cells.length, "month")} of ${counted(new Set(cells.map(({ table }) => table)).size, "table")}`;
  const load = () =>
    ask({
      title: `Replicate ${named}`,
      note: notes(cells, loadable),
      fields: [{ name: "force", label: "Load also what is equal already (force)", type: "checkbox", value: false }],
      runs: ({ force }) => replicate(loadable, now, force),
    });
  const compare = () =>
    ask({
      title: `Verify ${named}`,
      note: "Compares source and warehouse day by day, and repairs nothing.",
      runs: () => verify(cells, now),
    });
  return html`<div class="actions" id="coverage-actions">
    ${cells.length
      ? html`<strong>${named} selected</strong>
          <button type="button" data-action="replicate" disabled=${!loadable.length} onClick=${load}>Replicate …</button>
          <button type="button" data-action="verify" disabled=${!may("replica_audit")} onClick=${compare}>Verify …</button>
          <button type="button" data-action="clear" onClick=${clear}>Clear</button>`
      : html`<span class="muted">Shift and click, or Space, selects months to replicate or verify; a table's or a month's
          name selects all of it.</span>`}
  </div>`;
}

function notes(cells, loadable) {
  const left = cells.length - loadable.length;
  return [
    left && `${counted(left, "month")} left out: no DAG that you may trigger loads them.`,
    loadable.some(({ dag }) => dag === "nightly_replica") && "nightly_replica also checks the day before each span.",
    "What is equal is not loaded again, unless forced.",
  ].filter(Boolean).join(" ");
}

/** A table with its cells by month, and the state of each: missing is what lies behind its first month and has ended. */
function laid(table, months) {
  const cells = new Array(months).fill(null);
  for (const cell of table.cells) cells[cell[0]] = cell;
  const first = cells.findIndex(Boolean);
  const states = cells.map((cell, month) => cell?.[1] ?? (first >= 0 && month > first && month < months - 1 ? "m" : ""));
  return { ...table, cells, states };
}
