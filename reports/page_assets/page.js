// The page: elements, the data of its runs, tables that sort and open, and where the reader is.
// Elements are made of attributes and plain text: nothing here or elsewhere parses HTML.

let clipLists = []; // classes, keys and labels of the test clips that several runs share
let runs = new Map(); // id -> run

const find = (id) => document.getElementById(id);
const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function on(element, event, act) {
  element.addEventListener(event, act);
  return element;
}

const choice = (said, options, chosen) => on(make("select", { "aria-label": said },
  options.map(([value, name]) => make("option", { value }, name))), "change", (event) => chosen(event.target.value));
const searchField = (said, typed) => on(make("input", { type: "search", placeholder: said, "aria-label": said }),
  "input", (event) => typed(event.target.value.toLowerCase()));

// The text of an element without its footnotes' letters.
const plain = (element) => [...element.childNodes].filter(({ nodeName }) => nodeName !== "SUP")
  .map((node) => node.textContent).join("").trim();

const percent = (value) => (value ?? null) === null ? "–" : (100 * value).toFixed(1);
const many = (count) => count.toLocaleString("en");
const some = (count, what) => `${many(count)} ${what}${count === 1 ? "" : "s"}`;
const rounded = (value, digits) => (Number.isInteger(value) ? many(value) : String(Number(value.toPrecision(digits))));
const number = (value, digits = 4) => (value ?? null) === null ? "–" : rounded(value, digits);

