"""Write a report: texts, figures, the page, and last the manifest.

The manifest holds the sha256 of every file, and the runs, commits, splits and configs of every number."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.artifacts import PREDICTIONS_FILE
from bench.errors import ConfigError, StoreError
from bench.files import atomic_write, parse_json, sha256
from bench.record import find_commit, hash_source
from reports.figures.style import FIGURE_FORMATS, write_figures
from reports.formats import get_cell_name
from reports.formats.latex import render_latex
from reports.formats.plain import escape_paragraph, guard_formula, render_csv, render_markdown
from reports.formats.templates import render_html_document
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
"""Callback with the name of a step, the number of finished parts and their total."""

TABLE_RENDERERS = {"md": render_markdown, "tex": render_latex, "csv": render_csv, "html": render_html_document}
TABLE_FOLDER, FIGURE_FOLDER = "tables", "figures"

MANIFEST_FILE, MANIFEST_SCHEMA = "manifest.json", 4  # schema 3 had no legend, and other captions and order of columns
REQUEST_FIELDS = ("name", "runs", "preset", "settings")
REWRITE_HINT = "move that folder away and write the report again"


def check_folder(out: Path) -> None:
    """Raise ConfigError if `out` is a file, or a folder with files that do not belong to a report."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and read_manifest(out) is None:
        raise ConfigError(f"--out: {out} holds files that are not a report; name a new or empty folder")


@contextmanager
def report_lock(out: Path) -> Iterator[None]:
    """Lock a report's folder against other commands. Raises StoreError if another command holds the lock."""
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"report-{os.getuid()}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"another command is writing the report in {out}; wait until it ends or name another --out"
        ) from None
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
    """Write a report into a folder.

    The manifest is marked as unfinished until all files are written, so that an interrupted report is recognised.
    Files that only an older manifest lists are deleted. `latex` is the command that compiles the document; if it
    fails, the report is written without the PDF, and StoreError is raised at the end."""
    check_folder(out)
    contents = {path: text.encode() for path, text in render_texts(report, studies, searches).items()}
    figures = list_figures(report)
    drawn = [f"{FIGURE_FOLDER}/{figure.name}.{kind}" for figure in figures for kind in FIGURE_FORMATS]
    with report_lock(out):
        old = read_manifest(out)
        later = [*drawn, PAGE_FILE, *([PAPER_PDF] if latex is not None else [])]
        atomic_write(out / MANIFEST_FILE, make_unfinished_manifest(asked, old, [*contents, *later]).encode())
        for path, content in contents.items():
            atomic_write(out / path, content)
        rendered = write_figures(figures, out / FIGURE_FOLDER, lambda done: progress("figures", done, len(figures)))
        progress("figures", len(figures), len(figures))
        atomic_write(out / PAGE_FILE, render_page(report, rendered).encode())
        failure = _compile_paper(out, latex, progress) if latex is not None else None
        compiled = [PAPER_PDF] if latex is not None and failure is None else []
        files = {path: sha256(out / path) for path in (*contents, *drawn, PAGE_FILE, *compiled)}
        _delete_old_files(out, {PAPER_PDF, *(old.files if old is not None else ())}, files)
        atomic_write(out / MANIFEST_FILE, make_manifest(report, asked, files).encode())
    if failure is not None:
        raise failure


def _compile_paper(out: Path, latex: str, progress: ReportProgress) -> StoreError | None:
    """Compile the document; return the error instead of raising it, since the report is complete without the PDF."""
    progress(latex, 0, 1)
    try:
        compile_paper(out, latex)
    except StoreError as error:
        return error
    finally:
        progress(latex, 1, 1)
    return None


def _delete_old_files(out: Path, before: Iterable[str], files: Iterable[str]) -> None:
    """Delete files that only the older report has, and temporary files of a killed command."""
    for path in set(before) - set(files):
        _delete_file(out, path)
    for path in files:
        for left in (out / path).parent.glob(f".{(out / path).name}.*"):
            left.unlink(missing_ok=True)


def _delete_file(out: Path, path: str) -> None:
    """Delete a file of an older report; paths outside of its folder are ignored."""
    place = (out / path).resolve()
    if place.is_relative_to(out.resolve()) and place.is_file():
        place.unlink()


def render_texts(report: Report, studies: Sequence[StudyResults], searches: Sequence[SearchSummary]) -> dict[str, str]:
    """Return the texts of the report by path in its folder."""
    found = {
        get_table_path(table, kind): render(table)
        for table in list_tables(report)
        for kind, render in TABLE_RENDERERS.items()
    }
    found |= {
        f"{FIGURE_FOLDER}/{figure.name}.csv": _render_figure_csv(figure, report.warnings)
        for figure in list_figures(report)
        if figure.rows
    }
    paragraphs = describe_implementation(report.runs, searches, studies[0].reference_method if studies else "")
    found["macros.tex"] = render_macros(studies, report.warnings)
    found["details.tex"] = render_details(paragraphs)
    found["paper.tex"] = render_document(report)
    found["report.md"] = _render_report_markdown(report, paragraphs)
    return found


def get_table_path(table: Table, kind: str) -> str:
    """Return the path of a table in one of its formats."""
    return f"{TABLE_FOLDER}/{table.name}.{kind}"


