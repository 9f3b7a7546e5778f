"""A report is written: texts, figures, the page, and last of all the manifest that vouches for them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import ConfigError, StoreError
from bench.files import sha256, write_whole
from reports.audit.drawing import DRAWN, draw_all
from reports.audit.manifest import MANIFEST, begin_manifest, make_manifest, read_manifest
from reports.audit.texts import FIGURES, pictures_of, texts
from reports.page.page import page
from reports.paper.printed import PRINTED, print_paper
from reports.report import Report
from reports.results.part import Part
from reports.results.searched import Summary

PAGE = "index.html"

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


def check_folder(out: Path) -> None:
    """Raise ConfigError where a report would be written among files that are not a report's."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder for the report")
    if out.is_dir() and any(out.iterdir()) and read_manifest(out) is None:
        raise ConfigError(f"--out {out} holds files that are no report's; name an empty or a new folder")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """A block that one command at a time enters for a report's folder; raises StoreError for a second one, which would
    write its own files among those that the first vouches for."""
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"report-{os.getuid()}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(f"another command writes the report in {out}; wait for it, or name another --out") from None
    try:
        yield
    finally:
        lock.release()


def write_report(
    report: Report,
    parts: Sequence[Part],
    searches: Sequence[Summary],
    asked: Mapping[str, Any],
    out: Path,
    progress: Progress,
    latex: str | None = None,
) -> None:
    """Write a report into a folder. While that goes on the manifest says so, and a report that was interrupted is not
    taken for one; files that only an older manifest named are deleted before the last. `latex` prints the document;
    where it cannot the report is written without, and StoreError is raised."""
    check_folder(out)
    contents = {path: text.encode() for path, text in texts(report, parts, searches).items()}
    pictures = pictures_of(report)
    drawn = [f"{FIGURES}/{picture.name}.{kind}" for picture in pictures for kind in DRAWN]
    with alone(out):
        old = read_manifest(out)
        later = [*drawn, PAGE, *([PRINTED] if latex is not None else [])]
        write_whole(out / MANIFEST, begin_manifest(asked, old, [*contents, *later]).encode())
        for path, content in contents.items():
            write_whole(out / path, content)
        shown = draw_all(pictures, out / FIGURES, lambda done: progress("figures", done, len(pictures)))
        progress("figures", len(pictures), len(pictures))
        write_whole(out / PAGE, page(report, shown).encode())
        failure = _print(out, latex, progress) if latex is not None else None
        printed = [PRINTED] if latex is not None and failure is None else []
        files = {path: sha256(out / path) for path in (*contents, *drawn, PAGE, *printed)}
        _tidy(out, {PRINTED, *(old.files if old is not None else ())}, files)
        write_whole(out / MANIFEST, make_manifest(report, asked, files).encode())
    if failure is not None:
        raise failure


def _print(out: Path, latex: str, progress: Progress) -> StoreError | None:
    """Print the document; why it could not be, for the report is whole without it."""
    progress(latex, 0, 1)
    try:
        print_paper(out, latex)
    except StoreError as error:
        return error
    finally:
        progress(latex, 1, 1)
    return None


def _tidy(out: Path, before: Iterable[str], files: Iterable[str]) -> None:
    """Delete what an older report had and this one has not, and what a killed command left half written."""
    for path in set(before) - set(files):
        _drop(out, path)
    for path in files:
        for left in (out / path).parent.glob(f".{(out / path).name}.*"):
            left.unlink(missing_ok=True)


def _drop(out: Path, path: str) -> None:
    """Delete a file of an older report, never one outside its folder."""
    place = (out / path).resolve()
    if place.is_relative_to(out.resolve()) and place.is_file():
        place.unlink()
