"""The check of a written report against the records: every number recomputed, every difference named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest
from math import isclose
from pathlib import Path
from typing import NamedTuple

from bench.artifacts import PREDICTIONS_FILE, WEIGHTS_FILE
from bench.files import sha256
from bench.metrics import score
from reports.formats import RenderedLine, html, join_lines, latex, make_printable
from reports.formats import plain as csvtext
from reports.formats import plain as markdown
from reports.formats.html import read_html
from reports.paper import PAPER_PDF
from reports.runs import PredictionCache, Run, SearchSummary, StudyResults
from reports.types import Report, Table
from reports.write import (
    FIGURE_FOLDER,
    FIGURE_FORMATS,
    PAGE_FILE,
    TABLE_RENDERERS,
    ReportManifest,
    ReportProgress,
    describe_run,
    get_table_path,
    list_figures,
    list_table_files,
    list_tables,
    map_cells,
    render_texts,
)

MAX_NAMED_CELLS = 3  # cells of a finding


@dataclass(frozen=True)
class Finding:
    """Something that does not hold: what, and the cells that it concerns."""

    message: str
    cells: tuple[str, ...]

    def __str__(self) -> str:
        if not self.cells:
            return self.message
        more = f" and {len(self.cells) - MAX_NAMED_CELLS} more" if len(self.cells) > MAX_NAMED_CELLS else ""
        return f"{self.message}: {', '.join(self.cells[:MAX_NAMED_CELLS])}{more}"


def check_report(
    report: Report,
    studies: Sequence[StudyResults],
    searches: Sequence[SearchSummary],
    manifest: ReportManifest,
    out: Path,
    predictions: PredictionCache,
    progress: ReportProgress,
) -> list[Finding]:
    """Everything about a written report that does not hold; none where all does. `report` is composed anew."""
    here = {run.record.key: run for run in report.runs}
    findings = [*_check_records(manifest, here)]
    for place, run in enumerate(here.values()):
        progress("runs", place, len(here))
        findings += [
            Finding(what, _list_cells_of_manifest(run.record.key, manifest))
            for what in _recompute_run(run, predictions)
        ]
    progress("runs", len(here), len(here))
    findings += [*_check_manifest(report, manifest), *find_stale_cells(report, manifest)]
    findings += _check_files(report, render_texts(report, studies, searches), manifest, out)
    return findings


def _check_records(manifest: ReportManifest, here: Mapping[str, Run]) -> list[Finding]:
    """Runs that are gone, or are not what they were when the report was written."""
    found = []
    for key, noted in manifest.runs.items():
        if key not in here:
            found.append(
                Finding(
                    f"run {key} is gone, or has no place in the report any more", _list_cells_of_manifest(key, manifest)
                )
            )
            continue
        now = describe_run(here[key])
        changed = [
            name for name in sorted(noted.keys() | now.keys()) if name != "mlflow" and noted.get(name) != now.get(name)
        ]
        if changed:
            what = f"the record of run {key} was changed since ({', '.join(changed)})"
            found.append(Finding(what, _list_cells_of_manifest(key, manifest)))
    return found


def _check_manifest(report: Report, manifest: ReportManifest) -> list[Finding]:
    """What the manifest does not say, or says otherwise than the report."""
    keys = [run.record.key for run in report.runs if run.record.key not in manifest.runs]
    found = [
        Finding(f"run {key} is in the report and not in its manifest", _list_cells_of_report(key, report))
        for key in keys
    ]
    if manifest.warnings != report.warnings:
        found.append(Finding("the warnings are others now than the manifest has", ()))
    if manifest.tables != list_table_files(report):
        found.append(Finding("the tables are others now than the manifest has", ()))
    return found


def _recompute_run(run: Run, cache: PredictionCache) -> list[str]:
    """What is wrong with a run: files are not those that its record names, or its predictions give other scores."""
    record = run.record
    if run.failed:
        return []
    if PREDICTIONS_FILE not in record.files or not (run.folder / PREDICTIONS_FILE).is_file():
        return [
            f"run {record.key} cannot be recomputed: {PREDICTIONS_FILE} is not here (`python bench.py sync` brings it)"
        ]
    here = {name: sha for name, sha in record.files.items() if name != WEIGHTS_FILE and (run.folder / name).is_file()}
    gone = [name for name in record.files if name != WEIGHTS_FILE and name not in here]
    if gone:
        return [f"files of run {record.key} are gone ({', '.join(gone)}; `python bench.py sync` brings them)"]
    changed = [name for name, sha in here.items() if sha256(run.folder / name) != sha]
    if changed:
        return [f"files of run {record.key} were changed since its record was written ({', '.join(changed)})"]
    splits = cache.load_splits(run)
    if splits is None:
        return [cache.missing[record.key]]
    known = {
        f"{split}/{name}": value
        for split, predictions in splits.items()
        for name, value in score(predictions, run.info).items()
    }
    return [
        f"run {record.key}: its record says {name} {record.scores.get(name)}, its predictions {known.get(name)}"
        for name in dict.fromkeys([*known, *record.scores])
        if not _are_scores_equal(record.scores.get(name), known.get(name))
    ]


def _are_scores_equal(told: float | None, found: float | None) -> bool:
    """Whether two scores are one, but for what the last bits of another processor's sums may differ."""
    return told == found or (told is not None and found is not None and isclose(told, found, rel_tol=1e-9))


