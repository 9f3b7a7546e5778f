"""Exchange of records with MLflow: pushes those it lacks, pulls those that other machines published."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bench.artifacts import WEIGHTS_FILE, check_files, find_missing_files
from bench.errors import StoreError
from bench.files import is_plain_file, sha256
from bench.mlflow import NOTE_FILE, MlflowStore
from bench.mlflow_run import REQUESTS_PREFIX, REQUESTS_TAG, publish_requests, unpack_record
from bench.record import MAX_RECORD_BYTES, RECORD_FILE, Record, RunFolder, find_finished_runs, is_run_key
from bench.requests import (
    REQUESTS,
    StoredRequest,
    add_requests,
    format_requests,
    hash_requests,
    parse_requests,
    read_requests,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

ANSWER_TIMEOUT = 60  # that one answer of a busy server may take
PARALLEL_SEARCHES = 4  # a server answers with as many processes, unless told otherwise

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedRecord:
    """One record in the store."""

    key: str
    sha: str
    run_id: str
    end_time: int  # milliseconds
    is_trial: bool
    experiment_id: str
    record_text: bytes | None  # of the record, where its run's tags hold it
    requests_sha: str = ""  # of the requests for the run; "" where there are none
    requests: bytes | None = None  # their text, where tags hold it


def find_published_records(store: MlflowStore) -> dict[str, dict[str, PublishedRecord]]:
    """Key -> sha256 of a record -> where it is, those that finished first in front; replaced ones left out."""
    store.connect()  # once, before several threads want it
    with _longer_timeout(), ThreadPoolExecutor(PARALLEL_SEARCHES) as pool:
        shares = pool.map(lambda digit: list(_parse_runs(_search_keys(store, digit))), "0123456789abcdef")
        records = sorted(chain.from_iterable(shares), key=lambda found: found.end_time)
    found: dict[str, dict[str, PublishedRecord]] = {}
    for record in records:
        found.setdefault(record.key, {}).setdefault(record.sha, record)
    return found


@contextmanager
def _longer_timeout() -> Iterator[None]:
    """A block in which a server that was reached may take its time: nobody waits to train meanwhile."""
    kept = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(int(kept), ANSWER_TIMEOUT))
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = kept


def _search_keys(store: MlflowStore, digit: str) -> Iterable[Run]:
    return store.search_runs(f"tags.`bench.record` != '' AND tags.`bench.key` LIKE '{digit}%'")


def _parse_runs(runs: Iterable[Run]) -> Iterable[PublishedRecord]:
    for run in runs:
        tags = run.data.tags
        if "bench.superseded" not in tags and run.info.status == "FINISHED":
            key, sha, trial = tags.get("bench.key", ""), tags["bench.record"], tags.get("bench.stage") == "trial"
            info = run.info
            requests_sha = tags.get(REQUESTS_TAG, "")
            yield PublishedRecord(
                key,
                sha,
                info.run_id,
                info.end_time or 0,
                trial,
                info.experiment_id,
                unpack_record(tags, sha),
                requests_sha,
                unpack_record(tags, requests_sha, REQUESTS_PREFIX) if requests_sha else None,
            )


@dataclass
class SyncResult:
    """What a sync did."""

    pushed: int = 0
    pulled: int = 0
    completed: int = 0  # records that were here without their files
    conflicts: set[str] = field(default_factory=set)  # keys of which there are different records
    skipped: list[str] = field(default_factory=list)  # why one record or another was left alone


def sync(store: MlflowStore, files: bool = True) -> SyncResult:
    """Push and pull until both sides hold the same records; a record that cannot be exchanged is told and skipped.

    Without `files` records come alone, and quickly; a later sync brings what stands beside them. Trials of searches
    are pushed, never pulled. `store.away` says why, where MLflow cannot be reached.
    """
    done = SyncResult()
    with store.best_effort("sync"):
        published = find_published_records(store)
        done.conflicts |= {key for key, remote in published.items() if len(remote) > 1}
        here = {folder.path.name: folder for folder in find_finished_runs(store.results)}
        for key, folder in here.items():
            with _skipping_errors(key, done, store):
                _sync_run(store, folder, published.get(key, {}), files, done)
            if store.unavailable_reason is not None:
                return done
        wanted = {
            key: remote
            for key, remote in published.items()
            if key not in here and is_run_key(key) and not all(one.is_trial for one in remote.values())
        }
        if not files:
            wanted = _pull_records_only(store, wanted, done)
        for key, remote in wanted.items():
            folder = RunFolder(store.results / "runs" / key)
            with _skipping_errors(key, done, store), _run_lock(folder):
                _pull(store, folder, remote, files, done)
    return done


@contextmanager
def _skipping_errors(key: str, done: SyncResult, store: MlflowStore) -> Iterator[None]:
    """Note what goes wrong with one run, and let the others be exchanged. Where the store itself is away, raise."""
    try:
        yield
    except StoreError as error:
        if store.unavailable_reason is not None:
            raise
        done.skipped.append(str(error))
    except Exception as error:  # whatever a client or a driver raises: of this run, unless the store is gone
        if not store.is_reachable():
            raise
        _log.warning("a run could not be exchanged", exc_info=True)
        reason = ascii(str(error).strip() or type(error).__name__)[1:200]
        done.skipped.append(f"run {ascii(key)[1:-1]} could not be exchanged ({reason})")


@contextmanager
def _run_lock(folder: RunFolder) -> Iterator[None]:
    """Hold a run's lock for a block. Raises StoreError where another process has it."""

    def refuse() -> None:
        raise StoreError(f"run {folder.path.name} is under way in another process")

    with folder.locked(refuse):
        yield


