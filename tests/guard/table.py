"""Table of the guard's checks, at most 80 columns wide, followed by a line for each failure."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WIDTHS = {"part": 8, "checked": 27, "found": 16, "expected": 11, "": 6, "s": 5}


@dataclass
class Check:
    """Row of the table, with the reasons for a failure."""

    part: str
    what: str
    found: str = "-"
    expected: str = "-"
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # printed for passed checks too

    @property
    def ok(self) -> bool:
        """Return whether there are no faults."""
        return not self.faults


@contextmanager
def timed(part: str, what: str) -> Iterator[Check]:
    """Yield a check and time the block; an exception in the block becomes a fault of the check."""
    say(f"{part}: {what} ...")
    check, since = Check(part, what), time.monotonic()
    try:
        yield check
    except Exception as error:  # a broken check counts as failed, and the others still run
        text = " ".join(str(error).split()) or "no message"
        check.faults.append(f"{type(error).__name__}: {text[-600:]}")
    check.seconds = time.monotonic() - since


def say(line: str) -> None:
    """Print progress on stderr, so that stdout contains only the table."""
    print(line, file=sys.stderr, flush=True)


def table(checks: list[Check]) -> str:
    """Format the table, with failures and then notes below it."""
    lines = [_line(list(WIDTHS)), _line(["-" * width for width in WIDTHS.values()])]
    for check in checks:
        state = "ok" if check.ok else "FAILED"
        lines += _lines([check.part, check.what, check.found, check.expected, state, f"{check.seconds:.0f}"])
    for title, kind in (("FAILED", "faults"), ("note", "notes")):
        lines += [f"{title}: {c.part}: {c.what}: {line}" for c in checks for line in getattr(c, kind)]
    failed = sum(not check.ok for check in checks)
    lines.append(f"{len(checks) - failed} of {len(checks)} checks passed")
    return "\n".join(lines)


def _lines(cells: list[str]) -> list[str]:
    """Format a row, wrapping long cells into further lines."""
    parts = [_cut(cell, width) for cell, width in zip(cells, WIDTHS.values(), strict=True)]
    height = max(map(len, parts))
    return [_line([part[row] if row < len(part) else "" for part in parts]) for row in range(height)]


def _cut(text: str, width: int) -> list[str]:
    """Wrap a text to lines of at most `width` characters, at spaces if possible."""
    lines = [""]
    for word in text.split():
        while len(word) > width:
            lines, word = [*lines, word[:width]], word[width:]
        if len(lines[-1]) + len(word) + bool(lines[-1]) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
        else:
            lines.append(word)
    return [line for line in lines if line] or [""]


def _line(cells: list[str]) -> str:
    widths = list(WIDTHS.values())
    last = cells[-1].rjust(widths[-1])
    return " ".join([*(cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)), last]).rstrip()
