// The list of all runs, filtered by words, data set and outcome.

function listAll(box) {
  const asked = { words: "", title: "", state: "" };
  const titles = [...new Set(DATA.runs.map(({ title: name }) => name))];
  const list = make("div", {});
  const count = make("p", { class: "note count", role: "status" });
  const search = make("input", { type: "search", placeholder: "method, seed, key, ...", "aria-label": "words of a run" });
  search.addEventListener("input", () => ask({ words: search.value.toLowerCase() }));
  const sets = choiceOf("data set", [["", "every data set"], ...titles.map((name) => [name, name])],
    (name) => ask({ title: name }));
  const states = choiceOf("outcome", [["", "finished and failed"], ["finished", "finished"], ["failed", "failed"]],
    (state) => ask({ state }));

  function ask(change) {
    Object.assign(asked, change);
    const words = asked.words.split(/\s+/).filter(Boolean);
    const shown = DATA.runs.filter((run) => {
      const told = `${run.label} ${run.title} fold ${run.fold} seed ${run.seed} ${run.key}`.toLowerCase();
      return (!asked.title || run.title === asked.title)
        && (!asked.state || (asked.state === "failed") === Boolean(run.error))
        && words.every((word) => told.includes(word));
    });
    count.textContent = shown.length === DATA.runs.length ? some(shown.length, "run")
      : `${shown.length.toLocaleString("en")} of ${some(DATA.runs.length, "run")}`;
    const heads = ["run", "data set", "fold", "seed", "val Acc E", "test Acc E"];
    list.replaceChildren(...[lazily(heads, shown, row, [2, 3, 4, 5], "No run is of that kind.", 40)].flat());
  }

  function row(run) {
    const scores = named(run.scores);
    return [[runLink(run, run.label), " ", failedTag(run)], run.title, String(run.fold), String(run.seed),
      percent(scores.get("val/acc_e")), percent(scores.get("test/acc_e"))];
  }

  box.append(make("div", { class: "filters" }, search, sets, states), count, list);
  ask({});
}

function choiceOf(said, options, chosen) {
  const choice = make("select", { "aria-label": said }, options.map(([value, name]) => make("option", { value }, name)));
  choice.addEventListener("change", () => chosen(choice.value));
  return choice;
}
