"""Check a written report: recompute every number from the stored records and predictions, and list the differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from itertools import accumulate, takewhile
from math import isclose
from pathlib import Path

from bench.artifacts import PREDICTIONS_FILE, WEIGHTS_FILE
from bench.files import sha256
from bench.metrics import score
from reports.figures.style import FIGURE_FORMATS
from reports.formats import split_marks
from reports.formats.html import render_html_table
from reports.paper import PAPER_PDF
from reports.runs import PredictionCache, Run, SearchSummary, StudyResults
from reports.types import Report
from reports.write import (
    FIGURE_FOLDER,
    MANIFEST_FILE,
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

MAX_NAMED_CELLS = 3  # per finding
MIN_LIKENESS = 0.6  # similarity from which two lines count as one line, edited


@dataclass(frozen=True)
class Finding:
    """A fault of a written report: a message, and the names of the affected cells."""

    message: str
    cells: tuple[str, ...] = ()

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
    """Return the faults of the report in `out`. `report` is composed again from the records."""
    here = {run.record.key: run for run in report.runs}
    findings = [*_check_records(manifest, here)]
    for place, run in enumerate(here.values()):
        progress("runs", place, len(here))
        cells = _list_cells_of_manifest(run.record.key, manifest)
        findings += [Finding(what, cells) for what in _recompute_run(run, predictions)]
    progress("runs", len(here), len(here))
    findings += [*_check_manifest(report, manifest), *find_stale_cells(report, manifest)]
    findings += _check_files(report, render_texts(report, studies, searches), manifest, out)
    return findings


def _check_records(manifest: ReportManifest, here: Mapping[str, Run]) -> list[Finding]:
    """Find runs that are missing or have changed since the report was written."""
    found = []
    for key, written in manifest.runs.items():
        cells = _list_cells_of_manifest(key, manifest)
        if key not in here:
            found.append(
                Finding(f"run {key} is missing or no longer selected; restore it or write the report again", cells)
            )
            continue
        now = describe_run(here[key])
        names = sorted((written.keys() | now.keys()) - {"mlflow"})
        if changed := [name for name in names if written.get(name) != now.get(name)]:
            what = f"record of run {key} changed after the report was written ({', '.join(changed)})"
            found.append(Finding(f"{what}; write the report again", cells))
    return found


def _check_manifest(report: Report, manifest: ReportManifest) -> list[Finding]:
    """Compare the runs, warnings and tables of the manifest with those of the report."""
    found = []
    for key in (run.record.key for run in report.runs if run.record.key not in manifest.runs):
        cells = [name for table in list_tables(report) for name, cell in table.iter_cells() if key in cell.run_keys]
        found.append(
            Finding(f"run {key} is selected now, but is not in {MANIFEST_FILE}; write the report again", tuple(cells))
        )
    if manifest.warnings != report.warnings:
        found.append(Finding(f"the warnings differ from those in {MANIFEST_FILE}; write the report again"))
    if manifest.tables != list_table_files(report):
        found.append(Finding(f"the list of tables differs from that in {MANIFEST_FILE}; write the report again"))
    return found


def _recompute_run(run: Run, cache: PredictionCache) -> list[str]:
    """Return the faults of a run: missing or changed files, or scores that do not follow from its predictions."""
    record = run.record
    if run.failed:
        return []
    if PREDICTIONS_FILE not in record.files or not (run.folder / PREDICTIONS_FILE).is_file():
        why = f"{PREDICTIONS_FILE} is missing (`python bench.py sync` downloads it)"
        return [f"run {record.key} cannot be recomputed: {why}"]
    hashes = {name: sha for name, sha in record.files.items() if name != WEIGHTS_FILE}
    if missing := [name for name in hashes if not (run.folder / name).is_file()]:
        return [f"files of run {record.key} are missing ({', '.join(missing)}; `python bench.py sync` downloads them)"]
    if changed := [name for name, sha in hashes.items() if sha256(run.folder / name) != sha]:
        return [f"files of run {record.key} changed after its record was written ({', '.join(changed)})"]
    splits = cache.load_splits(run)
    if splits is None:
        return [cache.missing[record.key]]
    scored = {split: score(predictions, run.info.task) for split, predictions in splits.items()}
    known = {f"{split}/{name}": value for split, scores in scored.items() for name, value in scores.items()}
    return [
        f"run {record.key}: {name} is {record.scores.get(name)} in its record, {known.get(name)} by its predictions"
        for name in dict.fromkeys([*known, *record.scores])
        if not _are_scores_equal(record.scores.get(name), known.get(name))
    ]


def _are_scores_equal(written: float | None, recomputed: float | None) -> bool:
    """Compare two scores with a tolerance for the rounding of other processors."""
    if written is None or recomputed is None:
        return written == recomputed
    return written == recomputed or isclose(written, recomputed, rel_tol=1e-9)


def find_stale_cells(report: Report, manifest: ReportManifest) -> list[Finding]:
    """Find cells whose text or runs differ from what the records give now."""
    now = map_cells(report)
    found: dict[str, list[str]] = {}
    other: dict[str, str] = {}  # cells with the same runs and another text
    for name, cell in now.items():
        old = manifest.cells.get(name)
        if old is None:
            found.setdefault("stale: new cells, not in the written report", []).append(name)
        elif list(cell.run_keys) != (runs := old.get("runs", [])):
            what = f"stale: computed from {_count_runs(runs)}, now from {_count_runs(cell.run_keys)}"
            found.setdefault(what, []).append(name)
        elif cell.text != old["text"]:
            other[name] = f"stale: written as '{old['text']}', recomputed as '{cell.text}'"
    if other:
        example = next(iter(other.values()))
        found[example if len(other) == 1 else f"{example}, and other cells that differ"] = list(other)
    gone = [name for name in manifest.cells if name not in now]
    if gone:
        found["stale: cells that no longer exist"] = gone
    return [Finding(what, tuple(cells)) for what, cells in found.items()]


def _count_runs(keys: Sequence[str]) -> str:
    count = len(set(keys))
    return f"{count} run{'' if count == 1 else 's'}"


def _check_files(report: Report, wanted: Mapping[str, str], manifest: ReportManifest, out: Path) -> list[Finding]:
    """Find files that are missing, were edited, or differ from what the records give now."""
    tables = {
        get_table_path(table, kind): partial(render, table, marks=True)
        for table in list_tables(report)
        for kind, render in TABLE_RENDERERS.items()
    }
    found = []
    for path, sha in manifest.files.items():
        place = (out / path).resolve()
        if not place.is_relative_to(out.resolve()) or not place.is_file():
            found.append(Finding(f"{path} is missing; write the report again"))
        elif sha256(place) != sha:
            found.append(
                Finding(f"{path} was edited after it was written", _list_edited_cells(place, path, tables, report))
            )
        elif path in wanted and _read_text(place) != wanted[path]:
            found.append(
                Finding(f"{path} is stale; write the report again", _list_edited_cells(place, path, tables, report))
            )
        elif path == PAGE_FILE and (cells := _list_edited_cells(place, path, tables, report)):
            found.append(Finding(f"{path} differs from the tables; write the report again", cells))
    drawn = [f"{FIGURE_FOLDER}/{picture.name}.{kind}" for picture in list_figures(report) for kind in FIGURE_FORMATS]
    there = [PAPER_PDF] if (out / PAPER_PDF).is_file() else []
    unlisted = [path for path in dict.fromkeys((*wanted, *drawn, PAGE_FILE, *there)) if path not in manifest.files]
    return [*found, *(Finding(f"{path} is not in {MANIFEST_FILE}; write the report again") for path in unlisted)]


def _list_edited_cells(
    place: Path, path: str, tables: Mapping[str, Callable[[], str]], report: Report
) -> tuple[str, ...]:
    """Return the names of edited cells of a table's file, or of all tables of the page."""
    try:
        text = _read_text(place)
    except ValueError:
        return ()
    if path in tables:
        return tuple(find_edited_cells(tables[path](), text))
    if path != PAGE_FILE:
        return ()
    found: list[str] = []
    for table in list_tables(report):
        marked = render_html_table(table, marks=True)
        written = split_marks(marked)[0]
        if written not in text:
            start = text.find(written.partition("\n")[0])
            end = text.find("</figure>\n", start)
            shown = text[start : end + len("</figure>\n")] if start >= 0 and end >= 0 else ""
            found += [name for name in find_edited_cells(marked, shown) if not name.startswith("line ")]
    return tuple(found)


