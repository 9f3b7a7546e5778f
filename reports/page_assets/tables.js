// Tables that sort by any column, and whose numbers open the runs behind them.

// Header cell -> the column it begins at, with headings over several columns or lines counted in.
function columnsOf(table) {
  const taken = [];
  const found = new Map();
  [...table.tHead.rows].forEach((row, y) => {
    let x = 0;
    for (const cell of row.cells) {
      while (taken[y]?.[x]) x += 1;
      for (let down = 0; down < cell.rowSpan; down += 1) {
        taken[y + down] ??= [];
        for (let right = 0; right < cell.colSpan; right += 1) taken[y + down][x + right] = true;
      }
      found.set(cell, x);
      x += cell.colSpan;
    }
  });
  return found;
}

// What stands over a column, from the top: "Ekman-6", "Acc E".
function headingsOf(columns, at) {
  const over = [...columns].filter(([cell, first]) => first <= at && at < first + cell.colSpan);
  return over.map(([cell]) => plain(cell)).filter(Boolean);
}

function tableName(table) {
  return plain(table.caption?.querySelector("b") ?? table.caption).replace(/\.$/, "") || "table";
}

// Lines between two rules stay together, so that published numbers never mix with ours.
function blocksOf(table) {
  const blocks = [];
  for (const body of table.tBodies) {
    [...body.rows].forEach((row, at) => {
      const rule = row.classList.contains("rule");
      if (at === 0 || rule) blocks.push({ body, rule, rows: [] });
      blocks.at(-1).rows.push(row);
    });
  }
  return blocks;
}

function sortable(table) {
  const columns = columnsOf(table);
  const blocks = blocksOf(table);
  const heads = [...columns.keys()].filter((cell) => cell.querySelector("button"));
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const at = columns.get(head);
      const numeric = blocks.some(({ rows }) => rows.some((row) => row.cells[at]?.hasAttribute("data-value")));
      const turns = numeric ? ["descending", "ascending", null] : ["ascending", "descending", null];
      const turn = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (turn) head.setAttribute("aria-sort", turn);
      for (const block of blocks) place(block, turn && ordered(block.rows, at, numeric, turn));
      const said = turn ? `sorted by ${headingsOf(columns, at).join(", ")}, ${turn}` : "in its first order";
      announce(`${tableName(table)}: ${said}`);
    });
  }
}

// Rows by a column; what has no value comes last whichever way, equal ones keep their order.
function ordered(rows, at, numeric, turn) {
  const sign = turn === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [row, keyOf(row.cells[at], numeric)]);
  const known = keyed.filter(([, key]) => key !== null);
  known.sort(([, one], [, other]) => sign * (numeric ? one - other : one.localeCompare(other, "en", { numeric: true })));
  return [...known, ...keyed.filter(([, key]) => key === null)].map(([row]) => row);
}

function keyOf(cell, numeric) {
  if (!cell) return null;
  if (!numeric) return plain(cell) || null;
  const value = cell.getAttribute("data-value");
  return value === null || value === "" || Number.isNaN(Number(value)) ? null : Number(value);
}

// Rows put where the block was, its rule over the first of them.
function place(block, rows) {
  const now = rows || block.rows;
  const after = block.last ?? block.rows.at(-1);
  const next = after.nextSibling;
  for (const row of block.rows) row.classList.remove("rule");
  if (block.rule) now[0].classList.add("rule");
  for (const row of now) block.body.insertBefore(row, next);
  block.last = now.at(-1);
}

// One number of a table is reached by Tab, the others from it by arrow keys; Enter or a click opens its runs.
function opening(table) {
  const cells = [...table.querySelectorAll("td[data-runs]")].filter((cell) => cell.dataset.runs.trim());
  if (!cells.length) return;
  table.setAttribute("role", "grid");
  table.setAttribute("aria-readonly", "true");
  for (const cell of cells) {
    cell.tabIndex = cell === cells[0] ? 0 : -1;
    cell.classList.add("open");
    cell.title = `${some(cell.dataset.runs.trim().split(/\s+/).length, "run")} behind this number`;
    cell.addEventListener("click", () => {
      reach(cell);
      go("cell", cell.dataset.cell);
    });
  }
  const reach = (cell) => {
    for (const other of cells) other.tabIndex = other === cell ? 0 : -1;
    cell.focus();
  };
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-runs]");
    if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      go("cell", cell.dataset.cell);
      return;
    }
    const next = beside(cell, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next) reach(next);
  });
}

// The next number that opens in the direction of an arrow key; null at the edge, undefined for other keys.
function beside(cell, key) {
  const rows = [...cell.closest("table").querySelectorAll("tbody tr")];
  const line = rows.indexOf(cell.parentElement);
  const along = [...cell.parentElement.cells];
  const at = along.indexOf(cell);
  const ways = {
    ArrowRight: () => along.slice(at + 1),
    ArrowLeft: () => along.slice(0, at).reverse(),
    ArrowDown: () => rows.slice(line + 1).map((row) => row.cells[at]),
    ArrowUp: () => rows.slice(0, line).reverse().map((row) => row.cells[at]),
    Home: () => along,
    End: () => along.reverse(),
  };
  return ways[key] && (ways[key]().find((other) => other?.classList.contains("open")) ?? null);
}
