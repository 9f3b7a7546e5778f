// The two things that open beside the page: the runs behind a number, and a run.

const SCORES = { acc_e: "Acc E", f1_e: "F1 E", f1_e_macro: "macro F1 E", bal_e: "balanced Acc E", acc_s: "Acc S",
  f1_s: "F1 S", acc_s2: "Acc S, no neutral", f1_s2: "F1 S, no neutral" };
const AS_TOLD = ["loss", "n"]; // scores that are no fractions

function title(said, ...kicker) {
  return [make("p", { class: "kicker" }, kicker), make("h2", { id: "drill-title", tabindex: "-1" }, said)];
}

function part(said, ...children) {
  return make("div", { class: "part" }, make("h3", {}, said), children);
}

function folded(said, ...children) {
  return make("details", {}, make("summary", {}, said), children);
}

function runLink(run, said) {
  const link = make("a", { href: `#run=${encodeURIComponent(run.id)}`, "data-run": run.id }, said);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go("run", run.id);
  });
  return link;
}

function failedTag(run) {
  return run.error ? make("span", { class: "tag alarm" }, "failed") : null;
}

// The runs that a number is made of. The last parts of its name say which score it is.
function cellView(cell) {
  const table = cell.closest("table");
  const over = headingsOf(columnsOf(table), cell.cellIndex);
  const keys = cell.dataset.runs.trim().split(/\s+/);
  const found = keys.map((key) => RUNS.get(key));
  const words = cell.dataset.cell.split("/");
  const ends = words.map((_, at) => words.slice(at).join("/"));
  const known = (name) => found.some((run) => run && named(run.scores).has(`test/${name}`));
  const score = ends.find(known) ?? "acc_e";
  const rows = keys.map((key, at) => {
    const run = found[at];
    if (!run) return [key, "not in this page", "", "", ""];
    const value = named(run.scores).get(`test/${score}`);
    return [[runLink(run, run.label), " ", failedTag(run)], run.title, String(run.fold), String(run.seed),
      AS_TOLD.includes(score) ? number(value) : percent(value)];
  });
  return [
    title([plain(cell.parentElement.cells[0]), ...over].join(" · "), tableName(table)),
    make("p", { class: "lead" }, make("b", {}, plain(cell)), ` is made of ${some(keys.length, "run")}.`),
    make("div", { class: "scroll" },
      tableOf(["run", "data set", "fold", "seed", `test ${SCORES[score] ?? score}`], rows, [2, 3, 4])),
  ];
}

function unknownView(said) {
  return [title("Not in this page", "Run"), make("p", {}, said)];
}

function runView(run) {
  const spec = specOf(run);
  const scores = named(run.scores);
  const heads = ["acc_e", "f1_e", "acc_s", "f1_s"].filter((name) => scores.has(`test/${name}`));
  const figures = heads.map((name) => make("div", { class: "figure" }, make("b", {}, percent(scores.get(`test/${name}`))),
    make("span", {}, `test ${SCORES[name]}`)));
  const place = mlflowOf(run);
  return [
    title(`${run.label} on ${run.title}, seed ${run.seed}`, "Run ", make("code", {}, run.key)),
    tagsOf(run, spec),
    figures.length ? make("div", { class: "figures" }, figures) : null,
    run.error ? errorPart(run.error) : null,
    place ? make("p", {}, make("a", { href: place, rel: "noreferrer", target: "_blank" }, "Open in MLflow")) : null,
    part("What it was", factsOf(run, spec)),
    scores.size ? part("Scores, percent", scoresTable(scores)) : null,
    part("Curves", curvesPart(run)),
    part("Test predictions", clipsPart(run)),
    make("div", { class: "part" }, moreOf(run, spec)),
  ];
}

function tagsOf(run, spec) {
  const told = [
    spec.data === "sample" ? "BUILT-IN SAMPLE" : null,
    spec.protocol === "best-on-test" ? "chosen on test" : null,
    whole(run.made).get("dirty") === true ? "uncommitted code" : null,
  ].filter(Boolean);
  const tags = told.map((said) => make("span", { class: "tag" }, said));
  return tags.length || run.error ? make("p", { class: "tags" }, failedTag(run), tags) : null;
}

