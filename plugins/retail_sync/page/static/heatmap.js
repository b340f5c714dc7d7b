/** The heat map of the coverage: a grid of buttons without buttons, one Tab stop, arrows, Enter and Space. */
import { Component, html, useLayoutEffect, useRef } from "./ui.js";
import { brief, bytes, count, counted, duration, when } from "./format.js";
import { cellAt, focus, led, placeOf, reach } from "./keys.js";
import { turned } from "./picks.js";
import { change } from "./place.js";
import { STATES } from "./status.js";
import { tips } from "./tip.js";

/** The grid; `pick` is null for those who may do nothing. */
export function HeatMap({ data, tables, me, only, picks, pick, open }) {
  const grid = useRef(null);
  const { months, runs } = data;
  const totals = tables.length === data.tables.length ? data.totals : totalsOf(tables, months);
  const [rows, columns] = [tables.length + 2, months.length + 2];
  useLayoutEffect(() => void (grid.current.parentNode.scrollLeft = grid.current.parentNode.scrollWidth), [months.length]);
  useLayoutEffect(() => {
    if (!grid.current.querySelector('[data-r][tabindex="0"]')) reach(grid.current, cellAt(grid.current, [1, columns - 2]));
  });

  const keysAt = ([row, column]) => {
    const across = column >= 1 && column <= months.length;
    const down = row >= 1 && row <= tables.length;
    const ofRow = (table) => table.states.map((state, m) => state && `${table.name} ${months[m]}`).filter(Boolean);
    if (across && down) return tables[row - 1].states[column - 1] ? [`${tables[row - 1].name} ${months[column - 1]}`] : [];
    if (down && column === 0) return ofRow(tables[row - 1]);
    if (across && row === 0) return tables.filter(({ states }) => states[column - 1]).map(({ name }) => `${name} ${months[column - 1]}`);
    return [];
  };
  const turn = (places) => {
    const keys = places.flatMap(keysAt);
    if (pick && keys.length) pick(turned(picks, keys));
  };
  const show = ([row, column]) => {
    if (row >= 1 && row <= tables.length && column >= 1 && column <= months.length) {
      change({ table: tables[row - 1].name, month: months[column - 1], days: null });
    } else turn([[row, column]]);
  };
  const onClick = (event) => {
    const cell = event.target.closest("[data-r]");
    if (!cell) return;
    reach(grid.current, cell);
    if (event.shiftKey || event.ctrlKey || event.metaKey) turn([placeOf(cell)]);
    else show(placeOf(cell));
  };
  const onMouseDown = (event) => event.shiftKey && event.preventDefault(); // or text is selected
  const onKeyDown = (event) => {
    const cell = event.target.closest("[data-r]");
    if (!cell) return;
    const at = placeOf(cell);
    const next = led(event, at, rows, columns);
    if (next) {
      const target = cellAt(grid.current, next);
      if (target) focus(grid.current, target);
      const added = event.shiftKey ? [at, next].flatMap(keysAt).filter((key) => !picks.has(key)) : [];
      if (pick && added.length) pick(turned(picks, added));
    } else if (event.key === "Enter") show(at);
    else if (event.key === " ") turn([at]);
    else return;
    event.preventDefault();
  };
  const describe = (cell) => told(placeOf(cell), { tables, months, runs, totals, zone: me.zone });
  return html`<div class="scroll map" id="coverage-box">
    <table role="grid" class="heat" ref=${grid} id="coverage-grid" data-only=${only} aria-label="Coverage: tables down, months across"
      aria-multiselectable=${pick ? "true" : undefined} onClick=${onClick} onMouseDown=${onMouseDown} onKeyDown=${onKeyDown}
      ...${tips("[data-r]", describe)}>
      <thead>
        <tr><td class="corner" />${years(months).map(([year, span]) => html`<th scope="colgroup" colspan=${span}><span>${year}</span></th>`)}<td /><td /></tr>
        <tr>
          <th class="corner" scope="col" data-r="0" data-c="0" tabindex="-1">Table</th>
          ${months.map((month, m) => html`<th scope="col" class="month" data-r="0" data-c=${m + 1} tabindex="-1" aria-label=${month}
            data-month-head=${month}>${month.slice(5)}</th>`)}
          <th scope="col" class="number" data-r="0" data-c=${columns - 1} tabindex="-1">Rows</th>
          <th scope="col" class="number">Size</th>
        </tr>
      </thead>
      <tbody>
        ${tables.map((table, index) => html`<${Row} key=${table.name} row=${index + 1} table=${table} months=${months} pick=${!!pick}
          picked=${months.filter((month) => picks.has(`${table.name} ${month}`)).join()}
          open=${open?.startsWith(`${table.name} `) ? open : null} />`)}
      </tbody>
      <tfoot>
        <tr>
          <th class="corner" scope="row" data-r=${rows - 1} data-c="0" tabindex="-1">Verified, %</th>
          ${months.map((month, m) => html`<${Total} key=${month} month=${month} at=${[rows - 1, m + 1]} total=${totals.find(([n]) => n === m)} />`)}
          <td class="number" data-r=${rows - 1} data-c=${columns - 1} tabindex="-1" role="gridcell" id="coverage-rows"
            data-rows=${sum(tables, "rows")}>${count(sum(tables, "rows"))}</td>
          <td class="number" role="gridcell">${bytes(sum(tables, "bytes"))}</td>
        </tr>
      </tfoot>
    </table>
  </div>`;
}

