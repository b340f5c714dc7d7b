/** The plan of the profiler, the same as the command `plan-orders`. */
import { html } from "./ui.js";
import { count } from "./format.js";
import { Empty } from "./parts.js";
import { change } from "./place.js";

const MOST = 60;

/** Stores that are due with their windows and reasons, those of the filter first named. */
export function Plan({ data, params }) {
  const due = data.plans.filter(
    ({ due, store, pipeline, windows }) =>
      due && windows.length && (!params.q || store.toLowerCase().includes(params.q.toLowerCase())) && (!params.pipe || params.pipe === pipeline),
  );
  const { text, reasons, ...others } = data.totals ?? {};
  const totals = Object.entries({ ...others, ...reasons }).filter(([, value]) => typeof value === "number");
  return html`
    ${typeof text === "string" && html`<p id="plan-text">${text}</p>`}
    ${totals.length > 0 && html`<dl class="facts" id="plan-totals">${totals.map(([name, value]) => html`<div><dt>${name.replaceAll("_", " ")}</dt><dd>${count(value)}</dd></div>`)}</dl>`}
    ${due.length
      ? html`<ol class="plans" tabindex="0" aria-label="Stores that are due">${due.slice(0, MOST).map((plan) => html`<li key=${`${plan.pipeline} ${plan.store}`} data-plan=${plan.store} data-pipeline=${plan.pipeline}>
          <button type="button" class="link" onClick=${() => change({ store: plan.store, pipeline: plan.pipeline })}>${plan.store}</button>
          <span class="muted"> ${plan.pipeline}</span>
          <ul>${plan.windows.map(({ start, end, reason }) => html`<li>${start} to ${end} <em class="reason" data-reason=${reason}>${reason}</em></li>`)}</ul>
        </li>`)}</ol>
        ${due.length > MOST && html`<p class="muted">and ${count(due.length - MOST)} stores more; filter by store to see them</p>`}`
      : html`<${Empty}>Nothing is due.<//>`}`;
}
