"""Tests of `report`: exit codes, one-line errors, the files it writes and the modules it does not import."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from bench.files import sha256
from bench.record import RECORD_FILE, RunFolder
from bench.tasks import Classification
from bench.types import DatasetInfo
from reports.write import MANIFEST_FILE
from tests.reports.audit.written import copied, results_of
from tests.reports.made import make_run, make_search, tamper
from tests.studies.command_line import bench, process

CELL = "comparison_scores/probe/ekman6/acc_e"
HEAVY = ("torch", "mlflow", "optuna", "transformers", "lightning_fabric", "av", "nltk", "ray")
LOADED = (
    "import sys; from studies.cli.main import main; code = main(sys.argv[2:])\n"
    "print('LOADED', *(name for name in sys.argv[1].split(',') if name in sys.modules)); sys.exit(code)"
)


def snapshot(folder):
    """Return path -> content and time of every file, and every folder."""
    return {
        str(path.relative_to(folder)): (sha256(path), path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return results with a report in its default folder, the files before it, and the output of its command."""
    results = results_of(tmp_path_factory.mktemp("results"), "majority", "probe", seeds=1)
    make_run(results, "probe", dataset="iemocap", fold=1, clips=30, request={})
    before = snapshot(results)
    done = process("-c", LOADED, ",".join(HEAVY), "report", "comparison", "--results", results)
    assert done.code == 0, done.err
    return results, before, done.out


@pytest.fixture(scope="module")
def elsewhere(kept, tmp_path_factory):
    """Return a report of one run in another folder, and the files of the results before it."""
    before, out = snapshot(kept[0]), tmp_path_factory.mktemp("elsewhere") / "a" / "b [b] 中文"
    assert bench("report", "--runs", "arm=probe,dataset=ekman6", "--out", out, "--results", kept[0]).code == 0
    return out, before


@pytest.fixture
def results(kept, tmp_path):
    """Return a copy that a test may change."""
    return copied(kept[0], tmp_path / "results")


@pytest.fixture
def report():
    """Return a function that runs the command: exit code, stdout, stderr."""

    def run(*words):
        done = bench("report", *words)
        return done.code, done.out, done.err

    return run


def one_line(answer, *parts):
    """Check for exit code 2 and one line on stderr with all of `parts`."""
    code, out, err = answer
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("error: "), (code, out, err)
    for part in parts:
        assert part in err
    return True


def probe(results):
    """Return folder and record of a run on Ekman-6."""
    for path in (results / "runs").glob(f"*/{RECORD_FILE}"):
        record = RunFolder(path.parent).read_record()
        if (record.arm, record.spec.dataset) == ("probe", "ekman6"):
            return path.parent, record
    raise LookupError


def test_a_report_is_written_from_the_front_door_and_says_where_it_is(kept):
    results, _, said = kept
    place = results / "reports" / "comparison"
    assert json.loads((place / MANIFEST_FILE).read_text())["finished"]
    assert str(place / "index.html") in said and "3 runs" in said and "--check" in said
    assert "has no runs of" in said


def test_a_report_loads_nothing_heavy(kept):
    assert kept[2].splitlines()[-1].split() == ["LOADED"]


def test_a_report_touches_nothing_of_the_results_but_its_own_folder(kept):
    results, before, _ = kept
    after = {path: state for path, state in snapshot(results).items() if path.split("/")[0] != "reports"}
    assert after == before


def test_a_report_and_its_check_elsewhere_touch_nothing_of_the_results(kept, elsewhere, report):
    out, before = elsewhere
    code, said, _ = report("--check", "--out", out, "--results", kept[0])
    assert code == 0 and "every score was recomputed" in said and str(out) in said
    assert snapshot(kept[0]) == before
    assert json.loads((out / MANIFEST_FILE).read_text())["asked"]["runs"] == "arm=probe,dataset=ekman6"


def test_a_check_of_a_fresh_report_says_that_all_holds(kept, report):
    before = snapshot(kept[0])
    code, said, _ = report("comparison", "--check", "--results", kept[0])
    assert code == 0 and "every score was recomputed" in said and "3 runs" in said
    assert snapshot(kept[0]) == before


def test_a_check_that_finds_a_difference_exits_with_3(results):
    folder, record = probe(results)
    tamper(folder, record, **{"test/acc_e": 0.99})
    done = process("bench.py", "report", "comparison", "--check", "--results", results)
    assert done.code == 3, done.err
    assert f"record of run {record.key} changed" in done.out and CELL in done.out
    assert " differences" in done.out and done.err == ""


def test_a_check_prints_the_first_findings_and_their_number(results, report):
    out = results / "reports" / "comparison"
    files = [path for path in out.rglob("*") if path.is_file() and path.name != MANIFEST_FILE]
    for path in files:
        path.write_text("")
    code, said, _ = report("comparison", "--check", "--results", results)
    lines = said.splitlines()
    assert code == 3 and len(lines) == 22 and lines[-2] == f"... and {len(files) - 20} more"
    assert lines[-1] == f"{out}: {len(files)} differences"


