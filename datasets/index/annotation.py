"""The annotation file of the authors' tools: every clip by its bare name, with subset and label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.data import Card, Clip, Problem, Split
from bench.errors import DataError
from bench.names import propose
from datasets.index.lists import read_text
from datasets.index.rows import SUBSETS, make_row, spell


class _Object(dict[str, Any]):
    """A JSON object that remembers each of its pairs, since a name that stands twice would hide one of them."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def annotation_rows(root: Path, card: Card, number: int) -> tuple[list[Clip], list[Problem]] | None:
    """The clips of the json file that has a "database", in its order; None where there is none.

    Of several the one whose name ends in the list's number counts. A class that the card lacks and an unknown subset
    cost their clips. Raises DataError where nothing else is there, and for entries that cannot be read.
    """
    found = {path: database for path in sorted(root.glob("*.json")) if (database := _database(path)) is not None}
    numbered = [path for path in found if path.stem.endswith(f"{number:02d}")]
    path, *others = [*(numbered or (found if number == 1 else []))] or [None]
    if path is None:
        return None
    rows, problems = _rows(path, found[path], card)
    return rows, [*(Problem("two files", other.name, f"{path.name} is used") for other in others if other), *problems]


def has_annotation(root: Path) -> bool:
    """Whether a folder has such a file."""
    return any(_database(path) is not None for path in root.glob("*.json"))


def _rows(path: Path, database: Any, card: Card) -> tuple[list[Clip], list[Problem]]:
    if not isinstance(database, _Object) or not database.pairs:
        raise DataError(f'{path.name}: "database" must hold {{"<clip>": {{"subset": .., "annotations": ..}}}}')
    words = _subsets(database)
    rows, problems, unknown, bare = [], [], {}, 0
    for name, entry in database.pairs:
        where = f"{path.name}: '{name}'"
        subset, label = _fields(entry, where)
        if spell(label, card) is None:
            unknown[name] = label
            continue
        stated, _, clip = name.rstrip("/").rpartition("/")
        bare += not stated
        own = bool(stated) and spell(stated, card) == spell(label, card)
        row = make_row(label, clip if own else name, "train", card, where)
        if subset not in words:
            problems.append(Problem("subset", row.key, f"unknown subset '{subset}' in {path.name}; left out"))
        else:
            rows.append(Clip(row.key, row.label, words[subset], row.group))
    if unknown and len(unknown) >= len(database.pairs) / 2:
        name, label = next(iter(unknown.items()))
        tail = propose(label, card.classes)
        counted = f"{len(unknown)} of its {len(database.pairs)} clips are of classes"
        raise DataError(f"{path.name}: {counted} that {card.title} lacks, first '{name}' of '{label}'; {tail}")
    for name, label in unknown.items():
        problems.append(Problem("label", name, f"class '{label}' in {path.name} is none of {card.title}; left out"))
    if bare:
        why = f"{bare} clips are keyed without their class: a name under two classes can stand there but once"
        problems.append(Problem("bare names", path.name, why))
    return rows, problems


def _subsets(database: _Object) -> dict[str, Split]:
    """What subsets are called; "validation" is the authors' name for the test split where no other is called so."""
    named = [entry.get("subset") for _, entry in database.pairs if isinstance(entry, dict)]
    tested = any(SUBSETS.get(name) == "test" for name in named if isinstance(name, str))
    return {**SUBSETS, "validation": "val" if tested else "test"}


def _fields(entry: Any, where: str) -> tuple[str, str]:
    try:
        subset, label = entry["subset"], entry["annotations"]["label"]
    except (KeyError, TypeError):
        raise DataError(f"{where} has no subset or no annotations.label") from None
    if not (isinstance(subset, str) and isinstance(label, str)):
        raise DataError(f"{where}: subset and annotations.label must be text, not {subset!r} and {label!r}")
    return subset, label


def _database(path: Path) -> Any:
    """What stands under "database"; None in a file that has no such entry. Raises DataError for a broken one."""
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path), object_pairs_hook=_Object)["database"]
    except (KeyError, TypeError):
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no readable json ({error}); mend it, or move it away") from None
