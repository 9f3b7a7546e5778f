// Views of runs: the list of all runs, the runs of a number, and the details of one run.

const metricOf = (name) => metrics.get(name) ?? { title: name, percent: false, lower: true };
const scoreText = ({ scores }, name, split = "test") =>
  (metricOf(name).percent ? percent : number)(scores[`${split}/${name}`]);
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

const cellsOf = (run) => [runLink(run), run.title, String(run.fold), String(run.seed)]; // first in every table of runs

function listAll() {
  const all = [...runs.values()];
  const titles = [...new Set(all.map((run) => run.title))].map((title) => [title]);
  const primary = [...new Set(all.map((run) => metricOf(run.shown[0]).title))].join(" or ");
  const heads = ["run", "data set", "fold", "seed", `val ${primary}`, `test ${primary}`];
  const row = (run) => [...cellsOf(run), scoreText(run, run.shown[0], "val"), scoreText(run, run.shown[0])];
  const passes = (run, { words = "", title, state }) => {
    const text = `${run.label} ${run.title} fold ${run.fold} seed ${run.seed} ${run.key}`.toLowerCase();
    return (!title || run.title === title) && (!state || (state === "failed") === Boolean(run.error))
      && words.split(/\s+/).every((word) => text.includes(word));
  };
  const fields = (update) => [
    searchField("method, seed, key, ...", (words) => update({ words })),
    choice("data set", [["", "all data sets"], ...titles], (title) => update({ title })),
    choice("status", [["", "finished and failed"], ["finished"], ["failed"]], (state) => update({ state })),
  ];
  const count = (rows) => (rows.length === all.length ? "" : `${many(rows.length)} of `) + plural(all.length, "run");
  return filtered(all, fields, passes, count, (rows) => lazily(heads, rows, row, [2, 3, 4, 5], 40));
}

// The runs of a number. The last parts of a cell's name are the name of the score.
function cellView(cell) {
  const table = cell.closest("table");
  const keys = cell.dataset.runs.split(" ");
  const known = (name) => keys.some((key) => `test/${name}` in (runs.get(key)?.scores ?? {}));
  const main = keys.flatMap((key) => runs.get(key)?.shown[0] ?? [])[0] ?? "";
  const score = cell.dataset.cell.split("/").map((_, at, parts) => parts.slice(at).join("/")).find(known) ?? main;
  const rowOf = (run) => [...cellsOf(run), scoreText(run, score)];
  const rows = keys.map((key) => (runs.has(key) ? rowOf(runs.get(key)) : [key, "not on this page"]));
  const heads = ["run", "data set", "fold", "seed", `test ${metricOf(score).title}`];
  return [
    titleOf(`${plain(cell.parentElement.cells[0])} · ${headingOf(table, cell.cellIndex)}`, nameOf(table)),
    make("p", { class: "lead" }, make("b", {}, plain(cell)), ` is computed from ${plural(keys.length, "run")}.`),
    make("div", { class: "scroll" }, tableOf(heads, rows, [2, 3, 4])),
  ];
}

function runView(run) {
  const heads = run.shown.filter((name) => `test/${name}` in run.scores).slice(0, 4);
  const figures = heads.map((name) => figureOf(scoreText(run, name), `test ${metricOf(name).title}`));
  const { kind, message, traceback } = run.error ?? {};
  return [
    titleOf(`${run.label} on ${run.title}, seed ${run.seed}`, "Run ", make("code", {}, run.key)),
    make("p", { class: "tags" }, failedTag(run), run.tags.map((tag) => make("span", { class: "tag" }, tag))),
    figures.length ? make("div", { class: "figures" }, figures) : null,
    run.error ? make("div", { class: "verdict" }, make("b", {}, `Failed: ${kind}`), make("p", {}, message),
      traceback ? make("pre", { tabindex: "0" }, traceback) : null) : null,
    run.link ? make("a", { href: run.link, rel: "noreferrer", target: "_blank" }, "Open in MLflow") : null,
    part("Summary", termsOf(run.facts)),
    Object.keys(run.scores).length ? scoresPart(run) : null,
    part("Curves", curvesPart(run)),
    part("Test predictions", clipsPart(run)),
    make("div", { class: "part" }, moreOf(run)),
  ];
}

function scoresPart(run) {
  const splits = ["val", "test"].filter((split) => `${split}/n` in run.scores);
  const names = [...metrics.keys()].filter((name) => splits.some((split) => `${split}/${name}` in run.scores));
  const mixed = run.shown.some((name) => !metricOf(name).percent);
  const rows = names.map((name) => [`${metricOf(name).title}${mixed && metricOf(name).percent ? ", percent" : ""}`,
    ...splits.map((split) => scoreText(run, name, split))]);
  const table = tableOf(["", ...splits], rows, [1, 2]);
  return part(mixed ? "Scores" : "Scores, percent", make("div", { class: "scroll" }, table));
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
  if (!classes.length) return numbersPart(clipLists[run.clips], run.predicted);
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

// The predictions of a run that predicts numbers, such as valence, largest error first.
function numbersPart({ targets, keys, labels }, predicted) {
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  const clips = keys.map((key, at) => ({ key, truth: labels[at], guess: predicted[at],
    error: mean(labels[at].map((value, place) => Math.abs(predicted[at][place] - value))) }))
    .sort((a, b) => b.error - a.error);
  const heads = ["clip", ...targets.flatMap((name) => [`true ${name}`, `predicted ${name}`]), "error"];
  const row = ({ key, truth, guess, error }) =>
    [key, ...truth.flatMap((value, at) => [number(value), number(guess[at], 3)]), number(error, 3)];
  const fields = (update) => [searchField("clip name", (name) => update({ name }))];
  const passes = ({ key }, { name = "" }) => key.toLowerCase().includes(name);
  const count = (rows) => `${plural(rows.length, "clip")}, MAE ${number(mean(rows.map(({ error }) => error)))}`;
  const listOf = (rows) => lazily(heads, rows, row, [...heads.keys()].slice(1), 100);
  return make("div", { class: "clips" }, filtered(clips, fields, passes, count, listOf));
}
