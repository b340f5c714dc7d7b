/** The page: its head, the sections, and what all of them share. */
import { html, render, useEffect } from "./ui.js";
import { Cdc } from "./cdc.js";
import { Coverage } from "./coverage.js";
import { refresh, useData } from "./data.js";
import { ActionDialog } from "./dialog.js";
import { when } from "./format.js";
import { Nights } from "./nights.js";
import { Orders } from "./orders.js";
import { Fence, followLinks, Problem } from "./parts.js";
import { address, change, SECTIONS, usePlace } from "./place.js";
import { Reference } from "./reference.js";
import { Running, usePolled } from "./running.js";

const VIEWS = { coverage: Coverage, tonight: Nights, reference: Reference, orders: Orders, cdc: Cdc, running: Running };
const PATHS = { coverage: "coverage", tonight: "nights", reference: "reference", orders: "orders", cdc: "cdc", running: "running" };

function Page() {
  const { data: me, error, reload } = useData("me");
  if (error && !me) return html`<main><h1>Replication</h1><${Problem} error=${error} what="Replication" retry=${reload} /></main>`;
  return me ? html`<${Known} me=${me} />` : html`<main><h1>Replication</h1><p role="status">Loading …</p></main>`;
}

function Known({ me }) {
  const { section, params } = usePlace();
  const polled = usePolled();
  const running = polled.data?.items.length ?? 0;
  const View = VIEWS[section];
  useEffect(() => void (document.title = `${SECTIONS[section]} · Replication`), [section]);
  return html`
    <header class="page">
      <h1>Replication</h1>
      <nav aria-label="Sections">${Object.entries(SECTIONS).map(([name, text]) => html`<a key=${name} href=${address(name, name === section ? params : undefined)}
        data-section=${name} aria-current=${name === section ? "page" : undefined}>${text}${name === "running" && running > 0 && html` <b class="badge" id="running-count">${running}</b>`}</a>`)}</nav>
      <${Head} section=${section} me=${me} params=${params} />
    </header>
    <main id="main" data-section-shown=${section}>
      <h2 id="section-title">${SECTIONS[section]}</h2>
      <${Fence} key=${section} what=${SECTIONS[section]}><${View} me=${me} params=${params} from=${polled} /><//>
    </main>
    <${ActionDialog} base=${me.base} />`;
}

function Head({ section, me, params }) {
  const { at } = useData(PATHS[section]);
  const theme = (event) => {
    change({ theme: event.target.value || null }, { replace: true });
    window.dispatchEvent(new Event("theme"));
  };
  return html`<div class="about">
    <span class="muted">times in ${me.zone}${at ? `, as of ${when(at / 1000, me.zone)}` : ""}</span>
    <button type="button" id="refresh" onClick=${() => refresh()}>Refresh</button>
    <label class="field" for="theme">Theme <select id="theme" value=${params.theme ?? ""} onChange=${theme}>
      <option value="">as Airflow</option><option value="light">light</option><option value="dark">dark</option></select></label>
  </div>`;
}

followLinks();
render(html`<${Page} />`, document.getElementById("app"));
