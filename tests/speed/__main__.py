"""Run benchmarks: `python -m tests.speed [PART ...]` runs the named parts, or all, and prints each figure on a line."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.speed import commands, exchange, harness, large, paper, plan, quick, reading, report, search, storage

PARTS: dict[str, Callable[[], None]] = {
    "commands": commands.main,
    "reading": reading.main,
    "large": large.main,
    "quick": quick.main,
    "paper": paper.main,
    "harness": harness.main,
    "plan": plan.main,
    "search": search.main,
    "storage": storage.main,
    "exchange": exchange.main,
    "report": report.main,
}


def main(names: list[str]) -> None:
    """Run the named parts in sequence; exit with a message for an unknown name."""
    for name in names or list(PARTS):
        if name not in PARTS:
            raise SystemExit(f"unknown part '{name}'; known: {', '.join(PARTS)}")
        print(f"-- {name}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
