// What a run said of the test clips, all or some of them.

function clipsPart(run) {
  const found = clipsOf(run);
  if (typeof found === "string") return make("p", { class: "note" }, `No predictions: ${found}.`);
  const { classes, clips } = found;
  const right = clips.filter(({ label, said }) => label === said).length;
  const kinds = [["all", clips.length], ["right", right], ["wrong", clips.length - right]];
  const asked = { kind: "all", label: -1, name: "" };
  const list = make("div", { class: "clips" });
  const count = make("p", { class: "note count", role: "status" });
  const buttons = kinds.map(([kind, many]) =>
    button(`${kind} ${many.toLocaleString("en")}`, () => ask({ kind }), { "data-kind": kind }));
  const choice = make("select", { "aria-label": "true class" }, make("option", { value: -1 }, "every class"),
    classes.map((name, at) => make("option", { value: at }, name)));
  choice.addEventListener("change", () => ask({ label: Number(choice.value) }));
  const search = make("input", { type: "search", placeholder: "name of a clip", "aria-label": "name of a clip" });
  search.addEventListener("input", () => ask({ name: search.value.toLowerCase() }));

  function ask(change) {
    Object.assign(asked, change);
    for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.kind === asked.kind);
    const shown = clips.filter(({ key, label, said }) =>
      (asked.kind === "all" || (asked.kind === "right") === (label === said))
      && (asked.label < 0 || label === asked.label)
      && (!asked.name || key.toLowerCase().includes(asked.name)));
    const hits = shown.filter(({ label, said }) => label === said).length;
    count.textContent = shown.length ? `${some(shown.length, "clip")}, ${hits.toLocaleString("en")} of them right` : "";
    const heads = ["clip", "true", "predicted", "prob., %"];
    list.replaceChildren(...[lazily(heads, shown, row, [3], "No clip is of that kind.")].flat());
  }

  function row({ key, label, said, sure }) {
    const verdict = make("span", { class: label === said ? "right" : "wrong" }, classes[said]);
    const bar = make("i", { class: "share", style: `--share:${(100 * sure).toFixed(1)}%`, "aria-hidden": "true" });
    return [key, classes[label], [verdict, label === said ? null : make("span", { class: "unseen" }, " (wrong)")],
      [bar, percent(sure)]];
  }

  ask({});
  return [make("div", { class: "filters" }, make("div", { class: "kinds", role: "group", "aria-label": "which clips" },
    buttons), choice, search), count, list];
}
