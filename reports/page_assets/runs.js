// The runs: a list of all, those behind a number, and all that is known of one.

const SCORES = new Map(Object.entries({ acc_e: "Acc E", f1_e: "F1 E", f1_e_macro: "macro F1 E", bal_e: "balanced Acc E",
  acc_s: "Acc S", f1_s: "F1 S", acc_s2: "Acc S, no neutral", f1_s2: "F1 S, no neutral" }));
const scoreText = (name, value) => (["loss", "n"].includes(name) ? number(value) : percent(value));
const code = (text) => make("code", {}, text);
const part = (said, ...children) => make("div", { class: "part" }, make("h3", {}, said), children);
const folded = (said, ...children) => make("details", {}, make("summary", {}, said), children);
const figureOf = (value, said) => make("div", { class: "figure" }, make("b", {}, value), make("span", {}, said));
const failedTag = (run) => (run.error ? make("span", { class: "tag alarm" }, "failed") : null);
const titleOf = (said, ...kicker) =>
  [make("p", { class: "kicker" }, kicker), make("h2", { id: "drill-title", tabindex: "-1" }, said)];

function runLink(run) {
  const link = make("a", { href: `#run=${encodeURIComponent(run.id)}`, "data-run": run.id }, run.label);
  on(link, "click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go("run", run.id);
  });
  return [link, " ", failedTag(run)];
}

// The first cells of a run's line in any table.
const lineOf = (run) => [runLink(run), run.title, String(run.fold), String(run.seed)];

function listAll() {
  const all = [...runs.values()];
  const options = (titles) => titles.map((title) => [title, title]);
  const heads = ["run", "data set", "fold", "seed", "val Acc E", "test Acc E"];
  const row = (run) => [...lineOf(run), percent(run.scores["val/acc_e"]), percent(run.scores["test/acc_e"])];
  const passes = (run, { words = "", title, state }) => {
    const told = `${run.label} ${run.title} fold ${run.fold} seed ${run.seed} ${run.key}`.toLowerCase();
    return (!title || run.title === title) && (!state || (state === "failed") === Boolean(run.error))
      && words.split(/\s+/).every((word) => told.includes(word));
  };
  const fields = (ask) => [
    searchField("method, seed, key, ...", (words) => ask({ words })),
    choice("data set", [["", "every data set"], ...options([...new Set(all.map((run) => run.title))])], (title) => ask({ title })),
    choice("outcome", [["", "finished and failed"], ...options(["finished", "failed"])], (state) => ask({ state })),
  ];
  const sum = (found) => (found.length === all.length ? "" : `${many(found.length)} of `) + some(all.length, "run");
  return filtered(all, fields, passes, sum, (found) => lazily(heads, found, row, [2, 3, 4, 5], 40));
}

// The runs that a number is made of. The last parts of its name say which score it is.
function cellView(cell) {
  const table = cell.closest("table");
  const keys = cell.dataset.runs.split(" ");
  const words = cell.dataset.cell.split("/");
  const known = (name) => keys.some((key) => `test/${name}` in (runs.get(key)?.scores ?? {}));
  const score = words.map((_, at) => words.slice(at).join("/")).find(known) ?? "acc_e";
  const rows = keys.map((key) => runs.has(key)
    ? [...lineOf(runs.get(key)), scoreText(score, runs.get(key).scores[`test/${score}`])] : [key, "not in this page"]);
  const heads = ["run", "data set", "fold", "seed", `test ${SCORES.get(score) ?? score}`];
  return [
    titleOf(`${plain(cell.parentElement.cells[0])} · ${headingOf(table, cell.cellIndex)}`, nameOf(table)),
    make("p", { class: "lead" }, make("b", {}, plain(cell)), ` is made of ${some(keys.length, "run")}.`),
    make("div", { class: "scroll" }, tableOf(heads, rows, [2, 3, 4])),
  ];
}

function runView(run) {
  const heads = ["acc_e", "f1_e", "acc_s", "f1_s"].filter((name) => `test/${name}` in run.scores);
  const figures = heads.map((name) => figureOf(percent(run.scores[`test/${name}`]), `test ${SCORES.get(name)}`));
  const tags = [
    run.data === "sample" ? "BUILT-IN SAMPLE" : null,
    run.protocol === "best-on-test" ? "chosen on test" : null,
    run.made.dirty === true ? "uncommitted code" : null,
  ].filter(Boolean).map((said) => make("span", { class: "tag" }, said));
  const place = run.mlflow?.map(encodeURIComponent);
  const link = tracking && place ? `${tracking}/#/experiments/${place[0]}/runs/${place[1]}` : null;
  const { kind, message, traceback } = run.error ?? {};
  return [
    titleOf(`${run.label} on ${run.title}, seed ${run.seed}`, "Run ", code(run.key)),
    tags.length || run.error ? make("p", { class: "tags" }, failedTag(run), tags) : null,
    figures.length ? make("div", { class: "figures" }, figures) : null,
    run.error ? make("div", { class: "verdict" }, make("b", {}, `Failed: ${kind}`), make("p", {}, message),
      traceback ? make("pre", { tabindex: "0" }, traceback) : null) : null,
    link ? make("p", {}, make("a", { href: link, rel: "noreferrer", target: "_blank" }, "Open in MLflow")) : null,
    part("What it was", factsOf(run)),
    Object.keys(run.scores).length ? part("Scores, percent", scoresTable(run.scores)) : null,
    part("Curves", curvesPart(run)),
    part("Test predictions", clipsPart(run)),
    make("div", { class: "part" }, moreOf(run)),
  ];
}

