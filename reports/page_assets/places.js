// Where the reader is: #run=KEY and #cell=NAME open beside the page, the back button closes them again.

const drill = find("drill");
const large = find("large");
let opener = null; // what had the focus before the first of them opened
let lastRun = null;
let shown = "";
let closing = false;

function here() {
  const found = /^#(run|cell)=(.*)$/.exec(location.hash);
  try {
    return found && { kind: found[1], id: decodeURIComponent(found[2]) };
  } catch {
    return null;
  }
}

function bare() {
  history.replaceState(null, "", location.href.split("#")[0]);
}

function depth() {
  return here() ? (history.state?.depth ?? 0) : 0;
}

function go(kind, id) {
  if (!drill.open) opener = document.activeElement;
  history.pushState({ depth: depth() + 1 }, "", `#${kind}=${encodeURIComponent(id)}`);
  show();
}

function viewOf({ kind, id }) {
  if (kind === "run") {
    const run = RUNS.get(id);
    return run ? runView(run) : unknownView(`No run of this page has the key ${id}.`);
  }
  const cells = [...document.querySelectorAll("td[data-runs]")];
  const cell = cells.find((found) => found.dataset.cell === id);
  return cell ? cellView(cell) : unknownView(`No number of this page is called ${id}.`);
}

function show() {
  const place = here();
  if (!place) {
    shown = "";
    if (drill.open) drill.close();
    return;
  }
  if (drill.open && shown === location.hash) return;
  shown = location.hash;
  find("drill-body").replaceChildren(...viewOf(place).flat().filter(Boolean));
  find("drill-back").hidden = depth() < 2;
  if (!drill.open) drill.showModal();
  drill.scrollTop = 0;
  const again = place.kind === "cell" && [...drill.querySelectorAll("[data-run]")].find((link) => link.dataset.run === lastRun);
  (again || find("drill-title")).focus({ preventScroll: !again });
  lastRun = place.kind === "run" ? place.id : null;
}

function leave() {
  const deep = depth();
  if (!deep) return bare();
  closing = true;
  history.go(-deep);
}

function moved() {
  if (closing) {
    closing = false;
    if (here()) bare();
  }
  show();
}

function enlarge(picture) {
  const { src, alt } = picture.querySelector("img");
  find("large-body").replaceChildren(make("img", { src, alt }), plain(picture.parentElement.querySelector("figcaption")));
  large.showModal();
}

for (const [dialog, close] of [[drill, find("drill-close")], [large, find("large-close")]]) {
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
find("drill-back").addEventListener("click", () => history.back());
drill.addEventListener("close", () => {
  if (drill.open) return;
  shown = "";
  if (here()) leave();
  (opener?.isConnected ? opener : find("main")).focus({ preventScroll: true });
  opener = null;
});
window.addEventListener("popstate", moved);
window.addEventListener("hashchange", moved);

for (const table of document.querySelectorAll("figure.grid table")) {
  sortable(table);
  opening(table);
}
for (const picture of document.querySelectorAll(".enlarge")) picture.addEventListener("click", () => enlarge(picture));
listAll(find("list"));
if (here()) {
  const wanted = location.hash;
  bare();
  history.pushState({ depth: 1 }, "", wanted);
  show();
}
