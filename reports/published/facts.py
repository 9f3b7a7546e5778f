"""The numbers that a paper prints, and what is known to be wrong with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


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
    protocol: str  # a few words, and behind a colon what more is to be said: "protocol unknown: no seeds are given"
    tables: dict[str, Printed]
    elsewhere: tuple[tuple[str, str], ...]  # (data set, sentence): what other papers print for it

    @property
    def short_protocol(self) -> str:
        """The protocol in a few words."""
        return self.protocol.partition(":")[0]


@cache
def published(file: Path) -> Published:
    """What a paper prints, from its JSON."""
    raw = json.loads(file.read_text(encoding="utf-8"))
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