function factsOf(run) {
  const spent = Object.values(run.seconds).reduce((sum, value) => sum + (value ?? 0), 0);
  const parts = Object.entries(run.seconds).map(([name, value]) => `${name} ${number(value, 3)} s`);
  return termsOf([
    ["arm", run.arm],
    ["method", `${run.method}, version ${run.version}`],
    ["data set", `${run.title} (${run.dataset}${run.data === "sample" ? ", BUILT-IN SAMPLE" : ""})`],
    ["fold", String(run.fold)],
    ["seed", String(run.seed)],
    ["protocol", run.protocol + (run.stop === null ? "" : `, stopped after ${some(run.stop, "epoch")}`)],
    ["stage", run.stage],
    ["preset", run.preset + (run.settings ? `, with ${run.settings}` : "")],
    ["values", run.values + (run.tried > 1 ? `, of ${run.tried} configurations tried` : "")],
    ["asked for by", run.request],
    ["chosen epoch", run.chosen === null ? null : String(run.chosen)],
    ["attempt", run.attempt > 1 ? String(run.attempt) : null],
    ["took", parts.length ? `${number(spent, 3)} s (${parts.join(", ")})` : null],
    ["commit", run.made.commit ? code(`${run.made.commit}${run.made.dirty ? ", with uncommitted changes" : ""}`) : null],
    ["host", run.made.host],
    ["device", run.made.device],
    ["record file", run.sha ? code(`sha256 ${run.sha}`) : "not on this machine"],
  ]);
}

function scoresTable(scores) {
  const order = [...SCORES.keys()];
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const names = [...new Set(Object.keys(scores).map((name) => name.replace(/^[^/]*\//, "")))];
  names.sort((one, other) => rank(one) - rank(other));
  const splits = ["val", "test"].filter((split) => names.some((name) => `${split}/${name}` in scores));
  const rows = names.map((name) => [name === "n" ? "clips" : SCORES.get(name) ?? name.replace("/", " "),
    ...splits.map((split) => scoreText(name, scores[`${split}/${name}`]))]);
  return make("div", { class: "scroll" }, tableOf(["", ...splits], rows, [1, 2]));
}

function moreOf(run) {
  const valueOf = (value) => (value === "" ? "(empty)" : typeof value === "string" ? value : JSON.stringify(value));
  const terms = (values) => termsOf(Object.entries(values).map(([name, value]) => [name, valueOf(value)]));
  const config = Object.entries(run.config).sort(([one], [other]) => one.localeCompare(other));
  const prints = [["key", run.key], ["split", run.split], ["content", run.content], ...Object.entries(run.weights)];
  const notes = Object.entries(run.notes).map(([name, value]) => [name, number(value)]);
  const rest = run.problem_count - run.problems.length;
  return [
    folded(`Config: ${some(config.length, "value")}`, termsOf(config.map(([name, value]) => [name, valueOf(value)]))),
    folded("Fingerprints", termsOf(prints.map(([name, value]) => [name, code(value)]))),
    folded("Code, versions and machine", terms(run.made)),
    notes.length ? folded("Notes of the method", termsOf(notes)) : null,
    run.problem_count ? folded(`Problems of the data: ${run.problem_count}`,
      make("ul", {}, run.problems.map((problem) => make("li", {}, Object.values(problem).join(": ")))),
      rest ? make("p", { class: "note" }, `and ${rest} more in the record`) : null) : null,
  ];
}

// What a run said of the test clips, all or some of them.
function clipsPart(run) {
  if (typeof run.clips === "string") return make("p", { class: "note" }, `No predictions: ${run.clips}.`);
  const [place, predicted, sure] = run.clips;
  const { classes, keys, labels } = clipLists[place];
  const clips = keys.map((key, at) => ({ key, label: labels[at], said: predicted[at], sure: sure[at] / 1000 }));
  const hits = (found) => found.filter(({ label, said }) => label === said).length;
  const heads = ["clip", "true", "predicted", "prob., %"];
  const row = ({ key, label, said, sure: share }) => {
    const verdict = make("span", { class: label === said ? "right" : "wrong" }, classes[said]);
    const bar = make("i", { class: "share", style: `--share:${(100 * share).toFixed(1)}%`, "aria-hidden": "true" });
    return [key, classes[label], [verdict, label === said ? null : make("span", { class: "unseen" }, " (wrong)")],
      [bar, percent(share)]];
  };
  const passes = ({ key, label, said }, { kind, of = "", name = "" }) => key.toLowerCase().includes(name)
    && (of === "" || label === Number(of)) && (!kind || (kind === "right") === (label === said));
  const right = hits(clips);
  const kinds = [["", `all ${many(clips.length)}`], ["right", `right ${many(right)}`], ["wrong", `wrong ${many(clips.length - right)}`]];
  const fields = (ask) => [
    choice("which clips", kinds, (kind) => ask({ kind })),
    choice("true class", [["", "every class"], ...classes.map((name, at) => [at, name])], (of) => ask({ of })),
    searchField("name of a clip", (name) => ask({ name })),
  ];
  const sum = (found) => `${some(found.length, "clip")}, ${many(hits(found))} of them right`;
  return make("div", { class: "clips" }, filtered(clips, fields, passes, sum, (found) => lazily(heads, found, row, [3], 100)));
}
