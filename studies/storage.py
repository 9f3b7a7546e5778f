"""The database that processes share, and the leases on its trials.

The database is Optuna's: SQLite in the results folder, or PostgreSQL. An outage is waited for, and a lock keeps
processes that write at the same time apart. A lease is a trial that one process works on: it sends heartbeats and
is finished once. The next process finds the trials of a process that died, marks them, and queues them again with
the same values.
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

MAX_OUTAGE = 900.0  # seconds that a database which went away is waited for
HEARTBEAT = 30  # seconds between signs of life of a trial
HEARTBEAT_TIMEOUT = 600  # seconds without one until it counts as dead
ADVISORY_LOCK_ID = int.from_bytes(hashlib.sha256(b"mart-bench").digest()[:7], "big")  # of PostgreSQL's advisory lock

T = TypeVar("T")
_log = logging.getLogger(__name__)

ORPHAN_CHECK_INTERVAL = 2.0  # seconds between two looks for the dead, by one process
MAX_DEATHS = 10  # processes that may die over one piece of work before it counts as what kills them
CRASH_KINDS: tuple[FailureKind, ...] = ("other", "out of memory")
MAX_TRIES = 3  # of one configuration that crashes, by one command after the other
COMMAND_ATTR, TRIES_ATTR = "command", "tries"
DIED_MESSAGE = "the process that ran it died"
DEATHS_ATTR = "deaths"
HOST_ATTR, PROCESS_ATTR = "host", "process"
ERROR_KIND_ATTR, ERROR_MESSAGE_ATTR, RETRY_OF_ATTR = "kind", "message", "retry of"
OUTAGE_ERRORS = (StorageInternalError, DBAPIError, psycopg.Error)  # what an absent database raises, by layer
_leased: set[tuple[str, int]] = set()  # study and number of the trials that this process works at


def make_storage_url(results: Path, url: str | None) -> str:
    """The database's address as SQLAlchemy wants it. Raises ConfigError for one that is neither of the two kinds."""
    if url is None:
        return make_sqlite_url(results / "optuna.db")
    kind, _, rest = url.partition("://")
    if kind in ("postgresql", "postgres", "postgresql+psycopg") and rest:
        return f"postgresql+psycopg://{rest}"
    if kind == "sqlite" and rest.startswith("/") and not rest.endswith("/"):
        return make_sqlite_url(Path(rest[1:]))
    raise ConfigError(
        f"--storage '{url}' is no database for this; for example postgresql://user@host/name or sqlite:////path/optuna.db"
    )