def find_stale_cells(report: Report, manifest: ReportManifest) -> list[Finding]:
    """Cells that would be written otherwise now."""
    now = map_cells(report)
    found: dict[str, list[str]] = {}
    other: dict[str, str] = {}  # cells of the same runs with another text
    for name, cell in now.items():
        old = manifest.cells.get(name)
        if old is None:
            found.setdefault("stale: there is a cell now that was not written", []).append(name)
        elif list(cell.run_keys) != (runs := old.get("runs", [])):
            what = f"stale: made of {len(set(runs))} runs, {len(set(cell.run_keys))} are there now"
            found.setdefault(what, []).append(name)
        elif cell.text != old["text"]:
            other[name] = f"stale: '{old['text']}' was written, '{cell.text}' follows from the records"
    if other:
        one = next(iter(other.values()))
        found[one if len(other) == 1 else "stale: other texts follow from the records now"] = list(other)
    gone = [name for name in manifest.cells if name not in now]
    if gone:
        found["stale: there is no such cell any more"] = gone
    return [Finding(what, tuple(cells)) for what, cells in found.items()]


def _check_files(report: Report, wanted: Mapping[str, str], manifest: ReportManifest, out: Path) -> list[Finding]:
    """Files that are gone, were edited since they were written, or would be written otherwise now."""
    tables = {get_table_path(table, kind): (table, kind) for table in list_tables(report) for kind in TABLE_RENDERERS}
    found = []
    for path, sha in manifest.files.items():
        place = (out / path).resolve()
        if not place.is_relative_to(out.resolve()) or not place.is_file():
            found.append(Finding(f"{path} is not there any more", ()))
        elif sha256(place) != sha:
            found.append(Finding(f"{path} was edited", _list_edited_cells(place, path, tables, report)))
        elif path in wanted and _read_text(place) != wanted[path]:
            cells = tuple(find_edited_cells(*tables[path], _read_text(place))) if path in tables else ()
            found.append(Finding(f"{path} is stale", cells))
        elif path == PAGE_FILE and (cells := _list_edited_cells(place, path, tables, report)):
            found.append(Finding(f"{path} does not say what the tables do", cells))
    drawn = [f"{FIGURE_FOLDER}/{picture.name}.{kind}" for picture in list_figures(report) for kind in FIGURE_FORMATS]
    there = [PAPER_PDF] if (out / PAPER_PDF).is_file() else []
    lacking = [path for path in dict.fromkeys((*wanted, *drawn, PAGE_FILE, *there)) if path not in manifest.files]
    return [*found, *(Finding(f"{path} is not in the manifest", ()) for path in lacking)]


def _list_edited_cells(
    place: Path, path: str, tables: Mapping[str, tuple[Table, str]], report: Report
) -> tuple[str, ...]:
    """The cells of an edited table, or of the tables of an edited page."""
    try:
        text = _read_text(place)
    except ValueError:
        return ()
    if path in tables:
        return tuple(find_edited_cells(*tables[path], text))
    if path != PAGE_FILE:
        return ()
    told = read_html(text)
    cells = (pair for table in list_tables(report) for pair in table.iter_cells())
    return tuple(name for name, cell in cells if told.get(name, "").split() != make_printable(cell.text).split())


def _read_text(place: Path) -> str:
    """A text with its line ends as they are."""
    return place.read_bytes().decode()


def _list_cells_of_report(key: str, report: Report) -> tuple[str, ...]:
    return tuple(name for table in list_tables(report) for name, cell in table.iter_cells() if key in cell.run_keys)


def _list_cells_of_manifest(key: str, manifest: ReportManifest) -> tuple[str, ...]:
    return tuple(name for name, cell in manifest.cells.items() if key in cell.get("runs", ()))


