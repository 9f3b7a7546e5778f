"""A search told to others: its summary as a file, its pictures, and its MLflow run."""

from __future__ import annotations

import json
from pathlib import Path

from bench.files import write_whole
from bench.store import Store
from studies.search.search import Search


def publish_search(search: Search, store: Store) -> None:
    """Write what a search tried and found beside the records."""
    winner, tried = search.winner(), search.tried()
    found = {
        "name": search.name,
        "arm": search.base.arm,
        "dataset": search.base.dataset.card.name,
        "fold": search.base.fold,
        "preset": search.base.preset,
        "sampler": search.how.sampler,
        "pruner": search.how.pruner,
        "seeds": search.how.seeds,
        "ranges": {name: [s.low, s.high, s.log, list(s.choices)] for name, s in search.ranges.items()},
        "base": search.base.config.model_dump(mode="json"),
        "tried": vars(tried),
        "winner": vars(winner) if winner is not None else None,
        "failures": search.failures(),
    }
    write_whole(folder_of(store.results, search) / "search.json", (json.dumps(found, indent=1) + "\n").encode())


def folder_of(results: Path, search: Search) -> Path:
    """Where the summary and the pictures of a search are."""
    return results / "searches" / search.digest
