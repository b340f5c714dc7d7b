/** Tonight: what the last nights loaded and repaired, what came late, what is over a threshold. */
import { html, useLayoutEffect, useRef } from "./ui.js";
import { useData } from "./data.js";
import { count, counted, duration, when } from "./format.js";
import { reach } from "./keys.js";
import { Bar, Chip, Empty, figures, letterOf, Loaded, Run, Table } from "./parts.js";
import { change } from "./place.js";
import { tips } from "./tip.js";

const FIXES = ["inserted", "updated", "deleted"];

/** The section. */
export function Nights({ me, params }) {
  const from = useData("nights");
  return html`<${Loaded} from=${from} what="Tonight">${(data) => html`<${Shown} data=${data} me=${me} params=${params} />`}<//>`;
}

function Shown({ data, me, params }) {
  const names = [...new Set(data.nights.flatMap(({ tables }) => tables.map(({ name }) => name)))].sort();
  const nights = data.nights.map((night) => {
    const tables = night.tables.filter(({ name }) => !params.name || name === params.name);
    return { ...night, tables, loaded: sum(tables, "loaded"), ...Object.fromEntries(FIXES.map((fix) => [fix, sum(tables, fix)])) };
  });
  const night = nights.findLast(({ run, day }) => run === params.run || day === params.night) ?? nights.at(-1);
  return html`
    ${nights.length
      ? html`<div class="tools">
            <label class="field" for="nights-table">Table
              <select id="nights-table" value=${params.name ?? ""} onChange=${(event) => change({ name: event.target.value || null }, { replace: true })}>
                <option value="">all</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}
              </select></label>
            <${Key} />
          </div>
          <${Strip} nights=${nights} chosen=${night} />
          <${Night} night=${night} me=${me} />`
      : html`<${Empty}>No night has run yet. The DAG nightly_replica runs at 02:00 (${me.zone}); unpause it, or trigger it by hand.<//>`}
    <div class="columns">
      <${Late} late=${data.late} />
      <${Breaches} breaches=${data.breaches} me=${me} />
    </div>`;
}

const Key = () => html`<p class="legend" aria-hidden="true">
  ${["loaded", ...FIXES].map((kind) => html`<span class="key"><i class=${`swatch ${kind}`} /> ${kind}</span>`)}
