"""Locations of the data sets, and the check of links: a link is followed only if it stays inside the data folder."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import DataError
from bench.types import DatasetInfo

PROJECT_ROOT = Path(__file__).resolve().parents[1]


def find_data_folder(info: DatasetInfo, given: Path | None) -> Path | None:
    """Return the folder of the real data, or None if there is none.

    Searched in this order: the `given` folder, BENCH_DATA, data/ of the project; of the first two, a subfolder named
    like the data set is preferred. Raises DataError for a given folder that is missing or empty.
    """
    name = info.folder or info.name
    if given is not None:
        if not given.is_dir():
            raise DataError(f"--data: no such folder: {given}. {info.obtain}")
        if not list_folder(given):
            raise DataError(f"--data: empty folder: {given}. {info.obtain}")
        return given / name if (given / name).is_dir() else given
    variable = os.environ.get("BENCH_DATA")
    if variable:
        folder = Path(variable)
        if not folder.is_dir():
            raise DataError(f"BENCH_DATA: no such folder: {variable}; correct or unset the variable")
        if (folder / name).is_dir():
            return folder / name
        return folder if any((folder / part).is_dir() for part in ("imgs", "img", "mp3", "video")) else None
    default = PROJECT_ROOT / "data" / name
    return default if default.is_dir() else None


def is_valid_name(name: str) -> bool:
    """Return whether a file name is valid UTF-8 without control characters, so that lists and tables can hold it."""
    return not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def explain_unsafe_link(path: Path, root: Path) -> str | None:
    """Return why a path must not be followed (it leaves `root`, or its target is missing), or None if it is safe."""
    target = Path(os.path.realpath(path))  # unlike Path.resolve, accepts circular links
    if not target.is_relative_to(os.path.realpath(root)):
        return "a link that leaves the data folder; not followed"
    return None if target.exists() else "a broken link; its target does not exist"


def explain_unsafe_entry(entry: os.DirEntry[str], root: Path) -> str | None:
    """Return why a folder's entry must not be followed, or None if it is not a link or is a safe one."""
    return explain_unsafe_link(Path(entry.path), root) if entry.is_symlink() else None


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder sorted by name, or [] if there is no such folder.

    Raises DataError if the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}; check its permissions") from None
