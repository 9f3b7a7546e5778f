"""Summaries of synthetic data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.tasks import Classification
from bench.types import ClassFacts, ClipSummary, DataIssue, DatasetInfo, DatasetSummary, FactsSection

HOSTILE = "<img src=x onerror=alert(1)>&\"'"
CARD = DatasetInfo(
    name="toys",
    title="Toys & Co",
    task=Classification(("anger", "joy", "calm"), (-1, 1, 0)),
    emotions={"anger": frozenset({"anger"}), "joy": frozenset({"joy", "trust"})},
    language="en",
    licence="on request",
    cite="Doe et al., 2020",
    obtain="ask",
    unreached=("calm",),
    reasons={"joy": "joy is joy"},
)


def clip(label: int, number: int, split: str = "train", seconds: float | None = 4.0, **fields: Any) -> ClipSummary:
    key = f"{CARD.classes[label]}/{number}"
    values = {"group": key, "words": 3, "streams": ("video", "audio", "text"), **fields}
    return ClipSummary(key, label, split, seconds=seconds, **values)  # type: ignore[arg-type]


def clips(each: int = 6, **fields: Any) -> tuple[ClipSummary, ...]:
    """Return `each` training clips and two test clips of every class."""
    places = [(label, number) for label in range(3) for number in range(each + 2)]
    return tuple(clip(label, number, "train" if number < each else "test", **fields) for label, number in places)


def heard(card: DatasetInfo, **cells: tuple[str | float, ...]) -> FactsSection:
    """Return a section that a method adds; `cells` maps a class to its cells."""
    rows = tuple(ClassFacts(name, cells.get(name, ("12", 0.5)), f"why {name}") for name in card.classes)
    return FactsSection(
        "heard", f"Heard in {card.title}", ("entries", "share"), rows, "What is meant.", "Nothing for", card.classes[-1]
    )


def facts(**fields: Any) -> DatasetSummary:
    values = {
        "fold": 0,
        "is_sample": False,
        "clips": clips(),
        "issues": (),
        "sections": (heard(CARD),),
        "store_bytes": 5_000_000,
    }
    return DatasetSummary(CARD, **{**values, **fields})


def missing(found: DatasetSummary, *keys: str) -> DatasetSummary:
    """Return the same data set without the media of some clips."""
    problems = tuple(DataIssue("missing", key, "listed, but no picture or sound was found") for key in keys)
    rows = tuple(replace(row, seconds=None, streams=()) if row.key in keys else row for row in found.clips)
    return replace(found, clips=rows, issues=(*found.issues, *problems))
