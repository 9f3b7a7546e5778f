// Curves of a run as small drawings: scores on one, losses and what else a stage told on the other.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8a8a85"]; // Okabe and Ito, 2008
const WIDE = 720;
const HIGH = 230;
const EDGE = { left: 58, right: 14, top: 24, bottom: 30 };

function curvesPart(run) {
  const found = curvesOf(run);
  if (typeof found === "string") return make("p", { class: "note" }, `No curves: ${found}.`);
  if (!found.length) return make("p", { class: "note" }, "This method is not trained in epochs.");
  const stages = stagesOf(found);
  const isScore = ({ name }) => /^(val|test)\//.test(name) && !/\/(loss|n)$/.test(name);
  const scores = found.filter(isScore).map((curve) => ({ ...curve, values: curve.values.map((value) => 100 * value) }));
  const others = found.filter((curve) => !isScore(curve));
  const judged = found.filter(({ name }) => name.endsWith("/acc_e")).at(-1);
  const mark = run.chosen && judged
    ? { at: stages.get(judged.stage).start + run.chosen - 1, said: `chosen on ${judged.name.split("/")[0]}` } : null;
  return [
    panel("scores, percent", scores, stages, (name) => name.endsWith("/acc_e"), mark),
    panel("losses", others, stages, (name) => name.endsWith("/loss"), mark),
  ];
}

// Stage -> where its first epoch stands on an axis that runs through all stages.
function stagesOf(curves) {
  const stages = new Map();
  for (const { stage, epochs } of curves) {
    const many = Math.max(stages.get(stage)?.many ?? 0, epochs.at(-1) + 1);
    stages.set(stage, { many });
  }
  let start = 0;
  for (const stage of stages.values()) {
    stage.start = start;
    start += stage.many;
  }
  return stages;
}

