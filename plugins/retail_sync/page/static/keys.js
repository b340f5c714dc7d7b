/** Arrow keys among cells: one of them can be reached by Tab, the arrows go to the others. */

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0] };

/** Return `[row, column]` where a key leads from a cell, or null for another key. */
export function led(event, [row, column], rows, columns) {
  const clamp = (value, most) => Math.min(Math.max(value, 0), most - 1);
  if (event.altKey || event.metaKey) return null;
  if (event.key === "Home") return [event.ctrlKey ? 0 : row, 0];
  if (event.key === "End") return [event.ctrlKey ? rows - 1 : row, columns - 1];
  const step = STEPS[event.key];
  return step ? [clamp(row + step[0], rows), clamp(column + step[1], columns)] : null;
}

/** Return the cell `[data-r][data-c]` of a grid. */
export const cellAt = (grid, [row, column]) => grid.querySelector(`[data-r="${row}"][data-c="${column}"]`);

/** Return where a cell is. */
export const placeOf = (cell) => [Number(cell.dataset.r), Number(cell.dataset.c)];

/** Let Tab reach a cell, and no other of its grid. */
export function reach(grid, cell) {
  for (const other of grid.querySelectorAll('[data-r][tabindex="0"]')) other.tabIndex = -1;
  if (cell) cell.tabIndex = 0;
}

/** Focus a cell without the sticky heads over it. */
export function focus(grid, cell) {
  reach(grid, cell);
  cell.focus({ preventScroll: true });
  cell.scrollIntoView({ block: "nearest", inline: "nearest" });
}
