/** The dialog before anything is sent: the DAG, its conf and the same as a command. */
import { html, useEffect, useRef, useState } from "./ui.js";
import { command, trigger } from "./actions.js";
import { counted } from "./format.js";
import { load } from "./data.js";
import { RunLink, say } from "./parts.js";

let show = () => {};

/**
 * Open the dialog.
 *
 * @param action `{title, note, fields: [{name, label, type, value}], runs(values) → [{dag, conf}]}`
 */
export function ask(action) {
  show(action);
}

/** The dialog, once a page. */
export function ActionDialog({ base }) {
  const [action, setAction] = useState(null);
  useEffect(() => void (show = setAction), []);
  return action && html`<${Asked} key=${action} action=${action} base=${base} close=${() => setAction(null)} />`;
}

function Asked({ action, base, close }) {
  const dialog = useRef(null);
  const [values, setValues] = useState(() => Object.fromEntries((action.fields ?? []).map(({ name, value }) => [name, value])));
  const [answers, setAnswers] = useState(null);
  const [sending, setSending] = useState(false);
  useEffect(() => dialog.current.showModal(), []);
  const runs = action.runs(values);
  const send = async () => {
    setSending(true);
    const told = [];
    for (const run of runs) {
      told.push(await answered(base, run));
      setAnswers([...told]);
    }
    setSending(false);
    say(told.every(({ url }) => url) ? `${counted(told.length, "run")} triggered.` : "Not all was triggered.");
    load("running");
  };
  return html`<dialog ref=${dialog} id="action-dialog" aria-labelledby="action-title" onClose=${close}>
    <h2 id="action-title">${action.title}</h2>
    ${action.note && html`<p>${action.note}</p>`}
    ${!answers && html`<div class="fields">
      ${(action.fields ?? []).map((field) => html`<${Field} field=${field} value=${values[field.name]}
        onChange=${(value) => setValues({ ...values, [field.name]: value })} />`)}
    </div>`}
    ${!runs.length && html`<p class="empty">There is nothing to send.</p>`}
    ${runs.map((run, index) => html`<${Sent} key=${index} run=${run} answer=${answers?.[index]} base=${base} />`)}
    <div class="buttons">
      ${!answers && html`<button type="button" id="send" class="main" disabled=${sending || !runs.length} onClick=${send}>
        ${runs.length > 1 ? `Send ${runs.length} runs` : "Send"}
      </button>`}
      <button type="button" id="cancel" onClick=${() => dialog.current.close()}>${answers ? "Close" : "Cancel"}</button>
    </div>
  </dialog>`;
}

function Field({ field, value, onChange }) {
  const { name, label, type } = field;
  const id = `field-${name}`;
  if (type === "checkbox") {
    return html`<label class="field" for=${id}><input id=${id} type="checkbox" checked=${value}
      onChange=${(event) => onChange(event.target.checked)} /> ${label}</label>`;
  }
  const onInput = (event) => onChange(event.target.value);
  return html`<label class="field" for=${id}>${label}
    ${type === "lines"
      ? html`<textarea id=${id} rows="3" value=${value} onInput=${onInput} />`
      : html`<input id=${id} type=${type} value=${value} onInput=${onInput} />`}
  </label>`;
}

function Sent({ run, answer, base }) {
  const text = command(run);
  return html`<section class="sent" data-role="run" aria-label=${run.dag}>
    <p>DAG <strong data-role="dag">${run.dag}</strong>, with this conf:</p>
    <pre data-role="conf" tabindex="0" aria-label="conf">${JSON.stringify(run.conf, null, 2)}</pre>
    <p class="muted">The same by the command line:</p>
    <div class="command"><code data-role="command" tabindex="0">${text}</code>
      <button type="button" onClick=${() => copy(text)}>Copy</button></div>
    ${answer && html`<p role="status" class=${answer.url ? "good" : "problem"} data-role="answer">
      ${answer.url ? html`Triggered: <${RunLink} base=${base} url=${answer.url}>${answer.id}<//>` : answer.message}
    </p>`}
  </section>`;
}

async function answered(base, run) {
  try {
    return await trigger(base, run);
  } catch (error) {
    if (error.status === 403) return { message: `You may not trigger ${run.dag} (403). Ask for the right to edit it.` };
    return { message: error.status ? `${run.dag} was not triggered (${error.status}): ${error.message}` : error.message };
  }
}

/** Copy a text; an address without TLS has no clipboard, there a selection is copied. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.querySelector("dialog").append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied.");
}
