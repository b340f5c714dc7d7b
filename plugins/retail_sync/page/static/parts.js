/** Pieces that several sections are made of. */
import { Component, html } from "./ui.js";

const said = document.getElementById("said");

/** Tell a screen reader what changed. */
export function say(text) {
  said.textContent = text;
}

/** What a section shows: its data, or why there are none; data from before stay beside an error. */
export function Loaded({ from, what, children }) {
  const { data, error, loading, reload } = from;
  return html`
    ${error && html`<${Problem} error=${error} what=${what} retry=${reload} stale=${data !== undefined} />`}
    ${data !== undefined ? children(data) : !error && html`<p class="muted" role="status">${loading ? "Loading …" : ""}</p>`}
  `;
}

/** What is down, and why. */
export function Problem({ error, what, retry, stale }) {
  return html`<div class="problem" role="alert" data-problem=${error.status} data-down=${error.down}>
    <strong>${what}: </strong>${error.message}${stale && " What is shown is from before."}
    ${retry && html` <button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** A section that breaks takes no other with it. */
export class Fence extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }

  render({ children, what }, { error }) {
    return error ? html`<div class="problem" role="alert"><strong>${what}: </strong>${String(error)}</div>` : children;
  }
}

/** Why there is nothing, and what to do. */
export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

/** A state with its sign. */
export const Chip = ({ state, children }) => html`<span class="chip" data-status=${state}>${children}</span>`;

/** Return the look of a state that is a word. */
export function letterOf(status) {
  const word = String(status ?? "").toLowerCase();
  if (/^(success|succeeded|verified|healthy|live|ok|equal|unchanged|done|true)$/.test(word)) return "v";
  if (word === "published") return "p";
  if (/^(fail|failed|error|unhealthy|critical|lost)$/.test(word)) return "f";
  if (/^(running|copying|reading|started)$/.test(word)) return "r";
  if (/^(warn|warning|degraded|partial)$/.test(word)) return "c";
  return "n";
}

/** A link into Airflow's pages; nothing where there is no address. */
export function RunLink({ base, url, children }) {
  if (!/^\/[^/\\]/.test(url ?? "")) return null;
  return html`<a href=${base + url} target="_top">${children}</a>`;
}

/** A run: a link where its page is known, else its name. */
export function Run({ base, url, run, children }) {
  if (!run && !url) return "–";
  return html`<span class="run" title=${run}>
    <${RunLink} base=${base} url=${url}>${children ?? run}<//>${!url && run}
  </span>`;
}

/** A horizontal bar of parts, `[[kind, value]…]`, of a length that is the largest. */
export function Bar({ parts, most }) {
  const shown = parts.filter(([, value]) => value > 0);
  return html`<div class="bar" aria-hidden="true">
    ${shown.map(([kind, value]) => html`<i class=${kind} style=${{ width: `max(2px, ${(100 * value) / (most || 1)}%)` }} />`)}
  </div>`;
}

/** A field that narrows what is shown, remembered in the address. */
export function Search({ id, label, value, onChange }) {
  return html`<label class="field" for=${id}>${label}
    <input id=${id} type="search" value=${value ?? ""} autocomplete="off" spellcheck="false"
      onInput=${(event) => onChange(event.target.value || null)} />
  </label>`;
}

/** A table in a box that scrolls sideways by itself. */
export function Table({ caption, heads, children, id }) {
  return html`<div class="scroll" role="region" aria-label=${caption} tabindex="0">
    <table class="list" id=${id}>
      <caption class="unseen">${caption}</caption>
      <thead><tr>${heads.map((head) => html`<th scope="col" class=${head.number ? "number" : ""}>${head.text ?? head}</th>`)}</tr></thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}

/** A column of figures. */
export const figures = (text) => ({ text, number: true });

/** Follow links out of Airflow's frame, whose sandbox lets nothing but its parent navigate. */
export function followLinks() {
  const follow = (event) => {
    const link = event.target.closest?.("a[target=_top]");
    if (!link || parent === window || event.button > 1) return;
    event.preventDefault();
    const apart = event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey;
    const twin = parent.document.createElement("a");
    Object.assign(twin, { href: link.href, target: apart ? "_blank" : "", rel: "noopener" });
    parent.document.body.append(twin);
    twin.click();
    twin.remove();
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
}
