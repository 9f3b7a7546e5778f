"""Records exchanged with MLflow, both ways: what it lacks is pushed, what other machines published is pulled."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import StoreError
from bench.files import is_plain_file, sha256
from bench.filling import publish_requests
from bench.outputs import WEIGHTS, check_files, missing
from bench.published import Published, published_runs
from bench.record import LARGEST, RECORD, Record, RunFolder, finished_runs, is_key
from bench.requests import (
    REQUESTS,
    StoredRequest,
    add_requests,
    format_requests,
    hash_requests,
    parse_requests,
    read_requests,
)
from bench.store import NOTE, Store

_log = logging.getLogger(__name__)


@dataclass
class Exchange:
    """What a sync did."""

    pushed: int = 0
    pulled: int = 0
    completed: int = 0  # records that were here without their files
    conflicts: set[str] = field(default_factory=set)  # keys of which there are different records
    skipped: list[str] = field(default_factory=list)  # why one record or another was left alone


def sync(store: Store, files: bool = True) -> Exchange:
    """Push and pull until both sides hold the same records; a record that cannot be exchanged is told and skipped.

    Without `files` records come alone, and quickly; a later sync brings what stands beside them. Trials of searches
    are pushed, never pulled. `store.away` says why, where MLflow cannot be reached.
    """
    done = Exchange()
    with store.best_effort("sync"):
        published = published_runs(store)
        done.conflicts |= {key for key, remote in published.items() if len(remote) > 1}
        here = {folder.path.name: folder for folder in finished_runs(store.results)}
        for key, folder in here.items():
            with _skipping(key, done, store):
                _exchange(store, folder, published.get(key, {}), files, done)
            if store.away is not None:
                return done
        wanted = {
            key: remote
            for key, remote in published.items()
            if key not in here and is_key(key) and not all(one.trial for one in remote.values())
        }
        if not files:
            wanted = _pull_light(store, wanted, done)
        for key, remote in wanted.items():
            folder = RunFolder(store.results / "runs" / key)
            with _skipping(key, done, store), _alone(folder):
                _pull(store, folder, remote, files, done)
    return done


@contextmanager
def _skipping(key: str, done: Exchange, store: Store) -> Iterator[None]:
    """Note what goes wrong with one run, and let the others be exchanged. Where the store itself is away, raise."""
    try:
        yield
    except StoreError as error:
        if store.away is not None:
            raise
        done.skipped.append(str(error))
    except Exception as error:  # whatever a client or a driver raises: of this run, unless the store is gone
        if not store.answers():
            raise
        _log.warning("a run could not be exchanged", exc_info=True)
        reason = ascii(str(error).strip() or type(error).__name__)[1:200]
        done.skipped.append(f"run {ascii(key)[1:-1]} could not be exchanged ({reason})")


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Hold a run's lock for a block. Raises StoreError where another process has it."""

    def refuse() -> None:
        raise StoreError(f"run {folder.path.name} is under way in another process")

    with folder.held(refuse):
        yield


def _exchange(store: Store, folder: RunFolder, remote: dict[str, Published], files: bool, done: Exchange) -> None:
    """Push the record of a folder unless it is known to be published, and complete it where that is wanted."""
    noted, sha = store.noted(folder).get("sha"), folder.sha()
    if noted != sha or sha not in remote:
        with _alone(folder):
            _push(store, folder, remote, done)
    elif files:
        record = folder.record()
        if record is not None and missing(folder.path, record):
            with _alone(folder):
                _complete(store, folder, remote, done)
    found = remote.get(sha)
    if found is not None and found.requests_sha != hash_requests(read_requests(folder)[0]):
        with _alone(folder):
            _merge_requests(store, folder, found)


def _merge_requests(store: Store, folder: RunFolder, found: Published) -> None:
    """Bring the requests for a run that are published, and publish those that are not."""
    theirs = _published_requests(store, folder, found)
    add_requests(folder, theirs)
    ours = read_requests(folder)[0]
    if any(not any(one.is_like(other) for other in theirs) for one in ours):
        store.check_location(found.run_id)
        publish_requests(store.connect(), found.run_id, ours)


def _published_requests(store: Store, folder: RunFolder, found: Published) -> list[StoredRequest]:
    """Return the requests that are published, of which the tags of the MLflow run hold only what is not too long."""
    if not found.requests_sha:
        return []
    text = found.requests
    if text is None:
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
            text = _fetch(store, found, REQUESTS, Path(name)).read_bytes()
    return parse_requests(text, f"MLflow run {found.run_id}")[0]


