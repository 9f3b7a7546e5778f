"""Records exchanged with MLflow, both ways: what it lacks is pushed, what other machines published is pulled."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.files import sha256
from bench.outputs import WEIGHTS
from bench.record import RECORD, Record, RunFolder, finished_runs
from bench.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a file name that cannot leave its folder
_KEY = re.compile(r"[0-9a-f]{20}")


@dataclass
class Exchange:
    """What a sync did."""

    pushed: int = 0
    pulled: int = 0
    conflicts: set[str] = field(default_factory=set)  # keys of which there are different records
    skipped: list[str] = field(default_factory=list)  # why one record or another was left alone


class _Busy(Exception):
    """Another process holds the run."""


def sync(store: Store) -> Exchange:
    """Push and pull until both sides hold the same records; a record that cannot be exchanged is told and skipped.

    `store.away` says why, where MLflow cannot be reached.
    """
    done = Exchange()
    with store.best_effort("sync"):
        published = _published(store)
        done.conflicts |= {key for key, remote in published.items() if len(remote) > 1}
        here = {folder.path.name: folder for folder in finished_runs(store.results)}
        for key, folder in here.items():
            with _alone(folder, done):
                _push(store, folder, published.get(key, {}), done)
            if store.away is not None:
                return done
        for key, remote in published.items():
            folder = RunFolder(store.results / "runs" / key)
            if key not in here and _KEY.fullmatch(key):
                with _alone(folder, done):
                    _pull(store, folder, remote, done)
    return done


def _published(store: Store) -> dict[str, dict[str, Run]]:
    """Key -> sha256 of a record -> the run that holds it, those that finished first in front."""
    found: dict[str, dict[str, Run]] = {}
    for run in sorted(store.search("tags.`bench.record` != ''"), key=lambda run: run.info.end_time or 0):
        tags = run.data.tags
        if "bench.superseded" not in tags and run.info.status == "FINISHED":
            found.setdefault(tags.get("bench.key", ""), {}).setdefault(tags["bench.record"], run)
    return found


@contextmanager
def _alone(folder: RunFolder, done: Exchange) -> Iterator[None]:
    """A block that holds a run's lock; what goes wrong with the run alone is noted and passed over."""

    def refuse() -> None:
        raise _Busy

    try:
        with folder.held(refuse):
            yield
    except _Busy:
        done.skipped.append(f"run {folder.path.name} is under way in another process")
    except StoreError as error:
        done.skipped.append(str(error))


def _push(store: Store, folder: RunFolder, remote: dict[str, Run], done: Exchange) -> None:
    record = folder.record()
    if record is None:  # gone since the folder was listed
        return
    sha = folder.sha()
    if sha not in remote and set(remote) - folder.superseded():
        done.conflicts.add(record.key)
    elif store.run_id(folder) is None or sha not in remote:
        done.pushed += store.publish(folder, record) is not None and sha not in remote


def _pull(store: Store, folder: RunFolder, remote: dict[str, Run], done: Exchange) -> None:
    """Bring the first published record of a run here, unless a fresh run has replaced it or one is there by now;
    nothing is kept unless every checksum fits."""
    key = folder.path.name
    shas = [sha for sha in remote if sha not in folder.superseded()]
    if not shas or folder.record() is not None:
        return
    run, client = remote[shas[0]], store.connect()
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
        place = Path(name)
        got = Path(client.download_artifacts(run.info.run_id, RECORD, name))
        record = Record.from_json(got.read_text(), f"MLflow run {run.info.run_id}")
        if sha256(got) != shas[0] or record.key != key or record.spec.key != key:
            raise StoreError(f"the record of MLflow run {run.info.run_id} is not what its tag says; not pulled")
        for file, wanted in record.files.items():
            if file == WEIGHTS:
                continue
            if not _PLAIN.fullmatch(file):
                raise StoreError(f"MLflow run {run.info.run_id} lists a file '{file}' outside its folder; not pulled")
            if sha256(Path(client.download_artifacts(run.info.run_id, file, name))) != wanted:
                raise StoreError(f"{file} of MLflow run {run.info.run_id} was changed; not pulled")
        for path in sorted(place.iterdir(), key=lambda path: path.name == RECORD):  # the record last
            path.replace(folder.path / path.name)
    store.publish(folder, record)  # notes the run
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    done.pulled += 1
