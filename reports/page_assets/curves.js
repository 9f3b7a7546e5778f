// Learning curves of a run as plots: scores in percent, other scores, and losses with all else that a stage logged.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8a8a85"]; // Okabe and Ito, 2008
const DASHES = [null, "6 3", "2 3"];
const [WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM] = [720, 230, 58, 706, 24, 200]; // size of a plot and edges of its axes

function curvesPart(run) {
  if (typeof run.curves === "string") return make("p", { class: "note" }, `No curves: ${run.curves}.`);
  const stages = new Map(); // stage -> its first place on the common epoch axis, and its number of epochs
  run.curves.forEach(([stage], place) =>
    stages.set(stage, { count: Math.max(stages.get(stage)?.count ?? 0, run.epochs[place].at(-1) + 1) }));
  let last = 0;
  for (const stage of stages.values()) last = (stage.start = last) + stage.count;
  const curves = run.curves.map(([stage, name], place) => {
    const score = /^(val|test)\/(?!(loss|n)$)/.test(name);
    const { percent: share, lower } = metricOf(name.replace(/^[^/]*\//, ""));
    const values = run.values[place].map((value) => (score && share ? 100 * value : value));
    const epochs = run.epochs[place].map((epoch) => epoch + stages.get(stage).start);
    return { stage, name, values, epochs, lower: !score || lower, kind: !score ? 2 : share ? 0 : 1 };
  });
  const main = `/${run.shown[0]}`;
  const judged = curves.filter(({ kind, name }) => kind < 2 && name.endsWith(main)).at(-1);
  const chosen = run.chosen && judged ? stages.get(judged.stage).start + run.chosen - 1 : null;
  const shared = { stages, last: last - 1, chosen, split: judged?.name.split("/")[0] };
  const kinds = ["scores, percent", "scores", "losses"].map((title, place) =>
    panel(title, curves.filter(({ kind }) => kind === place), place < 2 ? main : "/loss", shared));
  return judged?.kind === 1 ? [kinds[1], kinds[0], kinds[2]] : kinds; // the score that selected the epoch is first
}

// "val/acc_e" -> "val Acc E".
const curveName = (name) =>
  name.replace(/^(val|test)\/(.*)/, (all, split, score) => `${split} ${metricOf(score).title}`);

function panel(title, curves, first, shared) {
  if (!curves.length) return null;
  const names = [...new Set(curves.map(({ name }) => name))];
  const picked = new Set(names.filter((name) => name.endsWith(first)));
  if (!picked.size) picked.add(names[0]);
  const lookOf = (name) => ({ stroke: COLOURS[names.indexOf(name) % COLOURS.length], "stroke-width": 2,
    "stroke-dasharray": DASHES[Math.floor(names.indexOf(name) / COLOURS.length) % DASHES.length] });
  const graph = make("div", { class: "graph", tabindex: "0", role: "group" });
  const readout = make("p", { class: "note readout", "aria-live": "polite" });
  const redraw = () => plot(graph, readout, title, curves.filter(({ name }) => picked.has(name)), lookOf, shared);
  const boxes = names.map((name) => {
    const box = make("input", { type: "checkbox", checked: picked.has(name) ? "" : null });
    on(box, "change", () => { picked[box.checked ? "add" : "delete"](name); redraw(); });
    const line = draw("line", { x1: 0, x2: 22, y1: 5, y2: 5, ...lookOf(name) });
    const sample = draw("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, line);
    return make("label", { class: "chip" }, box, sample, curveName(name));
  });
  redraw();
  return make("div", { class: "panel" }, make("h4", {}, title), graph, readout, make("div", { class: "chips" }, boxes));
}

function plot(graph, readout, title, curves, lookOf, { stages, last, chosen, split }) {
  const { low, high, ticks } = scaleOf(curves.flatMap(({ values }) => values));
  const x = (epoch) => LEFT + ((RIGHT - LEFT) * epoch) / Math.max(1, last);
  const y = (value) => BOTTOM - ((BOTTOM - TOP) * (value - low)) / (high - low);
  const vertical = (at, attributes) => draw("line", { y1: TOP, y2: BOTTOM, x1: at, x2: at, ...attributes });
  const parts = ticks.map((tick) => [draw("line", { x1: LEFT, x2: RIGHT, y1: y(tick), y2: y(tick), class: "rule" }),
    draw("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick))]);
  for (const [stage, { start, count }] of stages) {
    if (start) parts.push(vertical(x(start - 0.5), { class: "stage" }));
    parts.push(draw("text", { x: x(start), y: HIGH - 8 }, `${stage}, ${plural(count, "epoch")}`));
  }
  if (chosen !== null) {
    const side = x(chosen) > WIDE / 2 ? { x: x(chosen) - 6, "text-anchor": "end" } : { x: x(chosen) + 6 };
    const label = draw("text", { ...side, y: TOP - 8, class: "chosen" }, `selected on ${split}`);
    parts.push(vertical(x(chosen), { class: "chosen" }), label);
  }
  for (const { name, epochs, values } of curves) {
    const points = epochs.map((epoch, at) => `${x(epoch).toFixed(1)},${y(values[at]).toFixed(1)}`);
    if (points.length === 1) points.push(`${x(epochs[0]) + 3},${y(values[0])}`); // draw a single epoch as a short line
    parts.push(draw("polyline", { points: points.join(" "), fill: "none", ...lookOf(name) }));
  }
  const cursor = vertical(LEFT, { class: "cursor", visibility: "hidden" });
  const summary = curves.map(({ name, values, lower }) => {
    const best = lower ? Math.min(...values) : Math.max(...values);
    return `${curveName(name)} ${number(values[0], 3)} → ${number(values.at(-1), 3)}, best ${number(best, 3)}`;
  }).join(" · ") || "select a curve below";
  graph.replaceChildren(draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" }, parts, cursor));
  graph.setAttribute("aria-label", `${title}: ${summary}. Press the arrow keys to read the values.`);
  readout.textContent = summary;

  let at = -1; // the epoch shown in the readout
  const read = (epoch) => {
    at = Math.max(0, Math.min(last, epoch));
    fill(cursor, { visibility: "visible", x1: x(at), x2: x(at) }, []);
    const [stage, { start }] = [...stages].filter(([, found]) => found.start <= at).at(-1);
    const values = curves.filter((curve) => curve.stage === stage).map(({ name, epochs, values: heights }) => {
      const distances = epochs.map((other) => Math.abs(other - at));
      return `${curveName(name)} ${number(heights[distances.indexOf(Math.min(...distances))], 3)}`;
    });
    readout.textContent = [`${stage}, epoch ${at - start + 1}`, ...values].join(" · ");
  };
  graph.onpointermove = (event) => {
    const box = graph.firstChild.getBoundingClientRect();
    read(Math.round(((((event.clientX - box.left) / box.width) * WIDE - LEFT) / (RIGHT - LEFT)) * Math.max(1, last)));
  };
  graph.onpointerleave = () => { cursor.setAttribute("visibility", "hidden"); readout.textContent = summary; };
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  graph.onkeydown = (event) => { if (event.key in steps) { event.preventDefault(); read(at + steps[event.key]); } };
}

// The limits of an axis that holds all values, and its round ticks.
function scaleOf(values) {
  const [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const span = most - least || Math.abs(most) || 1;
  const rough = 10 ** Math.floor(Math.log10(span / 3));
  const step = [1, 2, 5, 10].map((size) => size * rough).find((size) => span / size <= 4.5);
  const low = Math.floor(least / step) * step;
  const high = Math.max(Math.ceil(most / step) * step, low + step);
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, at) => low + at * step);
  return { low, high, ticks: ticks.map((tick) => Number(tick.toPrecision(12))) };
}
