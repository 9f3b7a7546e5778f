"""The database that trials and cells are shared through: Optuna's, on SQLite beside the results or on PostgreSQL.

A database that goes away for a while is waited for; a lock keeps processes that ask at once apart.
"""

from __future__ import annotations

import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from bench.database import open_database
from bench.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage

PATIENCE = 900.0  # seconds that a database which went away is waited for
BEAT, GRACE = 30, 600  # seconds between signs of life of a trial, and without one until it counts as dead
LOCK_NUMBER = int.from_bytes(hashlib.sha256(b"mart-bench").digest()[:7], "big")  # of PostgreSQL's advisory lock

T = TypeVar("T")
_log = logging.getLogger(__name__)


def storage_url(results: Path, url: str | None) -> str:
    """The database's address as SQLAlchemy wants it. Raises ConfigError for one that is neither of the two kinds."""
    if url is None:
        return f"sqlite:///{(results / 'optuna.db').resolve()}"
    kind, _, rest = url.partition("://")
    if kind in ("postgresql", "postgres", "postgresql+psycopg") and rest:
        return f"postgresql+psycopg://{rest}"
    if kind == "sqlite" and rest.startswith("/") and not rest.endswith("/"):
        return f"sqlite:///{Path(rest[1:]).resolve()}"
    raise ConfigError(
        f"--storage '{url}' is no database for this; for example postgresql://user@host/name or sqlite:////path/optuna.db"
    )


class Storage:
    """A connection to the database, made when it is first needed."""

    def __init__(self, url: str, notice: Callable[[str], None] = lambda text: None, waits: bool = False) -> None:
        self.url, self._notice = url, notice
        self._waits = waits  # for a database that is away from the beginning, as it may be for a late worker
        self._opened: RDBStorage | None = None
        self._guard: Any = None  # the connection that holds PostgreSQL's advisory lock
        self._alone = False
        self.reaped: dict[str, float] = {}  # study -> when it was last looked through for the dead

    def study(self, name: str, pruner: Any = None, maximize: bool = True) -> Study:
        """The Optuna study of this name; made where there is none."""
        import optuna

        return self.patient(
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
        if self._opened is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            faults: tuple[type[Exception], ...] = (OSError, *_away())
            try:
                with self._lock():  # several processes would race in making its tables
                    if self._file is None:
                        self._opened = self._connect(self.url)
                    else:
                        self._opened = open_database(self._file, self._connect, rows="trials")
            except faults as error:
                if self._waits and isinstance(error, _away()):
                    raise
                raise StoreError(f"cannot reach the database {shown(self.url)} ({_first(error)})") from None
        return self._opened

    def alone(self, call: Callable[[], T]) -> T:
        """The answer of a call that no other process makes meanwhile, on this machine or, with PostgreSQL, on any. The
        lock falls when the database goes away: then the call is made again from its start."""

        def locked() -> T:
            self.open()
            with self._lock():
                self._alone = True
                try:
                    return call()
                finally:
                    self._alone = False

        return self.patient(locked)

    def check_alone(self) -> None:
        """Before something is written: raise, as for an outage, where the lock was lost unnoticed."""
        if self._guard is not None:
            self._guard.execute("SELECT 1")

    def patient(self, call: Callable[[], T]) -> T:
        """The answer of a call, waiting while the database is away. Raises StoreError when that lasts too long."""
        if self._alone:  # the waiting is done where the lock is taken again
            return call()
        since, said = time.monotonic(), False
        while True:
            try:
                return call()
            except _away() as error:
                if not _is_outage(error):
                    raise
                if time.monotonic() - since > PATIENCE:
                    raise StoreError(f"the database {shown(self.url)} stayed away ({_first(error)})") from None
                if not said and time.monotonic() - since > 2:
                    said = True
                    self._notice(f"the database {shown(self.url)} is away; waiting for it")
                _log.warning("database away", exc_info=True)
                time.sleep(0.5)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._file.with_suffix(".lock")):
                yield
            return
        guard = self._advisory()
        try:
            yield
        finally:
            try:
                guard.execute("SELECT pg_advisory_unlock(%s)", (LOCK_NUMBER,))
            except _away():  # the server went away, and the lock with it
                self._guard = None

    def _advisory(self) -> Any:
        """PostgreSQL's advisory lock, on a connection of its own; it falls with the connection."""
        import psycopg

        if self._guard is None or self._guard.closed:
            address = self.url.replace("postgresql+psycopg://", "postgresql://", 1)
            self._guard = psycopg.connect(address, autocommit=True, connect_timeout=10)
        try:
            self._guard.execute("SELECT pg_advisory_lock(%s)", (LOCK_NUMBER,))
        except psycopg.Error:
            self._guard = None
            raise
        return self._guard

    def _connect(self, url: str) -> RDBStorage:
        import optuna

        return optuna.storages.RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True, **self._engine()},
            heartbeat_interval=BEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_requeue_stale,
        )

    def _engine(self) -> dict[str, Any]:
        if self._file is not None:
            return {"connect_args": {"timeout": 60}}
        return {"connect_args": {"connect_timeout": 10, "keepalives_idle": 30}, "pool_size": 1, "max_overflow": 2}

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, which no other one shares."""
        return self._file is not None

    @property
    def _file(self) -> Path | None:
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:///") else None


def shown(url: str) -> str:
    """An address without its password."""
    kind, slashes, rest = url.partition("://")
    return f"{kind}{slashes}{rest.rpartition('@')[2]}"


def _requeue_stale(study: Study, trial: Any) -> None:
    from studies.queue.claims import copy_of

    copy_of(study, trial)


def _away() -> tuple[type[Exception], ...]:
    """What a database that is away raises, through each of the layers."""
    import psycopg
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    return (StorageInternalError, DBAPIError, psycopg.Error)


def _is_outage(error: Exception) -> bool:
    """Whether it tells of a database that is away, and not of data that it refuses."""
    from optuna.exceptions import StorageInternalError
    from psycopg import ProgrammingError as Refused
    from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

    inner = error.__cause__ if isinstance(error, StorageInternalError) else error
    return not isinstance(inner, DataError | IntegrityError | ProgrammingError | Refused | ValueError)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
