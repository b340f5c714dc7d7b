/** The windows of a store, and the way to pull its days again. */
import { html, useEffect, useRef } from "./ui.js";
import { sync } from "./actions.js";
import { useData } from "./data.js";
import { ask } from "./dialog.js";
import { count, plusDays, today, when } from "./format.js";
import { Chip, Empty, figures, letterOf, Loaded, Run, Table } from "./parts.js";
import { change } from "./place.js";

const FIXED = new Set(["start", "end", "status", "at", "run", "run_url", "log_url", "error"]);

/** The panel of the store that the address names. */
export function Store({ me, params, row, weeks, plan }) {
  const { store, pipeline } = params;
  const from = useData(`orders/${encodeURIComponent(pipeline)}/${encodeURIComponent(store)}`);
  const head = useRef(null);
  useEffect(() => {
    head.current.focus({ preventScroll: true });
    head.current.scrollIntoView({ block: "nearest" });
  }, []);
  const may = me.dags[pipeline]?.trigger ?? false;
  const pull = (title, from_, to) =>
    ask({
      title,
      note: "Pulls these days from the store's CRM, both included; without dates the last 90 days.",
      fields: [
        { name: "from", label: "First day", type: "date", value: from_ ?? "" },
        { name: "to", label: "Last day", type: "date", value: to ?? "" },
      ],
      runs: ({ from, to }) => sync(pipeline, store, from, to),
    });
  const close = () => {
    change({ store: null, pipeline: null });
    document.querySelector('#orders-grid [data-r][tabindex="0"]')?.focus();
  };
  const holes = row ? spanOfHoles(row.cells, weeks, today(me.zone)) : null;
  return html`<section class="panel" id="store" aria-labelledby="store-title" data-store-open=${store}>
    <header><h3 id="store-title" tabindex="-1" ref=${head}>${store}${row?.name ? `, ${row.name}` : ""} <small class="muted">${pipeline}</small></h3>
      <button type="button" id="store-close" onClick=${close}>Close</button></header>
    ${may && html`<div class="actions">
      <button type="button" data-action="sync" onClick=${() => pull(`Sync ${store}`, holes?.[0], holes?.[1])}>Sync the store …</button>
      ${holes && html`<span class="muted">with holes or failures from ${holes[0]} to ${holes[1]}</span>`}</div>`}
    ${plan?.text && html`<details><summary>What the profiler would run for it now</summary><pre>${plan.text}</pre></details>`}
    <${Loaded} from=${from} what=${store}>${({ windows }) =>
      windows.length
        ? html`<${Windows} windows=${windows} me=${me} may=${may} again=${({ start, end }) => pull(`Sync ${store} again`, start, end)} />`
        : html`<${Empty}>No window of this store has run yet.<//>`}<//>
  </section>`;
}

function Windows({ windows, me, may, again }) {
  const others = [...new Set(windows.flatMap((one) => Object.keys(one)))].filter((name) => !FIXED.has(name));
  return html`<${Table} id="store-windows" caption="Windows, newest first" heads=${[
    "From", "To", "State", ...others.map((name) => figures(name.replaceAll("_", " "))), "When", "Run", "Error", ...(may ? ["Action"] : []),
  ]}>${windows.map((one) => html`<tr data-start=${one.start} data-end=${one.end} data-status=${one.status}>
    <th scope="row">${one.start}</th><td>${one.end}</td><td><${Chip} state=${letterOf(one.status)}>${one.status}<//></td>
    ${others.map((name) => html`<td class="number">${typeof one[name] === "number" ? count(one[name]) : String(one[name] ?? "–")}</td>`)}
    <td>${when(one.at, me.zone)}</td><td><${Run} base=${me.base} url=${one.run_url} run=${one.run} /></td><td class="error">${one.error}</td>
    ${may && html`<td><button type="button" data-action="sync-again" aria-label=${`Sync ${one.start} to ${one.end} again`} onClick=${() => again(one)}>Again …</button></td>`}
  </tr>`)}<//>`;
}

/** The days from the first week with a hole or a failure to the last, none of them in the future. */
function spanOfHoles(cells, weeks, now) {
  const held = weeks.filter((_, w) => cells[w] === "h" || cells[w] === "f");
  if (!held.length) return null;
  const end = plusDays(held.at(-1), 6);
  return [held[0], end > now ? now : end];
}
