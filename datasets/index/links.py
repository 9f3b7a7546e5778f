"""Folders listed, and links in them followed as long as they stay inside the data folder."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import DataError


def is_text(name: str) -> bool:
    """Whether a name can be written down: in UTF-8, and without signs that end a line."""
    return not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def refusal(path: Path, root: Path) -> str | None:
    """Why a path is not followed: it leaves the data folder, or leads nowhere; None where it may be."""
    target = Path(os.path.realpath(path))  # unlike Path.resolve, bears links in a circle
    if not target.is_relative_to(os.path.realpath(root)):
        return "a link that leaves the data folder; not followed"
    return None if target.exists() else "a link that leads nowhere"


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name; none where there is no folder, DataError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from None
