"""A written report held against the records as they are now: every number recomputed, every difference named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from bench.files import sha256
from bench.metrics import score
from bench.outputs import PREDICTIONS, WEIGHTS
from reports.audit.drawing import DRAWN
from reports.audit.manifest import Manifest, facts, tables_of
from reports.audit.texts import FIGURES, FORMATS, grids_of, path_of, pictures_of, texts
from reports.audit.write import PAGE, Progress
from reports.foreign import printable
from reports.formats.differences import edited
from reports.formats.html import read_html
from reports.paper.printed import PRINTED
from reports.report import Report
from reports.results.part import Part
from reports.results.predicted import Shelf
from reports.results.run import Run
from reports.results.searched import Summary
from reports.tables.grid import Grid

NAMED = 3  # cells of a finding


@dataclass(frozen=True)
class Finding:
    """Something that does not hold: what, and the cells that it concerns."""

    what: str
    cells: tuple[str, ...]

    def __str__(self) -> str:
        if not self.cells:
            return self.what
        more = f" and {len(self.cells) - NAMED} more" if len(self.cells) > NAMED else ""
        return f"{self.what}: {', '.join(self.cells[:NAMED])}{more}"


def check_report(
    report: Report,
    parts: Sequence[Part],
    searches: Sequence[Summary],
    manifest: Manifest,
    out: Path,
    shelf: Shelf,
    progress: Progress,
) -> list[Finding]:
    """Everything about a written report that does not hold; none where all does. `report` is composed anew."""
    here = {run.record.key: run for run in report.runs}
    findings = [*_records(manifest, here)]
    for place, run in enumerate(here.values()):
        progress("runs", place, len(here))
        findings += [Finding(what, _cells_of(run.record.key, manifest)) for what in _recompute(run, shelf)]
    progress("runs", len(here), len(here))
    findings += [*_manifest(report, manifest), *_stale(report, manifest)]
    findings += _files(report, texts(report, parts, searches), manifest, out)
    return findings


def _records(manifest: Manifest, here: Mapping[str, Run]) -> list[Finding]:
    """Runs that are gone, or are not what they were when the report was written."""
    found = []
    for key, noted in manifest.runs.items():
        if key not in here:
            found.append(
                Finding(f"run {key} is gone, or has no place in the report any more", _cells_of(key, manifest))
            )
            continue
        now = facts(here[key])
        changed = [
            name for name in sorted(noted.keys() | now.keys()) if name != "mlflow" and noted.get(name) != now.get(name)
        ]
        if changed:
            what = f"the record of run {key} was changed since ({', '.join(changed)})"
            found.append(Finding(what, _cells_of(key, manifest)))
    return found


def _manifest(report: Report, manifest: Manifest) -> list[Finding]:
    """What the manifest does not say, or says otherwise than the report."""
    keys = [run.record.key for run in report.runs if run.record.key not in manifest.runs]
    found = [Finding(f"run {key} is in the report and not in its manifest", _cells_with(key, report)) for key in keys]
    if manifest.warnings != report.warnings:
        found.append(Finding("the warnings are others now than the manifest has", ()))
    if manifest.tables != tables_of(report):
        found.append(Finding("the tables are others now than the manifest has", ()))
    return found


def _recompute(run: Run, shelf: Shelf) -> list[str]:
    """What is wrong with a run: files are not those that its record names, or its predictions give other scores."""
    record = run.record
    if run.failed:
        return []
    if PREDICTIONS not in record.files or not (run.folder / PREDICTIONS).is_file():
        return [f"run {record.key} cannot be recomputed: {PREDICTIONS} is not here (`python bench.py sync` brings it)"]
    here = {name: sha for name, sha in record.files.items() if name != WEIGHTS and (run.folder / name).is_file()}
    gone = [name for name in record.files if name != WEIGHTS and name not in here]
    if gone:
        return [f"files of run {record.key} are gone ({', '.join(gone)}; `python bench.py sync` brings them)"]
    changed = [name for name, sha in here.items() if sha256(run.folder / name) != sha]
    if changed:
        return [f"files of run {record.key} were changed since its record was written ({', '.join(changed)})"]
    splits = shelf.splits(run)
    if splits is None:
        return [shelf.missing[record.key]]
    known = {
        f"{split}/{name}": value
        for split, predictions in splits.items()
        for name, value in score(predictions, run.card).items()
    }
    return [
        f"run {record.key}: its record says {name} {record.scores.get(name)}, its predictions {known.get(name)}"
        for name in dict.fromkeys([*known, *record.scores])
        if not _equal(record.scores.get(name), known.get(name))
    ]


def _equal(told: float | None, found: float | None) -> bool:
    """Whether two scores are one, but for what the last bits of another processor's sums may differ."""
    return told == found or (told is not None and found is not None and isclose(told, found, rel_tol=1e-9))


