"""The writing of a report: texts, figures, the page, and last of all the manifest, with the sha256 of every file and
the runs, commits, splits and configs behind every number."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.artifacts import PREDICTIONS_FILE
from bench.errors import ConfigError, StoreError
from bench.files import atomic_write, parse_json, sha256
from bench.record import find_commit, hash_source
from reports.figures.style import FIGURE_FORMATS, write_figures
from reports.formats import get_cell_name
from reports.formats.html import render_html_document
from reports.formats.latex import render_latex
from reports.formats.plain import escape_paragraph, guard_formula, render_csv, render_markdown
from reports.page import render_page
from reports.paper import (
    PAPER_PDF,
    compile_paper,
    describe_implementation,
    render_details,
    render_document,
    render_macros,
)
from reports.runs import Run, SearchSummary, StudyResults
from reports.types import Cell, FigureValue, Report, ReportFigure, Table

PAGE_FILE = "index.html"

ReportProgress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""

TABLE_RENDERERS = {"md": render_markdown, "tex": render_latex, "csv": render_csv, "html": render_html_document}
TABLE_FOLDER, FIGURE_FOLDER = "tables", "figures"

MANIFEST_FILE, MANIFEST_SCHEMA = "manifest.json", 3  # 2: cells without runs were left out
REQUEST_FIELDS = ("name", "runs", "preset", "settings")
REWRITE_HINT = "move that folder away and write the report again"


def check_folder(out: Path) -> None:
    """Raise ConfigError where a report would be written among files that are not a report's."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder for the report")
    if out.is_dir() and any(out.iterdir()) and read_manifest(out) is None:
        raise ConfigError(f"--out {out} holds files that are no report's; name an empty or a new folder")


@contextmanager
def report_lock(out: Path) -> Iterator[None]:
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
    studies: Sequence[StudyResults],
    searches: Sequence[SearchSummary],
    asked: Mapping[str, Any],
    out: Path,
    progress: ReportProgress,
    latex: str | None = None,
) -> None:
    """Write a report into a folder. While that goes on the manifest says so, and a report that was interrupted is not
    taken for one; files that only an older manifest named are deleted before the last. `latex` prints the document;
    where it cannot the report is written without, and StoreError is raised."""
    check_folder(out)
    contents = {path: text.encode() for path, text in render_texts(report, studies, searches).items()}
    pictures = list_figures(report)
    drawn = [f"{FIGURE_FOLDER}/{picture.name}.{kind}" for picture in pictures for kind in FIGURE_FORMATS]
    with report_lock(out):
        old = read_manifest(out)
        later = [*drawn, PAGE_FILE, *([PAPER_PDF] if latex is not None else [])]
        atomic_write(out / MANIFEST_FILE, make_unfinished_manifest(asked, old, [*contents, *later]).encode())
        for path, content in contents.items():
            atomic_write(out / path, content)
        shown = write_figures(pictures, out / FIGURE_FOLDER, lambda done: progress("figures", done, len(pictures)))
        progress("figures", len(pictures), len(pictures))
        atomic_write(out / PAGE_FILE, render_page(report, shown).encode())
        failure = _compile_paper(out, latex, progress) if latex is not None else None
        printed = [PAPER_PDF] if latex is not None and failure is None else []
        files = {path: sha256(out / path) for path in (*contents, *drawn, PAGE_FILE, *printed)}
        _delete_old_files(out, {PAPER_PDF, *(old.files if old is not None else ())}, files)
        atomic_write(out / MANIFEST_FILE, make_manifest(report, asked, files).encode())
    if failure is not None:
        raise failure


def _compile_paper(out: Path, latex: str, progress: ReportProgress) -> StoreError | None:
    """Print the document; why it could not be, for the report is whole without it."""
    progress(latex, 0, 1)
    try:
        compile_paper(out, latex)
    except StoreError as error:
        return error
    finally:
        progress(latex, 1, 1)
    return None


def _delete_old_files(out: Path, before: Iterable[str], files: Iterable[str]) -> None:
    """Delete what an older report had and this one has not, and what a killed command left half written."""
    for path in set(before) - set(files):
        _delete_file(out, path)
    for path in files:
        for left in (out / path).parent.glob(f".{(out / path).name}.*"):
            left.unlink(missing_ok=True)


def _delete_file(out: Path, path: str) -> None:
    """Delete a file of an older report, never one outside its folder."""
    place = (out / path).resolve()
    if place.is_relative_to(out.resolve()) and place.is_file():
        place.unlink()


def render_texts(report: Report, studies: Sequence[StudyResults], searches: Sequence[SearchSummary]) -> dict[str, str]:
    """Path in the report's folder -> text."""
    found = {
        get_table_path(table, kind): form(table)
        for table in list_tables(report)
        for kind, form in TABLE_RENDERERS.items()
    }
    found |= {
        f"{FIGURE_FOLDER}/{picture.name}.csv": _render_figure_csv(picture, report.warnings)
        for picture in list_figures(report)
        if picture.rows
    }
    paragraphs = describe_implementation(report.runs, searches, studies[0].reference_method if studies else "")
    found["macros.tex"] = render_macros(studies, report.warnings)
    found["details.tex"] = render_details(paragraphs)
    found["paper.tex"] = render_document(report)
    found["report.md"] = _render_report_markdown(report, paragraphs)
    return found


def get_table_path(table: Table, kind: str) -> str:
    """Where a table stands in one of its formats."""
    return f"{TABLE_FOLDER}/{table.name}.{kind}"


def list_tables(report: Report) -> list[Table]:
    """All tables."""
    return [table for section in report.sections for table in section.tables]


def map_cells(report: Report) -> dict[str, Cell]:
    """Return every cell of every table by its name, names of lines too."""
    return {
        get_cell_name(table, line, at): cell
        for table in list_tables(report)
        for line in table.rows
        for at, cell in enumerate(line.cells)
    }


