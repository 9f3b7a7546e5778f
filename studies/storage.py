"""Shared Optuna database, and the leases on its trials.

The database is SQLite in the results folder, or PostgreSQL. Calls wait for the end of an outage, and writes hold a
lock across processes. A lease is a trial that one process works on: it sends heartbeats and is finished once. Trials
of a process that died are marked by the next process, and queued again with the same values.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
import psycopg
from filelock import FileLock
from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial
from psycopg import ProgrammingError as Refused
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from bench.databases import make_sqlite_url, open_database, read_sqlite_path
from bench.errors import ConfigError, StoreError
from bench.record import FailureKind, get_process_id, process_is_alive

MAX_OUTAGE = 900.0  # longest outage of the database, in seconds
HEARTBEAT = 30  # seconds between heartbeats of a trial
HEARTBEAT_TIMEOUT = 600  # seconds without a heartbeat after which a trial counts as dead
ADVISORY_LOCK_ID = int.from_bytes(hashlib.sha256(b"mart-bench").digest()[:7], "big")  # id of PostgreSQL's advisory lock

T = TypeVar("T")
_log = logging.getLogger(__name__)

ORPHAN_CHECK_INTERVAL = 2.0  # seconds between two checks for dead processes, per process
MAX_DEATHS = 10  # dead processes after which their trial is considered the cause, and fails
CRASH_KINDS: tuple[FailureKind, ...] = ("other", "out of memory")
MAX_TRIES = 3  # attempts at a crashing configuration, one per command
COMMAND_ATTR, TRIES_ATTR = "command", "tries"
DIED_MESSAGE = "the process that ran it died"
DEATHS_ATTR = "deaths"
HOST_ATTR, PROCESS_ATTR = "host", "process"
ERROR_KIND_ATTR, ERROR_MESSAGE_ATTR, RETRY_OF_ATTR = "kind", "message", "retry of"
OUTAGE_ERRORS = (StorageInternalError, DBAPIError, psycopg.Error)  # raised by an unavailable database, by layer
_leased: set[tuple[str, int]] = set()  # (study, trial number) leased by this process


def make_storage_url(results: Path, url: str | None) -> str:
    """Return the SQLAlchemy URL of the database. Raises ConfigError unless it is SQLite or PostgreSQL."""
    if url is None:
        return make_sqlite_url(results / "optuna.db")
    kind, _, rest = url.partition("://")
    if kind in ("postgresql", "postgres", "postgresql+psycopg") and rest:
        return f"postgresql+psycopg://{rest}"
    if kind == "sqlite" and rest.startswith("/") and not rest.endswith("/"):
        return make_sqlite_url(Path(rest[1:]))
    raise ConfigError(
        f"--storage '{hide_password(url)}': expects postgresql://user@host/name or sqlite:////path/optuna.db"
    )


class Storage:
    """A connection to the database, opened on first use. `waits`: an outage at the start is waited for too."""

    def __init__(self, url: str, notice: Callable[[str], None] = lambda text: None, waits: bool = False) -> None:
        self.url, self._notify = url, notice
        self.file = read_sqlite_path(url)  # SQLite file; None for a server
        self._waits_at_start = waits
        self._connection: RDBStorage | None = None
        self._lock_connection: Any = None  # connection that holds PostgreSQL's advisory lock
        self._has_lock = False
        self.last_orphan_check: dict[str, float] = {}  # study -> time of the last check for dead processes

    def open_study(self, name: str, pruner: Any = None, maximize: bool = True) -> Study:
        """Return the Optuna study of this name, creating it if necessary."""
        return self.retrying(
            lambda: optuna.create_study(
                storage=self.open(),
                pruner=pruner,
                study_name=name,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
            )
        )

    def open(self) -> RDBStorage:
        """Connect on first use and return the storage. Raises StoreError if the database cannot be reached."""
        if self._connection is None:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            try:
                with self._lock():  # otherwise several processes race to create the tables
                    if self.file is None:
                        self._connection = self._connect(self.url)
                    else:
                        self._connection = open_database(self.file, self._connect, rows="trials")
            except (OSError, *OUTAGE_ERRORS) as error:
                if self._waits_at_start and isinstance(error, OUTAGE_ERRORS):
                    raise
                reason = get_first_line(error)
                raise StoreError(
                    f"cannot reach the database {hide_password(self.url)} ({reason}); start it or correct --storage"
                ) from None
        return self._connection

    def with_lock(self, call: Callable[[], T]) -> T:
        """Call while holding a lock: across this machine with SQLite, across all machines with PostgreSQL.

        An outage releases the lock; the call is then repeated from its start.
        """

        def locked() -> T:
            self.open()
            with self._lock():
                self._has_lock = True
                try:
                    return call()
                finally:
                    self._has_lock = False

        return self.retrying(locked)

    def check_lock(self) -> None:
        """Raise the database's error if the lock was lost unnoticed. Call this before writing."""
        if self._lock_connection is not None:
            self._lock_connection.execute("SELECT 1")

    def retrying(self, call: Callable[[], T]) -> T:
        """Call, and repeat the call during an outage. Raises StoreError after MAX_OUTAGE."""
        if self._has_lock:  # with_lock retries from taking the lock
            return call()
        is_reported = False

        def report(state: RetryCallState) -> None:
            nonlocal is_reported
            _log.warning("database unavailable", exc_info=state.outcome.exception() if state.outcome else None)
            if not is_reported and (state.seconds_since_start or 0) > 2:
                is_reported = True
                self._notify(f"database {hide_password(self.url)} unavailable; retrying")

        retrying = Retrying(
            retry=retry_if_exception(_is_outage),
            stop=stop_after_delay(MAX_OUTAGE),
            wait=wait_fixed(0.5),
            before_sleep=report,
            reraise=False,
        )
        try:
            return retrying(call)
        except RetryError as error:
            reason = get_first_line(error.last_attempt.exception())
            outage = f"unavailable for {MAX_OUTAGE:.0f} s ({reason})"
            raise StoreError(f"database {hide_password(self.url)}: {outage}; give the command again") from None

    def read_trials(self, study: Study) -> list[FrozenTrial]:
        """Return all trials of a study, retrying during an outage."""
        return self.retrying(lambda: study.get_trials(deepcopy=False))

    def get_trial_id(self, study: Study, number: int) -> int:
        """Return the database id of a trial of a study."""
        database = self.open()
        return database.get_trial_id_from_study_id_trial_number(
            database.get_study_id_from_name(study.study_name), number
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold a file lock, or PostgreSQL's advisory lock on a separate connection, which releases it if it closes."""
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.file.with_suffix(".lock")):
                yield
            return
        if self._lock_connection is None or self._lock_connection.closed:
            address = self.url.replace("postgresql+psycopg://", "postgresql://", 1)
            self._lock_connection = psycopg.connect(address, autocommit=True, connect_timeout=10)
        try:
            self._lock_connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK_ID,))
        except psycopg.Error:
            self._lock_connection = None
            raise
        guard = self._lock_connection
        try:
            yield
        finally:
            try:
                guard.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK_ID,))
            except OUTAGE_ERRORS:  # the server is gone, which released the lock
                self._lock_connection = None

    def _connect(self, url: str) -> RDBStorage:
        options: dict[str, Any] = {"connect_args": {"timeout": 60}}
        if self.file is None:
            connect_args = {"connect_timeout": 10, "keepalives_idle": 30}
            options = {"connect_args": connect_args, "pool_size": 1, "max_overflow": 2}
        return RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True, **options},
            heartbeat_interval=HEARTBEAT,
            grace_period=HEARTBEAT_TIMEOUT,
            heartbeat_stale_trial_callback=enqueue_copy,
        )


