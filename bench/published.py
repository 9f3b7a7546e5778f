"""The records that an MLflow store holds, found by a search of runs alone, in a few streams at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from bench.filling import REQUESTS_TAG
from bench.packed import REQUESTS_PREFIX, unpack

if TYPE_CHECKING:
    from mlflow.entities import Run

    from bench.store import Store

SECONDS = 60  # that one answer of a busy server may take
STREAMS = 4  # a server answers with as many processes, unless told otherwise


@dataclass(frozen=True)
class Published:
    """One record in the store."""

    key: str
    sha: str
    run_id: str
    end: int  # milliseconds
    trial: bool
    experiment: str
    text: bytes | None  # of the record, where its run's tags hold it
    requests_sha: str = ""  # of the requests for the run; "" where there are none
    requests: bytes | None = None  # their text, where tags hold it


def published_runs(store: Store) -> dict[str, dict[str, Published]]:
    """Key -> sha256 of a record -> where it is, those that finished first in front; replaced ones left out."""
    store.connect()  # once, before several threads want it
    with _patience(), ThreadPoolExecutor(STREAMS) as pool:
        shares = pool.map(lambda digit: list(_records(_share(store, digit))), "0123456789abcdef")
        records = sorted(chain.from_iterable(shares), key=lambda found: found.end)
    found: dict[str, dict[str, Published]] = {}
    for record in records:
        found.setdefault(record.key, {}).setdefault(record.sha, record)
    return found


@contextmanager
def _patience() -> Iterator[None]:
    """A block in which a server that was reached may take its time: nobody waits to train meanwhile."""
    kept = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(int(kept), SECONDS))
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = kept


def _share(store: Store, digit: str) -> Iterable[Run]:
    return store.search(f"tags.`bench.record` != '' AND tags.`bench.key` LIKE '{digit}%'")


def _records(runs: Iterable[Run]) -> Iterable[Published]:
    for run in runs:
        tags = run.data.tags
        if "bench.superseded" not in tags and run.info.status == "FINISHED":
            key, sha, trial = tags.get("bench.key", ""), tags["bench.record"], tags.get("bench.stage") == "trial"
            info = run.info
            requests_sha = tags.get(REQUESTS_TAG, "")
            yield Published(
                key,
                sha,
                info.run_id,
                info.end_time or 0,
                trial,
                info.experiment_id,
                unpack(tags, sha),
                requests_sha,
                unpack(tags, requests_sha, REQUESTS_PREFIX) if requests_sha else None,
            )
