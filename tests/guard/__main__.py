"""Run the guard's checks: `python -m tests.guard [PART ...]` runs the named parts, or all, and prints one table.

The exit code is 1 if a check failed. `scores --store` stores the scores of methods that are new or have a raised
version, and `--store-all` those of all methods.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.guard.table import Check, table

PARTS = ("results", "scores", "kills", "step")


def main() -> int:
    """Run the requested parts and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.guard", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--store", action="store_true", help="scores: store the scores of new methods and raised versions"
    )
    parser.add_argument("--store-all", action="store_true", help="scores: store the scores of all methods again")
    parser.add_argument("--cache", type=Path, help="scores: folder that caches the generated sample between calls")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="scores: number of processes, one thread each"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="kills: minutes during which new rounds are started")
    parser.add_argument("--seed", type=int, default=0, help="kills: seed of the moments and of the killed processes")
    parser.add_argument("--steps", type=int, default=3, help="step: number of timed steps")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; known: {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in given.parts] if given.parts else PARTS
    run = _runs(given)
    checks = [check for part in parts for check in run[part]()]
    print(table(checks), flush=True)
    return 0 if all(check.ok for check in checks) else 1


def _runs(given: argparse.Namespace) -> dict[str, Callable[[], list[Check]]]:
    """Return part -> function that runs it; the modules of a part are imported when it runs."""

    def results() -> list[Check]:
        from tests.guard.results import check_results

        return check_results()

    def scores() -> list[Check]:
        from tests.guard.scores import check_scores, store_scores

        if given.store or given.store_all:
            return store_scores(given.cache, given.workers, everything=given.store_all)
        return check_scores(given.cache, given.workers)

    def kills() -> list[Check]:
        from tests.guard.kills import check_kills

        return check_kills(given.minutes, given.seed)

    def step() -> list[Check]:
        from tests.guard.step import check_step

        return check_step(given.steps)

    return {"results": results, "scores": scores, "kills": kills, "step": step}


if __name__ == "__main__":
    sys.exit(main())
