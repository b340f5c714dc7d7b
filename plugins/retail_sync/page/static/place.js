/**
 * Where one is: a section and its parameters, in the hash, `#/coverage?table=APP_4_SALES&month=2025-10`,
 * so that a link shows the same and the browser's back works.
 */
import { useEffect, useState } from "./ui.js";

export const SECTIONS = {
  coverage: "Coverage",
  tonight: "Tonight",
  reference: "Reference",
  orders: "Orders",
  cdc: "CDC",
  running: "Running now",
};

const KEPT = "theme";
const listeners = new Set();
const remembered = new Map();

/** Return `{section, params}` of the address. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { section: Object.hasOwn(SECTIONS, path) ? path : "coverage", params: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the address of a section, with the parameters it was left with where none are given. */
export function address(section, params = remembered.get(section) ?? {}) {
  const { [KEPT]: theme } = here().params;
  const given = Object.entries({ ...(theme && { theme }), ...params }).filter(([, value]) => value != null && value !== "");
  const query = new URLSearchParams(given).toString().replaceAll("%3A", ":").replaceAll("%2C", ",").replaceAll("%3B", ";");
  return `#/${section}${query && `?${query}`}`;
}

/** Change parameters of where one is; null takes one away. Typing replaces the address, opening adds one. */
export function change(params, { replace = false } = {}) {
  const now = here();
  const hash = address(now.section, { ...now.params, ...params });
  if (hash === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", hash);
  moved();
}

/** Return where one is, and draw again when that changes. */
export function usePlace() {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const listener = () => setPlace(here());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return place;
}

function moved() {
  const { section, params } = here();
  const { [KEPT]: _, ...own } = params;
  remembered.set(section, own);
  tellAirflow();
  for (const listener of listeners) listener();
}

/** Show our address in that of Airflow's page around this one; its frame is told only when a document loads. */
function tellAirflow() {
  if (parent === window) return;
  try {
    const [page] = parent.location.pathname.match(/^.*?\/plugin\/[^/]+/) ?? [];
    if (page) parent.history.replaceState(parent.history.state, "", page + location.pathname + location.search + location.hash);
  } catch {
    // another site's frame: its address is its own
  }
}

window.addEventListener("popstate", moved);
