"""The numbers that the MART paper prints, and what is known to be wrong with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("mart.json")
UNKNOWN = "protocol unknown"


@dataclass(frozen=True)
class Printed:
    """A table of the paper: method or arm of ours -> column (`ekman6/acc_e`, `recall/joy`, `acc_e`) -> percent."""

    of: str  # "Table 3"
    dataset: str  # "" for several, which its columns name
    lines: dict[str, dict[str, float]]
    footnotes: dict[str, tuple[str, ...]]  # "<line>/<column>" -> sentences


@dataclass(frozen=True)
class Published:
    """A paper's tables by the name of ours that each stands beside."""

    source: str
    protocol: str
    tables: dict[str, Printed]
    elsewhere: tuple[tuple[str, str], ...]  # (data set, sentence): what other papers print for it


@cache
def published() -> Published:
    """What the paper prints."""
    raw = json.loads(FILE.read_text())
    notes: dict[str, list[str]] = {}
    for note in raw["footnotes"]:
        for cell in note["cells"]:
            notes.setdefault(cell, []).append(note["text"])
    tables = {
        name: Printed(
            table["of"],
            table.get("dataset", ""),
            table["lines"],
            {cell.partition("/")[2]: tuple(text) for cell, text in notes.items() if cell.partition("/")[0] == name},
        )
        for name, table in raw["tables"].items()
    }
    return Published(raw["source"], raw["protocol"], tables, tuple((e["dataset"], e["text"]) for e in raw["elsewhere"]))
