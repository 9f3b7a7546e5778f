"""Which parts of MART a method has, and what it makes of each class, as in Tables 3, 4 and 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from reports.results.frame import Frame
from reports.tables.columns import COUNT, column, name_cell, over
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.scores import MARKS, percent

YES, NO = "✓", "–"
STAGES = "Cues are verified by sentiment (E1), emotion (E2) and degree (E3)."
STAGED = ("components", "verification")
STEPS = {"none": NO, "sentiment": "E1", "emotion": "E1, E2", "degree": "E1, E2, E3"}
Told = Callable[[Mapping[str, Any]], str]
"""What a config says of a part."""


def pre_trained(config: Mapping[str, Any]) -> bool:
    """Whether a config has a pre-training stage."""
    return "pretrain_epochs" in config


def _masking(config: Mapping[str, Any]) -> str:
    if not pre_trained(config) or config.get("mask", "none") == "none":
        return NO
    share = f"{100 * config['mask_to']:.0f} %"
    low = f"{100 * config['mask_from']:.0f}"
    return f"{config['mask']} {share if low == share.split()[0] else f'{low}-{share}'}"


PARTS: dict[str, dict[str, Told]] = {
    "components": {
        "masking": lambda config: YES if _masking(config) != NO else NO,
        "verification": lambda config: STEPS.get(str(config.get("verify", "none")), NO),
    },
    "masking": {"hidden tokens": _masking},
    "target": {"recovered": lambda config: str(config.get("target", NO)) if _masking(config) != NO else NO},
    "verification": {"verified by": lambda config: STEPS.get(str(config.get("verify", "none")), NO)},
    "modalities": {
        "picture": lambda config: YES if config.get("modalities") in (None, "video", "both") else NO,
        "sound": lambda config: YES if config.get("modalities") in (None, "audio", "both") else NO,
    },
}
"""Table -> heading of a part -> what a config says of it."""


def components(frame: Frame, kind: str, name: str, title: str, dataset: str) -> Grid:
    """The lines of one data set: their parts, the recall of each class, and Acc E."""
    frame = frame.on(dataset)
    called, classes = frame.datasets[dataset], frame.runs[0].card.classes
    pools = frame.pools(dataset)
    cells = [column(pools, partial(percent, f"recall/{one}")) for one in classes]
    cells.append(column(pools, partial(percent, "acc_e")))
    configs = {label: frame.of(label)[0].record.spec.config for label in frame.labels}
    parts = PARTS[kind]
    columns = [Column("method", "method", numeric=False)]
    columns += [Column(f"part/{part}", part, numeric=False) for part in parts]
    columns += [Column(f"recall/{one}", one, "recall") for one in classes]
    columns.append(Column("acc_e", "Acc E"))
    lines = tuple(
        Line(
            label,
            (
                name_cell(frame, label),
                *(Cell(told(configs[label])) for told in parts.values()),
                *(found[place] for found in cells),
            ),
        )
        for place, label in enumerate(frame.labels)
    )
    n = max(len(pool.runs) for pool in pools)
    told = f"{STAGES} " if kind in STAGED else ""
    caption = (
        f"{called}, n = {n}; percent of the test clips. {over(frame, dataset)} {COUNT} {told}{MARKS} {frame.values}"
    )
    return Grid(name, f"{title}, {called}", caption, tuple(columns), lines, warnings=frame.warnings)
