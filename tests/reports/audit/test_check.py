"""Tests that a check finds edited, stale and contradicted numbers and names their cells."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bench.artifacts import CURVES_FILE, PREDICTIONS_FILE
from bench.files import sha256
from bench.record import DATASET_INFO_FILE, RECORD_FILE, RunFolder
from reports.check import MAX_NAMED_CELLS, Finding, find_stale_cells
from reports.write import MANIFEST_FILE, TABLE_RENDERERS, list_tables, read_manifest
from tests.reports.audit.written import FIGURE, check, composed, copied, find_messages, results_of, write
from tests.reports.made import make_run, tamper

MINE = "comparison_scores/probe/ekman6/acc_e"  # a cell of the arm that the tests change
OTHER = "comparison_scores/majority/ekman6/acc_e"
OF_MART = "ablation_scores/mart/ekman6/acc_e"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Write results of two arms with a valid report in `out`."""
    results = results_of(tmp_path_factory.mktemp("plain"), "majority", "probe")
    write(composed(results), results / "out")
    return results


@pytest.fixture
def spoilt(plain, tmp_path):
    """Return a copy of the results that a test may change."""
    return copied(plain, tmp_path / "results")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Write results and a report with every kind of table and a figure."""
    results = results_of(tmp_path_factory.mktemp("whole"), "mbt", "mart")
    write(composed(results, "ablation", (FIGURE,)), results / "out")
    return results


@pytest.fixture(scope="module")
def built(whole):
    return composed(whole, "ablation", (FIGURE,))


@pytest.fixture
def out(whole, tmp_path):
    """Return a copy of the report without its results."""
    return copied(whole / "out", tmp_path / "out")


def run_of(results, arm, seed=0):
    """Return the folder and the record of a run."""
    for path in sorted((results / "runs").glob(f"*/{RECORD_FILE}")):
        record = RunFolder(path.parent).read_record()
        if (record.arm, record.spec.seed) == (arm, seed):
            return path.parent, record
    raise LookupError(arm)


def mispredict(folder, rows=1):
    """Make the stored predictions of some test clips wrong."""
    import pandas

    table = pandas.read_parquet(folder / PREDICTIONS_FILE)
    names = [name for name in table.columns if name.startswith("score/")]
    right = table.index[(table["split"] == "test") & (table["label"] == table["predicted"])][:rows]
    for row in right:
        wrong = next(name for name in names if name != f"score/{table.loc[row, 'label']}")
        table.loc[row, wrong] = table.loc[row, names].max() + 1
        table.loc[row, "predicted"] = wrong.removeprefix("score/")
    table.to_parquet(folder / PREDICTIONS_FILE, index=False)


def named(findings):
    """Return all cells of the findings."""
    return {cell for finding in findings for cell in finding.cells}


def test_a_fresh_report_has_no_findings(built, out):
    assert check(built, out) == []


def test_a_report_that_is_composed_again_has_no_findings(whole):
    assert check(composed(whole, "ablation", (FIGURE,)), whole / "out") == []


@pytest.mark.parametrize("count", range(6))
def test_a_finding_names_some_cells_and_counts_the_others(count):
    text = str(Finding("message", tuple(f"t/l/{n}" for n in range(count))))
    assert text.startswith("message") and (": t/l/0" in text) == (count > 0)
    assert (f" and {count - MAX_NAMED_CELLS} more" in text) == (count > MAX_NAMED_CELLS)


# files of runs


def test_a_changed_prediction_is_found_with_the_cells_of_its_run(spoilt):
    folder, record = run_of(spoilt, "probe", seed=1)
    mispredict(folder)
    found = check(composed(spoilt), spoilt / "out")
    (mine,) = find_messages(
        found, f"files of run {record.key} changed after its record was written ({PREDICTIONS_FILE})"
    )
    assert MINE in mine.cells and OTHER not in mine.cells


@pytest.mark.parametrize("name", [DATASET_INFO_FILE, CURVES_FILE])
def test_another_changed_file_of_a_run_is_found_after_the_report_is_written_again(spoilt, name):
    folder, record = run_of(spoilt, "probe")
    text = (folder / name).read_text().replace("Ekman-6", "Ekman-7").replace('"epoch": 2', '"epoch": 20')
    (folder / name).write_text(text)
    write(composed(spoilt), spoilt / "out")
    (mine,) = check(composed(spoilt), spoilt / "out")
    assert mine.message == f"files of run {record.key} changed after its record was written ({name})"
    assert MINE in mine.cells and OTHER not in mine.cells


def test_a_prediction_changed_with_its_sha256_in_the_record_is_found_twice(spoilt):
    folder, record = run_of(spoilt, "probe")
    mispredict(folder)
    RunFolder(folder).write_record(
        replace(record, files={**record.files, PREDICTIONS_FILE: sha256(folder / PREDICTIONS_FILE)})
    )
    found = check(composed(spoilt), spoilt / "out")
    (changed,) = find_messages(
        found, f"record of run {record.key} changed after the report was written (predictions, record)"
    )
    assert MINE in changed.cells and OTHER not in changed.cells
    contradicted = find_messages(found, f"run {record.key}: test/acc_e is {record.scores['test/acc_e']} in its record")
    assert len(contradicted) == 1 and MINE in contradicted[0].cells


@pytest.mark.parametrize("name", ["test/acc_e", "test/f1_s", "test/recall/joy", "test/n", "val/acc_e", "test/loss"])
def test_a_changed_score_is_found_by_record_and_by_predictions(spoilt, name):
    folder, record = run_of(spoilt, "probe")
    tamper(folder, record, **{name: record.scores[name] + 0.25})
    found = check(composed(spoilt), spoilt / "out")
    (changed,) = find_messages(found, f"record of run {record.key} changed after the report was written (record)")
    assert MINE in changed.cells and OTHER not in changed.cells
    (contradicted,) = find_messages(found, f"run {record.key}: {name} is ")
    assert str(record.scores[name]) in contradicted.message and MINE in contradicted.cells


def test_a_changed_score_makes_its_cells_stale(spoilt):
    folder, record = run_of(spoilt, "probe")
    tamper(folder, record, **{"test/acc_e": record.scores["test/acc_e"] + 0.25})
    stale = find_messages(check(composed(spoilt), spoilt / "out"), "and other cells that differ")
    assert MINE in named(stale)
    assert not any("/f1_s" in cell for cell in named(stale))


@pytest.mark.parametrize("name", ["test/acc_e", "val/acc_e", "test/recall/joy"])
def test_a_report_written_again_from_a_changed_record_is_contradicted_by_the_predictions(spoilt, name):
    folder, record = run_of(spoilt, "probe")
    tamper(folder, record, **{name: record.scores[name] + 0.25})
    built = composed(spoilt)
    write(built, spoilt / "out")
    found = check(composed(spoilt), spoilt / "out")
    assert len(found) == 1 and found[0].message.startswith(f"run {record.key}: {name} is ")
    assert MINE in found[0].cells and OTHER not in found[0].cells


@pytest.mark.parametrize("split", ["test", "val"])
def test_scores_without_predictions_of_their_split_are_found(spoilt, split):
    """Check that a record cannot claim scores of a split that is not in its file."""
    import pandas

    folder, record = run_of(spoilt, "probe")
    table = pandas.read_parquet(folder / PREDICTIONS_FILE)
    table[table["split"] != split].to_parquet(folder / PREDICTIONS_FILE, index=False)
    RunFolder(folder).write_record(
        replace(record, files={**record.files, PREDICTIONS_FILE: sha256(folder / PREDICTIONS_FILE)})
    )
    write(composed(spoilt), spoilt / "out")
    found = find_messages(check(composed(spoilt), spoilt / "out"), f"run {record.key}: {split}/acc_e is ")
    assert len(found) == 1 and MINE in found[0].cells


def test_scores_that_a_record_lacks_are_found(spoilt):
    folder, record = run_of(spoilt, "probe")
    scores = {name: value for name, value in record.scores.items() if name != "test/acc_e"}
    RunFolder(folder).write_record(replace(record, scores=scores))
    write(composed(spoilt), spoilt / "out")
    found = check(composed(spoilt), spoilt / "out")
    assert find_messages(found, f"run {record.key}: test/acc_e is None in its record")


@pytest.mark.parametrize("light", [True, False])
def test_a_run_without_its_predictions_cannot_be_recomputed(spoilt, light):
    """Cover a record that lists the file and, with `light`, one that does not."""
    folder, record = run_of(spoilt, "probe")
    (folder / PREDICTIONS_FILE).unlink()
    if light:
        files = {name: sha for name, sha in record.files.items() if name != PREDICTIONS_FILE}
        RunFolder(folder).write_record(replace(record, files=files))
    built = composed(spoilt)
    (mine,) = find_messages(check(built, spoilt / "out"), f"run {record.key} cannot be recomputed")
    assert MINE in mine.cells and "sync" in mine.message
    write(composed(spoilt), spoilt / "out")
    (again,) = check(composed(spoilt), spoilt / "out")
    assert "cannot be recomputed" in again.message and MINE in again.cells


def test_predictions_that_cannot_be_read_are_found(spoilt):
    folder, record = run_of(spoilt, "probe")
    (folder / PREDICTIONS_FILE).write_bytes(b"no table")
    RunFolder(folder).write_record(
        replace(record, files={**record.files, PREDICTIONS_FILE: sha256(folder / PREDICTIONS_FILE)})
    )
    found = check(composed(spoilt), spoilt / "out")
    (mine,) = find_messages(found, "not valid predictions")
    assert MINE in mine.cells


def test_a_changed_provenance_is_found_though_no_cell_changes(spoilt):
    folder, record = run_of(spoilt, "probe")
    RunFolder(folder).write_record(replace(record, provenance={**record.provenance, "commit": "0" * 40}))
    (mine,) = find_messages(
        check(composed(spoilt), spoilt / "out"), f"record of run {record.key} changed after the report was written"
    )
    assert "commit" in mine.message and MINE in mine.cells


def test_a_run_that_is_published_later_changes_nothing(spoilt):
    from bench.mlflow import MlflowStore

    folder, _ = run_of(spoilt, "probe")
    MlflowStore(spoilt).write_note(RunFolder(folder), "f" * 32, sha256(folder / RECORD_FILE), "12")
    assert check(composed(spoilt), spoilt / "out") == []


# stale


def test_a_new_run_makes_the_cells_of_its_arm_stale(spoilt):
    make_run(spoilt, "probe", seed=2, clips=30)
    found = check(composed(spoilt), spoilt / "out")
    stale = [one for one in find_messages(found, "stale: computed from 2 runs, now from 3 runs") if MINE in one.cells]
    assert len(stale) == 1 and OTHER not in stale[0].cells
    (other,) = [one for one in found if OTHER in one.cells and one.message.startswith("stale: ")]
    assert other.message.startswith("stale: written as '") and MINE not in other.cells


def test_a_new_arm_gives_new_cells(spoilt):
    make_run(spoilt, "mbt", clips=30)
    found = find_messages(check(composed(spoilt), spoilt / "out"), "stale: new cells")
    assert "comparison_scores/mbt/ekman6/acc_e" in named(found) and MINE not in named(found)


def test_a_deleted_run_is_found_with_its_cells(spoilt):
    folder, record = run_of(spoilt, "probe")
    (folder / RECORD_FILE).unlink()
    found = check(composed(spoilt), spoilt / "out")
    (mine,) = find_messages(found, f"run {record.key} is missing")
    assert MINE in mine.cells and OTHER not in mine.cells
    assert [
        one.cells for one in find_messages(found, "stale: computed from 2 runs, now from 1 run") if MINE in one.cells
    ]


def test_cells_of_a_deleted_arm_are_found(spoilt):
    for seed in range(2):
        (run_of(spoilt, "majority", seed)[0] / RECORD_FILE).unlink()
    found = find_messages(check(composed(spoilt), spoilt / "out"), "stale: cells that no longer exist")
    assert OTHER in named(found) and MINE not in named(found)


def test_a_stale_table_names_the_cells_that_differ(spoilt):
    folder, record = run_of(spoilt, "probe")
    tamper(folder, record, **{"test/acc_e": record.scores["test/acc_e"] + 0.25})
    found = check(composed(spoilt), spoilt / "out")
    for kind in TABLE_RENDERERS:
        (mine,) = find_messages(found, f"tables/comparison_scores.{kind} is stale")
        assert MINE in mine.cells


# files


def of_table(grid):
    """Return the row, the column and the name of a cell that holds a number."""
    return next(
        (line, at, f"{grid.name}/{line.id}/{grid.columns[at].id}")
        for line in grid.rows
        for at in range(1, len(grid.columns))
        if re.search(r"\d\.\d", line.cells[at].text)
    )


def digit_changed(text, kind, grid):
    """Change one digit of one number in the text of a file; return the text and the name of the cell."""
    line, at, name = of_table(grid)
    lines = text.split("\n")
    if kind in ("tex", "html"):
        place = next(n for n, one in enumerate(lines) if f"% {name}:" in one or f'data-cell="{name}"' in one)
        start = lines[place].index(">") if kind == "html" else 0
    else:
        first = line.cells[0].text
        place = next(n for n, one in enumerate(lines) if re.match(rf"(\| )?\W*{re.escape(first)}\W", one + " "))
        sign = "|" if kind == "md" else ","
        start = -1
        for _ in range(at + (kind == "md")):
            start = lines[place].index(sign, start + 1)
    digit = re.compile(r"\d").search(lines[place], start)
    other = str((int(digit[0]) + 1) % 10)
    lines[place] = lines[place][: digit.start()] + other + lines[place][digit.end() :]
    return "\n".join(lines), name


@pytest.mark.parametrize("kind", TABLE_RENDERERS)
def test_one_digit_in_any_table_is_found_and_its_cell_named(built, out, kind):
    expected = {}
    for grid in list_tables(built.report):
        path = f"tables/{grid.name}.{kind}"
        text, expected[path] = digit_changed((out / path).read_text(), kind, grid)
        (out / path).write_text(text)
    assert len(expected) >= 5
    found = {
        finding.message.removesuffix(" was edited after it was written"): finding.cells for finding in check(built, out)
    }
    assert found == {path: (name,) for path, name in expected.items()}


def test_one_digit_in_the_page_is_found_and_its_cell_named(built, out):
    path = out / "index.html"
    text = path.read_text()
    cell = re.search(rf'data-cell="{OF_MART}"[^>]*>(?:<[bu]>)?(\d)', text)
    path.write_text(text[: cell.start(1)] + str((int(cell[1]) + 1) % 10) + text[cell.end(1) :])
    assert check(built, out) == [Finding("index.html was edited after it was written", (OF_MART,))]


FILES = (
    *("macros.tex", "details.tex", "paper.tex", "report.md", "index.html"),
    *(f"figures/{FIGURE}.{kind}" for kind in ("csv", "png", "pdf")),
)


@pytest.mark.parametrize("how", ["added byte", "changed byte", "no text", "missing", "a folder"])
def test_whatever_is_done_to_a_file_is_found(built, out, how):
    """Do the same to each file: each is found once, and nothing else."""
    for place in (out / path for path in FILES):
        content = place.read_bytes()
        place.unlink()
        if how == "a folder":
            place.mkdir()
        elif how != "missing":
            middle = len(content) // 2
            other = {
                "added byte": content + b" ",
                "changed byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "no text": b"\xff\xfe\x80",
            }
            place.write_bytes(other[how])
    what = "is missing; write the report again" if how in ("missing", "a folder") else "was edited after it was written"
    assert sorted(finding.message for finding in check(built, out)) == sorted(f"{path} {what}" for path in FILES)


@pytest.mark.parametrize("path", ["macros.tex", "index.html", f"figures/{FIGURE}.png"])
def test_a_single_file_that_was_edited_is_found_alone(built, out, path):
    (out / path).write_bytes((out / path).read_bytes() + b" ")
    assert [finding.message for finding in check(built, out)] == [f"{path} was edited after it was written"]


@pytest.mark.parametrize("kind", TABLE_RENDERERS)
def test_a_table_that_is_missing_or_not_text_is_found(built, out, kind):
    (out / f"tables/ablation_scores.{kind}").unlink()
    (out / f"tables/ablation_tests.{kind}").write_bytes(b"\xff\xfe\x80")
    assert sorted(finding.message for finding in check(built, out)) == [
        f"tables/ablation_scores.{kind} is missing; write the report again",
        f"tables/ablation_tests.{kind} was edited after it was written",
    ]


@pytest.mark.parametrize("path", ["macros.tex", "tables/ablation_scores.csv", "details.tex"])
def test_a_file_edited_together_with_its_sha256_in_the_manifest_is_stale(built, out, path):
    text = (out / path).read_text()
    place = next(place for place in re.finditer(r"\d\.\d", text))
    (out / path).write_text(
        text[: place.start()] + str((int(text[place.start()]) + 1) % 10) + text[place.start() + 1 :]
    )
    manifest = json.loads((out / MANIFEST_FILE).read_text())
    manifest["files"][path] = sha256(out / path)
    (out / MANIFEST_FILE).write_text(json.dumps(manifest))
    (mine,) = check(built, out)
    assert mine.message == f"{path} is stale; write the report again"
    assert path.startswith("tables/") == bool(mine.cells)


def test_an_edited_manifest_is_found_and_its_cell_named(built, out):
    manifest = json.loads((out / MANIFEST_FILE).read_text())
    text, manifest["cells"][OF_MART]["text"] = manifest["cells"][OF_MART]["text"], "99.9"
    (out / MANIFEST_FILE).write_text(json.dumps(manifest))
    assert check(built, out) == [Finding(f"stale: written as '99.9', recomputed as '{text}'", (OF_MART,))]


def test_any_one_cell_of_the_manifest_that_was_edited_is_named(built, out):
    manifest = read_manifest(out)
    assert manifest is not None and any(not cell.get("runs") for cell in manifest.cells.values())
    for name, cell in manifest.cells.items():
        for other in ({**cell, "text": f"{cell['text']}1"}, {**cell, "runs": ["0" * 20]}):
            edited = replace(manifest, cells={**manifest.cells, name: other})
            assert [finding.cells for finding in find_stale_cells(built.report, edited)] == [(name,)]


def test_a_file_that_the_manifest_lost_is_found(built, out):
    manifest = json.loads((out / MANIFEST_FILE).read_text())
    del manifest["files"]["macros.tex"]
    (out / MANIFEST_FILE).write_text(json.dumps(manifest))
    (found,) = check(built, out)
    assert found.message.startswith("macros.tex ")


@pytest.mark.parametrize("path", ["../secret", "tables/../../secret", "{absolute}", "link"])
def test_a_file_outside_the_folder_is_never_read(built, out, monkeypatch, path):
    secret = out.parent / "secret"
    secret.write_text("private")
    path = path.replace("{absolute}", str(secret))
    if path == "link":
        (out / "link").symlink_to(secret)
    manifest = json.loads((out / MANIFEST_FILE).read_text())
    manifest["files"][path] = sha256(secret)
    (out / MANIFEST_FILE).write_text(json.dumps(manifest))
    opened = []
    monkeypatch.setattr("reports.check.sha256", lambda place: opened.append(place.resolve()) or sha256(place))
    assert [finding.message for finding in check(built, out)] == [f"{path} is missing; write the report again"]
    assert opened and secret.resolve() not in opened and secret.read_text() == "private"