class Row extends Component {
  shouldComponentUpdate(next) {
    return ["table", "months", "row", "picked", "open", "pick"].some((name) => next[name] !== this.props[name]);
  }

  render({ table, months, row, picked, open, pick }) {
    const chosen = new Set(picked.split(","));
    return html`<tr>
      <th class="corner" scope="row" data-r=${row} data-c="0" tabindex="-1" data-table-head=${table.name}>${table.name}</th>
      ${months.map((month, m) => {
        const [cell, state] = [table.cells[m], table.states[m]];
        return html`<td role="gridcell" class="cell" data-r=${row} data-c=${m + 1} tabindex="-1" data-table=${table.name}
          data-month=${month} data-status=${state} data-rows=${cell?.[2]} data-bytes=${cell?.[3]}
          aria-selected=${pick && state ? String(chosen.has(month)) : undefined}
          aria-current=${open === `${table.name} ${month}` ? "true" : undefined}
          aria-label=${`${table.name} ${month}: ${STATES[state] ?? "nothing due"}`} />`;
      })}
      <td class="number" role="gridcell" data-r=${row} data-c=${months.length + 1} tabindex="-1" data-total=${table.name}
        data-rows=${table.rows}>${count(table.rows)}</td>
      <td class="number" role="gridcell">${bytes(table.bytes)}</td>
    </tr>`;
  }
}

function Total({ month, at, total }) {
  const [, rows, size, verified, cells] = total ?? [];
  const share = cells ? Math.floor((100 * verified) / cells) : null;
  return html`<td role="gridcell" class="share" data-r=${at[0]} data-c=${at[1]} tabindex="-1" data-month-total=${month} data-rows=${rows}
    data-bytes=${size} data-verified=${verified} data-cells=${cells}
    aria-label=${`${month}: ${cells ? `${share} %, ${verified} of ${counted(cells, "table")} verified` : "nothing copied"}`}>
    ${share}<i style=${{ height: `${share ?? 0}%` }} />
  </td>`;
}

function told([row, column], { tables, months, runs, totals, zone }) {
  if (column === 0 && row >= 1 && row <= tables.length) return ofTable(tables[row - 1]);
  if (column < 1 || column > months.length) return null;
  const month = months[column - 1];
  if (row === 0) return null;
  if (row > tables.length) {
    const [, rows, size, verified, cells] = totals.find(([n]) => n === column - 1) ?? [];
    return cells ? [`all tables, ${month}`, `${verified} of ${cells} verified`, `${count(rows)} rows, ${bytes(size)}`] : [`all tables, ${month}`, "nothing copied"];
  }
  const { name, cells, states } = tables[row - 1];
  const [, , rows, size, seconds, checksum, at, run, note] = cells[column - 1] ?? [];
  return [
    `${name}, ${month}`,
    STATES[states[column - 1]] ?? "nothing due",
    rows != null && `${count(rows)} rows (${brief(rows)}), ${bytes(size)}${seconds == null ? "" : `, ${duration(seconds)}`}`,
    checksum != null && `checksum ${checksum}`,
    at != null && when(at, zone),
    run != null && runs[run] && `by ${runs[run]}`,
    note,
  ];
}

function ofTable({ name, dag, undated }) {
  const [, state, rows] = undated ?? [];
  return [name, `by ${dag}`, undated && `${count(rows)} rows without a date: ${STATES[state] ?? state}`];
}

const years = (months) => [...Map.groupBy(months, (month) => month.slice(0, 4))].map(([year, own]) => [year, own.length]);
/** The totals of some tables only, as the server sends those of all. */
function totalsOf(tables, months) {
  return months.map((_, m) => {
    const cells = tables.map((table) => table.cells[m]).filter(Boolean);
    const sum = (index) => cells.reduce((total, cell) => total + (cell[index] ?? 0), 0);
    const states = tables.map((table) => table.states[m]).filter(Boolean);
    return [m, sum(2), sum(3), states.filter((state) => state === "v").length, states.length];
  });
}

const sum = (tables, name) => tables.reduce((total, table) => total + (table[name] ?? 0), 0);
