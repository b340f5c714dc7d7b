/**
 * Light or dark: as the address asks (`theme=`), else as Airflow's page around this one is, else as Airflow
 * remembers it, else as the system is. Airflow's page has the class `light` or `dark` on its root (next-themes),
 * and `theme` in the local storage.
 */
const THEMES = ["light", "dark"];
const known = (theme) => (THEMES.includes(theme) ? theme : null);

function asked() {
  return known(new URLSearchParams(location.hash.split("?")[1]).get("theme"));
}

function around() {
  const page = frame();
  return page ? (THEMES.find((theme) => page.classList.contains(theme)) ?? null) : null;
}

function frame() {
  try {
    return parent === window ? null : parent.document.documentElement;
  } catch {
    return null;
  }
}

function remembered() {
  try {
    return known(localStorage.getItem("theme"));
  } catch {
    return null;
  }
}

function follow() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = asked() ?? around() ?? remembered() ?? (dark ? "dark" : "light");
  root.style.colorScheme = root.dataset.theme;
}

follow();
window.addEventListener("storage", follow);
window.addEventListener("popstate", follow);
window.addEventListener("theme", follow);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
if (frame()) new MutationObserver(follow).observe(frame(), { attributes: true, attributeFilter: ["class"] });
