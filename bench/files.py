"""Atomic writes of files, hashes, and log files. A kill at any moment leaves no file, or a whole one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import StoreError

_TEMPORARY_NAME = re.compile(r"\.(.+\.|pull-)[a-z0-9_]{8}")  # as `tempfile` completes our prefixes


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, on disk, only if the block ends well.

    Raises StoreError in one line when the folder cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left; the caller has the folder's lock."""
    for path in folder.glob(".*"):
        if _TEMPORARY_NAME.fullmatch(path.name):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that others may have written. Raises ValueError where it is none, however deeply it is nested."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a regular file itself: a link to one, a folder or a device is not."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hex; of a folder, that of its visible files' names and contents."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return hashlib.sha256("\n".join(f"{file.name} {sha256(file)}" for file in files).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def logs_to(path: Path) -> Iterator[None]:
    """A block whose log lines and warnings are appended to `path`; made when the first one comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root, handler = logging.getLogger(), logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    kept, root.handlers = root.handlers, [handler]
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.handlers = kept
            handler.close()
