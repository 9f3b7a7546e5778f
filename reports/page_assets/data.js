// The runs, turned back from the block in which whatever repeats is kept once.

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DATA = JSON.parse(find("data").textContent);
const RUNS = new Map(DATA.runs.map((run) => [run.id, run]));

function unpack(text, width) {
  const found = new Array(text.length / width);
  for (let at = 0; at < found.length; at += 1) {
    let value = 0;
    for (let place = 0; place < width; place += 1) value = 64 * value + DIGITS.indexOf(text[at * width + place]);
    found[at] = value;
  }
  return found;
}

function specOf(run) {
  return DATA.shared[run.spec];
}

// A mapping told by what sets it apart from a shared one.
function whole([base, changed, gone]) {
  const found = new Map(Object.entries(DATA.shared[base]));
  for (const name of gone) found.delete(name);
  for (const [name, value] of Object.entries(changed)) found.set(name, value);
  return found;
}

function named([names, values]) {
  return new Map(DATA.shared[names].map((name, at) => [name, values[at]]));
}

// Curves as lists of epochs and values; a text where there are none.
function curvesOf(run) {
  if (typeof run.curves === "string") return run.curves;
  return run.curves.map(([place, axis, low, high, packed]) => {
    const [stage, name] = DATA.shared[place];
    const values = unpack(packed, 2).map((height) => low + ((high - low) * height) / 4095);
    return { stage, name, epochs: DATA.shared[axis], values };
  });
}

// What was said of every test clip; a text where it is not known.
function clipsOf(run) {
  if (typeof run.clips === "string") return run.clips;
  const [place, predicted, probability] = run.clips;
  const { classes, keys, label, width } = DATA.shared[place];
  const labels = unpack(label, width);
  const said = unpack(predicted, width);
  const sure = unpack(probability, 2);
  const clips = keys.map((key, at) => ({ key, label: labels[at], said: said[at], sure: sure[at] / 1000 }));
  return { classes, clips };
}

function mlflowOf(run) {
  if (!DATA.tracking || !run.mlflow) return null;
  const [experiment, id] = run.mlflow.map(encodeURIComponent);
  const place = `${DATA.tracking}/#/experiments/${experiment}/runs/${id}`;
  try {
    return ["http:", "https:"].includes(new URL(place).protocol) ? place : null;
  } catch {
    return null;
  }
}