def _stale(report: Report, manifest: Manifest) -> list[Finding]:
    """Cells that would be written otherwise now."""
    now = {name: cell for grid in grids_of(report) for name, cell in grid.cells() if cell.keys}
    found: dict[str, list[str]] = {}
    other: dict[str, str] = {}  # cells of the same runs with another text
    for name, cell in now.items():
        old = manifest.cells.get(name)
        if old is None:
            found.setdefault("stale: there is a number now that was not written", []).append(name)
        elif list(cell.keys) != old["runs"]:
            what = f"stale: made of {len(set(old['runs']))} runs, {len(set(cell.keys))} are there now"
            found.setdefault(what, []).append(name)
        elif cell.text != old["text"]:
            other[name] = f"stale: '{old['text']}' was written, '{cell.text}' follows from the records"
    if other:
        one = next(iter(other.values()))
        found[one if len(other) == 1 else "stale: other texts follow from the records now"] = list(other)
    gone = [name for name in manifest.cells if name not in now]
    if gone:
        found["stale: there is no such number any more"] = gone
    return [Finding(what, tuple(cells)) for what, cells in found.items()]


def _files(report: Report, wanted: Mapping[str, str], manifest: Manifest, out: Path) -> list[Finding]:
    """Files that are gone, were edited since they were written, or would be written otherwise now."""
    tables = {path_of(grid, kind): (grid, kind) for grid in grids_of(report) for kind in FORMATS}
    found = []
    for path, sha in manifest.files.items():
        place = (out / path).resolve()
        if not place.is_relative_to(out.resolve()) or not place.is_file():
            found.append(Finding(f"{path} is not there any more", ()))
        elif sha256(place) != sha:
            found.append(Finding(f"{path} was edited", _edits(place, path, tables, report)))
        elif path in wanted and _read(place) != wanted[path]:
            cells = tuple(edited(*tables[path], _read(place))) if path in tables else ()
            found.append(Finding(f"{path} is stale", cells))
        elif path == PAGE and (cells := _edits(place, path, tables, report)):
            found.append(Finding(f"{path} does not say what the tables do", cells))
    drawn = [f"{FIGURES}/{picture.name}.{kind}" for picture in pictures_of(report) for kind in DRAWN]
    there = [PRINTED] if (out / PRINTED).is_file() else []
    lacking = [path for path in dict.fromkeys((*wanted, *drawn, PAGE, *there)) if path not in manifest.files]
    return [*found, *(Finding(f"{path} is not in the manifest", ()) for path in lacking)]


def _edits(place: Path, path: str, tables: Mapping[str, tuple[Grid, str]], report: Report) -> tuple[str, ...]:
    """The cells of an edited table, or of the tables of an edited page."""
    try:
        text = _read(place)
    except ValueError:
        return ()
    if path in tables:
        return tuple(edited(*tables[path], text))
    if path != PAGE:
        return ()
    told = read_html(text)
    cells = (pair for grid in grids_of(report) for pair in grid.cells())
    return tuple(name for name, cell in cells if told.get(name, "").split() != printable(cell.text).split())


def _read(place: Path) -> str:
    """A text with its line ends as they are."""
    return place.read_bytes().decode()


def _cells_with(key: str, report: Report) -> tuple[str, ...]:
    return tuple(name for grid in grids_of(report) for name, cell in grid.cells() if key in cell.keys)


def _cells_of(key: str, manifest: Manifest) -> tuple[str, ...]:
    return tuple(name for name, cell in manifest.cells.items() if key in cell["runs"])