def test_an_interrupted_report_is_reported_with_exit_code_130(kept, report, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.write.write_figures", lambda *_: {})
    monkeypatch.setattr("reports.write.render_page", stop)
    out = tmp_path / "out"
    code, _, err = report("--runs", "arm=majority", "--out", out, "--results", kept[0])
    assert code == 130 and "not finished" in err and not json.loads((out / MANIFEST_FILE).read_text())["finished"]


def test_a_check_reads_the_name_from_the_folder(kept, report):
    out = kept[0] / "reports" / "comparison"
    assert report("--check", "--out", out, "--results", kept[0])[0] == 0
    assert one_line(report("ablation", "--check", "--out", out, "--results", kept[0]), "'comparison'", "'ablation'")


def test_a_report_that_was_interrupted_is_no_report(results, report):
    path = results / "reports" / "comparison" / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished": False}))
    assert one_line(report("comparison", "--check", "--results", results), "interrupted", "write it again")


def test_a_broken_manifest_is_one_line(results, report):
    path = results / "reports" / "comparison" / MANIFEST_FILE
    path.write_text("{")
    for words in (["--check"], []):
        assert one_line(report("comparison", *words, "--results", results), str(path), "move that folder away")


MISTAKES = {
    "study": (["comparisn"], ["'comparisn'", "did you mean 'comparison'"]),
    "nothing": ([], ["no study given", "comparison", "--runs"]),
    "field": (["comparison", "--runs", "datset=ekman6"], ["'datset'", "did you mean 'dataset'"]),
    "filter": (["comparison", "--runs", "ekman6"], ["--runs", "'ekman6'", "dataset=ekman6"]),
    "no run is taken": (["--runs", "dataset=perr"], ["--runs: no matching run", "3 runs under"]),
    "no run of the study": (["verification"], ["no run", "'verification'"]),
    "preset": (["comparison", "--preset", "papr"], ["'papr'", "did you mean 'paper'"]),
    "no run with the preset": (["comparison", "--preset", "paper"], ["no run", "preset quick"]),
    "setting": (["comparison", "--set", "epochs"], ["--set: expected name=value"]),
    "field of a setting": (["comparison", "--set", "epocs=3"], ["'epocs'", "did you mean 'epochs'"]),
    "value of a setting": (["comparison", "--set", "epochs=many"], ["epochs: ", "'many'"]),
    "check": (["ablation", "--check"], ["no report in", "reports/ablation", "--out"]),
    "option": (["comparison", "--chek"], ["--chek", "--help"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(kept, report, name):
    words, parts = MISTAKES[name]
    before = snapshot(kept[0])
    assert one_line(report(*words, "--results", kept[0]), *parts)
    assert snapshot(kept[0]) == before


def test_an_empty_results_folder_is_one_line(report, tmp_path):
    assert one_line(report("ablation", "--results", tmp_path / "new"), "no finished run", "study ablation")
    assert not (tmp_path / "new").exists()


def test_a_file_or_a_folder_of_others_is_not_written_over(kept, report, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out, part in ((tmp_path / "file", "is a file"), (tmp_path, "not a report")):
        assert one_line(report("comparison", "--out", out, "--results", kept[0]), "--out", part)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_a_deleted_prediction_or_run_is_found(results, report):
    folder, record = probe(results)
    (folder / "predictions.parquet").unlink()
    code, said, _ = report("comparison", "--check", "--results", results)
    assert code == 3 and f"run {record.key} cannot be recomputed" in said and CELL in said
    shutil.rmtree(folder)
    code, said, _ = report("comparison", "--check", "--results", results)
    assert code == 3 and f"run {record.key} is missing" in said and CELL in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_whole_paper_compiles_and_holds_whatever_data_sets_and_machines_are_called(report, tmp_path):
    title = "A_b & 100% #1 <x> 中文 $^\\~{}"
    own = DatasetInfo("own_1", title, Classification(("good_%", "bad & #", "<x> 中文"), (1, -1, 0)), {}, "", "", "", "")
    results = tmp_path / "results"
    search = make_search(results, "mart", params={"lr": 0.0015})
    for seed in range(2):
        for arm in ("mart", "mbt", "mbt-long", "mart-no-masking"):
            make_run(results, arm, card=own, clips=30, seed=seed, provenance={"processor": title, "device": title})
            make_run(results, arm, clips=30, seed=seed, set={"lr": 0.0015}, request={"winner": search})
    make_run(results, "mart", card=own, seed=2, error=f"{title}\nand \\input{{secret}}")
    for path in (results / "runs").glob(f"*/{RECORD_FILE}"):
        record = RunFolder(path.parent).read_record()
        RunFolder(path.parent).write_record(replace(record, provenance={**record.provenance, "dirty": True}))
    out = tmp_path / "out"
    code, said, err = report("ablation", "--pdf", "--out", out, "--results", results)
    assert code == 0, err
    assert (out / "paper.pdf").stat().st_size > 50_000 and str(out / "paper.pdf") in said
    assert report("ablation", "--check", "--out", out, "--results", results)[0] == 0
    for path in (out / "index.html", *(out / "tables").glob("*.html")):
        assert "<x>" not in path.read_text()


def test_a_check_uses_the_query_of_the_written_report(kept, elsewhere, report):
    words = ("--check", "--out", elsewhere[0], "--results", kept[0])
    assert report(*words, "--runs", "arm=probe,dataset=ekman6")[0] == 0
    code, _, err = report(*words, "--runs", "arm=majority")
    assert code == 2 and "written with --runs arm=probe,dataset=ekman6" in err and "omit --runs" in err


def test_a_check_against_other_results_is_one_line(elsewhere, report, tmp_path):
    make_run(tmp_path, "probe", clips=12, seed=77)
    code, _, err = report("--check", "--out", elsewhere[0], "--results", tmp_path)
    assert code == 2 and f"{tmp_path} has none of the runs of the report in {elsewhere[0]}" in err