class Storage:
    """A connection to the database, made when it is first needed."""

    def __init__(self, url: str, notice: Callable[[str], None] = lambda text: None, waits: bool = False) -> None:
        self.url, self._notify = url, notice
        self.file = read_sqlite_path(url)  # of this machine alone; None for a server
        self._waits_at_start = waits  # for a database that is away from the beginning, as it may be for a late worker
        self._connection: RDBStorage | None = None
        self._lock_connection: Any = None  # the connection that holds PostgreSQL's advisory lock
        self._has_lock = False
        self.last_orphan_check: dict[str, float] = {}  # study -> when it was last looked through for the dead

    def open_study(self, name: str, pruner: Any = None, maximize: bool = True) -> Study:
        """The Optuna study of this name; made where there is none."""
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
        """Connect. Raises StoreError in one line where the database cannot be reached."""
        if self._connection is None:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            try:
                with self._lock():  # several processes would race in making its tables
                    if self.file is None:
                        self._connection = self._connect(self.url)
                    else:
                        self._connection = open_database(self.file, self._connect, rows="trials")
            except (OSError, *OUTAGE_ERRORS) as error:
                if self._waits_at_start and isinstance(error, OUTAGE_ERRORS):
                    raise
                reason = get_first_line(error)
                raise StoreError(f"cannot reach the database {hide_password(self.url)} ({reason})") from None
        return self._connection

    def with_lock(self, call: Callable[[], T]) -> T:
        """The answer of a call that no other process makes meanwhile, on this machine or, with PostgreSQL, on any. The
        lock falls when the database goes away: then the call is made again from its start."""

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
        """Before something is written: raise, as for an outage, where the lock was lost unnoticed."""
        if self._lock_connection is not None:
            self._lock_connection.execute("SELECT 1")

    def retrying(self, call: Callable[[], T]) -> T:
        """The answer of a call, waiting while the database is away. Raises StoreError when that lasts too long."""
        if self._has_lock:  # the waiting is done where the lock is taken again
            return call()
        said = False

        def report(state: RetryCallState) -> None:
            nonlocal said
            _log.warning("database away", exc_info=state.outcome.exception() if state.outcome else None)
            if not said and (state.seconds_since_start or 0) > 2:
                said = True
                self._notify(f"the database {hide_password(self.url)} is away; waiting for it")

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
            raise StoreError(f"the database {hide_password(self.url)} stayed away ({reason})") from None

    def read_trials(self, study: Study) -> list[FrozenTrial]:
        """All trials of a study, waiting while the database is away."""
        return self.retrying(lambda: study.get_trials(deepcopy=False))

    def get_trial_id(self, study: Study, number: int) -> int:
        """Return the id that the database has for a trial of a study."""
        database = self.open()
        return database.get_trial_id_from_study_id_trial_number(
            database.get_study_id_from_name(study.study_name), number
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold a file's lock, or PostgreSQL's advisory lock on a connection of its own, with which it falls."""
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
            except OUTAGE_ERRORS:  # the server went away, and the lock with it
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
    """An address without its password."""
    kind, slashes, rest = url.partition("://")
    return f"{kind}{slashes}{rest.rpartition('@')[2]}"


def _is_outage(error: BaseException) -> bool:
    """Return whether an error comes from a database that is away, and not from data that it refuses."""
    if not isinstance(error, OUTAGE_ERRORS):
        return False
    inner = error.__cause__ if isinstance(error, StorageInternalError) else error
    return not isinstance(inner, DataError | IntegrityError | ProgrammingError | Refused | ValueError)


def get_first_line(error: BaseException | None) -> str:
    """Return an error's first line, or its type where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


class Lease:
    """Work under way. It is finished by exactly one of complete, prune, fail and release.

    What it writes is dropped where its trial was finished by another: a lease that looked dead from afar was given on.
    """

    def __init__(self, storage: Storage, study: Study, trial_id: int) -> None:
        self.storage, self.study, self.trial = storage, study, Trial(study, trial_id)
        self.params: dict[str, Any] = dict(self.trial.params)
        self.number = self.trial.number
        self._trial_id = trial_id
        self._reported_steps: set[int] = set()
        _leased.add((study.study_name, self.number))
        with suppress(Exception):  # the first sign of life: without one it would never count as dead elsewhere
            self._send_heartbeat()
        self._stopped = threading.Event()
        self._heartbeat_thread = threading.Thread(target=self._send_heartbeats, daemon=True, name="signs of life")
        self._heartbeat_thread.start()

    def report(self, value: float, step: int) -> bool:
        """Tell a value of an epoch or a seed once; whether the pruner gives the trial up."""
        if step in self._reported_steps:
            return False
        self._reported_steps.add(step)
        with suppress(UpdateFinishedTrialError):
            self.storage.retrying(lambda: self.trial.report(value, step))
            return self.storage.retrying(self.trial.should_prune)
        return False

    def set_attributes(self, **attributes: object) -> None:
        """Keep facts with the trial."""
        for name, value in attributes.items():
            with suppress(UpdateFinishedTrialError):
                self.storage.retrying(partial(self.trial.set_user_attr, name, value))

    def complete(self, value: float) -> None:
        """Finished, with a score."""
        self._finish(TrialState.COMPLETE, value)

    def prune(self) -> None:
        """Given up by the search."""
        self._finish(TrialState.PRUNED)

    def fail(self, kind: FailureKind, message: str) -> None:
        """Ended without a score."""
        self.set_attributes(**{ERROR_KIND_ATTR: kind, ERROR_MESSAGE_ATTR: message[:2000]})
        self._finish(TrialState.FAIL)

    def release(self) -> None:
        """Interrupted: somebody else, or the next command, runs it again with the same values."""
        self.storage.with_lock(lambda: requeue(self.storage, self.study, self.number))
        self._stop_heartbeat()

    def _finish(self, state: TrialState, value: float | None = None) -> None:
        finish = partial(self.study.tell, self.trial, value, state=state, skip_if_finished=True)
        self.storage.retrying(finish)  # where it was finished before, only the answer was lost
        self._stop_heartbeat()

    def _send_heartbeat(self) -> None:
        self.storage.open().record_heartbeat(self._trial_id)

    def _send_heartbeats(self) -> None:
        while not self._stopped.wait(HEARTBEAT):
            with suppress(Exception):  # the database is away: the next sign of life will do
                self._send_heartbeat()

    def _stop_heartbeat(self) -> None:
        self._stopped.set()
        self._heartbeat_thread.join(timeout=5)
        _leased.discard((self.study.study_name, self.number))


def enqueue(
    study: Study, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], **notes: Any
) -> None:
    """Let values wait to be run, all of them in the database at once."""
    waiting = TrialState.WAITING
    study.add_trial(
        create_trial(state=waiting, params=dict(params), distributions=dict(distributions), user_attrs=notes)
    )