function panel(title, curves, stages, first, mark) {
  if (!curves.length) return null;
  const names = [...new Set(curves.map(({ name }) => name))];
  const chosen = new Set(names.filter(first));
  if (!chosen.size) chosen.add(names[0]);
  const looks = new Map(names.map((name, at) => [name, lookOf(at)]));
  const board = make("div", { class: "board", tabindex: "0", role: "group" });
  const told = make("p", { class: "note readout", "aria-live": "polite" });
  const again = () => plot(board, told, title, curves.filter(({ name }) => chosen.has(name)), stages, looks, mark);
  const chips = names.map((name) => {
    const box = make("input", { type: "checkbox" });
    box.checked = chosen.has(name);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      again();
    });
    const { stroke, "stroke-dasharray": dash } = looks.get(name);
    const line = draw("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke, "stroke-dasharray": dash, "stroke-width": 2.5 });
    return make("label", { class: "chip" }, box, draw("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, line), curveName(name));
  });
  again();
  return make("div", { class: "panel" }, make("h4", {}, title), board, told, make("div", { class: "chips" }, chips));
}

// "val/acc_e" as it is said: "val Acc E".
function curveName(name) {
  const [split, ...rest] = name.split("/");
  return SCORES[rest.join("/")] ? `${split} ${SCORES[rest.join("/")]}` : name;
}

function lookOf(at) {
  const dash = [null, "6 3", "2 3"][Math.floor(at / COLOURS.length) % 3];
  return { stroke: COLOURS[at % COLOURS.length], "stroke-dasharray": dash };
}

function plot(board, told, title, curves, stages, looks, mark) {
  const ends = [...stages.values()].at(-1);
  const last = ends.start + ends.many - 1;
  const values = curves.flatMap((curve) => curve.values);
  const { low, high, ticks } = scaleOf(values);
  const x = (epoch) => EDGE.left + ((WIDE - EDGE.left - EDGE.right) * epoch) / Math.max(1, last);
  const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * (value - low)) / (high - low);
  const across = { x1: EDGE.left, x2: WIDE - EDGE.right };
  const down = { y1: EDGE.top, y2: HIGH - EDGE.bottom };
  const parts = ticks.map((tick) => [
    draw("line", { ...across, y1: y(tick), y2: y(tick), class: "rule" }),
    draw("text", { x: EDGE.left - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick)),
  ]);
  for (const [stage, { start, many }] of stages) {
    if (start) parts.push(draw("line", { ...down, x1: x(start - 0.5), x2: x(start - 0.5), class: "stage" }));
    parts.push(draw("text", { x: x(start), y: HIGH - 8 }, `${stage}, ${some(many, "epoch")}`));
  }
  if (mark !== null) {
    const middle = x(mark.at);
    const left = middle > WIDE / 2;
    parts.push(draw("line", { ...down, x1: middle, x2: middle, class: "chosen" }));
    const place = { x: middle + (left ? -6 : 6), y: EDGE.top - 8, "text-anchor": left ? "end" : "start" };
    parts.push(draw("text", { ...place, class: "chosen" }, mark.said));
  }
  for (const { stage, name, epochs, values: heights } of curves) {
    const { start } = stages.get(stage);
    const points = epochs.map((epoch, at) => `${x(start + epoch).toFixed(1)},${y(heights[at]).toFixed(1)}`);
    parts.push(draw("polyline", { points: points.join(" "), fill: "none", "stroke-width": 2, ...looks.get(name) }));
    if (points.length === 1) {
      parts.push(draw("circle", { cx: x(start + epochs[0]), cy: y(heights[0]), r: 3, fill: looks.get(name).stroke }));
    }
  }
  const cursor = draw("line", { ...down, x1: x(0), x2: x(0), class: "cursor", visibility: "hidden" });
  board.replaceChildren(draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" }, parts, cursor));
  board.setAttribute("aria-label", `${title}: ${summary(curves)}. Arrow keys read the values.`);
  told.textContent = summary(curves);
  reading(board, told, curves, stages, last, x, cursor);
}

function summary(curves) {
  const said = ({ name, epochs, values }) => {
    const best = /acc|f1|bal|recall/.test(name) ? Math.max(...values) : Math.min(...values);
    return `${curveName(name)} ${number(Number(values[0].toPrecision(3)))} → ${number(Number(values.at(-1).toPrecision(3)))}`
      + (epochs.length > 1 ? `, best ${number(Number(best.toPrecision(3)))}` : "");
  };
  return curves.length ? curves.map(said).join(" · ") : "choose a curve below";
}

// The pointer, or the arrow keys, move a line along the epochs and read out what stands there.
function reading(board, told, curves, stages, last, x, cursor) {
  let at = -1;
  const show = (epoch) => {
    at = Math.max(0, Math.min(last, epoch));
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(at));
    const [stage, { start }] = [...stages].filter(([, found]) => found.start <= at).at(-1);
    const here = curves.filter((curve) => curve.stage === stage).map(({ name, epochs, values }) => {
      const nearest = epochs.reduce((best, epoch, place) =>
        Math.abs(epoch + start - at) < Math.abs(epochs[best] + start - at) ? place : best, 0);
      return `${curveName(name)} ${number(Number(values[nearest].toPrecision(3)))}`;
    });
    told.textContent = [`${stage}, epoch ${at - start + 1}`, ...here].join(" · ");
  };
  board.onpointermove = (event) => {
    const box = board.firstChild.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDE;
    show(Math.round(((place - EDGE.left) / (WIDE - EDGE.left - EDGE.right)) * Math.max(1, last)));
  };
  board.onpointerleave = () => {
    cursor.setAttribute("visibility", "hidden");
    told.textContent = summary(curves);
  };
  board.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at + step);
  };
}

// Lowest and highest value with round numbers between them.
function scaleOf(values) {
  const least = values.length ? Math.min(...values) : 0;
  const most = values.length ? Math.max(...values) : 1;
  const span = most - least || Math.abs(most) || 1;
  const rough = 10 ** Math.floor(Math.log10(span / 3));
  const step = [1, 2, 5, 10].map((size) => size * rough).find((size) => span / size <= 4.5);
  const low = Math.floor(least / step) * step;
  const high = Math.max(Math.ceil(most / step) * step, low + step);
  const ticks = [];
  for (let at = 0; low + at * step <= high + step / 2; at += 1) ticks.push(Number((low + at * step).toPrecision(12)));
  return { low, high, ticks };
}
