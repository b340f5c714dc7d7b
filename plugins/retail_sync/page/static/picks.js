/** Selected months, `TABLE 2025-01`, and how an address names them: `TABLE:2025-01,2025-02;OTHER:2025-01`. */

/** Return the selected months that an address names. */
export function readPicks(text) {
  const parts = (text ?? "").split(";").map((part) => part.split(":"));
  return new Set(parts.flatMap(([table, months]) => (months ?? "").split(",").filter(Boolean).map((month) => `${table} ${month}`)));
}

/** Return the text that names selected months. */
export function writePicks(picks) {
  const tables = Map.groupBy([...picks].sort(), (key) => key.split(" ")[0]);
  return [...tables].map(([table, keys]) => `${table}:${keys.map((key) => key.split(" ")[1]).join(",")}`).join(";");
}

/** Return the selection with some months turned over: all of them in, or out where all were in. */
export function turned(picks, keys) {
  const [next, out] = [new Set(picks), keys.every((key) => picks.has(key))];
  for (const key of keys) out ? next.delete(key) : next.add(key);
  return next;
}