class TableFormat(NamedTuple):
    """A format: what it writes, how a line falls into cells, and what in a line tells which one it is."""

    render_lines: Callable[[Table], list[RenderedLine]]
    split_line: Callable[[str], list[str]]
    find_key: Callable[[str], str]


def _keep_line(line: str) -> list[str]:
    return [line.strip()]


def _make_first_cell_finder(split: Callable[[str], list[str]]) -> Callable[[str], str]:
    return lambda line: "".join(split(line)[:1])


def _make_pattern_finder(pattern: str) -> Callable[[str], str]:
    def own(line: str) -> str:
        found = re.search(pattern, line)
        return found[1] if found else ""

    return own


HTML_FUNCTIONS = (_keep_line, _make_pattern_finder('data-cell="([^"]*)"'))
TABLE_FORMATS = {
    "md": TableFormat(
        markdown.render_markdown_lines,
        markdown.split_markdown_row,
        _make_first_cell_finder(markdown.split_markdown_row),
    ),
    "tex": TableFormat(latex.render_latex_lines, _keep_line, _make_pattern_finder(r" % (.*):[^:]*$")),
    "csv": TableFormat(csvtext.render_csv_lines, csvtext.split_csv_row, _make_first_cell_finder(csvtext.split_csv_row)),
    "html": TableFormat(html.render_html_lines, *HTML_FUNCTIONS),
    "page": TableFormat(html.render_html_document_lines, *HTML_FUNCTIONS),
}


def find_edited_cells(table: Table, kind: str, text: str) -> list[str]:
    """What in a file's text is not as the format writes the grid: names of cells, or "line 12"; [] if nothing is.

    `kind` is "md", "tex", "csv" or "html" (a page of the table alone, or the table as it stands in ours). A cell is
    named if its text, its mark, or what the file says of its runs differs, and if it is gone. "line 12" is a line of
    the text with a change that belongs to no cell: in a heading, a footnote, an added line.
    """
    if kind == "html" and "<!doctype" in text[:200].lower():
        kind = "page"
    form = TABLE_FORMATS[kind]
    written = form.render_lines(table)
    if text == join_lines(written):
        return []
    lines = text.removesuffix("\n").split("\n")
    found = [name for change in _find_changes(written, lines, form) for name in change]
    return list(dict.fromkeys(found or [f"line {len(lines)}"]))  # else only the last line end is gone


def _find_changes(written: Sequence[RenderedLine], lines: Sequence[str], form: TableFormat) -> Iterator[list[str]]:
    """What each line that differs is told as."""
    then = [line.text for line in written]
    head = _count_equal_lines(then, lines)
    foot = _count_equal_lines(then[head:][::-1], lines[head:][::-1])
    matcher = SequenceMatcher(None, then[head : len(then) - foot], lines[head : len(lines) - foot])
    for tag, *ends in matcher.get_opcodes():
        if tag == "equal":
            continue
        start, end, first, last = (head + place for place in ends)
        for line, at in _pair_lines(written[start:end], range(first, last), lines, form):
            place = f"line {min(first if at is None else at, len(lines) - 1) + 1}"
            if line is None:
                yield [place]
            elif at is None:
                yield [name for name in line.cell_names if name] or [place]
            else:
                yield _list_changed_cells(line, form.split_line(lines[at]), form.split_line(line.text)) or [place]


def _count_equal_lines(then: Sequence[str], now: Sequence[str]) -> int:
    """How many lines are the same before the first that differs."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(then, now, strict=False)))


def _pair_lines(
    written: Sequence[RenderedLine], places: Iterable[int], lines: Sequence[str], form: TableFormat
) -> Iterator[tuple[RenderedLine | None, int | None]]:
    """Lines that were written beside the places of those that stand there now: by what is their own, then in order."""
    free = dict.fromkeys(places)
    known: dict[str, list[int]] = {}
    for at in free:
        known.setdefault(form.find_key(lines[at]), []).append(at)
    left = []
    for line in written:
        same = known.get(form.find_key(line.text)) if line.cell_names else None
        if same:
            free.pop(same[0])
            yield line, same.pop(0)
        else:
            left.append(line)
    yield from zip_longest(left, free)


def _list_changed_cells(line: RenderedLine, now: Sequence[str], then: Sequence[str]) -> list[str]:
    """The names of the cells of a line that differ; all where it has no longer as many."""
    whole = len(now) == len(line.cell_names)
    return [name for at, name in enumerate(line.cell_names) if name and not (whole and now[at] == then[at])]
