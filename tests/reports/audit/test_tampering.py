"""Tests that each kind of edit of a written report or of its runs is found, with the names of the cells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.artifacts import PREDICTIONS_FILE
from bench.record import RECORD_FILE
from reports.write import MANIFEST_FILE
from tests.reports.audit.written import FIGURE, check, composed, copied, results_of, write

CELL = "ablation_scores/mart/ekman6/acc_e"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Write results with a report of every kind of table and a figure in `out`."""
    results = results_of(tmp_path_factory.mktemp("whole"), "mbt", "mart")
    write(composed(results, "ablation", (FIGURE,)), results / "out")
    return results


def text_of(out: Path) -> str:
    """Return the text of the cell."""
    return json.loads((out / MANIFEST_FILE).read_text())["cells"][CELL]["text"]


def other_digit(text: str) -> str:
    """Return the text with another first digit."""
    found = re.search(r"\d", text)
    assert found is not None
    return text[: found.start()] + str((int(found[0]) + 1) % 10) + text[found.end() :]


def edit_line(path: Path, line: str, old: str) -> None:
    """Change the first digit of `old` in the first line that matches the pattern and holds it."""
    lines = path.read_text().split("\n")
    at = next(at for at, one in enumerate(lines) if re.search(line, one) and old in one)
    lines[at] = lines[at].replace(old, other_digit(old), 1)
    path.write_text("\n".join(lines))


def edit_table(kind: str, line: str) -> Callable[[Path], None]:
    def edit(results: Path) -> None:
        out = results / "out"
        mean = text_of(out).partition(" ")[0]
        edit_line(out / f"tables/ablation_scores.{kind}", line, mean)

    return edit


def edit_page(results: Path) -> None:
    path = results / "out" / "index.html"
    text = path.read_text()
    cell = re.search(rf'data-cell="{CELL}"[^>]*>(?:<[bu]>)?(\d)', text)
    assert cell is not None
    path.write_text(text[: cell.start(1)] + other_digit(cell[1]) + text[cell.end(1) :])


def edit_manifest(results: Path) -> None:
    path = results / "out" / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    manifest["cells"][CELL]["text"] = other_digit(manifest["cells"][CELL]["text"])
    path.write_text(json.dumps(manifest))


def edit_sha(results: Path) -> None:
    path = results / "out" / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    manifest["files"]["macros.tex"] = "0" * 64
    path.write_text(json.dumps(manifest))


def edit_bytes(path: str) -> Callable[[Path], None]:
    def edit(results: Path) -> None:
        content = bytearray((results / "out" / path).read_bytes())
        content[len(content) // 2] ^= 1
        (results / "out" / path).write_bytes(content)

    return edit


def folder_of_mart(results: Path) -> Path:
    paths = sorted((results / "runs").glob(f"*/{RECORD_FILE}"))
    return next(path.parent for path in paths if json.loads(path.read_text())["arm"] == "mart")


def edit_record(results: Path) -> None:
    path = folder_of_mart(results) / RECORD_FILE
    record = json.loads(path.read_text())
    record["scores"]["test/acc_e"] += 0.25
    path.write_text(json.dumps(record))


def edit_prediction(results: Path) -> None:
    import pandas

    path = folder_of_mart(results) / PREDICTIONS_FILE
    table = pandas.read_parquet(path)
    table.loc[0, next(name for name in table.columns if name.startswith("score/"))] += 1
    table.to_parquet(path, index=False)


CASES: dict[str, tuple[Callable[[Path], None], str, bool]] = {  # edit, part of the message, True if the cell is named
    "Markdown": (edit_table("md", r"^\| mart "), "tables/ablation_scores.md was edited", True),
    "LaTeX": (edit_table("tex", f"% {CELL}:"), "tables/ablation_scores.tex was edited", True),
    "CSV": (edit_table("csv", "^mart,"), "tables/ablation_scores.csv was edited", True),
    "HTML": (edit_table("html", f'data-cell="{CELL}"'), "tables/ablation_scores.html was edited", True),
    "page": (edit_page, "index.html was edited", True),
    "cell of the manifest": (edit_manifest, "stale: ", True),
    "sha256 in the manifest": (edit_sha, "macros.tex was edited", False),
    "numbers of a figure": (edit_bytes(f"figures/{FIGURE}.csv"), f"figures/{FIGURE}.csv was edited", False),
    "pixels of a figure": (edit_bytes(f"figures/{FIGURE}.png"), f"figures/{FIGURE}.png was edited", False),
    "report.md": (edit_bytes("report.md"), "report.md was edited", False),
    "macros.tex": (edit_bytes("macros.tex"), "macros.tex was edited", False),
    "record": (edit_record, "record of run", True),
    "prediction": (edit_prediction, "changed after its record was written", True),
}


def test_an_untouched_report_has_no_finding(whole):
    assert check(composed(whole, "ablation", (FIGURE,)), whole / "out") == []


@pytest.mark.parametrize("case", CASES)
def test_an_edit_of_one_thing_is_named(whole, tmp_path, case):
    edit, what, is_cell = CASES[case]
    results = copied(whole, tmp_path / "results")
    edit(results)
    findings = [one for one in check(composed(results, "ablation", (FIGURE,)), results / "out") if what in one.message]
    assert len(findings) >= 1
    assert not is_cell or CELL in {cell for finding in findings for cell in finding.cells}