def _sync_run(
    store: MlflowStore, folder: RunFolder, remote: dict[str, PublishedRecord], files: bool, done: SyncResult
) -> None:
    """Push the record of a folder unless it is known to be published, and complete it where that is wanted."""
    noted, sha = store.published_as(folder).get("sha"), folder.hash_record()
    if noted != sha or sha not in remote:
        with _run_lock(folder):
            _push(store, folder, remote, done)
    elif files:
        record = folder.read_record()
        if record is not None and find_missing_files(folder.path, record):
            with _run_lock(folder):
                _download_missing(store, folder, remote, done)
    found = remote.get(sha)
    if found is not None and found.requests_sha != hash_requests(read_requests(folder)[0]):
        with _run_lock(folder):
            _merge_requests(store, folder, found)


def _merge_requests(store: MlflowStore, folder: RunFolder, found: PublishedRecord) -> None:
    """Bring the requests for a run that are published, and publish those that are not."""
    theirs = _find_published_requests(store, folder, found)
    add_requests(folder, theirs)
    ours = read_requests(folder)[0]
    if any(not any(one.is_like(other) for other in theirs) for one in ours):
        store.check_location(found.run_id)
        publish_requests(store.connect(), found.run_id, ours)


def _find_published_requests(store: MlflowStore, folder: RunFolder, found: PublishedRecord) -> list[StoredRequest]:
    """Return the requests that are published, of which the tags of the MLflow run hold only what is not too long."""
    if not found.requests_sha:
        return []
    text = found.requests
    if text is None:
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
            text = _download_file(store, found, REQUESTS, Path(name)).read_bytes()
    return parse_requests(text, f"MLflow run {found.run_id}")[0]


def _push(store: MlflowStore, folder: RunFolder, remote: dict[str, PublishedRecord], done: SyncResult) -> None:
    record = folder.read_record()
    if record is None:  # gone since the folder was listed
        return
    sha = folder.hash_record()
    if sha not in remote and set(remote) - folder.hash_superseded():
        done.conflicts.add(record.key)
    elif store.find_run_id(folder) is None or sha not in remote:
        if sha not in remote:
            check_files(folder.path, record)
        published = store.publish(folder, record) is not None
        if not published and store.is_reachable():  # it is this record that the store did not take
            reason, store.unavailable_reason = store.unavailable_reason, None
            raise StoreError(f"run {record.key} was not published: {reason}")
        done.pushed += published and sha not in remote


def _download_missing(
    store: MlflowStore, folder: RunFolder, remote: dict[str, PublishedRecord], done: SyncResult
) -> None:
    """Bring the files of a record that is here without them."""
    record = folder.read_record()
    found = remote.get(folder.hash_record()) if record is not None else None
    if record is None or found is None:
        return
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
        _download_files(store, found, record, find_missing_files(folder.path, record), Path(name))
        for path in Path(name).iterdir():
            path.replace(folder.path / path.name)
    done.completed += 1


