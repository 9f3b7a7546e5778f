"""Results of version 0.1 are listed, reported, checked and predicted from, with the same numbers.

The archive holds runs of tiny models: three methods on a data set of the user's own, a search, a study, and two failed
runs, one on that data set and one on a named one.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import optuna

from methods import METHODS
from studies.cli.main import main
from studies.select import read_records
from tests.guard.table import Check, timed

PART = "results"
ARCHIVE = Path(__file__).with_name("results-0.1.tar.xz")
NUMBERS = Path(__file__).with_name("results-0.1.json")
TOLERANCE = 1e-4  # of a predicted probability
NAMED = ("--runs", "dataset=ekman6")
REPORTS: dict[str, tuple[str, ...]] = {
    "study": ("optimism",),
    "runs": ("--runs", "dataset=own-moods"),
    "named data": NAMED,
}
"""Name of a report -> what is asked for."""
_NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def check_results() -> list[Check]:
    """Unpack the results of version 0.1 and check all that is promised of them."""
    with tempfile.TemporaryDirectory(prefix="guard-results-") as name:
        folder, wanted = unpack(Path(name)), json.loads(NUMBERS.read_text())
        checks = [check_records(folder, wanted), check_list(folder)]
        for report in REPORTS:
            checks += [check_report(folder, report, wanted), recompute_report(folder, report)]
        checks.append(check_predict(folder, wanted))
        return [*checks, check_trials(folder, wanted), check_sync(folder)]


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder; the results folder in it."""
    with tarfile.open(ARCHIVE) as file:
        file.extractall(folder, filter="data")
    return folder / "results"


def command(results: Path, *words: str, code: int = 0) -> str:
    """Run a command in this process; what it printed. Raises AssertionError where its exit code is another."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            found: int | str = main([*words, "--results", str(results)])
        except Exception:  # what the command line lets through is a bug, told by its last line
            found = traceback.format_exc().splitlines()[-1]
    assert found == code, f"`{' '.join(words)}` ended with {found}, not {code}: {said.getvalue()[-400:]}"
    return said.getvalue()


def check_records(results: Path, wanted: dict[str, Any]) -> Check:
    """Check that every record is read with its scores, to the last bit."""
    with timed(PART, "records and their scores") as check:
        found = scores_of(results)
        check.found, check.wanted = f"{len(found)} runs", f"{len(wanted['runs'])} runs"
        check.faults += [f"run {key} is not read" for key in wanted["runs"].keys() - found.keys()]
        for key in found.keys() & wanted["runs"].keys():
            check.faults += [f"run {key}: {line}" for line in differences(found[key], wanted["runs"][key])]
    return check


def scores_of(results: Path) -> dict[str, Any]:
    """Key of each final run -> its scores and, where it failed, of which kind its error was."""
    found, passed = read_records(results)
    assert not passed, f"passed over: {'; '.join(passed)}"
    records = [one.record for one in found]
    return {r.key: {"scores": r.scores, "error": r.error.kind if r.error else None} for r in records}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """What differs between two runs, score by score."""
    if found["error"] != wanted["error"]:
        yield f"its error is {found['error']}, not {wanted['error']}"
    for name in sorted(found["scores"].keys() | wanted["scores"].keys()):
        one, other = (run["scores"].get(name, "absent") for run in (found, wanted))
        if one != other:
            yield f"{name} is {one}, not {other}"


def check_list(results: Path) -> Check:
    """Check that the lists work, and name the data set that was prepared here."""
    with timed(PART, "list, list datasets") as check:
        command(results, "list")
        there = "own-moods" in command(results, "list", "datasets")
        check.found, check.wanted = ("own-moods" if there else "no own-moods"), "own-moods"
        if not there:
            check.faults.append("`list datasets` does not name own-moods, which was prepared in this results folder")
    return check


def check_report(results: Path, name: str, wanted: dict[str, Any]) -> Check:
    """Check that a report is written, shows the stored numbers, and has the failed runs as failed."""
    with timed(PART, f"report, {name}") as check:
        current = {method for method, version in wanted["versions"].items() if _version(method) == version}
        for method in sorted(wanted["versions"].keys() - current):
            check.notes.append(f"runs of {method} are left out: its version was raised since 0.1")
        rows = [row for row in wanted["tables"][name] if row[0] in current]
        if not rows:
            check.found = "no run is left"
            return check
        out = write_report(results, name)
        found = [row for row in table_of(out) if row[0] in current]
        count, of = sum(len(row) - 1 for row in found), sum(len(row) - 1 for row in rows)
        check.found, check.wanted = f"{count} numbers", f"{of} numbers"
        if found != rows:
            check.faults.append(f"the main table holds {found}, not {rows}")
        failed, lost = failed_in(out), [key for key in wanted["failed"][name] if _method(wanted, key) in current]
        check.found += f", {len(failed)} failed" if lost else ""
        check.wanted += f", {len(lost)} failed" if lost else ""
        check.faults += [f"run {key} failed and is not in the report as failed" for key in lost if key not in failed]
    return check


def recompute_report(results: Path, name: str) -> Check:
    """Check that `report --check` finds every number of the report that was written."""
    with timed(PART, f"report --check, {name}") as check:
        check.wanted = "exit code 0"
        if not _out(results, name).exists():
            check.found = "no report"  # the check before this one says why
            return check
        command(results, "report", *_named(name), "--check", "--out", str(_out(results, name)))
        check.found = "exit code 0"
    return check


def write_report(results: Path, name: str) -> Path:
    """Write a report of the results; its folder."""
    command(results, "report", *REPORTS[name], "--out", str(_out(results, name)))
    return _out(results, name)


STORED_METRICS = ("Acc S", "F1 S", "Acc E", "F1 E")  # columns of each data set in version 0.1


def table_of(report: Path) -> list[list[Any]]:
    """Return the rows of the table of scores: the arm, then every number of its cells, in the order of version 0.1."""
    (path,) = report.glob("tables/*_scores.csv")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    metrics = {place: name[-5:].strip() for place, name in enumerate(header) if place and name != "note"}
    cells = sorted(
        metrics, key=lambda place: ((place - 1) // len(STORED_METRICS), STORED_METRICS.index(metrics[place]))
    )
    return [[row[0].split()[0], *(n for place in cells for n in _numbers(row[place]))] for row in rows]


def failed_in(report: Path) -> list[str]:
    """The keys of the runs that a report has as failed."""
    runs = json.loads((report / "manifest.json").read_text())["runs"]
    return sorted(key for key, facts in runs.items() if facts["failed"])


def check_predict(results: Path, wanted: dict[str, Any]) -> Check:
    """Check that a stored model says the same of a clip."""
    with timed(PART, "predict") as check:
        key, stored = wanted["predicted"]["run"], wanted["predicted"]["probabilities"]
        method = _method(wanted, key)
        check.wanted = f"{TOLERANCE:g} at most"
        if _version(method) != wanted["versions"][method]:
            check.found = "other version"
            check.notes.append(f"the version of {method} was raised since 0.1, so its weights are not used any more")
            return check
        found = predict(results, key)
        assert found.keys() == stored.keys(), f"classes {', '.join(found)}, not {', '.join(stored)}"
        apart = max(abs(found[name] - stored[name]) for name in stored)
        check.found = f"{apart:.1g} apart"
        if not apart <= TOLERANCE:
            check.faults.append(f"run {key} says {found} of the stored clip, not {stored}")
    return check


def predict(results: Path, key: str) -> dict[str, float]:
    """Class -> probability of the stored clip, by the model of a run."""
    target = results / "predicted.json"
    (clip,) = results.parent.glob("clip.*")
    command(results, "predict", str(clip), "--run", key, "--json", str(target))
    (row,) = json.loads(target.read_text())
    return dict(row["probabilities"])


def check_trials(results: Path, wanted: dict[str, Any]) -> Check:
    """Check that Optuna, as it is installed now, reads the trials of the search."""
    with timed(PART, "optuna.db") as check:
        found = trials_of(results)
        count, of = (sum(map(len, studies.values())) for studies in (found, wanted["trials"]))
        check.found, check.wanted = f"{count} trials", f"{of} trials"
        if found != wanted["trials"]:
            check.faults.append(f"optuna.db holds {found}, not {wanted['trials']}")
    return check


def trials_of(results: Path) -> dict[str, list[float | None]]:
    """Optuna's study -> the values of its finished trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{results / 'optuna.db'}"
    names = sorted(optuna.get_all_study_names(url))
    return {name: [t.value for t in optuna.load_study(study_name=name, storage=url).trials] for name in names}