def _push(store: Store, folder: RunFolder, remote: dict[str, Published], done: Exchange) -> None:
    record = folder.record()
    if record is None:  # gone since the folder was listed
        return
    sha = folder.sha()
    if sha not in remote and set(remote) - folder.superseded():
        done.conflicts.add(record.key)
    elif store.run_id(folder) is None or sha not in remote:
        if sha not in remote:
            check_files(folder.path, record)
        published = store.publish(folder, record) is not None
        if not published and store.answers():  # it is this record that the store did not take
            reason, store.away = store.away, None
            raise StoreError(f"run {record.key} was not published: {reason}")
        done.pushed += published and sha not in remote


def _complete(store: Store, folder: RunFolder, remote: dict[str, Published], done: Exchange) -> None:
    """Bring the files of a record that is here without them."""
    record = folder.record()
    found = remote.get(folder.sha()) if record is not None else None
    if record is None or found is None:
        return
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
        _download(store, found, record, missing(folder.path, record), Path(name))
        for path in Path(name).iterdir():
            path.replace(folder.path / path.name)
    done.completed += 1


def _pull(store: Store, folder: RunFolder, remote: dict[str, Published], files: bool, done: Exchange) -> None:
    """Bring the first published record of a run here, unless a fresh run has replaced it or one is there by now;
    nothing is kept unless every checksum fits."""
    shas = [sha for sha in remote if sha not in folder.superseded()]
    if not shas or remote[shas[0]].trial or folder.record() is not None:
        return
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
        place, found = Path(name), remote[shas[0]]
        text = found.text or _fetch(store, found, RECORD, place).read_bytes()
        if hashlib.sha256(text).hexdigest() != found.sha:
            raise StoreError(f"the record of MLflow run {found.run_id} is not what its tag says; not pulled")
        (place / RECORD).write_bytes(text)
        record = _checked(folder.path.name, found, text)
        if record.spec.stage == "trial":
            return
        if files:
            _download(store, found, record, [file for file in record.files if file != WEIGHTS], place)
        for path in sorted(place.iterdir(), key=lambda path: path.name == RECORD):  # the record last
            path.replace(folder.path / path.name)
    store.note(folder, found.run_id, found.sha, found.experiment)
    _merge_requests(store, folder, found)
    if folder.superseded():
        store.publish(folder, record)  # marks what it replaced
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    done.pulled += 1


def _pull_light(
    store: Store, wanted: dict[str, dict[str, Published]], done: Exchange
) -> dict[str, dict[str, Published]]:
    """Bring the records that came as tags, all of them to the disk in one go; those that are left want a download."""
    left = {}
    (store.results / "runs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".light-", dir=store.results / "runs") as name:
        waiting = []
        for key, remote in wanted.items():
            found, folder = next(iter(remote.values())), RunFolder(store.results / "runs" / key)
            if found.text is None or folder.path.exists():  # what is there already is looked at one by one
                left[key] = remote
            elif not found.trial:
                (Path(name) / key).mkdir()
                (Path(name) / key / RECORD).write_bytes(found.text)
                (Path(name) / key / NOTE).write_bytes(store.as_note(found.run_id, found.sha, found.experiment))
                if requests := parse_requests(found.requests or b"", key)[0]:
                    (Path(name) / key / REQUESTS).write_bytes(format_requests(requests))
                waiting.append((folder, found))
        os.sync()
        for folder, found in waiting:
            with _skipping(folder.path.name, done, store), _alone(folder):
                _checked(folder.path.name, found, found.text or b"")
                if not any(folder.path.iterdir()):
                    (Path(name) / folder.path.name).replace(folder.path)
                    done.pulled += 1
    return left


def _checked(key: str, found: Published, text: bytes) -> Record:
    record = Record.from_json(text, f"MLflow run {found.run_id}")
    if record.key != key:
        raise StoreError(f"the record of MLflow run {found.run_id} is not what its tag says; not pulled")
    return record


def _download(store: Store, found: Published, record: Record, names: list[str], place: Path) -> None:
    """Files of a record into a folder; raises StoreError for the first that is not what the record names."""
    for name in names:
        if sha256(_fetch(store, found, name, place)) != record.files[name]:
            raise StoreError(f"{name} of MLflow run {found.run_id} was changed; not pulled")


def _fetch(store: Store, found: Published, name: str, place: Path) -> Path:
    """Download a file into a folder. Raises StoreError where what arrives is no file of that name there."""
    store.check_location(found.run_id)
    store.connect().download_artifacts(found.run_id, name, str(place))
    path = place / name
    if not is_plain_file(path) or (name in (RECORD, REQUESTS) and path.stat().st_size > LARGEST):
        raise StoreError(f"{name} of MLflow run {found.run_id} is too large or not a file; not pulled")
    return path
