"""Creation and URLs of SQLite databases. A process killed at any moment leaves no database or a working one."""

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
LOCK_TIMEOUT = 60  # seconds to wait for a database that another process has locked
JOURNAL_SUFFIXES = ("-journal", "-wal", "-shm")  # of files that SQLite writes next to a database


def open_database(path: Path, connect: Callable[[str], T], rows: str) -> T:
    """Open the database at `path` with `connect(url)`, which creates missing tables. The caller holds a lock.

    A new database is created in a temporary folder and renamed. An incomplete one, left by an older version or a
    partial copy, is replaced, and a copy of it is stored as `<name>.broken-<n>`. Incomplete means: it cannot be opened,
    its tables differ from those of a new database, and its table `rows` is missing or empty. Raises the error of
    `connect` for any other database that cannot be opened, and StoreError if the folder cannot be written.
    """
    _remove_partial_databases(path)
    if not _has_tables(path):
        _create_database(path, connect)
    try:
        return connect(make_sqlite_url(path))
    except Exception:
        if not _is_incomplete(path, connect, rows):
            raise
    _recreate_database(path, connect)
    return connect(make_sqlite_url(path))


def _create_database(path: Path, connect: Callable[[str], object]) -> None:
    """Create a database in a temporary folder and rename it into place."""
    with _temporary_database(path, connect) as made:
        for part in JOURNAL_SUFFIXES:  # leftovers, which SQLite would apply to the new database
            Path(f"{path}{part}").unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            _copy_content(made, temporary)


def _recreate_database(path: Path, connect: Callable[[str], object]) -> None:
    """Back up an incomplete database, then replace its content in one transaction.

    The file stays the same, so that open connections of this process see the new content.
    """
    number = 1 + sum(1 for _ in path.parent.glob(f"{path.name}.broken-*"))
    with _temporary_database(path, connect) as made:
        with atomic_path(path.with_name(f"{path.name}.broken-{number}")) as backup:
            _copy_content(path, backup)
        _copy_content(made, path)


def _copy_content(source: Path, target: Path) -> None:
    """Replace the content of the database `target` by that of `source`."""
    with (
        closing(sqlite3.connect(source, timeout=LOCK_TIMEOUT)) as old,
        closing(sqlite3.connect(target, timeout=LOCK_TIMEOUT)) as new,
    ):
        old.backup(new)


@contextmanager
def _temporary_database(path: Path, connect: Callable[[str], object]) -> Iterator[Path]:
    """Create a database in a temporary folder next to `path`; remove it after the block."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as name:
            made = Path(name) / path.name
            connect(make_sqlite_url(made))
            yield made
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; choose another folder with --results"
        ) from None


def _remove_partial_databases(path: Path) -> None:
    """Remove the temporary files and folders of killed processes."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_incomplete(path: Path, connect: Callable[[str], object], rows: str) -> bool:
    """Return whether a database has no rows and only a part of the schema; False for one of another program."""
    try:
        found = _read_schema(path)
        if f"table {rows}" in found:
            with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as connection:
                if connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone():
                    return False
    except sqlite3.Error:
        return False
    with _temporary_database(path, connect) as made:
        expected = _read_schema(made)
    foreign = {part for part in found - expected if part.startswith("table ") and "_alembic_tmp_" not in part}
    return found != expected and not foreign


def make_sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file; `%`, `?` and `#` in its path are quoted."""
    url = URL.create("sqlite", database=str(path.resolve())).render_as_string()
    if url == f"sqlite:///{path.resolve()}":
        return url
    return url.replace("sqlite", "sqlite+pysqlite", 1)  # keeps MLflow from creating the folder of the quoted path


def read_sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for any other URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _has_tables(path: Path) -> bool:
    """Return whether the database file has a table or cannot be read."""
    try:
        return path.exists() and bool(_read_schema(path))
    except sqlite3.Error:
        return True


def _read_schema(path: Path) -> set[str]:
    """Return type and name of each schema object, and the Alembic revision."""
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as connection:
        schema = {f"{kind} {name}" for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
        if "table alembic_version" in schema:
            versions = connection.execute("SELECT version_num FROM alembic_version")
            schema |= {f"revision {number}" for (number,) in versions}
        return schema