def _pull(
    store: MlflowStore, folder: RunFolder, remote: dict[str, PublishedRecord], files: bool, done: SyncResult
) -> None:
    """Bring the first published record of a run here, unless a fresh run has replaced it or one is there by now;
    nothing is kept unless every checksum fits."""
    shas = [sha for sha in remote if sha not in folder.hash_superseded()]
    if not shas or remote[shas[0]].is_trial or folder.read_record() is not None:
        return
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as name:
        place, found = Path(name), remote[shas[0]]
        text = found.record_text or _download_file(store, found, RECORD_FILE, place).read_bytes()
        if hashlib.sha256(text).hexdigest() != found.sha:
            raise StoreError(f"the record of MLflow run {found.run_id} is not what its tag says; not pulled")
        (place / RECORD_FILE).write_bytes(text)
        record = _parse_checked_record(folder.path.name, found, text)
        if record.spec.stage == "trial":
            return
        if files:
            _download_files(store, found, record, [file for file in record.files if file != WEIGHTS_FILE], place)
        for path in sorted(place.iterdir(), key=lambda path: path.name == RECORD_FILE):  # the record last
            path.replace(folder.path / path.name)
    store.write_note(folder, found.run_id, found.sha, found.experiment_id)
    _merge_requests(store, folder, found)
    if folder.hash_superseded():
        store.publish(folder, record)  # marks what it replaced
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    done.pulled += 1


def _pull_records_only(
    store: MlflowStore, wanted: dict[str, dict[str, PublishedRecord]], done: SyncResult
) -> dict[str, dict[str, PublishedRecord]]:
    """Bring the records that came as tags, all of them to the disk in one go; those that are left want a download."""
    left = {}
    (store.results / "runs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".light-", dir=store.results / "runs") as name:
        waiting = []
        for key, remote in wanted.items():
            found, folder = next(iter(remote.values())), RunFolder(store.results / "runs" / key)
            if found.record_text is None or folder.path.exists():  # what is there already is looked at one by one
                left[key] = remote
            elif not found.is_trial:
                (Path(name) / key).mkdir()
                (Path(name) / key / RECORD_FILE).write_bytes(found.record_text)
                (Path(name) / key / NOTE_FILE).write_bytes(
                    store.make_note(found.run_id, found.sha, found.experiment_id)
                )
                if requests := parse_requests(found.requests or b"", key)[0]:
                    (Path(name) / key / REQUESTS).write_bytes(format_requests(requests))
                waiting.append((folder, found))
        os.sync()
        for folder, found in waiting:
            with _skipping_errors(folder.path.name, done, store), _run_lock(folder):
                _parse_checked_record(folder.path.name, found, found.record_text or b"")
                if not any(folder.path.iterdir()):
                    (Path(name) / folder.path.name).replace(folder.path)
                    done.pulled += 1
    return left


def _parse_checked_record(key: str, found: PublishedRecord, text: bytes) -> Record:
    record = Record.from_json(text, f"MLflow run {found.run_id}")
    if record.key != key:
        raise StoreError(f"the record of MLflow run {found.run_id} is not what its tag says; not pulled")
    return record


def _download_files(store: MlflowStore, found: PublishedRecord, record: Record, names: list[str], place: Path) -> None:
    """Files of a record into a folder; raises StoreError for the first that is not what the record names."""
    for name in names:
        if sha256(_download_file(store, found, name, place)) != record.files[name]:
            raise StoreError(f"{name} of MLflow run {found.run_id} was changed; not pulled")


def _download_file(store: MlflowStore, found: PublishedRecord, name: str, place: Path) -> Path:
    """Download a file into a folder. Raises StoreError where what arrives is no file of that name there."""
    store.check_location(found.run_id)
    store.connect().download_artifacts(found.run_id, name, str(place))
    path = place / name
    if not is_plain_file(path) or (name in (RECORD_FILE, REQUESTS) and path.stat().st_size > MAX_RECORD_BYTES):
        raise StoreError(f"{name} of MLflow run {found.run_id} is too large or not a file; not pulled")
    return path
