/** Stores down, weeks across: only the cells in sight are in the document, and the one that has the focus. */
import { Component, html, useLayoutEffect, useRef, useState } from "./ui.js";
import { led } from "./keys.js";
import { change } from "./place.js";
import { WEEKS } from "./status.js";
import { tips } from "./tip.js";

const ROW = 24;
const WEEK = 14;
const AROUND = 4;

/** The grid. */
export function StoreGrid({ stores, weeks, open }) {
  const box = useRef(null);
  const wanted = useRef(false);
  const [sight, setSight] = useState({ top: 0, bottom: 25, left: 0, right: 60 });
  const [at, setAt] = useState([0, weeks.length]);
  const held = box.current?.contains(document.activeElement) && document.activeElement.matches("[data-r]");
  const active = [Math.min(at[0], stores.length - 1), Math.min(at[1], weeks.length)];
  const look = () => {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = box.current;
    const next = {
      top: Math.floor(scrollTop / ROW),
      bottom: Math.ceil((scrollTop + clientHeight) / ROW),
      left: 8 * Math.floor(scrollLeft / WEEK / 8),
      right: 8 * Math.ceil((scrollLeft + clientWidth) / WEEK / 8),
    };
    setSight((now) => (Object.keys(next).every((side) => now[side] === next[side]) ? now : next));
  };
  useLayoutEffect(() => {
    box.current.scrollLeft = box.current.scrollWidth;
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [weeks.length]);
  useLayoutEffect(() => {
    const cell = box.current.querySelector('[data-r][tabindex="0"]');
    if (wanted.current) {
      wanted.current = false;
      cell?.focus({ preventScroll: true });
      cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else if (held && !box.current.contains(document.activeElement)) cell?.focus({ preventScroll: true });
  });
  const show = (row) => change({ store: stores[row].store, pipeline: stores[row].pipeline });
  const placed = (event) => {
    const cell = event.target.closest("[data-r]");
    return cell && [Number(cell.dataset.r), Number(cell.dataset.c)];
  };
  const onClick = (event) => {
    const place = placed(event);
    if (!place) return;
    setAt(place);
    show(place[0]);
  };
  const onKeyDown = (event) => {
    const place = placed(event);
    const next = place && led(event, place, stores.length, weeks.length + 1);
    if (next) {
      wanted.current = true;
      setAt(next);
    } else if (place && (event.key === "Enter" || event.key === " ")) show(place[0]);
    else return;
    event.preventDefault();
  };
  const describe = (cell) => told(stores[Number(cell.dataset.r)], weeks, Number(cell.dataset.c));
  const rows = range(Math.max(0, sight.top - AROUND), Math.min(stores.length, sight.bottom + AROUND));
  if (active[0] < rows[0]) rows.unshift(active[0]);
  else if (!rows.includes(active[0])) rows.push(active[0]);
  const columns = [Math.min(sight.left, weeks.length), Math.min(sight.right, weeks.length)];
  return html`<div class="scroll stores" ref=${box} onScroll=${look} id="orders-box">
    <div role="grid" id="orders-grid" aria-label="Orders: stores down, weeks across" aria-rowcount=${stores.length + 1}
      aria-colcount=${weeks.length + 1} onClick=${onClick} onKeyDown=${onKeyDown} ...${tips("[data-r]", describe)}>
      <div role="rowgroup" class="heads"><${Heads} weeks=${weeks} /></div>
      <div role="rowgroup" class="rows" style=${{ height: `${stores.length * ROW}px` }}>
        ${rows.map((row) => html`<${Row} key=${`${stores[row].pipeline} ${stores[row].store}`} row=${row} one=${stores[row]} weeks=${weeks}
          left=${row === active[0] && active[1] > 0 ? Math.min(columns[0], active[1] - 1) : columns[0]}
          right=${row === active[0] ? Math.max(columns[1], active[1]) : columns[1]} reached=${row === active[0] ? active[1] : -1} open=${open === `${stores[row].pipeline} ${stores[row].store}`} />`)}
      </div>
    </div>
  </div>`;
}

class Heads extends Component {
  shouldComponentUpdate(next) {
    return next.weeks !== this.props.weeks;
  }

  render({ weeks }) {
    const shown = marks(weeks);
    return html`<div role="row" class="row" aria-rowindex="1"><div role="columnheader" class="corner" aria-colindex="1">Store</div>
      ${weeks.map((week, w) => html`<div role="columnheader" class="week" aria-colindex=${w + 2}>
        <span aria-hidden="true">${shown[w]}</span><span class="unseen">week of ${week}</span></div>`)}</div>`;
  }
}

class Row extends Component {
  shouldComponentUpdate(next) {
    return ["row", "one", "weeks", "left", "right", "reached", "open"].some((name) => next[name] !== this.props[name]);
  }

  render({ row, one, weeks, left, right, reached, open }) {
    const { store, name, pipeline, cells } = one;
    return html`<div role="row" class="row" aria-rowindex=${row + 2} style=${{ top: `${row * ROW}px` }} data-store=${store} data-pipeline=${pipeline}
        aria-current=${open ? "true" : undefined}>
      <div role="rowheader" class="corner" aria-colindex="1" data-r=${row} data-c="0" tabindex=${reached === 0 ? 0 : -1}>${store} <span>${name}</span></div>
      ${range(left, right).map((w) => html`<div role="gridcell" key=${w} class="cell" aria-colindex=${w + 2} data-r=${row} data-c=${w + 1} data-week=${weeks[w]}
        data-week-status=${cells[w] ?? "-"} tabindex=${reached === w + 1 ? 0 : -1} aria-label=${`week of ${weeks[w]}: ${WEEKS[cells[w]] ?? "not due"}`}
        style=${{ left: `calc(var(--store) + ${w * WEEK}px)` }} />`)}
    </div>`;
  }
}

function told({ store, name, pipeline, cells }, weeks, column) {
  const title = [store, name].filter(Boolean).join(", ");
  if (column === 0) return [title, pipeline, `${holes(cells)} weeks with holes or failures`];
  return [title, pipeline, `week of ${weeks[column - 1]}: ${WEEKS[cells[column - 1]] ?? "not due"}`];
}

const range = (from, to) => Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);
const holes = (cells) => cells.replace(/[^hf]/g, "").length;

/** Return what each week is headed: where a month begins its name, or the year where that begins; no two meet. */
function marks(weeks) {
  let year = null;
  return weeks.map((week, w) => {
    const month = week.slice(0, 7);
    if (month === weeks[w - 1]?.slice(0, 7) || (w === 0 && weeks[2] && month !== weeks[2].slice(0, 7))) return "";
    const before = year;
    year = week.slice(0, 4);
    return year === before ? `·${week.slice(5, 7)}` : year;
  });
}