</p>`;

function Strip({ nights, chosen }) {
  const strip = useRef(null);
  const most = Math.max(1, ...nights.map(({ loaded }) => loaded));
  const mostFixed = Math.max(1, ...nights.map(fixed));
  useLayoutEffect(() => void (strip.current.parentNode.scrollLeft = strip.current.parentNode.scrollWidth), []);
  useLayoutEffect(() => reach(strip.current, strip.current.querySelector('[aria-pressed="true"]')));
  const open = (index) => change({ night: nights[index].day, run: nights[index].run });
  const onKeyDown = (event) => {
    const at = Number(event.target.dataset.c);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: nights.length - 1 }[event.key];
    const target = strip.current.querySelector(`[data-c="${next}"]`);
    if (!target) return;
    event.preventDefault();
    reach(strip.current, target);
    target.focus();
  };
  const describe = (bar) => told(nights[Number(bar.dataset.c)]);
  return html`<div class="scroll"><div class="strip" id="nights-strip" role="group" aria-label="Nights, oldest first; above the line rows loaded, below it rows repaired, each to its own scale"
      ref=${strip} onKeyDown=${onKeyDown} ...${tips("[data-c]", describe)}>
    ${nights.map((night, index) => html`<button type="button" key=${night.run} data-r="0" data-c=${index} data-night=${night.day}
        data-success=${String(night.success)} data-loaded=${night.loaded} aria-pressed=${String(night === chosen)}
        aria-label=${told(night).join(", ")} onClick=${() => open(index)}>
      <span class="up"><i class="loaded" style=${{ height: `${(100 * night.loaded) / most}%` }} /></span>
      <span class="down">${FIXES.map((fix) => html`<i class=${fix} style=${{ height: `${(100 * night[fix]) / mostFixed}%` }} />`)}</span>
      <span class="sign" data-status=${night.success === false ? "f" : night.success ? "" : "r"} />
    </button>`)}
  </div></div>`;
}

function Night({ night, me }) {
  const most = Math.max(1, ...night.tables.map(({ loaded }) => loaded ?? 0));
  const mostFixed = Math.max(1, ...night.tables.map(fixed));
  return html`<h3 id="night-title">Night of ${night.day} <${Chip} state=${letterOf(ending(night))}>${ending(night)}<//></h3>
    <p>${when(night.started_at, me.zone)} to ${when(night.finished_at, me.zone)}, took ${duration(seconds(night))};
      run <${Run} base=${me.base} url=${night.run_url} run=${night.run} /></p>
    <${Table} id="night-table" caption=${`Tables, night of ${night.day}`} heads=${[
      "Table", "State", "Loaded", figures("Rows"), "Repaired", ...FIXES.map((fix) => figures(fix)), "Error",
    ]}>${night.tables.map((table) => html`<tr key=${table.name} data-table=${table.name}>
      <th scope="row">${table.name}</th><td><${Chip} state=${letterOf(table.status)}>${table.status}<//></td>
      <td class="bars"><${Bar} parts=${[["loaded", table.loaded]]} most=${most} /></td><td class="number" data-loaded=${table.loaded}>${count(table.loaded)}</td>
      <td class="bars"><${Bar} parts=${FIXES.map((fix) => [fix, table[fix]])} most=${mostFixed} /></td>
      ${FIXES.map((fix) => html`<td class="number" data-fix=${fix}>${count(table[fix])}</td>`)}
      <td class="error">${table.error}</td>
    </tr>`)}<//>`;
}

function Late({ late }) {
  const most = Math.max(1, ...late.map(({ rows }) => rows));
  return html`<section aria-labelledby="late-title"><h3 id="late-title">Late arrivals</h3>
    ${late.length
      ? html`<${Table} id="late-table" caption="Late arrivals by days late" heads=${[figures("Days late"), figures("Rows"), "Share"]}>
          ${late.map(({ days_late: days, rows }) => html`<tr data-late=${days}><th scope="row" class="number">${days}</th>
            <td class="number">${count(rows)}</td><td class="bars"><${Bar} parts=${[["inserted", rows]]} most=${most} /></td></tr>`)}<//>`
      : html`<${Empty}>No row came late.<//>`}</section>`;
}

function Breaches({ breaches, me }) {
  return html`<section aria-labelledby="breaches-title"><h3 id="breaches-title">Quality thresholds</h3>
    ${breaches.length
      ? html`<ul class="breaches" id="breaches">${breaches.map((one) => html`<li data-breach=${one.breach}>
          <${Chip} state=${letterOf(one.breach)}>${one.breach}<//> <strong>${one.table}</strong> ${one.metric}: ${number(one.value)},
          threshold ${number(one.threshold)} <span class="muted">${one.from && `${one.from} to ${one.to}, `}measured ${when(one.measured_at, me.zone)}</span></li>`)}</ul>`
      : html`<${Empty}>Nothing is over its threshold. The DAG warehouse_maintenance measures after each night.<//>`}</section>`;
}

const sum = (tables, name) => tables.reduce((total, table) => total + (table[name] ?? 0), 0);
const fixed = (one) => sum(FIXES.map((fix) => ({ n: one[fix] })), "n");
const ending = ({ success }) => (success === false ? "failed" : success ? "success" : "running");
const seconds = ({ started_at: from, finished_at: to }) => (from && to ? (new Date(to) - new Date(from)) / 1000 : null);
const number = (value) => (typeof value === "number" ? count(value) : String(value ?? "–"));
const told = (night) => [
  `night of ${night.day}: ${ending(night)}`,
  `${counted(night.loaded, "row")} loaded`,
  FIXES.map((fix) => `${count(night[fix])} ${fix}`).join(", "),
];
