"""Guard of old results: results of version 0.1 are listed, reported, checked and used to predict, with equal numbers.

The archive has runs of tiny models: three methods on a custom data set, a search, a study, and two failed runs, one on
the custom data set and one on Ekman-6.
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
"""Name of a report -> its arguments on the command line."""
_NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def check_results() -> list[Check]:
    """Unpack the results of version 0.1 and run all checks on them."""
    with tempfile.TemporaryDirectory(prefix="guard-results-") as name:
        folder, expected = unpack(Path(name)), json.loads(NUMBERS.read_text())
        checks = [check_records(folder, expected), check_list(folder)]
        for report in REPORTS:
            checks += [check_report(folder, report, expected), recompute_report(folder, report)]
        checks.append(check_predict(folder, expected))
        return [*checks, check_trials(folder, expected), check_sync(folder)]


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder and return the results folder in it."""
    with tarfile.open(ARCHIVE) as file:
        file.extractall(folder, filter="data")
    return folder / "results"


def command(results: Path, *words: str, code: int = 0) -> str:
    """Run a command in this process and return its output; raise AssertionError if its exit code differs."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            found: int | str = main([*words, "--results", str(results)])
        except Exception:  # an exception that reaches the command line is a bug: report its last line
            found = traceback.format_exc().splitlines()[-1]
    assert found == code, f"`{' '.join(words)}` ended with {found}, not {code}: {output.getvalue()[-400:]}"
    return output.getvalue()


def check_records(results: Path, expected: dict[str, Any]) -> Check:
    """Check that every record is read and its scores are equal to the last bit."""
    with timed(PART, "records and their scores") as check:
        found = scores_of(results)
        check.found, check.expected = f"{len(found)} runs", f"{len(expected['runs'])} runs"
        check.faults += [f"run {key} is not read" for key in expected["runs"].keys() - found.keys()]
        for key in found.keys() & expected["runs"].keys():
            check.faults += [f"run {key}: {line}" for line in differences(found[key], expected["runs"][key])]
    return check


def scores_of(results: Path) -> dict[str, Any]:
    """Return the key of each final run -> its scores and, if it failed, the kind of its error."""
    found, passed = read_records(results)
    assert not passed, f"passed over: {'; '.join(passed)}"
    records = [stored.record for stored in found]
    return {r.key: {"scores": r.scores, "error": r.error.kind if r.error else None} for r in records}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    """Yield the differences between two runs, score by score."""
    if found["error"] != expected["error"]:
        yield f"its error is {found['error']}, not {expected['error']}"
    for name in sorted(found["scores"].keys() | expected["scores"].keys()):
        score, stored = (run["scores"].get(name, "absent") for run in (found, expected))
        if score != stored:
            yield f"{name} is {score}, not {stored}"


def check_list(results: Path) -> Check:
    """Check that the lists work and include the custom data set that was prepared in this folder."""
    with timed(PART, "list, list datasets") as check:
        command(results, "list")
        is_listed = "own-moods" in command(results, "list", "datasets")
        check.found, check.expected = ("own-moods" if is_listed else "no own-moods"), "own-moods"
        if not is_listed:
            check.faults.append("`list datasets` lacks own-moods, which was prepared in this results folder")
    return check


def check_report(results: Path, name: str, expected: dict[str, Any]) -> Check:
    """Check that a report is written with the stored numbers and marks the failed runs as failed."""
    with timed(PART, f"report, {name}") as check:
        current = {method for method, version in expected["versions"].items() if _version(method) == version}
        for method in sorted(expected["versions"].keys() - current):
            check.notes.append(f"runs of {method} are left out: its version was raised since 0.1")
        rows = [row for row in expected["tables"][name] if row[0] in current]
        if not rows:
            check.found = "no run is left"
            return check
        out = write_report(results, name)
        found = [row for row in table_of(out) if row[0] in current]
        count, total = sum(len(row) - 1 for row in found), sum(len(row) - 1 for row in rows)
        check.found, check.expected = f"{count} numbers", f"{total} numbers"
        if found != rows:
            check.faults.append(f"the main table contains {found}, not {rows}")
        failed, stored = failed_in(out), [key for key in expected["failed"][name] if _method(expected, key) in current]
        check.found += f", {len(failed)} failed" if stored else ""
        check.expected += f", {len(stored)} failed" if stored else ""
        check.faults += [
            f"failed run {key} is not marked as failed in the report" for key in stored if key not in failed
        ]
    return check


def recompute_report(results: Path, name: str) -> Check:
    """Check that `report --check` reproduces every number of the written report."""
    with timed(PART, f"report --check, {name}") as check:
        check.expected = "exit code 0"
        if not _out(results, name).exists():
            check.found = "no report"  # the previous check reports why
            return check
        command(results, "report", *_named(name), "--check", "--out", str(_out(results, name)))
        check.found = "exit code 0"
    return check


def write_report(results: Path, name: str) -> Path:
    """Write a report of the results and return its folder."""
    command(results, "report", *REPORTS[name], "--out", str(_out(results, name)))
    return _out(results, name)


STORED_METRICS = ("Acc S", "F1 S", "Acc E", "F1 E")  # columns of each data set in version 0.1


def table_of(report: Path) -> list[list[Any]]:
    """Return the rows of the table of scores: the arm, then every score in its cells, in the order of version 0.1."""
    (path,) = report.glob("tables/*_scores.csv")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    metrics = {place: name[-5:].strip() for place, name in enumerate(header) if place and name != "note"}
    scores = [place for place, name in metrics.items() if name != "tried"]  # version 0.1 did not count configurations
    sets = {place: number // len(STORED_METRICS) for number, place in enumerate(scores)}
    cells = sorted(scores, key=lambda place: (sets[place], STORED_METRICS.index(metrics[place])))
    return [[row[0].split()[0], *(n for place in cells for n in _numbers(row[place]))] for row in rows]


def failed_in(report: Path) -> list[str]:
    """Return the keys of the runs that a report marks as failed."""
    runs = json.loads((report / "manifest.json").read_text())["runs"]
    return sorted(key for key, facts in runs.items() if facts["failed"])


def check_predict(results: Path, expected: dict[str, Any]) -> Check:
    """Check that a stored model predicts the stored probabilities of a clip."""
    with timed(PART, "predict") as check:
        key, stored = expected["predicted"]["run"], expected["predicted"]["probabilities"]
        method = _method(expected, key)
        check.expected = f"{TOLERANCE:g} at most"
        if _version(method) != expected["versions"][method]:
            check.found = "other version"
            check.notes.append(f"the version of {method} was raised since 0.1, so its old weights are not used")
            return check
        found = predict(results, key)
        assert found.keys() == stored.keys(), f"classes {', '.join(found)}, not {', '.join(stored)}"
        apart = max(abs(found[name] - stored[name]) for name in stored)
        check.found = f"{apart:.1g} apart"
        if not apart <= TOLERANCE:
            check.faults.append(f"run {key} predicts {found} for the stored clip, not {stored}")
    return check


def predict(results: Path, key: str) -> dict[str, float]:
    """Return class -> probability of the stored clip, predicted by the model of a run."""
    target = results / "predicted.json"
    (clip,) = results.parent.glob("clip.*")
    command(results, "predict", str(clip), "--run", key, "--json", str(target))
    (row,) = json.loads(target.read_text())
    return dict(row["probabilities"])


def check_trials(results: Path, expected: dict[str, Any]) -> Check:
    """Check that the installed Optuna reads the trials of the search."""
    with timed(PART, "optuna.db") as check:
        found = trials_of(results)
        count, total = (sum(map(len, studies.values())) for studies in (found, expected["trials"]))
        check.found, check.expected = f"{count} trials", f"{total} trials"
        if found != expected["trials"]:
            check.faults.append(f"optuna.db contains {found}, not {expected['trials']}")
    return check


def trials_of(results: Path) -> dict[str, list[float | None]]:
    """Return the name of each Optuna study -> the values of its trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{results / 'optuna.db'}"
    names = sorted(optuna.get_all_study_names(url))
    return {name: [t.value for t in optuna.load_study(study_name=name, storage=url).trials] for name in names}


def check_sync(results: Path) -> Check:
    """Check that the installed MLflow opens the old database, which already has all records."""
    with timed(PART, "sync with mlflow.db") as check:
        check.expected = "exit code 0"
        command(results, "sync")
        check.found = "exit code 0"
    return check


def numbers_of(results: Path) -> dict[str, Any]:
    """Return all numbers that the checks compare, computed by the present version."""
    runs = scores_of(results)
    records = [stored.record for stored in read_records(results)[0]]
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
    """Return the arguments of a report that `--check` needs too."""
    return () if REPORTS[name][0] == "--runs" else REPORTS[name]


def _method(expected: dict[str, Any], key: str) -> str:
    return str(expected["methods"][key])


def _version(method: str) -> int | None:
    return METHODS[method].version if method in METHODS else None
