"""The official lists: one file a split, a clip a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.data import Card, Clip, Split
from bench.errors import DataError
from datasets.index.rows import make_row, spell, split_key


def list_rows(root: Path, card: Card, number: int) -> list[Clip] | None:
    """The clips of trainlistNN.txt and testlistNN.txt, in their order; None where there are no such files.

    Raises DataError for one list without the other, a list that cannot be read, and for wrong lines.
    """
    lists: dict[Split, Path] = {
        "train": root / f"trainlist{number:02d}.txt",
        "test": root / f"testlist{number:02d}.txt",
    }
    there = [path for path in lists.values() if path.exists()]
    if not there:
        return None
    if len(there) < 2:
        (lost,) = [path.name for path in lists.values() if path not in there]
        raise DataError(f"{root} has {there[0].name} but not the other list; {lost} is wanted too")
    return [row for split, path in lists.items() for row in _rows(path, split, card)]


def read_text(path: Path) -> str:
    """A list's text; raises DataError for a file that cannot be read, or is not in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not in UTF-8; save it as UTF-8") from None


def _rows(path: Path, split: Split, card: Card) -> Iterable[Clip]:
    """Lines "<Class>/<clip>" with or without the class's own number behind them, counted from 1 or from 0.

    Where most numbers at the end are not the class's own, as in "joy/clip 1", "joy/clip 2", all are part of the names.
    """
    lines = [(f"{path.name}:{number}", line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    named = [(where, *split_key(name, where)) for where, name in lines if name]
    own = [_ends_in_own_number(label, clip, card) for _, label, clip in named]
    numbered = own.count(True) > own.count(False)
    for (where, label, clip), strip in zip(named, own, strict=True):
        yield make_row(label, clip.rpartition(" ")[0].strip() if strip and numbered else clip, split, card, where)


def _ends_in_own_number(label: str, clip: str, card: Card) -> bool | None:
    """Whether the number behind a clip is that of its class; None where there is no number."""
    head, _, tail = clip.rpartition(" ")
    if not head.strip() or not tail.isdecimal():
        return None
    name = spell(label, card)
    return name is not None and tail in {str(card.classes.index(name) + base) for base in (0, 1)}
