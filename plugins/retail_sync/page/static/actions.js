/** What the page asks Airflow to do, and by which parameters. Pure, but for `trigger`. */
import { fetched } from "./data.js";
import { plusDays } from "./format.js";

const REPLICATE = {
  sales_replication: (start, end, tables, force) => ({ start_date: start, end_date: end, tables, force }),
  nightly_replica: (start, end, tables) => ({ start, end, tables, sweep: false }),
};

/** Whether months of a DAG's tables can be replicated at all. */
export const replicates = (dag) => Object.hasOwn(REPLICATE, dag);

/** Return the runs that replicate cells, `[{table, dag, month}…]`, up to the last day that has ended. */
export function replicate(cells, today, force) {
  return spans(cells.filter(({ dag }) => replicates(dag)), today).map(({ dag, start, end, tables }) => ({
    dag,
    conf: REPLICATE[dag](start, end, tables, force),
  }));
}

/** Return the runs that compare cells with the source, and repair nothing. */
export function verify(cells, today) {
  const audited = cells.filter(({ dag }) => replicates(dag)).map((cell) => ({ ...cell, dag: "replica_audit" }));
  return spans(audited, today).map(({ dag, start, end, tables }) => ({ dag, conf: audit(start, end, tables, false) }));
}

/** Return the runs that compare days of a table, and with `mend` repair the rows that differ; no other day is touched. */
export function repair(table, days, mend = true) {
  return runsOf(days, (day) => plusDays(day, 1)).map(([start, end]) => ({
    dag: "replica_audit",
    conf: audit(start, end, [table], mend),
  }));
}

/** Return the run that pulls days of a store, both included. */
export function sync(pipeline, store, from, to) {
  return [{ dag: pipeline, conf: { store_codes: [store], ...(from && { from_date: from }), ...(to && { to_date: to }) } }];
}

/** Return the run that copies tables of a replication anew, none meaning all. */
export function resync(replication, tables) {
  return [{ dag: "cdc_replication", conf: { action: "resync", replication, tables } }];
}

/** Return the command that does the same as a click. */
export function command({ dag, conf }) {
  return `airflow dags trigger ${dag} --conf ${quoted(JSON.stringify(conf))}`;
}

/** Return the run that Airflow made, `{id, url}`; throws a `Refused`. */
export async function trigger(base, { dag, conf }) {
  const run = await fetched(`${base}/api/v2/dags/${encodeURIComponent(dag)}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf }),
  });
  const id = run.dag_run_id;
  return { id, url: `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(id)}` };
}

/** Return `[first, last]` of each row of neighbours, `next` telling which one follows. */
export function runsOf(sorted, next) {
  const found = [];
  for (const one of [...sorted].sort()) {
    const last = found.at(-1);
    if (last && next(last[1]) === one) last[1] = one;
    else found.push([one, one]);
  }
  return found;
}

/** Return the month after one. */
export function nextMonth(month) {
  const [year, number] = month.split("-").map(Number);
  return number === 12 ? `${year + 1}-01` : `${year}-${String(number + 1).padStart(2, "0")}`;
}

const audit = (start, end, tables, mend) => ({ start_date: start, end_date: end, tables, repair: mend });
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Months of tables as few spans of days: neighbours together, and tables of the same span together. */
function spans(cells, today) {
  const months = Map.groupBy(cells, ({ dag, table }) => `${dag} ${table}`);
  const parts = [...months.values()].flatMap((own) =>
    runsOf(own.map(({ month }) => month), nextMonth).map(([first, last]) => ({ ...own[0], first, last })),
  );
  return [...Map.groupBy(parts, ({ dag, first, last }) => `${first} ${last} ${dag}`)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, own]) => ({ ...days(own[0], today), dag: own[0].dag, tables: own.map(({ table }) => table) }));
}

function days({ first, last }, today) {
  const [start, end, yesterday] = [`${first}-01`, plusDays(`${nextMonth(last)}-01`, -1), plusDays(today, -1)];
  const ended = end > yesterday ? yesterday : end;
  return { start, end: ended < start ? start : ended };
}