def list_tables(report: Report) -> list[Table]:
    """Return the tables of all sections."""
    return [table for section in report.sections for table in section.tables]


def map_cells(report: Report) -> dict[str, Cell]:
    """Return every cell of every table by its name, including the cells of the first column."""
    return {
        get_cell_name(table, row, at): cell
        for table in list_tables(report)
        for row in table.rows
        for at, cell in enumerate(row.cells)
    }


def list_figures(report: Report) -> list[ReportFigure]:
    """Return the figures of all sections."""
    return [figure for section in report.sections for figure in section.figures]


def _render_figure_csv(figure: ReportFigure, warnings: Sequence[str]) -> str:
    """Return the numbers of a figure as CSV, with 10 digits: further digits differ between processors."""
    text, names = io.StringIO(), list(dict.fromkeys(name for row in figure.rows for name in row))
    note = [guard_formula(" ".join(warnings))] if warnings else []
    rows = [[*map(guard_formula, names), *(["note"] if warnings else [])]]
    rows += [[*(_format_value(row.get(name)) for name in names), *note] for row in figure.rows]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _format_value(value: FigureValue) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else guard_formula(value)


def _render_report_markdown(report: Report, paragraphs: Sequence[str]) -> str:
    """Return the whole report as one page of Markdown."""
    warnings = [f"> **{escape_paragraph(warning)}**\n>" for warning in report.warnings]
    lines = [f"# {escape_paragraph(report.title)}", "", *warnings, "", escape_paragraph(report.summary)]
    for section in report.sections:
        lines += ["", f"## {escape_paragraph(section.title)}", ""]
        lines += [f"{escape_paragraph(text)}\n" for text in section.paragraphs]
        for table in section.tables:
            lines += [render_markdown(replace(table, context="", legend=())), ""]
        for figure in section.figures:
            lines += [f"![{escape_paragraph(figure.title)}]({FIGURE_FOLDER}/{figure.name}.png)", ""]
            lines += [f"*{escape_paragraph(figure.caption)}*", ""]
    if report.legend:
        lines += ["", "## How to read this report", ""]
        lines += [f"- **{escape_paragraph(entry.term)}**: {escape_paragraph(entry.text)}" for entry in report.legend]
        lines += [""]
    return "\n".join([*lines, "## Implementation details", "", *(f"{escape_paragraph(text)}\n" for text in paragraphs)])


@dataclass(frozen=True)
class ReportManifest:
    """Content of a manifest."""

    asked: dict[str, Any]  # arguments of the command: report, runs, preset, settings
    runs: dict[str, dict[str, Any]]  # key -> description of the run
    cells: dict[str, dict[str, Any]]  # cell -> its text, and the keys of its runs if it has any
    files: dict[str, str]  # path -> sha256
    finished: bool  # False while the report is being written, or after an interruption
    warnings: tuple[str, ...] = ()
    tables: dict[str, list[str]] = field(default_factory=dict)  # table -> its files


def make_manifest(report: Report, asked: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return the text of the manifest. Cells list the keys of their runs; each run is described once."""
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
    """Return the paths of the files of each table."""
    return {table.name: [get_table_path(table, kind) for kind in TABLE_RENDERERS] for table in list_tables(report)}


def make_unfinished_manifest(asked: Mapping[str, Any], old: ReportManifest | None, files: Iterable[str]) -> str:
    """Return the manifest of a report that is being written: paths of old and new files, without hashes."""
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
    """Return the description of a run for the manifest, with the hashes of its files."""
    spec, provenance = run.record.spec, run.record.provenance
    return {
        "record": run.record_sha256,
        "predictions": run.record.files.get(PREDICTIONS_FILE),
        **{name: getattr(spec, name) for name in ("method", "version", "dataset", "data", "fold", "seed", "protocol")},
        "preset": run.record.preset,
        "config": hashlib.sha256(json.dumps(spec.config, sort_keys=True).encode()).hexdigest(),
        **{name: getattr(spec, name) for name in ("split", "content", "weights")},
        "commit": provenance.get("commit"),
        "dirty": provenance.get("dirty"),
        "mlflow": run.mlflow_run_id,
        "failed": run.failed,
    }


def read_manifest(folder: Path) -> ReportManifest | None:
    """Return the manifest of a folder, or None without one. Raises StoreError if it cannot be read."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        raw = parse_json(path.read_text())
        if raw["schema"] != MANIFEST_SCHEMA:
            raise StoreError(
                f"{path}: schema {raw['schema']}, but this version reads {MANIFEST_SCHEMA}; {REWRITE_HINT}"
            )
        asked, runs, cells, files = (dict(raw[name]) for name in ("asked", "runs", "cells", "files"))
        _ = [*map(dict, runs.values())], [(cell["text"], list(cell.get("runs", ()))) for cell in cells.values()]
        _ = [asked[name] for name in REQUEST_FIELDS]
        warnings, tables = tuple(map(str, raw.get("warnings", ()))), dict(raw.get("tables", {}))
        return ReportManifest(asked, runs, cells, files, bool(raw["finished"]), warnings, tables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a valid manifest ({type(error).__name__}); {REWRITE_HINT}") from None