def _count_equal(first: str, second: str) -> int:
    """Return the length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _read_text(place: Path) -> str:
    """Read a text without converting its line ends."""
    return place.read_bytes().decode()


def _list_cells_of_manifest(key: str, manifest: ReportManifest) -> tuple[str, ...]:
    return tuple(name for name, cell in manifest.cells.items() if key in cell.get("runs", ()))


def find_edited_cells(marked: str, text: str) -> list[str]:
    """Return the names of edited cells, and "line 12" for an edit outside of cells (heading, footnote, new line).

    `marked` is the text as it was written, with marks around its cells."""
    written, spans = split_marks(marked)
    if text == written:
        return []
    before, now = written.split("\n"), text.split("\n")
    if [line.removesuffix("\r") for line in now] == before:
        return ["line 1"]
    starts = list(accumulate((len(line) + 1 for line in before), initial=0))
    found: list[str] = []
    for old, new in _align_lines(before, now):
        named: list[str] = []
        if old is not None:
            first, last = 0, len(before[old])
            if new is not None:
                first = _count_equal(before[old], now[new])
                last -= _count_equal(before[old][first:][::-1], now[new][first:][::-1])
            start, end = starts[old] + first, starts[old] + last
            named = [span.name for span in spans if span.start <= end and start <= span.end]
        place = new if new is not None else old or 0
        found += named or [f"line {min(place, len(now) - 1) + 1}"]
    return list(dict.fromkeys(found))


def _align_lines(before: Sequence[str], now: Sequence[str]) -> Iterator[tuple[int | None, int | None]]:
    """Yield the indices of lines that differ, old and new; None for a line without a counterpart."""
    for tag, start, end, first, last in SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        olds, news = range(start, end), range(first, last)
        if len(olds) == len(news):
            yield from zip(olds, news, strict=True)
            continue
        pairs: dict[int, int] = {}
        candidates = [(_measure_likeness(before[old], now[new]), old, new) for old in olds for new in news]
        for likeness, old, new in sorted(candidates, reverse=True):
            fits = all((old < paired_old) == (new < paired_new) for paired_old, paired_new in pairs.items())
            if likeness > MIN_LIKENESS and old not in pairs and new not in pairs.values() and fits:
                pairs[old] = new
        yield from ((old, pairs.get(old)) for old in olds)
        yield from ((None, new) for new in news if new not in pairs.values())


def _measure_likeness(old: str, new: str) -> float:
    """Return the similarity of two lines, from 0 to 1."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() > MIN_LIKENESS else 0.0
