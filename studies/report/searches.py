"""The searches that were made, read from the summaries that each left beside the records."""

from __future__ import annotations

from pathlib import Path

from bench.errors import StoreError
from bench.files import parse_json
from reports.results.searched import Summary
from studies.search.publish import SUMMARY

FOLDER = "searches"


def read_searches(results: Path) -> tuple[list[Summary], list[str]]:
    """All searches under a results folder, by arm, data set and fold; and why a file is none."""
    found, passed = [], []
    for path in sorted((results / FOLDER).glob(f"*/{SUMMARY}")):
        try:
            found.append(_read(path))
        except StoreError as error:
            passed.append(str(error))
    return sorted(found, key=lambda one: (one.arm, one.dataset, one.fold, one.preset, one.digest)), passed


def _read(path: Path) -> Summary:
    try:
        raw = parse_json(path.read_text())
        winner = raw["winner"]
        return Summary(
            digest=path.parent.name,
            **{name: raw[name] for name in ("arm", "dataset", "data", "fold", "preset", "sampler", "pruner", "seeds")},
            ranges=dict(raw["ranges"]),
            base=dict(raw["base"]),
            tried=sum(raw["tried"].values()),
            winner=dict(winner["params"]) if winner is not None else None,
            best=winner["value"] if winner is not None else None,
            trials=tuple(raw.get("trials", ())),
            weights=dict(raw["weights"]) if "weights" in raw else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no summary of a search ({type(error).__name__}); move it away") from None
