// Views of runs: the list of all runs, the runs of a number, and the details of one run.

const SCORES = new Map(Object.entries({ acc_e: "Acc E", f1_e: "F1 E", f1_e_macro: "macro F1 E", bal_e: "balanced Acc E",
  acc_s: "Acc S", f1_s: "F1 S", acc_s2: "Acc S, no neutral", f1_s2: "F1 S, no neutral" }));
const scoreText = (name, value) => (["loss", "n"].includes(name) ? number(value) : percent(value));
const part = (title, ...children) => make("div", { class: "part" }, make("h3", {}, title), children);
const folded = (title, ...children) => make("details", {}, make("summary", {}, title), children);
const figureOf = (value, label) => make("div", { class: "figure" }, make("b", {}, value), make("span", {}, label));
const failedTag = (run) => (run.error ? make("span", { class: "tag alarm" }, "failed") : null);
const titleOf = (title, ...kicker) =>
  [make("p", { class: "kicker" }, kicker), make("h2", { id: "drill-title", tabindex: "-1" }, title)];

function runLink(run) {
  const link = make("a", { href: `#run=${encodeURIComponent(run.id)}`, "data-run": run.id }, run.label);
  on(link, "click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go("run", run.id);
  });
  return [link, " ", failedTag(run)];
}

// The first cells of a run's row in every table.
const cellsOf = (run) => [runLink(run), run.title, String(run.fold), String(run.seed)];

function listAll() {
  const all = [...runs.values()];
  const options = (names) => names.map((name) => [name, name]);
  const titles = [...new Set(all.map((run) => run.title))];
  const heads = ["run", "data set", "fold", "seed", "val Acc E", "test Acc E"];
  const row = (run) => [...cellsOf(run), percent(run.scores["val/acc_e"]), percent(run.scores["test/acc_e"])];
  const passes = (run, { words = "", title, state }) => {
    const text = `${run.label} ${run.title} fold ${run.fold} seed ${run.seed} ${run.key}`.toLowerCase();
    return (!title || run.title === title) && (!state || (state === "failed") === Boolean(run.error))
      && words.split(/\s+/).every((word) => text.includes(word));
  };
  const fields = (update) => [
    searchField("method, seed, key, ...", (words) => update({ words })),
    choice("data set", [["", "all data sets"], ...options(titles)], (title) => update({ title })),
    choice("status", [["", "finished and failed"], ...options(["finished", "failed"])], (state) => update({ state })),
  ];
  const count = (rows) => (rows.length === all.length ? "" : `${many(rows.length)} of `) + plural(all.length, "run");
  return filtered(all, fields, passes, count, (rows) => lazily(heads, rows, row, [2, 3, 4, 5], 40));
}

// The runs of a number. The last parts of a cell's name are the name of the score.
function cellView(cell) {
  const table = cell.closest("table");
  const keys = cell.dataset.runs.split(" ");
  const words = cell.dataset.cell.split("/");
  const known = (name) => keys.some((key) => `test/${name}` in (runs.get(key)?.scores ?? {}));
  const score = words.map((_, at) => words.slice(at).join("/")).find(known) ?? "acc_e";
  const rows = keys.map((key) => runs.has(key)
    ? [...cellsOf(runs.get(key)), scoreText(score, runs.get(key).scores[`test/${score}`])] : [key, "not on this page"]);
  const heads = ["run", "data set", "fold", "seed", `test ${SCORES.get(score) ?? score}`];
  return [
    titleOf(`${plain(cell.parentElement.cells[0])} · ${headingOf(table, cell.cellIndex)}`, nameOf(table)),
    make("p", { class: "lead" }, make("b", {}, plain(cell)), ` is computed from ${plural(keys.length, "run")}.`),
    make("div", { class: "scroll" }, tableOf(heads, rows, [2, 3, 4])),
  ];
}