def check_sync(results: Path) -> Check:
    """Check that MLflow, as it is installed now, opens the old database, where all records are already."""
    with timed(PART, "sync with mlflow.db") as check:
        check.wanted = "exit code 0"
        command(results, "sync")
        check.found = "exit code 0"
    return check


def numbers_of(results: Path) -> dict[str, Any]:
    """All that the checks compare, as the present version has it."""
    runs = scores_of(results)
    records = [one.record for one in read_records(results)[0]]
    (model,) = [
        r.key for r in records if r.arm == "mbt" and (results / "runs" / r.key / "weights.safetensors").exists()
    ]
    out = {name: write_report(results, name) for name in REPORTS}
    dataset = {"runs": "own-moods", "named data": "ekman6"}
    return {
        "versions": {r.spec.method: r.spec.version for r in records},
        "methods": {r.key: r.spec.method for r in records},
        "runs": runs,
        "tables": {name: table_of(folder) for name, folder in out.items()},
        "failed": {
            name: sorted(r.key for r in records if r.error is not None and r.spec.dataset == dataset.get(name))
            for name in REPORTS
        },
        "predicted": {"run": model, "probabilities": predict(results, model)},
        "trials": trials_of(results),
    }


def _numbers(cell: str) -> list[float]:
    return [float(text.replace("−", "-")) for text in _NUMBER.findall(cell)]


def _out(results: Path, name: str) -> Path:
    return results.parent / f"report of {name}"


def _named(name: str) -> tuple[str, ...]:
    """The words of a report that `--check` is given too."""
    return () if REPORTS[name][0] == "--runs" else REPORTS[name]


def _method(wanted: dict[str, Any], key: str) -> str:
    return str(wanted["methods"][key])


def _version(method: str) -> int | None:
    return METHODS[method].version if method in METHODS else None