def list_figures(report: Report) -> list[ReportFigure]:
    """All figures."""
    return [picture for section in report.sections for picture in section.figures]


def _render_figure_csv(picture: ReportFigure, warnings: Sequence[str]) -> str:
    """A figure's numbers as CSV, with ten digits: more would differ from one processor to another."""
    text, names = io.StringIO(), list(dict.fromkeys(name for row in picture.rows for name in row))
    note = [guard_formula(" ".join(warnings))] if warnings else []
    rows = [[*map(guard_formula, names), *(["note"] if warnings else [])]]
    rows += [[*(_format_value(row.get(name)) for name in names), *note] for row in picture.rows]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _format_value(value: FigureValue) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else guard_formula(value)


def _render_report_markdown(report: Report, paragraphs: Sequence[str]) -> str:
    """The whole report as one page of Markdown."""
    warnings = [f"> **{escape_paragraph(warning)}**\n>" for warning in report.warnings]
    lines = [f"# {escape_paragraph(report.title)}", "", *warnings, "", escape_paragraph(report.summary)]
    for section in report.sections:
        lines += ["", f"## {escape_paragraph(section.title)}", ""]
        lines += [f"{escape_paragraph(text)}\n" for text in section.paragraphs]
        for table in section.tables:
            lines += [render_markdown(table), ""]
        for picture in section.figures:
            lines += [f"![{escape_paragraph(picture.title)}]({FIGURE_FOLDER}/{picture.name}.png)", ""]
            lines += [f"*{escape_paragraph(picture.caption)}*", ""]
    if report.legend:
        lines += ["", "## How to read this report", ""]
        lines += [f"- **{escape_paragraph(entry.term)}**: {escape_paragraph(entry.text)}" for entry in report.legend]
        lines += [""]
    return "\n".join([*lines, "## Implementation details", "", *(f"{escape_paragraph(text)}\n" for text in paragraphs)])


@dataclass(frozen=True)
class ReportManifest:
    """A manifest as it was written."""

    asked: dict[str, Any]  # what the command named: report, runs, preset, settings
    runs: dict[str, dict[str, Any]]  # key -> what the run was
    cells: dict[str, dict[str, Any]]  # cell -> its text, and the keys of its runs where it has some
    files: dict[str, str]  # path -> sha256
    finished: bool  # False: the writing was interrupted
    warnings: tuple[str, ...] = ()
    tables: dict[str, list[str]] = field(default_factory=dict)  # table -> its files


def make_manifest(report: Report, asked: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The manifest's text. A cell names its runs by key; what these were stands once for all cells."""
    head, dirty = find_commit()
    found = {
        "schema": MANIFEST_SCHEMA,
        "finished": True,
        "asked": dict(asked),
        "made_by": {"commit": head, "dirty": dirty, "source": hash_source()},
        "warnings": list(report.warnings),
        "left_out": list(report.omissions),
        "tables": list_table_files(report),
        "runs": {run.record.key: describe_run(run) for run in report.runs},
        "cells": {
            name: {"text": cell.text, **({"runs": list(cell.run_keys)} if cell.run_keys else {})}
            for name, cell in map_cells(report).items()
        },
        "files": dict(sorted(files.items())),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def list_table_files(report: Report) -> dict[str, list[str]]:
    """The files of each table."""
    return {table.name: [get_table_path(table, kind) for kind in TABLE_RENDERERS] for table in list_tables(report)}


def make_unfinished_manifest(asked: Mapping[str, Any], old: ReportManifest | None, files: Iterable[str]) -> str:
    """The manifest of a report that is being written: it names its files, old and new, and vouches for none."""
    known = dict.fromkeys([*(old.files if old is not None else ()), *files], "")
    found = {
        "schema": MANIFEST_SCHEMA,
        "finished": False,
        "asked": dict(asked),
        "runs": {},
        "cells": {},
        "files": known,
    }
    return json.dumps(found, indent=1) + "\n"


def describe_run(run: Run) -> dict[str, Any]:
    """What a run was, and by which files."""
    spec, made = run.record.spec, run.record.provenance
    return {
        "record": run.record_sha256,
        "predictions": run.record.files.get(PREDICTIONS_FILE),
        **{name: getattr(spec, name) for name in ("method", "version", "dataset", "data", "fold", "seed", "protocol")},
        "preset": run.record.preset,
        "config": hashlib.sha256(json.dumps(spec.config, sort_keys=True).encode()).hexdigest(),
        **{name: getattr(spec, name) for name in ("split", "content", "weights")},
        "commit": made.get("commit"),
        "dirty": made.get("dirty"),
        "mlflow": run.mlflow_run_id,
        "failed": run.failed,
    }


def read_manifest(folder: Path) -> ReportManifest | None:
    """The manifest of a report's folder; None where there is none. Raises StoreError for one that cannot be read."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        raw = parse_json(path.read_text())
        if raw["schema"] != MANIFEST_SCHEMA:
            raise StoreError(f"{path} has schema {raw['schema']}, this version reads {MANIFEST_SCHEMA}; {REWRITE_HINT}")
        asked, runs, cells, files = (dict(raw[name]) for name in ("asked", "runs", "cells", "files"))
        _ = [*map(dict, runs.values())], [(cell["text"], list(cell.get("runs", ()))) for cell in cells.values()]
        _ = [asked[name] for name in REQUEST_FIELDS]
        warnings, tables = tuple(map(str, raw.get("warnings", ()))), dict(raw.get("tables", {}))
        return ReportManifest(asked, runs, cells, files, bool(raw["finished"]), warnings, tables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no manifest of a report ({type(error).__name__}); {REWRITE_HINT}") from None
