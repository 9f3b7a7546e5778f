"""The folders of the data: where each data set is, and which links inside it are followed.

A link is followed only as long as it stays inside the data folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import DataError
from bench.types import DatasetInfo

PROJECT_ROOT = Path(__file__).resolve().parents[1]


def find_data_folder(info: DatasetInfo, given: Path | None) -> Path | None:
    """The folder of the real data: the given one, BENCH_DATA (it or its child), or data/<name>; None without any."""
    if given is not None:
        if not given.is_dir():
            raise DataError(f"--data {given} is no folder; {info.title}: {info.obtain}")
        if not list_folder(given):
            raise DataError(f"--data {given} is empty; {info.title}: {info.obtain}")
        return given / info.name if (given / info.name).is_dir() else given
    named = os.environ.get("BENCH_DATA")
    if named:
        place = Path(named)
        if not place.is_dir():
            raise DataError(f"BENCH_DATA={named} is no folder; correct it or unset it")
        if (place / info.name).is_dir():
            return place / info.name
        return place if any((place / part).is_dir() for part in ("imgs", "img", "mp3", "video")) else None
    usual = PROJECT_ROOT / "data" / info.name
    return usual if usual.is_dir() else None


def is_valid_name(name: str) -> bool:
    """Whether a name can be written down: in UTF-8, and without signs that end a line."""
    return not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def explain_unsafe_link(path: Path, root: Path) -> str | None:
    """Why a path is not followed: it leaves the data folder, or leads nowhere; None where it may be."""
    target = Path(os.path.realpath(path))  # unlike Path.resolve, bears links in a circle
    if not target.is_relative_to(os.path.realpath(root)):
        return "a link that leaves the data folder; not followed"
    return None if target.exists() else "a link that leads nowhere"


def explain_unsafe_entry(entry: os.DirEntry[str], root: Path) -> str | None:
    """Return why an entry of a folder is not followed; None where it is no link, or one that may be."""
    return explain_unsafe_link(Path(entry.path), root) if entry.is_symlink() else None


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name; none where there is no folder, DataError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from None
