/** The states of what is copied: a letter each, as the server sends them. The signs are in page.css. */
export const STATES = {
  v: "verified",
  p: "published, not verified",
  c: "changed since verified",
  r: "running",
  f: "failed",
  m: "missing",
  n: "not exposed at the source",
};

/** The same of a week of a store. */
export const WEEKS = {
  s: "covered",
  h: "hole",
  f: "failed",
  r: "running",
  "-": "not due",
};
