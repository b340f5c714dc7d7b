/** One tooltip for all: shown by hover and by focus, hidden by Escape, itself hoverable. */
const tip = document.getElementById("tip");
let owner = null;

/** Show lines of text at an element, which is described by them. */
export function showTip(element, lines) {
  if (owner !== element) hideTip();
  owner = element;
  tip.replaceChildren(...lines.filter(Boolean).map(line));
  tip.hidden = false;
  element.setAttribute("aria-describedby", "tip");
  place(element.getBoundingClientRect());
}

/** Hide the tooltip. */
export function hideTip() {
  owner?.removeAttribute("aria-describedby");
  owner = null;
  tip.hidden = true;
}

/**
 * Return the handlers that a container needs so that its cells have tooltips.
 *
 * @param selector the cells
 * @param describe the lines of a cell
 */
export function tips(selector, describe) {
  const show = (event) => {
    const cell = event.target.closest?.(selector);
    const lines = cell && describe(cell);
    if (lines) showTip(cell, lines);
    else if (event.type === "mouseover") leave(event);
  };
  const leave = (event) => {
    if (event.relatedTarget === tip || tip.contains(event.relatedTarget)) return;
    hideTip();
  };
  return { onmouseover: show, onmouseleave: leave, onfocusin: show, onfocusout: leave };
}

function line(text) {
  const element = document.createElement("div");
  element.textContent = text;
  return element;
}

function place({ left, right, top, bottom }) {
  const { offsetWidth: width, offsetHeight: height } = tip;
  const x = Math.min(Math.max(4, (left + right - width) / 2), innerWidth - width - 4);
  const below = bottom + height + 8 < innerHeight || top - height < 8;
  tip.style.left = `${x}px`;
  tip.style.top = `${below ? bottom + 4 : top - height - 4}px`;
}

document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
document.addEventListener("scroll", () => owner && (owner.isConnected ? place(owner.getBoundingClientRect()) : hideTip()), true);
tip.addEventListener("mouseleave", hideTip);
