"""Reports of synthetic runs with real files next to their records."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import RECORD_FILE, Failure, Record, RunSpec
from bench.tasks import Classification, Metric
from bench.types import DatasetInfo
from methods.baselines import MAJORITY
from reports.runs import Run
from reports.types import Cell, Column, Report, ReportFigure, Row, Section, Table

CLASSES = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
TITLES = {
    "ekman6": "Ekman-6",
    "videoemotion8": "VideoEmotion-8",
    "perr": "PERR",
    "iemocap": "IEMOCAP",
    "affwild2": "Aff-Wild2",
}
ARMS = ("mart", "mbt", "mbt-long", "mart-released", "probe", "majority", "fusion-late", "fusion-early")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\"'&中文"
HOSTILE_TEXTS = (
    HOSTILE,
    "{{ 7*7 }}{% raw %}{# x #}",
    "javascript:alert(1)",
    "\" onload=alert(4) '",
    "${7*7} `x` \\",
    "-->",
)


def card(name: str = "ekman6", classes: tuple[str, ...] = CLASSES, title: str = "") -> DatasetInfo:
    signs = tuple(-1 if at < 3 else 1 for at in range(len(classes)))
    return DatasetInfo(
        name, title or TITLES[name], Classification(classes, signs), {}, "en", "on request", "Doe, 2020", "ask"
    )


def run(folder: Path, facts: DatasetInfo, arm: str, seed: int, clips: int = 20, **more: Any) -> Run:
    """Return a finished run with its files, or a failed run if `failed` is given. `name` appears in every text."""
    failed, name, width = more.pop("failed", ""), more.pop("name", ""), more.pop("width", len(facts.classes))
    config = {"lr": 2e-4, "epochs": 20 + seed % 2, "mask": "affective", "weights_video": "", "words": name or "plain"}
    spec = RunSpec(arm.split("-")[0], 3, config, facts.name, "real", "f" * 64, "c" * 64, 0, seed)
    draws = np.random.default_rng([seed, len(arm), len(facts.name)])
    label = np.arange(clips) % width
    logits = draws.normal(size=(clips, width)) + 1.6 * np.eye(width)[label]
    acc = float((logits.argmax(1) == label).mean())
    scores: dict[str, float | None] = {}
    for split, value in (("val", acc - 0.02), ("test", acc)):
        for score, less in (("acc_e", 0), ("f1_e", 0.01), ("acc_s", -0.1), ("f1_s", -0.09), ("bal_e", 0.02)):
            scores[f"{split}/{score}"] = value - less
        scores |= {f"{split}/recall/{kind}": value for kind in facts.classes}
        scores |= {f"{split}/loss": 1.25, f"{split}/n": float(clips)}
    record = Record(
        key=spec.key,
        spec=spec,
        arm=arm,
        preset="paper",
        attempt=1,
        scores={} if failed else scores,
        notes={} if failed else {"pretrain/cues": 0.776},
        seconds={"read": 12.5, "step": 46.1},
        provenance={"commit": "b6fc6d0" + "0" * 33, "dirty": False, "host": name or "node7", "python": "3.11.2"},
        problems=[{"what": "silent", "where": name or "joy/7", "why": "no sound"}],
        error=Failure("out of memory", failed, f"Traceback {name}\n" + "  line\n" * 60 + failed) if failed else None,
        chosen=None if failed else 12,
    )
    place = folder / record.key
    place.mkdir(parents=True, exist_ok=True)
    (place / ("failed-1.json" if failed else RECORD_FILE)).write_text(record.to_json())
    if not failed:
        (place / "curves.json").write_text(_curves(acc, more.pop("epochs", 20)))
        _predictions(place, facts.classes, label, logits, name)
    return Run(record, place, facts, arm, MAJORITY, mlflow_run_id="a" * 32, mlflow_experiment="3", **more)


def _curves(acc: float, epochs: int) -> str:
    """Return the text of the curves of both stages."""
    points = []
    for epoch in range(epochs):
        fall = math.exp(-3 * epoch / epochs)
        judged = {"val/acc_e": acc * (1 - 0.6 * fall), "val/loss": 1 + fall, "val/f1_e": acc * (1 - 0.7 * fall)}
        points.append({"stage": "finetune", "epoch": epoch, "values": {**_losses("finetune", epoch, epochs), **judged}})
    return f"[{_pretrained(epochs)}, {json.dumps(points)[1:]}"


@cache
def _pretrained(epochs: int) -> str:
    """Return the points of the first stage, which are the same for every run."""
    stage = "pretrain"
    points = [{"stage": stage, "epoch": at, "values": _losses(stage, at, epochs)} for at in range(epochs)]
    return json.dumps(points)[1:-1]


def _losses(stage: str, epoch: int, epochs: int) -> dict[str, float]:
    terms = ("loss", "tacl", "cue", "patch", "kl") if stage == "pretrain" else ("loss",)
    fall = math.exp(-3 * epoch / epochs)
    return {f"{stage}/{term}": (1 + at) * fall + 0.05 * math.sin(epoch) for at, term in enumerate(terms)}


def _predictions(place: Path, classes: tuple[str, ...], label: np.ndarray, logits: np.ndarray, name: str) -> None:
    import pyarrow
    import pyarrow.parquet

    both = np.concatenate([label[:1], label])  # a clip of val that must not be shown
    scores = np.concatenate([logits[:1], logits])
    columns: dict[str, Any] = {
        "split": ["val"] + ["test"] * len(label),
        "clip": ["hidden/val"] + [f"{classes[at]}/{name or 'clip'}_{row:04}" for row, at in enumerate(label)],
        "label": [classes[at] for at in both],
        "predicted": [classes[at] for at in scores.argmax(1)],
        "group": ["g"] * len(both),
    }
    columns |= {f"score/{kind}": scores[:, at].astype(np.float32) for at, kind in enumerate(classes)}
    pyarrow.parquet.write_table(pyarrow.table(columns), place / "predictions.parquet")


def grid(runs: list[Run], name: str = "comparison", title: str = "Comparison", caption: str = "") -> Table:
    """Return a table of means of Acc E and F1 E by arm and data set, with published rows that lack some values."""
    cards = {one.info.name: one.info for one in runs}
    scores = {"acc_e": "Acc E", "f1_e": "F1 E"}
    columns = [Column("method", "method", numeric=False)]
    columns += [Column(f"{key}/{score}", title, cards[key].title) for key in cards for score, title in scores.items()]
    lines = []
    for arm in dict.fromkeys(one.arm for one in runs):
        cells = [Cell(arm)]
        for key in cards:
            for score in scores:
                of = [one for one in runs if (one.arm, one.info.name, one.failed) == (arm, key, False)]
                values = [one.get_score(Metric(score, score)) or 0.0 for one in of]
                keys = tuple(one.record.key for one in of)
                mean = float(np.mean(values)) if values else None
                spread = f" ±{np.std(values):.1f}" if len(values) > 1 else ""
                cells.append(Cell(f"{mean:.1f}{spread}", "", mean, keys) if mean is not None else Cell("–"))
        lines.append(Row(arm, tuple(cells)))
    for at in range(1, len(columns)):
        order = sorted(range(len(lines)), key=lambda row: -(lines[row].cells[at].value or 0))
        for row, mark in zip(order, ("best", "second"), strict=False):
            cells = list(lines[row].cells)
            cells[at] = replace(cells[at], mark=mark)  # type: ignore[arg-type]
            lines[row] = Row(lines[row].id, tuple(cells))
    published = [
        Cell(f"{50 + at:.1f}", "", 50.0 + at, (), ("As printed by the authors.",)) for at in range(len(columns) - 2)
    ]
    lines.append(Row("published/mart", (Cell("MART, published"), Cell("–"), *published), rule_above=True))
    lines.append(Row("published/mbt", (Cell("MBT, published"), *[Cell("41.0", "", 41.0)] * (len(columns) - 1))))
    caption = caption or "Test split, percent, mean ± deviation over seeds. Best bold, second best underlined."
    warnings = ("Only 2 seeds: no difference can reach p = 0.05.",)
    return Table(name, title, caption, tuple(columns), tuple(lines), ("Published numbers had other splits.",), warnings)


def report(runs: list[Run], **more: Any) -> Report:
    """Return a report of one table and one figure."""
    name = more.pop("name", "")
    picture = ReportFigure("curve", name or "Differences", name or "A line.", lambda: None, ())  # type: ignore
    text = (name or "Does MART beat the supervised model it starts from, and everything simpler, on each data set?",)
    grids = more.pop("grids", (grid(runs, title=name or "Comparison", caption=name),))
    section = Section("comparison", name or "Comparison", text, grids, (picture,))
    warnings = (name or "The runs come from 2 commits.",)
    lead = name or "Six methods on five data sets, each with several seeds. Click a number to see its runs."
    values = {"is_sample": False, "warnings": warnings, **more}
    return Report("comparison", name or "Comparison of methods", lead, (section,), tuple(runs), **values)


def many(folder: Path, arms: tuple[str, ...], names: tuple[str, ...], seeds: int, clips: int, **more: Any) -> list[Run]:
    """Return runs of every arm on every data set with every seed."""
    cards = [card(name) for name in names]
    return [run(folder, one, arm, seed, clips, **more) for one in cards for arm in arms for seed in range(seeds)]


def named(folder: Path, text: str) -> Report:
    """Return a report in which every text is `text`."""
    facts = card(classes=(text, "joy"), title=text)
    runs = [run(folder, facts, arm, 0, name=text) for arm in ("mart", text)]
    runs.append(run(folder, facts, text, 1, name=text, failed=text))
    runs = [replace(one, mlflow_run_id=text, mlflow_experiment=text, hand_set=text, request=text) for one in runs]
    table = grid(runs, text, text, text)
    line = Row(f"{text}/{text}", tuple(Cell(text, "best", None, (text,), (text,)) for _ in table.columns), True)
    columns = tuple(replace(column, title=text, group=text) for column in table.columns)
    table = replace(table, columns=columns, rows=(*table.rows, line), notes=(text,), warnings=(text,))
    found = report(runs, name=text, grids=(table,), omissions=(text,), tracking_url=text)
    picture = replace(found.sections[0].figures[0], title=text, caption=text)
    section = Section(text, text, (text,), (table,), (picture,))
    return replace(found, name=text, title=text, summary=text, sections=(section,))
