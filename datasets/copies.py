"""The same content under two names: told, and never on two sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bench.data import Problem
from datasets.store.prepared import Prepared

SHOWN = 5  # names in a line


def find_copies(prepared: Iterable[Prepared]) -> list[Problem]:
    """Each set of clips of the very same frames or the very same sound, told once."""
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in prepared:
        for mark in _marks(item):
            same[mark].append(item.clip.key)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (kind, _), keys in same.items():
        if len(keys) > 1:
            shared[tuple(sorted(keys))].append(kind)
    return [Problem("same content", keys[0], _tell(keys, kinds)) for keys, kinds in sorted(shared.items())]


def drop_leaks(splits: Mapping[str, Sequence[Prepared]]) -> tuple[dict[str, list[Prepared]], list[Problem]]:
    """The splits without what is in a later one as well: a copy of a test clip is neither trained nor selected on, a
    copy of a val clip is not trained on."""
    kept: dict[str, list[Prepared]] = {}
    problems = []
    later: dict[tuple[str, str], str] = {}  # mark -> the first clip that has it
    for split in ("test", "val", "train"):
        kept[split] = []
        for item in splits[split]:
            copy = next((later[mark] for mark in _marks(item) if mark in later), None)
            if copy is None:
                kept[split].append(item)
            else:
                why = f"its copy {copy} is in a later split; left out of {split}"
                problems.append(Problem("leak", item.clip.key, why))
        for item in kept[split]:
            for mark in _marks(item):
                later.setdefault(mark, item.clip.key)
    return kept, problems


def _marks(item: Prepared) -> list[tuple[str, str]]:
    """Digests of what is seen and of what is heard, where that is anything."""
    if item.row is None or item.path is None:
        return []
    return [(kind, digest) for kind, digest in (("picture", item.row.looks), ("sound", item.row.sounds)) if digest]


def _tell(keys: Sequence[str], kinds: Sequence[str]) -> str:
    others = ", ".join(keys[1:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
    labels = sorted({key.partition("/")[0] for key in keys})
    under = f", under {len(labels)} classes" if len(labels) > 1 else ""
    return f"the same {' and '.join(sorted(kinds))} as {others}{under}"
