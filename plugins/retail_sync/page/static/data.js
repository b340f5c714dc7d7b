/** What the server says, each path fetched once for all who look at it; old data stay where a new answer fails. */
import { useEffect, useState } from "./ui.js";

const API = new URL("../api/", import.meta.url);
const FRESH = 30_000;
const TIMEOUT = 30_000;
const kept = new Map();

/** An answer that is none: its HTTP status (0 without any), and what to tell. */
export class Refused extends Error {
  constructor(status, message, down = null) {
    super(message);
    this.status = status;
    this.down = down;
  }
}

/** Return the JSON behind a path, or throw a `Refused`. */
export async function fetched(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", signal: AbortSignal.timeout(TIMEOUT), ...options });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw new Refused(response.status, told(response.status, body), body?.down ?? null);
}

/** Return `{data, error, loading, at, reload}` of a path below `api/`, drawn again when it changes; null waits. */
export function useData(path) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    const entry = entryOf(path);
    const listener = () => draw((n) => n + 1);
    entry.listeners.add(listener);
    if (Date.now() - entry.at > FRESH) load(path);
    else listener();
    return () => entry.listeners.delete(listener);
  }, [path]);
  const { data, error, loading, at } = path ? entryOf(path) : {};
  return { data, error, loading, at, reload: () => load(path) };
}

/** Fetch a path again. */
export async function load(path) {
  const entry = entryOf(path);
  if (entry.loading) return;
  entry.loading = true;
  tell(entry);
  try {
    entry.data = await fetched(new URL(path, API));
    entry.error = null;
  } catch (error) {
    entry.error = error instanceof Refused ? error : new Refused(0, String(error));
    if (entry.error.status === 401 || entry.error.status === 403) entry.data = undefined;
  }
  entry.at = Date.now();
  entry.loading = false;
  tell(entry);
}

/** Fetch again what is looked at, and let the rest be fetched when it is; `only` chooses by the path. */
export function refresh(only = () => true) {
  for (const [path, entry] of kept) {
    if (!only(path)) continue;
    entry.at = 0;
    if (entry.listeners.size) load(path);
    else if (path.includes("/")) kept.delete(path);
  }
}

function entryOf(path) {
  if (!kept.has(path)) kept.set(path, { at: 0, loading: false, error: null, data: undefined, listeners: new Set() });
  return kept.get(path);
}

function tell(entry) {
  for (const listener of entry.listeners) listener();
}

function told(status, body) {
  const detail = detailOf(body);
  if (status === 401) return "You are not logged in, or not any more. Log in to Airflow and load this page again.";
  if (status === 403) return `You may not see this: it needs the right to read its DAGs${detail && detail !== "Forbidden" ? ` (${detail})` : ""}.`;
  if (body?.down) return `The ${body.down} database is down${detail ? `: ${detail}` : "."}`;
  return detail ?? `The server answered ${status}.`;
}

function detailOf(body) {
  const detail = body?.detail;
  if (Array.isArray(detail)) return detail.map((one) => one.msg ?? String(one)).join("; ");
  if (detail && typeof detail === "object") return detail.reason ?? JSON.stringify(detail);
  return detail || null;
}
