"""A search told to others: its summary as a file beside the records, its pictures, and its MLflow run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.files import parse_json, write_whole
from bench.parents import Status, begin_parent, end_parent, tag_run
from bench.record import RunFolder, is_key
from bench.store import Store
from studies.search.plots import draw_search
from studies.search.search import Search, Tried, Winner

SUMMARY = "search.json"


def begin_search(search: Search, store: Store) -> None:
    """The MLflow run under which the trials will stand."""
    params = {
        "search": search.name,
        "sampler": search.how.sampler,
        "pruner": search.how.pruner,
        "runs of a trial": search.how.seeds,
        **{f"range of {name}": _as_row(one) for name, one in search.ranges.items()},
    }
    begin_parent(store, search.spec.dataset, search.spec.data, search.title, params)


def publish_search(search: Search, store: Store) -> None:
    """Write what a search tried and found, draw it, and close its MLflow run; nothing where all that is done."""
    if search.is_brought:
        return
    place, found = folder_of(store.results, search), _summary(search)
    known = json.loads((place / SUMMARY).read_text()) if (place / SUMMARY).exists() else {}
    if known == {**found, "published": True}:
        return
    pictures = draw_search(search.study, place, f"{search.title} on {_data_of(search)}: val Acc E")
    write_whole(place / SUMMARY, _text({**found, "published": False}))
    winner, tried = search.winner(), search.tried()
    status: Status = "FAILED" if winner is None else "FINISHED" if search.is_over() else "KILLED"
    metrics = {f"tried/{name}": float(count) for name, count in vars(tried).items()}
    tags = {"bench.search": search.name}
    if winner is not None:
        metrics["best/val/acc_e"] = winner.value
        tags |= {f"bench.winner.{name}": str(value) for name, value in winner.params.items()}
        before = {key for key in (known.get("winner") or {}).get("keys", []) if is_key(key)}
        for key in before - set(winner.keys):
            tag_run(store, RunFolder(store.results / "runs" / key), {"bench.winner": "false"})
        for key in winner.keys:
            tag_run(store, RunFolder(store.results / "runs" / key), {"bench.winner": "true"})
    files = [*pictures, place / SUMMARY]
    end_parent(store, search.spec.dataset, search.spec.data, search.title, status, metrics, files, tags)
    if store.away is None:
        write_whole(place / SUMMARY, _text({**found, "published": True}))


def bring_summary(search: Search, results: Path) -> None:
    """Let a search that another machine made, and whose summary was copied here, count as made."""
    path = folder_of(results, search) / SUMMARY
    if not path.exists():
        return
    try:
        found = parse_json(path.read_text())
        winner = Winner(**found["winner"]) if found["winner"] is not None else None
        search.bring(winner, Tried(**found["tried"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no summary of a search ({type(error).__name__}); move it away") from None


def folder_of(results: Path, search: Search) -> Path:
    """Where the summary and the pictures of a search are."""
    return results / "searches" / search.digest


def _summary(search: Search) -> dict[str, Any]:
    winner = search.winner()
    found = {
        "name": search.name,
        "arm": search.base.arm,
        "dataset": search.spec.dataset,
        "data": search.spec.data,
        "fold": search.base.fold,
        "preset": search.base.preset,
        "sampler": search.how.sampler,
        "pruner": search.how.pruner,
        "seeds": search.how.seeds,
        "ranges": {name: _as_row(one) for name, one in search.ranges.items()},
        "base": search.spec.config,
        "weights": search.spec.weights,
        "tried": vars(search.tried()),
        "trials": search.told(),
        "winner": vars(winner) if winner is not None else None,
        "failures": search.failures(),
    }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _as_row(search: Any) -> list[Any]:
    return list(search.choices) or [search.low, search.high, "log" if search.log else "linear"]


def _data_of(search: Search) -> str:
    sample = " (BUILT-IN SAMPLE)" if search.spec.data == "sample" else ""
    return f"{search.base.dataset.card.title}{sample}"


def _text(found: dict[str, Any]) -> bytes:
    return (json.dumps(found, indent=1) + "\n").encode()
