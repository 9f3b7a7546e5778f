"""SQLite databases that are made whole or not at all: a kill at any moment leaves none, or one that works."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from bench.errors import StoreError
from bench.files import whole

T = TypeVar("T")
WAIT = 60  # seconds in which another process may have the database locked
JOURNALS = ("-journal", "-wal", "-shm")  # of a database that was being written


def open_database(path: Path, connect: Callable[[str], T], rows: str) -> T:
    """Open the database at `path` with `connect`, which is given an address and makes the tables that are missing.

    A new database is made elsewhere and then renamed. One that was left half made, by an older version or a copy cut
    short, is made anew, with a copy set aside: it cannot be opened, its tables are not those of a new one, and it has
    no table `rows` or an empty one. To be called under a lock. Raises what `connect` raises for any other database
    that it cannot open, and StoreError where none can be written.
    """
    _remove_partial(path)
    if not _has_tables(path):
        _make(path, connect)
    try:
        return connect(_address(path))
    except Exception:
        if not _is_half_made(path, connect, rows):
            raise
    _remake(path, connect)
    return connect(_address(path))


def _make(path: Path, connect: Callable[[str], object]) -> None:
    """Make a database in a temporary folder, and copy it into place in one step."""
    with _made(path, connect) as made:
        for part in JOURNALS:  # of a database without tables: SQLite would apply them to the new one
            Path(f"{path}{part}").unlink(missing_ok=True)
        with (
            whole(path) as temporary,
            closing(sqlite3.connect(made)) as old,
            closing(sqlite3.connect(temporary)) as new,
        ):
            old.backup(new)


def _remake(path: Path, connect: Callable[[str], object]) -> None:
    """Set a copy of a half-made database aside, and replace what is in it, in one transaction: connections of this
    process that hold the file open then see the new one."""
    number = 1 + sum(1 for _ in path.parent.glob(f"{path.name}.broken-*"))
    with _made(path, connect) as made, closing(sqlite3.connect(path, timeout=WAIT)) as here:
        with whole(path.with_name(f"{path.name}.broken-{number}")) as aside, closing(sqlite3.connect(aside)) as copy:
            here.backup(copy)
        with closing(sqlite3.connect(made)) as new:
            new.backup(here)


@contextmanager
def _made(path: Path, connect: Callable[[str], object]) -> Iterator[Path]:
    """Make a database in a temporary folder beside `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as name:
            made = Path(name) / path.name
            connect(_address(made))
            yield made
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; choose another place with --results"
        ) from None


def _remove_partial(path: Path) -> None:
    """Remove what a killed process left of a database that it was making."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_half_made(path: Path, connect: Callable[[str], object], rows: str) -> bool:
    """Return whether a database holds no rows, and some but not all parts of a new one. Another program's is not."""
    try:
        found = _schema(path)
        if f"table {rows}" in found and _ask(path, f"SELECT count(*) FROM {rows}"):
            return False
    except sqlite3.Error:
        return False
    with _made(path, connect) as made:
        wanted = _schema(made)
    foreign = {part for part in found - wanted if part.startswith("table ") and "_alembic_tmp_" not in part}
    return found != wanted and not foreign


def _address(path: Path) -> str:
    return f"sqlite:///{path.resolve()}"


def _has_tables(path: Path) -> bool:
    """Return whether there is a file with at least one table in it, or one that cannot be looked into."""
    try:
        return path.exists() and _ask(path, "SELECT count(*) FROM sqlite_master") > 0
    except sqlite3.Error:
        return True


def _schema(path: Path) -> set[str]:
    """Return the kind and name of all parts of a database, and the revision of its schema."""
    with closing(sqlite3.connect(path, timeout=WAIT)) as connection:
        found = {f"{kind} {name}" for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
        if "table alembic_version" in found:
            found |= {f"revision {one}" for (one,) in connection.execute("SELECT version_num FROM alembic_version")}
        return found


def _ask(path: Path, query: str) -> int:
    """Return the number that a query answers."""
    with closing(sqlite3.connect(path, timeout=WAIT)) as connection:
        (number,) = connection.execute(query).fetchone()
        return int(number)
