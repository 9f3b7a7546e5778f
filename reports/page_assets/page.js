// Elements, the data of the runs, sortable tables with clickable numbers, and the dialogs with their browser history.
// Elements are built from attributes and plain text: no script of the page parses HTML.

let clipLists = []; // test clips shared by several runs: their classes or targets, keys and labels
let metrics = new Map(); // name -> title of a metric, whether it is in percent, and whether lower is better
let runs = new Map(); // id -> run

const find = (id) => document.getElementById(id);
const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function fill(element, attributes, children) {
  const known = Object.entries(attributes).filter(([, value]) => (value ?? null) !== null);
  for (const [name, value] of known) element.setAttribute(name, value);
  element.append(...children.flat(Infinity).filter((child) => (child ?? null) !== null));
  return element;
}

const on = (element, event, act) => (element.addEventListener(event, act), element);
const choice = (label, options, act) => on(make("select", { "aria-label": label },
  options.map(([value, text = value]) => make("option", { value }, text))), "change", ({ target }) => act(target.value));
const searchField = (label, onInput) => on(make("input", { type: "search", placeholder: label, "aria-label": label }),
  "input", (event) => onInput(event.target.value.toLowerCase()));

// The text of an element without footnote letters.
const plain = (element) => [...element.childNodes].filter(({ nodeName }) => nodeName !== "SUP")
  .map((node) => node.textContent).join("").trim();

const percent = (value) => (value ?? null) === null ? "–" : (100 * value).toFixed(1);
const many = (count) => count.toLocaleString("en");
const plural = (count, noun) => `${many(count)} ${noun}${count === 1 ? "" : "s"}`;
const rounded = (value, digits) => (Number.isInteger(value) ? many(value) : String(Number(value.toPrecision(digits))));
const number = (value, digits = 4) => (value ?? null) === null ? "–" : rounded(value, digits);