def hide_password(url: str) -> str:
    """Return a URL without user and password."""
    kind, slashes, rest = url.partition("://")
    return f"{kind}{slashes}{rest.rpartition('@')[2]}"


def _is_outage(error: BaseException) -> bool:
    """Return whether an error means that the database is unavailable, not that it rejects data."""
    if not isinstance(error, OUTAGE_ERRORS):
        return False
    inner = error.__cause__ if isinstance(error, StorageInternalError) else error
    return not isinstance(inner, DataError | IntegrityError | ProgrammingError | Refused | ValueError)


def get_first_line(error: BaseException | None) -> str:
    """Return the first line of an error, or its type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


class Lease:
    """A running trial, finished by exactly one of complete, prune, fail and release.

    Its writes are ignored if another process has finished the trial because its heartbeats did not arrive.
    """

    def __init__(self, storage: Storage, study: Study, trial_id: int) -> None:
        self.storage, self.study, self.trial = storage, study, Trial(study, trial_id)
        self.params: dict[str, Any] = dict(self.trial.params)
        self.number = self.trial.number
        self._trial_id = trial_id
        self._reported_steps: set[int] = set()
        _leased.add((study.study_name, self.number))
        with suppress(Exception):  # a trial without any heartbeat never counts as dead on other machines
            self._send_heartbeat()
        self._stopped = threading.Event()
        self._heartbeat_thread = threading.Thread(target=self._send_heartbeats, daemon=True, name="heartbeat")
        self._heartbeat_thread.start()

    def report(self, value: float, step: int) -> bool:
        """Report the value of an epoch or seed, once per step. Return whether to prune the trial."""
        if step in self._reported_steps:
            return False
        self._reported_steps.add(step)
        with suppress(UpdateFinishedTrialError):
            self.storage.retrying(lambda: self.trial.report(value, step))
            return self.storage.retrying(self.trial.should_prune)
        return False

    def set_attributes(self, **attributes: object) -> None:
        """Store user attributes of the trial."""
        for name, value in attributes.items():
            with suppress(UpdateFinishedTrialError):
                self.storage.retrying(partial(self.trial.set_user_attr, name, value))

    def complete(self, value: float) -> None:
        """Finish the trial with a score."""
        self._finish(TrialState.COMPLETE, value)

    def prune(self) -> None:
        """Finish the trial as pruned."""
        self._finish(TrialState.PRUNED)

    def fail(self, kind: FailureKind, message: str) -> None:
        """Finish the trial as failed."""
        self.set_attributes(**{ERROR_KIND_ATTR: kind, ERROR_MESSAGE_ATTR: message[:2000]})
        self._finish(TrialState.FAIL)

    def release(self) -> None:
        """Return an interrupted trial: another process or the next command repeats it with the same values."""
        self.storage.with_lock(lambda: requeue(self.storage, self.study, self.number))
        self._stop_heartbeat()

    def _finish(self, state: TrialState, value: float | None = None) -> None:
        finish = partial(self.study.tell, self.trial, value, state=state, skip_if_finished=True)
        self.storage.retrying(finish)  # a repeated call finds it finished: only the reply was lost
        self._stop_heartbeat()

    def _send_heartbeat(self) -> None:
        self.storage.open().record_heartbeat(self._trial_id)

    def _send_heartbeats(self) -> None:
        while not self._stopped.wait(HEARTBEAT):
            with suppress(Exception):  # database unavailable: the next heartbeat follows
                self._send_heartbeat()

    def _stop_heartbeat(self) -> None:
        self._stopped.set()
        self._heartbeat_thread.join(timeout=5)
        _leased.discard((self.study.study_name, self.number))


def enqueue(
    study: Study, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], **notes: Any
) -> None:
    """Queue a configuration in one database transaction."""
    waiting = TrialState.WAITING
    study.add_trial(
        create_trial(state=waiting, params=dict(params), distributions=dict(distributions), user_attrs=notes)
    )


def lease_waiting(storage: Storage, study: Study, **notes: object) -> Lease:
    """Lease the first queued trial; there must be one. Its owner is stored before it counts as running.

    The caller holds the lock.
    """
    found = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))[0]
    trial_id = storage.get_trial_id(study, found.number)
    storage.check_lock()
    for name, value in {**notes, **_describe_owner()}.items():
        storage.open().set_trial_user_attr(trial_id, name, value)
    storage.open().set_trial_state_values(trial_id, TrialState.RUNNING)
    return Lease(storage, study, trial_id)


def lease_new(storage: Storage, study: Study, distributions: Mapping[str, BaseDistribution], **notes: object) -> Lease:
    """Lease a new trial with values drawn by the study's sampler.

    The trial, its owner and its values are stored in one transaction. The caller holds the lock.
    """
    drawn = _draw_params(study, distributions) if distributions else {}
    template = create_trial(
        state=TrialState.RUNNING,
        params=drawn,
        distributions=dict(distributions),
        user_attrs={**notes, **_describe_owner()},
    )
    storage.check_lock()
    database = storage.open()
    return Lease(storage, study, database.create_new_trial(database.get_study_id_from_name(study.study_name), template))


def _describe_owner() -> dict[str, str]:
    return {HOST_ATTR: socket.gethostname(), PROCESS_ATTR: get_process_id()}


def _draw_params(study: Study, distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Draw the values of the next trial through the sampler's public methods: jointly if possible, else one by one."""
    blank = create_trial(state=TrialState.RUNNING)
    blank.number = len(study.get_trials(deepcopy=False))
    study = copy(study)  # no public attribute holds Optuna's cached storage
    study._storage = _ReadOnlyStorage(study._storage)  # type: ignore[assignment]
    space = study.sampler.infer_relative_search_space(study, blank)
    drawn = study.sampler.sample_relative(study, blank, {n: d for n, d in space.items() if n in distributions})
    for name, distribution in distributions.items():
        if name not in drawn:
            drawn[name] = study.sampler.sample_independent(study, blank, name, distribution)
    return drawn