function runView(run) {
  const heads = ["acc_e", "f1_e", "acc_s", "f1_s"].filter((name) => `test/${name}` in run.scores);
  const figures = heads.map((name) => figureOf(percent(run.scores[`test/${name}`]), `test ${SCORES.get(name)}`));
  const { kind, message, traceback } = run.error ?? {};
  return [
    titleOf(`${run.label} on ${run.title}, seed ${run.seed}`, "Run ", make("code", {}, run.key)),
    make("p", { class: "tags" }, failedTag(run), run.tags.map((tag) => make("span", { class: "tag" }, tag))),
    figures.length ? make("div", { class: "figures" }, figures) : null,
    run.error ? make("div", { class: "verdict" }, make("b", {}, `Failed: ${kind}`), make("p", {}, message),
      traceback ? make("pre", { tabindex: "0" }, traceback) : null) : null,
    run.link ? make("a", { href: run.link, rel: "noreferrer", target: "_blank" }, "Open in MLflow") : null,
    part("Summary", termsOf(run.facts)),
    Object.keys(run.scores).length ? part("Scores, percent", scoresTable(run.scores)) : null,
    part("Curves", curvesPart(run)),
    part("Test predictions", clipsPart(run)),
    make("div", { class: "part" }, moreOf(run)),
  ];
}

function scoresTable(scores) {
  const order = [...SCORES.keys()];
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const names = [...new Set(Object.keys(scores).map((name) => name.replace(/^[^/]*\//, "")))];
  names.sort((a, b) => rank(a) - rank(b));
  const splits = ["val", "test"].filter((split) => names.some((name) => `${split}/${name}` in scores));
  const rows = names.map((name) => [name === "n" ? "clips" : SCORES.get(name) ?? name.replace("/", " "),
    ...splits.map((split) => scoreText(name, scores[`${split}/${name}`]))]);
  return make("div", { class: "scroll" }, tableOf(["", ...splits], rows, [1, 2]));
}

function moreOf(run) {
  const text = (value) => (value === "" ? "(empty)" : typeof value === "string" ? value : JSON.stringify(value));
  const rest = run.problem_count - run.problems.length;
  return [
    folded(`Config: ${plural(Object.keys(run.config).length, "value")}`, termsOf(run.config, text)),
    folded("Hashes", termsOf(run.prints, (value) => make("code", {}, value))),
    folded("Code, versions and machine", termsOf(run.made, text)),
    Object.keys(run.notes).length ? folded("Notes of the method", termsOf(run.notes, (value) => number(value))) : null,
    run.problem_count ? folded(`Problems with the data: ${run.problem_count}`,
      make("ul", {}, run.problems.map((problem) => make("li", {}, problem)),
        rest ? make("li", {}, `and ${rest} more in record.json`) : null)) : null,
  ];
}

// The predictions of a run on the test clips, with filters.
function clipsPart(run) {
  if (typeof run.clips === "string") return make("p", { class: "note" }, `No predictions: ${run.clips}.`);
  const { classes, keys, labels } = clipLists[run.clips];
  const clips = keys.map((key, at) => ({ key, label: labels[at], pred: run.predicted[at], sure: run.sure[at] / 1000 }));
  const hits = (rows) => rows.filter(({ label, pred }) => label === pred).length;
  const heads = ["clip", "true", "predicted", "prob., %"];
  const row = ({ key, label, pred, sure: share }) => {
    const verdict = make("span", { class: label === pred ? "right" : "wrong" }, classes[pred]);
    const bar = make("i", { class: "share", style: `--share:${(100 * share).toFixed(1)}%`, "aria-hidden": "true" });
    return [key, classes[label], [verdict, label === pred ? null : make("span", { class: "unseen" }, " (wrong)")],
      [bar, percent(share)]];
  };
  const passes = ({ key, label, pred }, { outcome, target = "", name = "" }) => key.toLowerCase().includes(name)
    && (target === "" || label === Number(target)) && (!outcome || (outcome === "correct") === (label === pred));
  const counts = [["", clips.length], ["correct", hits(clips)], ["wrong", clips.length - hits(clips)]];
  const outcomes = counts.map(([outcome, count]) => [outcome, `${outcome || "all"} (${many(count)})`]);
  const fields = (update) => [
    choice("correct or wrong", outcomes, (outcome) => update({ outcome })),
    choice("true class", [["", "all classes"], ...Object.entries(classes)], (target) => update({ target })),
    searchField("clip name", (name) => update({ name })),
  ];
  const count = (rows) => `${plural(rows.length, "clip")}, ${many(hits(rows))} correct`;
  const listOf = (rows) => lazily(heads, rows, row, [3], 100);
  return make("div", { class: "clips" }, filtered(clips, fields, passes, count, listOf));
}