def lease_waiting(storage: Storage, study: Study, **notes: object) -> Lease:
    """Claim the trial that waits in front; it names its owner before it counts as under way. To be called alone, where
    one waits."""
    found = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))[0]
    trial_id = storage.get_trial_id(study, found.number)
    storage.check_lock()
    for name, value in {**notes, **_describe_owner()}.items():
        storage.open().set_trial_user_attr(trial_id, name, value)
    storage.open().set_trial_state_values(trial_id, TrialState.RUNNING)
    return Lease(storage, study, trial_id)


def lease_new(storage: Storage, study: Study, distributions: Mapping[str, BaseDistribution], **notes: object) -> Lease:
    """Claim a new trial, whose values the study's sampler draws; it stands in the database at once with its owner and
    all of its values. To be called alone."""
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
    """What the sampler draws for the next trial, by its public steps: together where it can, else one by one."""
    blank = create_trial(state=TrialState.RUNNING)
    blank.number = len(study.get_trials(deepcopy=False))
    study = copy(study)  # its storage is Optuna's cache of ours, which no public name gives
    study._storage = _ReadOnlyStorage(study._storage)  # type: ignore[assignment]
    space = study.sampler.infer_relative_search_space(study, blank)
    drawn = study.sampler.sample_relative(study, blank, {n: d for n, d in space.items() if n in distributions})
    for name, distribution in distributions.items():
        if name not in drawn:
            drawn[name] = study.sampler.sample_independent(study, blank, name, distribution)
    return drawn


class _ReadOnlyStorage:
    """The storage, for a sampler that draws for a trial which is not in it yet: what it would note there, for others
    that draw meanwhile, these read from the trial's values."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def set_trial_system_attr(self, trial: int, name: str, value: object) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def requeue_orphans(storage: Storage, study: Study) -> None:
    """Mark what dead processes left, and queue it again; a look every few seconds is enough. To be called alone: then
    a trial that this process claimed without knowing of it was made just before the database went away."""
    now = time.monotonic()
    if now - storage.last_orphan_check.get(study.study_name, -ORPHAN_CHECK_INTERVAL) < ORPHAN_CHECK_INTERVAL:
        return
    storage.last_orphan_check[study.study_name] = now
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS_ATTR, "")
        if (study.study_name, trial.number) in _leased or trial.user_attrs.get(HOST_ATTR) != socket.gethostname():
            continue
        if storage.file is None and process and process.rpartition(":")[2] != get_process_id().rpartition(":")[2]:
            continue  # another boot, or another machine of this name: its signs of life tell
        if process == get_process_id() or not process_is_alive(process):
            requeue(storage, study, trial.number, died=True)
    fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if ERROR_KIND_ATTR not in trial.user_attrs:  # another machine's, without a sign of life: not queued yet
            enqueue_copy(study, trial)


def requeue(storage: Storage, study: Study, number: int, died: bool = False) -> None:
    """End a running trial as interrupted; its values wait to be run again, unless too many processes `died` of them."""
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
    """Queue the values of a trial again, once; a cell has none."""
    queued = {other.user_attrs.get(RETRY_OF_ATTR) for other in study.get_trials(deepcopy=False)}
    if not trial.params or trial.number in queued:
        return
    own = (HOST_ATTR, PROCESS_ATTR, ERROR_KIND_ATTR, ERROR_MESSAGE_ATTR, RETRY_OF_ATTR)
    kept = {name: value for name, value in trial.user_attrs.items() if name not in own}
    enqueue(study, trial.params, trial.distributions, **{**kept, **notes, RETRY_OF_ATTR: trial.number})


def select_counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a budget counts: finished, whatever came of them, but not those that were interrupted or that
    were queued again."""
    again = {trial.user_attrs.get(RETRY_OF_ATTR) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state.is_finished()
        and trial.number not in again
        and (trial.state.name != "FAIL" or trial.user_attrs.get(ERROR_KIND_ATTR, "interrupted") != "interrupted")
    ]


def enqueue_crashed(study: Study, command: str) -> None:
    """Queue again what crashed under other commands: the reason may be gone by now. To be called alone."""
    for trial in select_counted(study.get_trials(deepcopy=False)):
        tries = trial.user_attrs.get(TRIES_ATTR, 1)
        crashed = trial.state.name == "FAIL" and trial.user_attrs.get(ERROR_KIND_ATTR) in CRASH_KINDS
        if crashed and trial.user_attrs.get(COMMAND_ATTR) != command and tries < MAX_TRIES:
            enqueue_copy(study, trial, **{TRIES_ATTR: tries + 1})
