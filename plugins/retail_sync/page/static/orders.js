/** Orders: stores down, weeks across; beside it what the profiler would run now. */
import { html, useMemo } from "./ui.js";
import { useData } from "./data.js";
import { count, counted } from "./format.js";
import { Empty, Loaded, Search } from "./parts.js";
import { change } from "./place.js";
import { Plan } from "./plan.js";
import { WEEKS } from "./status.js";
import { Store } from "./store.js";
import { StoreGrid } from "./storegrid.js";

/** The section. */
export function Orders({ me, params }) {
  const [from, planned] = [useData("orders"), useData("orders/plan")];
  return html`
    <div class="beside">
      <div><${Loaded} from=${from} what="Orders">${(data) => html`<${Shown} data=${data} me=${me} params=${params} />`}<//></div>
      ${params.store && params.pipeline && html`<${Store} key=${`${params.pipeline} ${params.store}`} me=${me} params=${params}
        row=${from.data?.stores.find(({ store, pipeline }) => store === params.store && pipeline === params.pipeline)}
        weeks=${from.data?.weeks ?? []} plan=${planned.data?.plans.find(({ store, pipeline }) => store === params.store && pipeline === params.pipeline)} />`}
      <section aria-labelledby="plan-title" id="plan"><h3 id="plan-title">What the profiler would run now</h3>
        <${Loaded} from=${planned} what="Plan">${(data) => html`<${Plan} data=${data} params=${params} />`}<//></section>
    </div>`;
}

function Shown({ data, me, params }) {
  const pipelines = [...new Set(data.stores.map(({ pipeline }) => pipeline))];
  const stores = useMemo(() => data.stores.filter(fits(params)), [data, params.q, params.pipe, params.holes]);
  const counts = useMemo(() => lettersOf(data.stores), [data]);
  const set = (name) => (value) => change({ [name]: value }, { replace: true });
  if (!data.stores.length) {
    return html`<${Empty}>No store is known. Add stores to store_master in the control database; orders_sync_profiler
      then finds what is missing by itself.<//>`;
  }
  return html`<div class="tools">
      <${Search} id="orders-search" label="Store" value=${params.q} onChange=${set("q")} />
      ${pipelines.length > 1 && html`<label class="field" for="orders-pipeline">Pipeline
        <select id="orders-pipeline" value=${params.pipe ?? ""} onChange=${(event) => set("pipe")(event.target.value)}>
          <option value="">all</option>${pipelines.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`}
      <label class="field" for="orders-holes"><input type="checkbox" id="orders-holes" checked=${params.holes === "1"}
        onChange=${(event) => set("holes")(event.target.checked ? "1" : null)} /> only with holes or failures</label>
      <p class="legend">${Object.entries(WEEKS).map(([letter, text]) => html`<span class="key" data-state=${letter}>
        <i class="cell" data-week-status=${letter} aria-hidden="true" />${text} <b>${count(counts[letter] ?? 0)}</b></span>`)}</p>
    </div>
    <p class="muted" role="status" id="orders-count">${counted(stores.length, "store")} of ${count(data.stores.length)}</p>
    ${stores.length ? html`<${StoreGrid} stores=${stores} weeks=${data.weeks} me=${me} open=${params.store && `${params.pipeline} ${params.store}`} />`
      : html`<${Empty}>No store fits the filter.<//>`}`;
}

const fits = ({ q, pipe, holes }) => ({ store, name, pipeline, cells }) =>
  (!q || `${store} ${name ?? ""}`.toLowerCase().includes(q.toLowerCase())) && (!pipe || pipe === pipeline) && (holes !== "1" || /[hf]/.test(cells));

function lettersOf(stores) {
  const counts = {};
  for (const { cells } of stores) for (const letter of cells) counts[letter] = (counts[letter] ?? 0) + 1;
  return counts;
}
