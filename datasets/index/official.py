"""The official lists that come with the program: names and labels, so that the videos alone are enough."""

from __future__ import annotations

import csv
from pathlib import Path

from bench.data import Card, Clip
from datasets.index.rows import SUBSETS, make_row

FOLDER = Path(__file__).resolve().parents[1] / "official"


def official_rows(card: Card, fold: int) -> list[Clip] | None:
    """The clips of the list that comes with the program, in its order; None where none does."""
    path = FOLDER / (f"{card.name}-{fold:02d}.csv" if fold else f"{card.name}.csv")
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [make_row(row["label"], row["clip"], SUBSETS[row["split"]], card, path.name) for row in rows]