// A table of a head and of rows whose cells are texts or elements; columns named in `right` hold numbers.
function tableOf(heads, rows, right) {
  const side = (at) => (right.includes(at) ? "n" : null);
  const head = make("tr", {}, heads.map((said, at) => make("th", { scope: "col", class: side(at) }, said)));
  const body = rows.map((cells) => make("tr", {}, cells.map((cell, at) => make("td", { class: side(at) }, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, body));
}

// Terms and what they are; what is empty is left out.
function termsOf(values, textOf = (value) => value) {
  const told = Object.entries(values).map(([name, value]) => [make("dt", {}, name), make("dd", {}, textOf(value))]);
  return make("dl", {}, told.filter(([, text]) => text.childNodes.length && text.textContent !== ""));
}

// Rows in a table of which the first are shown, and as many more at each press.
function lazily(heads, rows, rowOf, right, step) {
  if (!rows.length) return make("p", { class: "note" }, "Nothing is of that kind.");
  const box = make("div", {});
  const show = (count) => {
    const table = make("div", { class: "scroll" }, tableOf(heads, rows.slice(0, count).map(rowOf), right));
    const more = on(make("button", { type: "button" }, "more"), "click", () => show(count + step));
    const told = make("p", { class: "note shown" }, `${many(count)} of ${many(rows.length)} shown `, more);
    box.replaceChildren(table, ...(count < rows.length ? [told] : []));
    if (count > step) more.focus();
  };
  show(step);
  return box;
}

// A list under the fields that filter it. `passes` tells which rows stay, `sum` what is said of them.
function filtered(rows, fieldsOf, passes, sum, listOf) {
  const list = make("div", {});
  const count = make("p", { class: "note count", role: "status" });
  const asked = {};
  const ask = (change) => {
    const found = rows.filter((row) => passes(row, Object.assign(asked, change)));
    count.textContent = sum(found);
    list.replaceChildren(listOf(found));
  };
  ask({});
  return [make("div", { class: "filters" }, fieldsOf(ask)), count, list];
}

async function readRuns() {
  const packed = Uint8Array.from(atob(find("data").textContent), (sign) => sign.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = JSON.parse(await new Response(unpacked).text());
  for (const [name, column] of Object.entries(data.columns)) {
    for (const [at, value] of column.entries()) data.runs[at][name] = value;
  }
  [clipLists, runs] = [data.lists, new Map(data.runs.map((run) => [run.id, run]))];
}

// What stands over a column: "Ekman-6 Acc E".
const headingOf = (table, at) => table.querySelector(`th[data-column="${at}"]`).dataset.label;
const nameOf = (table) => plain(table.caption.querySelector("b") ?? table.caption).replace(/\.$/, "") || "table";

// A press of a heading sorts; lines between two rules stay together, so that published numbers never mix with ours.
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
    const turns = numeric ? ["descending", "ascending", null] : ["ascending", "descending", null];
    const turn = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    table.querySelector("[aria-sort]")?.removeAttribute("aria-sort");
    if (turn) head.setAttribute("aria-sort", turn);
    for (const { rule, rows } of blocks) {
      const sorted = turn ? ordered(rows, at, numeric, turn === "ascending" ? 1 : -1) : rows;
      for (const row of sorted) row.classList.toggle("rule", rule && row === sorted[0]);
      table.tBodies[0].append(...sorted);
    }
    const said = turn ? `sorted by ${headingOf(table, at)}, ${turn}` : "in its first order";
    find("said").textContent = `${nameOf(table)}: ${said}`;
  };
  for (const button of table.querySelectorAll("thead button")) on(button, "click", () => sort(button.parentElement));
}

// Rows by a column; what has no value comes last whichever way, equal ones keep their order.
function ordered(rows, at, numeric, sign) {
  const keyOf = (row) => (numeric ? row.cells[at].dataset.value ?? "" : plain(row.cells[at]));
  const compare = (one, other) => (numeric ? one - other : one.localeCompare(other, "en", { numeric: true }));
  const known = rows.filter((row) => keyOf(row) !== "").sort((one, other) => sign * compare(keyOf(one), keyOf(other)));
  return [...known, ...rows.filter((row) => keyOf(row) === "")];
}

// One number of a table is reached by Tab, the others from it by arrow keys; Enter or a click opens its runs.
function opening(table) {
  const cells = [...table.querySelectorAll("td[data-runs]")];
  if (!cells.length) return;
  fill(table, { role: "grid", "aria-readonly": "true" }, []);
  const reach = (cell) => cells.forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
  reach(cells[0]);
  for (const cell of cells) {
    cell.classList.add("open");
    cell.title = `${some(cell.dataset.runs.split(" ").length, "run")} behind this number`;
    on(cell, "focus", () => reach(cell));
    on(cell, "click", () => go("cell", cell.dataset.cell));
    on(cell, "keydown", (event) => {
      const next = beside(cell, event.key);
      if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (next === cell) go("cell", cell.dataset.cell);
      else next?.focus();
    });
  }
}

// The number that a key leads to: the same for Enter, null at the edge, undefined for other keys.
function beside(cell, key) {
  const opens = (other) => other?.classList.contains("open");
  const line = [...cell.parentElement.cells].filter(opens);
  const column = [...cell.closest("tbody").rows].map((row) => row.cells[cell.cellIndex]).filter(opens);
  const [across, down] = [line.indexOf(cell), column.indexOf(cell)];
  const ways = { Enter: cell, " ": cell, Home: line[0], End: line.at(-1), ArrowLeft: line[across - 1],
    ArrowRight: line[across + 1], ArrowUp: column[down - 1], ArrowDown: column[down + 1] };
  return key in ways ? ways[key] ?? null : undefined;
}

// #run=KEY and #cell=NAME open beside the page; the back button closes them again.
let opener = null; // what had the focus before the first of them opened
let lastRun = null;
let shown = ""; // the hash that was acted on last
let leaving = false; // closed by hand, and the browser is not back at the page yet

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
  return [titleOf("Not in this page", kind), make("p", {}, `Nothing of this page is called ${id}.`)];
}

function show(event) {
  const drill = find("drill");
  if (event && shown === location.hash) return; // the second event of one step
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
  if (find("drill").open || leaving) return; // the event comes late: opened again since, or closed twice
  leaving = depth() > 0;
  if (leaving) history.go(-depth());
  else if (here()) { bare(); show(); }
  (opener?.isConnected ? opener : find("main")).focus({ preventScroll: true });
  opener = null;
}

function startRuns() {
  for (const table of document.querySelectorAll("figure.grid table")) opening(table);
  find("list").append(...listAll());
  on(find("drill-back"), "click", () => history.back());
  on(find("drill"), "close", closed);
  for (const event of ["popstate", "hashchange"]) on(window, event, show);
  if (!here()) return;
  const wanted = location.hash;
  bare(); // the page itself comes before what is open
  history.pushState({ depth: 1 }, "", wanted);
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
  const sorry = "The runs need a newer browser: Chrome 92, Firefox 113 or Safari 16.4. Tables and figures are whole.";
  readRuns().then(startRuns, () => find("list").append(make("p", { class: "warning" }, sorry)));
}

start();
