"""The same content under two names: told, and never on two sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bench.data import Problem
from datasets.store.prepared import Prepared

SHOWN = 5  # names in a line


def find_copies(prepared: Iterable[Prepared]) -> tuple[dict[str, set[str]], list[Problem]]:
    """Clip key -> the clips of the very same frames or the very same sound; and each set of copies, told once."""
    same: dict[tuple[str, str], list[Prepared]] = defaultdict(list)
    for item in prepared:
        if item.row is not None and item.path is not None:
            for kind, digest in (("picture", item.row.looks), ("sound", item.row.sounds)):
                if digest:
                    same[kind, digest].append(item)
    copies: dict[str, set[str]] = defaultdict(set)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (kind, _), items in same.items():
        keys = tuple(sorted(item.clip.key for item in items))
        if len(keys) > 1:
            shared[keys].append(kind)
            for key in keys:
                copies[key] |= set(keys) - {key}
    return copies, [Problem("same content", keys[0], _tell(keys, kinds)) for keys, kinds in sorted(shared.items())]


def _tell(keys: Sequence[str], kinds: Sequence[str]) -> str:
    others = ", ".join(keys[1:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
    labels = sorted({key.partition("/")[0] for key in keys})
    under = f", under {len(labels)} classes" if len(labels) > 1 else ""
    return f"the same {' and '.join(sorted(kinds))} as {others}{under}"


def drop_leaks(
    splits: Mapping[str, Sequence[Prepared]], copies: Mapping[str, set[str]]
) -> tuple[dict[str, list[Prepared]], list[Problem]]:
    """The splits without what is in a later one as well: a copy of a test clip is neither trained nor selected on, a
    copy of a val clip is not trained on."""
    kept, problems = {}, []
    later: set[str] = set()
    for split in ("test", "val", "train"):
        lost = [item for item in splits[split] if copies.get(item.clip.key, set()) & later]
        problems += [
            Problem("leak", item.clip.key, f"{_copy_of(item, copies, later)} is in a later split; left out of {split}")
            for item in lost
        ]
        gone = {item.clip.key for item in lost}
        kept[split] = [item for item in splits[split] if item.clip.key not in gone]
        later |= {item.clip.key for item in kept[split]}
    return kept, problems


def _copy_of(item: Prepared, copies: Mapping[str, set[str]], later: set[str]) -> str:
    return f"its copy {min(copies[item.clip.key] & later)}"