function errorPart({ kind, message, traceback }) {
  return make("div", { class: "verdict" }, make("b", {}, `Failed: ${kind}`), make("p", {}, message),
    traceback ? make("pre", { tabindex: "0" }, traceback) : null);
}

function factsOf(run, spec) {
  const made = whole(run.made);
  const commit = made.get("commit");
  const dirty = made.get("dirty") === true ? ", with uncommitted changes" : "";
  return termsOf([
    ["arm", run.arm],
    ["method", `${spec.method}, version ${spec.version}`],
    ["data set", `${run.title} (${spec.dataset}${spec.data === "sample" ? ", BUILT-IN SAMPLE" : ""})`],
    ["fold", String(run.fold)],
    ["seed", String(run.seed)],
    ["protocol", spec.protocol + (spec.stop === null ? "" : `, stopped after ${some(spec.stop, "epoch")}`)],
    ["stage", spec.stage],
    ["preset", spec.preset + (spec.settings ? `, with ${spec.settings}` : "")],
    ["values", spec.values + (spec.tried > 1 ? `, of ${spec.tried} configurations tried` : "")],
    ["asked for by", DATA.shared[run.request]],
    ["chosen epoch", run.chosen === null ? null : String(run.chosen)],
    ["attempt", run.attempt > 1 ? String(run.attempt) : null],
    ["took", secondsOf(run.seconds)],
    ["commit", commit === undefined ? null : make("code", {}, `${commit}${dirty}`)],
    ["host", made.get("host")],
    ["device", made.get("device")],
    ["record file", run.sha ? make("code", {}, `sha256 ${run.sha}`) : "not on this machine"],
  ]);
}

function secondsOf(seconds) {
  const total = Object.values(seconds).reduce((sum, value) => sum + (value ?? 0), 0);
  const parts = Object.entries(seconds).map(([name, value]) => `${name} ${value === null ? "–" : number(Number(value.toPrecision(3)))} s`);
  return parts.length ? `${number(Number(total.toPrecision(3)))} s (${parts.join(", ")})` : null;
}

function scoresTable(scores) {
  const names = [...new Set([...scores.keys()].map((name) => name.replace(/^[^/]*\//, "")))];
  const order = Object.keys(SCORES);
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  names.sort((one, other) => rank(one) - rank(other));
  const both = ["val", "test"].filter((split) => names.some((name) => scores.has(`${split}/${name}`)));
  const said = (name, value) => (AS_TOLD.includes(name) ? number(value) : percent(value));
  const rows = names.map((name) => [SCORES[name] ?? { n: "clips" }[name] ?? name.replace("/", " "),
    ...both.map((split) => said(name, scores.get(`${split}/${name}`)))]);
  return make("div", { class: "scroll" }, tableOf(["", ...both], rows, both.map((_, at) => at + 1)));
}

function moreOf(run, spec) {
  const config = [...whole(run.config)].sort(([one], [other]) => one.localeCompare(other));
  const made = [...whole(run.made)];
  const notes = [...named(run.notes)];
  const [many, place] = run.problems;
  const problems = DATA.shared[place].map((problem) => make("li", {}, Object.values(problem).join(": ")));
  const prints = [["key", run.key], ["split", spec.split], ["content", spec.content], ...Object.entries(spec.weights)];
  return [
    folded(`Config: ${some(config.length, "value")}`, termsOf(config.map(([name, value]) => [name, valueOf(value)]))),
    folded("Fingerprints", termsOf(prints.map(([name, value]) => [name, make("code", {}, value)]))),
    made.length ? folded("Code, versions and machine", termsOf(made.map(([name, value]) => [name, valueOf(value)]))) : null,
    notes.length ? folded("Notes of the method", termsOf(notes.map(([name, value]) => [name, number(value)]))) : null,
    many ? folded(`Problems of the data: ${many}`, make("ul", {}, problems),
      many > problems.length ? make("p", { class: "note" }, `and ${many - problems.length} more in the record`) : null) : null,
  ];
}

function valueOf(value) {
  if (value === "") return "(empty)";
  return typeof value === "string" ? value : JSON.stringify(value);
}