class _ReadOnlyStorage:
    """Storage for a sampler that draws for a trial that is not stored yet.

    Attributes that the sampler would set on it for concurrent samplers are dropped: those read the trial's values.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def set_trial_system_attr(self, trial: int, name: str, value: object) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def requeue_orphans(storage: Storage, study: Study) -> None:
    """Mark the running trials of dead processes as failed and queue them again, at most every ORPHAN_CHECK_INTERVAL.

    The caller holds the lock. So a running trial of this process without a lease was created just before an outage.
    """
    now = time.monotonic()
    if now - storage.last_orphan_check.get(study.study_name, -ORPHAN_CHECK_INTERVAL) < ORPHAN_CHECK_INTERVAL:
        return
    storage.last_orphan_check[study.study_name] = now
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS_ATTR, "")
        if (study.study_name, trial.number) in _leased or trial.user_attrs.get(HOST_ATTR) != socket.gethostname():
            continue
        if storage.file is None and process and process.rpartition(":")[2] != get_process_id().rpartition(":")[2]:
            continue  # another boot, or a machine of the same name: heartbeats decide
        if process == get_process_id() or not process_is_alive(process):
            requeue(storage, study, trial.number, died=True)
    fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if (
            ERROR_KIND_ATTR not in trial.user_attrs
        ):  # of another machine, failed for missing heartbeats and not queued yet
            enqueue_copy(study, trial)


def requeue(storage: Storage, study: Study, number: int, died: bool = False) -> None:
    """Mark a running trial as interrupted and queue its values again, unless too many processes died running them."""
    trial = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
    if trial.state.is_finished():
        return
    deaths = trial.user_attrs.get(DEATHS_ATTR, 0) + died
    fatal = deaths >= MAX_DEATHS and bool(trial.params)
    if not fatal:
        enqueue_copy(study, trial, **{DEATHS_ATTR: deaths})
    notes = {ERROR_MESSAGE_ATTR: f"{DIED_MESSAGE} {deaths} times" if fatal else DIED_MESSAGE} if died else {}
    notes[ERROR_KIND_ATTR] = "other" if fatal else "interrupted"
    trial_id = storage.get_trial_id(study, number)
    for name, value in notes.items():
        storage.open().set_trial_user_attr(trial_id, name, value)
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def enqueue_copy(study: Study, trial: FrozenTrial, **notes: object) -> None:
    """Queue the values of a trial again, at most once. Trials of planned runs have no values and are not queued."""
    queued = {other.user_attrs.get(RETRY_OF_ATTR) for other in study.get_trials(deepcopy=False)}
    if not trial.params or trial.number in queued:
        return
    dropped = (HOST_ATTR, PROCESS_ATTR, ERROR_KIND_ATTR, ERROR_MESSAGE_ATTR, RETRY_OF_ATTR)
    copied = {name: value for name, value in trial.user_attrs.items() if name not in dropped}
    enqueue(study, trial.params, trial.distributions, **{**copied, **notes, RETRY_OF_ATTR: trial.number})


def select_counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Select the trials that count for a budget: finished ones, except interrupted ones and those queued again."""
    requeued = {trial.user_attrs.get(RETRY_OF_ATTR) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state.is_finished()
        and trial.number not in requeued
        and (trial.state.name != "FAIL" or trial.user_attrs.get(ERROR_KIND_ATTR, "interrupted") != "interrupted")
    ]


def enqueue_crashed(study: Study, command: str) -> None:
    """Queue the trials that crashed under other commands again: the cause may be fixed. The caller holds the lock."""
    for trial in select_counted(study.get_trials(deepcopy=False)):
        tries = trial.user_attrs.get(TRIES_ATTR, 1)
        crashed = trial.state.name == "FAIL" and trial.user_attrs.get(ERROR_KIND_ATTR) in CRASH_KINDS
        if crashed and trial.user_attrs.get(COMMAND_ATTR) != command and tries < MAX_TRIES:
            enqueue_copy(study, trial, **{TRIES_ATTR: tries + 1})