// A table whose cells are texts or elements; the columns listed in `right` are aligned to the right.
function tableOf(heads, rows, right) {
  const side = (at) => (right.includes(at) ? "n" : null);
  const head = make("tr", {}, heads.map((text, at) => make("th", { scope: "col", class: side(at) }, text)));
  const body = rows.map((cells) => make("tr", {}, cells.map((cell, at) => make("td", { class: side(at) }, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, body));
}

// Names and values as a description list without the empty values.
function termsOf(values, textOf = (value) => value) {
  const terms = Object.entries(values).map(([name, value]) => [make("dt", {}, name), make("dd", {}, textOf(value))]);
  return make("dl", {}, terms.filter(([, text]) => text.childNodes.length && text.textContent !== ""));
}

// A table of the first `step` rows with a button that shows `step` more.
function lazily(heads, rows, rowOf, right, step) {
  if (!rows.length) return make("p", { class: "note" }, "No matches.");
  const box = make("div", {});
  const show = (count) => {
    const table = make("div", { class: "scroll" }, tableOf(heads, rows.slice(0, count).map(rowOf), right));
    const more = on(make("button", { type: "button" }, "Show more"), "click", () => show(count + step));
    const footer = make("p", { class: "note shown" }, `${many(count)} of ${many(rows.length)} shown `, more);
    box.replaceChildren(table, ...(count < rows.length ? [footer] : []));
    if (count > step) more.focus();
  };
  show(step);
  return box;
}

// A list below filter fields. `passes(row, filter)` selects the rows; `summarise` describes the selected rows.
function filtered(rows, fieldsOf, passes, summarise, listOf) {
  const [list, count] = [make("div", {}), make("p", { class: "note count", role: "status" })];
  const filter = {};
  const update = (change) => {
    const selected = rows.filter((row) => passes(row, Object.assign(filter, change)));
    count.textContent = summarise(selected);
    list.replaceChildren(listOf(selected));
  };
  update({});
  return [make("div", { class: "filters" }, fieldsOf(update)), count, list];
}

async function readRuns() {
  const packed = Uint8Array.from(atob(find("data").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = JSON.parse(await new Response(unpacked).text());
  const columns = Object.entries(data.columns).map(([name, values]) => values.map((value) => [name, value]));
  data.runs.forEach((run, at) => Object.assign(run, Object.fromEntries(columns.map((pairs) => pairs[at]))));
  const byName = (values, name) => new Map(values.map((value) => [value[name], value]));
  [clipLists, metrics, runs] = [data.lists, byName(data.metrics, "name"), byName(data.runs, "id")];
}

// The full heading of a column: "Ekman-6 Acc E".
const headingOf = (table, at) => table.querySelector(`th[data-column="${at}"]`).dataset.label;
const nameOf = (table) => plain(table.caption.querySelector("b") ?? table.caption).replace(/\.$/, "") || "table";

// A click on a heading sorts. Rows between two rules stay together, so that published numbers never mix with ours.
function sortable(table) {
  const blocks = [];
  for (const row of table.tBodies[0].rows) {
    const rule = row.classList.contains("rule");
    if (rule || !blocks.length) blocks.push({ rule, rows: [] });
    blocks.at(-1).rows.push(row);
  }
  const sort = (head) => {
    const at = Number(head.dataset.column);
    const numeric = Boolean(table.querySelector(`tbody td:nth-child(${at + 1})[data-value]`));
    const cycle = numeric ? ["descending", "ascending", null] : ["ascending", "descending", null];
    const turn = cycle[(cycle.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    table.querySelector("[aria-sort]")?.removeAttribute("aria-sort");
    if (turn) head.setAttribute("aria-sort", turn);
    for (const { rule, rows } of blocks) {
      const sorted = turn ? ordered(rows, at, numeric, turn === "ascending" ? 1 : -1) : rows;
      for (const row of sorted) row.classList.toggle("rule", rule && row === sorted[0]);
      table.tBodies[0].append(...sorted);
    }
    const order = turn ? `sorted by ${headingOf(table, at)}, ${turn}` : "original order";
    find("announcement").textContent = `${nameOf(table)}: ${order}`;
  };
  for (const button of table.querySelectorAll("thead button")) on(button, "click", () => sort(button.parentElement));
}

// Rows sorted by a column. Rows without a value come last in both directions; equal rows keep their order.
function ordered(rows, at, numeric, sign) {
  const keyOf = (row) => (numeric ? row.cells[at].dataset.value ?? "" : plain(row.cells[at]));
  const compare = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  const known = rows.filter((row) => keyOf(row) !== "").sort((a, b) => sign * compare(keyOf(a), keyOf(b)));
  return [...known, ...rows.filter((row) => keyOf(row) === "")];
}

// A table is one tab stop: arrow keys move between its numbers, and Enter or a click opens the runs of a number.
function clickable(table) {
  const cells = [...table.querySelectorAll("td[data-runs]")];
  if (!cells.length) return;
  fill(table, { role: "grid", "aria-readonly": "true" }, []);
  const setTabStop = (cell) => cells.forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
  setTabStop(cells[0]);
  for (const cell of cells) {
    cell.classList.add("open");
    cell.title = `Show the runs of this number (${cell.dataset.runs.split(" ").length})`;
    on(cell, "focus", () => setTabStop(cell));
    on(cell, "click", () => go("cell", cell.dataset.cell));
    on(cell, "keydown", (event) => {
      const next = cellForKey(cell, event.key);
      if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      return next === cell ? go("cell", cell.dataset.cell) : next?.focus();
    });
  }
}

// The cell that a key leads to: the same cell for Enter, null at the edge, undefined for other keys.
function cellForKey(cell, key) {
  const opens = (other) => other?.classList.contains("open");
  const row = [...cell.parentElement.cells].filter(opens);
  const column = [...cell.closest("tbody").rows].map((other) => other.cells[cell.cellIndex]).filter(opens);
  const [across, down] = [row.indexOf(cell), column.indexOf(cell)];
  const targets = { Enter: cell, " ": cell, Home: row[0], End: row.at(-1), ArrowLeft: row[across - 1],
    ArrowRight: row[across + 1], ArrowUp: column[down - 1], ArrowDown: column[down + 1] };
  return key in targets ? targets[key] ?? null : undefined;
}

// #run=KEY and #cell=NAME open the dialog `drill`; the browser's back button closes it again.
let opener = null; // the element that had the focus before the dialog opened
let lastRun = null;
let shown = ""; // the hash of the current view
let leaving = false; // the dialog was closed, but the browser has not gone back to the page's own history entry yet

const here = () => [...new URLSearchParams(location.hash.slice(1))].find(([kind]) => kind === "run" || kind === "cell");
const depth = () => (here() ? history.state?.depth ?? 0 : 0);
const bare = () => history.replaceState(null, "", location.href.split("#")[0]);

function go(kind, id) {
  if (leaving) return addEventListener("popstate", () => go(kind, id), { once: true });
  if (!find("drill").open) opener = document.activeElement;
  history.pushState({ depth: depth() + 1 }, "", `#${kind}=${encodeURIComponent(id)}`);
  show();
}

function viewOf(kind, id) {
  const cell = [...document.querySelectorAll("td[data-runs]")].find((found) => found.dataset.cell === id);
  if (kind === "run" && runs.has(id)) return runView(runs.get(id));
  if (kind === "cell" && cell) return cellView(cell);
  return [titleOf("Not on this page", kind), make("p", {}, `This page has no ${kind} named ${id}.`)];
}

function show(event) {
  const drill = find("drill");
  if (event && shown === location.hash) return; // one step fires popstate and hashchange
  [shown, leaving] = [location.hash, false];
  const [kind, id] = here() ?? [];
  if (!kind) return drill.close();
  find("drill-body").replaceChildren(make("div", {}, viewOf(kind, id)));
  find("drill-back").hidden = depth() < 2;
  if (!drill.open) drill.showModal();
  drill.scrollTop = 0;
  const links = [...drill.querySelectorAll("[data-run]")];
  const again = links.find((link) => kind === "cell" && link.dataset.run === lastRun);
  lastRun = kind === "run" ? id : null;
  (again ?? find("drill-title")).focus({ preventScroll: !again });
}

function closed() {
  if (find("drill").open || leaving) return; // a late event: the dialog is open again, or was closed twice
  leaving = depth() > 0;
  if (leaving) history.go(-depth());
  else if (here()) { bare(); show(); }
  (opener?.isConnected ? opener : find("main")).focus({ preventScroll: true });
  opener = null;
}

function startRuns() {
  for (const table of document.querySelectorAll("figure.grid table")) clickable(table);
  find("list").append(...listAll());
  on(find("drill-back"), "click", () => history.back());
  on(find("drill"), "close", closed);
  for (const event of ["popstate", "hashchange"]) on(window, event, show);
  if (!here()) return;
  const target = location.hash;
  bare(); // a history entry of the page itself, so that "back" closes the dialog
  history.pushState({ depth: 1 }, "", target);
  show();
}

function start() {
  for (const dialog of [find("drill"), find("large")]) {
    on(find(`${dialog.id}-close`), "click", () => dialog.close());
    on(dialog, "click", (event) => event.target === dialog && dialog.close());
  }
  for (const table of document.querySelectorAll("figure.grid table")) sortable(table);
  for (const enlarge of document.querySelectorAll(".enlarge")) {
    const caption = plain(enlarge.parentElement.querySelector("figcaption"));
    on(enlarge, "click", () => {
      find("large-body").replaceChildren(enlarge.firstChild.cloneNode(), caption);
      find("large").showModal();
    });
  }
  const message = "The list of runs needs Chrome 92, Firefox 113, Safari 16.4 or later. Tables and figures are complete.";
  readRuns().then(startRuns, () => find("list").append(make("p", { class: "warning" }, message)));
}

start();
