// Elements made of attributes and plain text: nothing here or elsewhere parses HTML.

function make(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function button(said, act, attributes) {
  const made = make("button", { type: "button", ...attributes }, said);
  made.addEventListener("click", act);
  return made;
}

function find(id) {
  return document.getElementById(id);
}

function announce(said) {
  find("said").textContent = said;
}

// The text of an element without its footnotes' letters.
function plain(element) {
  if (!element) return "";
  const copy = element.cloneNode(true);
  for (const note of copy.querySelectorAll("sup")) note.remove();
  return copy.textContent.trim();
}

function percent(value, digits = 1) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(digits);
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

function some(many, what) {
  return `${many.toLocaleString("en")} ${what}${many === 1 ? "" : "s"}`;
}

// A table of a head and of rows whose cells are texts or elements; columns named in `right` hold numbers.
function tableOf(heads, rows, right = []) {
  const side = (at) => (right.includes(at) ? "n" : null);
  const head = make("tr", {}, heads.map((said, at) => make("th", { scope: "col", class: side(at) }, said)));
  const body = rows.map((cells) => make("tr", {}, cells.map((cell, at) => make("td", { class: side(at) }, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, body));
}

// Terms and what they are; what is null or empty is left out.
function termsOf(pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", {}, told.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// Rows in a table of which the first are shown, and as many more at each press.
function lazily(heads, rows, rowOf, right, none, step = 100) {
  const box = make("div", { class: "scroll" });
  if (!rows.length) return make("p", { class: "note" }, none);
  const table = tableOf(heads, rows.slice(0, step).map(rowOf), right);
  box.append(table);
  let shown = Math.min(step, rows.length);
  const told = make("p", { class: "note shown" }, `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown `);
  const more = button("more", () => {
    const added = tableOf([], rows.slice(shown, shown + step).map(rowOf), right).tBodies[0].rows;
    const first = added[0];
    table.tBodies[0].append(...added);
    shown = Math.min(shown + step, rows.length);
    told.firstChild.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown `;
    if (shown === rows.length) {
      first.tabIndex = -1;
      first.focus();
      more.remove();
    }
  });
  told.append(more);
  return shown < rows.length ? [box, told] : [box];
}
