"""SQLite databases: their URLs, and their making. A kill at any moment leaves no database, or one that works."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from bench.errors import StoreError
from bench.files import atomic_path

T = TypeVar("T")
LOCK_TIMEOUT = 60  # seconds in which another process may have the database locked
JOURNAL_SUFFIXES = ("-journal", "-wal", "-shm")  # of a database that was being written


def open_database(path: Path, connect: Callable[[str], T], rows: str) -> T:
    """Open the database at `path` with `connect`, which is given an address and makes the tables that are missing.

    A new database is made elsewhere and then renamed. One that was left half made, by an older version or a copy cut
    short, is made anew, with a copy set aside: it cannot be opened, its tables are not those of a new one, and it has
    no table `rows` or an empty one. To be called under a lock. Raises what `connect` raises for any other database
    that it cannot open, and StoreError where none can be written.
    """
    _remove_partial_databases(path)
    if not _has_tables(path):
        _create_database(path, connect)
    try:
        return connect(make_sqlite_url(path))
    except Exception:
        if not _is_half_made(path, connect, rows):
            raise
    _recreate_database(path, connect)
    return connect(make_sqlite_url(path))


def _create_database(path: Path, connect: Callable[[str], object]) -> None:
    """Make a database in a temporary folder, and copy it into place in one step."""
    with _temporary_database(path, connect) as made:
        for part in JOURNAL_SUFFIXES:  # of a database without tables: SQLite would apply them to the new one
            Path(f"{path}{part}").unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            _copy_content(made, temporary)


def _recreate_database(path: Path, connect: Callable[[str], object]) -> None:
    """Set a copy of a half-made database aside, and replace what is in it, in one transaction: connections of this
    process that hold the file open then see the new one."""
    number = 1 + sum(1 for _ in path.parent.glob(f"{path.name}.broken-*"))
    with _temporary_database(path, connect) as made:
        with atomic_path(path.with_name(f"{path.name}.broken-{number}")) as aside:
            _copy_content(path, aside)
        _copy_content(made, path)


def _copy_content(source: Path, target: Path) -> None:
    """Replace what is in a database by what is in another."""
    with (
        closing(sqlite3.connect(source, timeout=LOCK_TIMEOUT)) as old,
        closing(sqlite3.connect(target, timeout=LOCK_TIMEOUT)) as new,
    ):
        old.backup(new)


@contextmanager
def _temporary_database(path: Path, connect: Callable[[str], object]) -> Iterator[Path]:
    """Make a database in a temporary folder beside `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as name:
            made = Path(name) / path.name
            connect(make_sqlite_url(made))
            yield made
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; choose another place with --results"
        ) from None


def _remove_partial_databases(path: Path) -> None:
    """Remove what a killed process left of a database that it was making."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_half_made(path: Path, connect: Callable[[str], object], rows: str) -> bool:
    """Return whether a database holds no rows, and some but not all parts of a new one. Another program's is not."""
    try:
        found = _read_schema(path)
        if f"table {rows}" in found:
            with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as connection:
                if connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone():
                    return False
    except sqlite3.Error:
        return False
    with _temporary_database(path, connect) as made:
        wanted = _read_schema(made)
    foreign = {part for part in found - wanted if part.startswith("table ") and "_alembic_tmp_" not in part}
    return found != wanted and not foreign


def make_sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, in which `%`, `?` and `#` of its path are quoted."""
    url = URL.create("sqlite", database=str(path.resolve())).render_as_string()
    if url == f"sqlite:///{path.resolve()}":
        return url
    return url.replace("sqlite", "sqlite+pysqlite", 1)  # else MLflow makes the folder that the quoted path names


def read_sqlite_path(url: str) -> Path | None:
    """Return the file that a SQLite URL names; None for the URL of any other database."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return Path(found.database) if found.get_backend_name() == "sqlite" and found.database else None


def _has_tables(path: Path) -> bool:
    """Return whether there is a file with at least one table in it, or one that cannot be looked into."""
    try:
        return path.exists() and bool(_read_schema(path))
    except sqlite3.Error:
        return True


def _read_schema(path: Path) -> set[str]:
    """Return the kind and name of all parts of a database, and the revision of its schema."""
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as connection:
        found = {f"{kind} {name}" for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
        if "table alembic_version" in found:
            found |= {f"revision {one}" for (one,) in connection.execute("SELECT version_num FROM alembic_version")}
        return found
