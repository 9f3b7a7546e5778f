// The runs: a list of all, those behind a number, and all that is known of one.

const SCORES = new Map(Object.entries({ acc_e: "Acc E", f1_e: "F1 E", f1_e_macro: "macro F1 E", bal_e: "balanced Acc E",
  acc_s: "Acc S", f1_s: "F1 S", acc_s2: "Acc S, no neutral", f1_s2: "F1 S, no neutral" }));
const scoreText = (name, value) => (["loss", "n"].includes(name) ? number(value) : percent(value));
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
  const options = (names) => names.map((name) => [name, name]);
  const titles = [...new Set(all.map((run) => run.title))];
  const heads = ["run", "data set", "fold", "seed", "val Acc E", "test Acc E"];
  const row = (run) => [...lineOf(run), percent(run.scores["val/acc_e"]), percent(run.scores["test/acc_e"])];
  const passes = (run, { words = "", title, state }) => {
    const told = `${run.label} ${run.title} fold ${run.fold} seed ${run.seed} ${run.key}`.toLowerCase();
    return (!title || run.title === title) && (!state || (state === "failed") === Boolean(run.error))
      && words.split(/\s+/).every((word) => told.includes(word));
  };
  const fields = (ask) => [
    searchField("method, seed, key, ...", (words) => ask({ words })),
    choice("data set", [["", "every data set"], ...options(titles)], (title) => ask({ title })),
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
  const { kind, message, traceback } = run.error ?? {};
  return [
    titleOf(`${run.label} on ${run.title}, seed ${run.seed}`, "Run ", make("code", {}, run.key)),
    make("p", { class: "tags" }, failedTag(run), run.tags.map((tag) => make("span", { class: "tag" }, tag))),
    figures.length ? make("div", { class: "figures" }, figures) : null,
    run.error ? make("div", { class: "verdict" }, make("b", {}, `Failed: ${kind}`), make("p", {}, message),
      traceback ? make("pre", { tabindex: "0" }, traceback) : null) : null,
    run.link ? make("a", { href: run.link, rel: "noreferrer", target: "_blank" }, "Open in MLflow") : null,
    part("What it was", termsOf(run.facts)),
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
  names.sort((one, other) => rank(one) - rank(other));
  const splits = ["val", "test"].filter((split) => names.some((name) => `${split}/${name}` in scores));
  const rows = names.map((name) => [name === "n" ? "clips" : SCORES.get(name) ?? name.replace("/", " "),
    ...splits.map((split) => scoreText(name, scores[`${split}/${name}`]))]);
  return make("div", { class: "scroll" }, tableOf(["", ...splits], rows, [1, 2]));
}

function moreOf(run) {
  const text = (value) => (value === "" ? "(empty)" : typeof value === "string" ? value : JSON.stringify(value));
  const rest = run.problem_count - run.problems.length;
  return [
    folded(`Config: ${some(Object.keys(run.config).length, "value")}`, termsOf(run.config, text)),
    folded("Fingerprints", termsOf(run.prints, (value) => make("code", {}, value))),
    folded("Code, versions and machine", termsOf(run.made, text)),
    Object.keys(run.notes).length ? folded("Notes of the method", termsOf(run.notes, (value) => number(value))) : null,
    run.problem_count ? folded(`Problems of the data: ${run.problem_count}`,
      make("ul", {}, run.problems.map((problem) => make("li", {}, problem)),
        rest ? make("li", {}, `and ${rest} more in the record`) : null)) : null,
  ];
}

// What a run said of the test clips, all or some of them.
function clipsPart(run) {
  if (typeof run.clips === "string") return make("p", { class: "note" }, `No predictions: ${run.clips}.`);
  const { classes, keys, labels } = clipLists[run.clips];
  const clips = keys.map((key, at) => ({ key, label: labels[at], said: run.predicted[at], sure: run.sure[at] / 1000 }));
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
  const counts = [["", clips.length], ["right", hits(clips)], ["wrong", clips.length - hits(clips)]];
  const kinds = counts.map(([kind, count]) => [kind, `${kind || "all"} ${many(count)}`]);
  const fields = (ask) => [
    choice("which clips", kinds, (kind) => ask({ kind })),
    choice("true class", [["", "every class"], ...classes.map((name, at) => [at, name])], (of) => ask({ of })),
    searchField("name of a clip", (name) => ask({ name })),
  ];
  const sum = (found) => `${some(found.length, "clip")}, ${many(hits(found))} of them right`;
  const listOf = (found) => lazily(heads, found, row, [3], 100);
  return make("div", { class: "clips" }, filtered(clips, fields, passes, sum, listOf));
}
