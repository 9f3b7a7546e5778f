"""Tests of building a report: its studies and runs, reported omissions, and broken files."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bench.artifacts import CURVES_FILE
from bench.errors import StoreError
from bench.mlflow import MlflowStore
from bench.record import DATASET_INFO_FILE, RunFolder
from bench.requests import REQUESTS, RequestedPlan, add_requests
from bench.tasks import Classification
from bench.types import DatasetInfo
from reports.write import list_figures, list_tables, render_texts, write_report
from studies.build_report import build_report
from studies.requests import parse_filter
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.reports.audit.written import check, composed, results_of, write
from tests.reports.made import make_run, make_search, request_for

NASTY = "<script>alert('x')</script> & 100% #1 A_b $x^2$ \\input{secret} {中文} é 😀\nnew line\t\"quoted\" | pipe"


def built(results, name="ablation", runs="", **wish):
    wish = ReportQuery(parse_filter(runs), **wish) if runs else ReportQuery(**wish)
    return build_report(
        results, name or "runs", STUDIES[name] if name else (), wish, MlflowStore(results), "http://127.0.0.1:5000"
    )


def cells(found):
    """Return cell name -> text for all tables of a report."""
    return {name: cell.text for grid in list_tables(found.report) for name, cell in grid.iter_cells()}


def ask_for(results, study, seeds, datasets=None):
    """Store with every run a request of the study for these seeds and data sets."""
    plan = RequestedPlan(datasets or {"ekman6": (0,)}, tuple(seeds), ("clean",))
    for folder in map(RunFolder, (results / "runs").iterdir()):
        add_requests(folder, [request_for(folder.read_record(), study=study, plan=plan)])


def warned(found, *places):
    """Return the warnings and omissions that mention one of these files or folders."""
    return [
        line
        for line in (*found.report.warnings, *found.report.omissions)
        if any(str(place) in line for place in places)
    ]


def notes(found):
    """Return all footnotes, notes and warnings of tables."""
    return [note for grid in list_tables(found.report) for note in (*grid.footnotes, *grid.notes, *grid.warnings)]


def test_a_report_of_a_study_has_its_runs_its_question_and_its_tables(tmp_path):
    records = [make_run(tmp_path, "mart", clips=12, seed=seed) for seed in range(2)]
    found = built(tmp_path)
    assert [run.record.key for run in found.report.runs] == [record.key for record in records]
    assert found.report.summary == STUDIES["ablation"][0].question
    assert "Ablation" in found.report.title and "2 runs" in found.report.title and not found.report.is_sample
    assert [section.id for section in found.report.sections] == ["ablation"]
    assert len(list_figures(found.report)) > 2


def test_a_report_of_the_whole_paper_has_a_section_for_each_study_that_has_runs_and_each_run_once(tmp_path):
    for arm in ("mart", "mart-no-masking"):
        make_run(tmp_path, arm, clips=12)
    found = built(tmp_path, "paper")
    ids = [section.id for section in found.report.sections]
    assert ids == ["comparison", "ablation", "masking", "target", "verification", "modalities"]
    assert sorted(run.arm for run in found.report.runs) == ["mart", "mart-no-masking"]
    assert len({grid.name for grid in list_tables(found.report)}) == len(list_tables(found.report))
    assert len({picture.name for picture in list_figures(found.report)}) == len(list_figures(found.report))


def test_runs_without_a_study_have_a_report(tmp_path):
    make_run(tmp_path, "probe", clips=12)
    make_run(tmp_path, "mart", clips=12, dataset="iemocap")
    found = built(tmp_path, "", runs="dataset=ekman6")
    assert [run.arm for run in found.report.runs] == ["probe"] and found.results[0].name == "runs"


def test_cells_show_the_number_of_runs_if_a_requested_seed_is_missing(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "mart", clips=12, seed=seed)
    make_run(tmp_path, "mbt", clips=12)
    assert "(1/2 runs)" in cells(built(tmp_path))["ablation_scores/mbt/ekman6/acc_e"]
    assert "runs)" not in cells(built(tmp_path))["ablation_scores/mart/ekman6/acc_e"]
    ask_for(tmp_path, "ablation", seeds=range(5))
    assert "(2/5 runs)" in cells(built(tmp_path))["ablation_scores/mart/ekman6/acc_e"]
    assert "(1/5 runs)" in cells(built(tmp_path))["ablation_scores/mbt/ekman6/acc_e"]


def test_requests_of_another_study_do_not_make_a_table_incomplete(tmp_path):
    make_run(tmp_path, "mart", clips=12)
    ask_for(tmp_path, "ablation", seeds=[0])
    ask_for(tmp_path, "comparison", seeds=range(5))
    assert "runs)" not in cells(built(tmp_path))["ablation_scores/mart/ekman6/acc_e"]


def test_requests_with_the_same_settings_make_a_table_incomplete(tmp_path):
    make_run(tmp_path, "mart", clips=12, set={"epochs": 3})
    ask_for(tmp_path, "ablation", seeds=[1])
    assert "(1/2 runs)" in cells(built(tmp_path))["ablation_scores/mart/ekman6/acc_e"]


def test_a_failed_run_makes_its_row_incomplete(tmp_path):
    make_run(tmp_path, "mart", clips=12)
    make_run(tmp_path, "mart", clips=12, seed=1, error="out of memory")
    found = built(tmp_path)
    assert "(1/2 runs)" in cells(found)["ablation_scores/mart/ekman6/acc_e"]
    assert any("out of memory" in note or "failed" in note for note in notes(found))


def test_omitted_runs_are_reported(tmp_path):
    make_run(tmp_path, "mart", clips=12)
    make_run(tmp_path, "mart", clips=12, version=90)
    make_run(tmp_path, "mart", clips=12, data="sample")
    warnings = built(tmp_path).report.omissions
    assert any("mart version 90" in line for line in warnings)
    assert any("1 run left out: made on the built-in sample" in line for line in warnings)


def test_arms_of_a_study_without_runs_are_reported(tmp_path):
    for arm in ("mart", "mart-no-masking", "mart-sentiment-only", "mart-no-verification"):
        make_run(tmp_path, arm, clips=12)
    (line,) = built(tmp_path, "verification").report.warnings
    assert "erification has no runs of mart-emotion-only" in line
    make_run(tmp_path, "mart-emotion-only", clips=12)
    assert built(tmp_path, "verification").report.warnings == ()


def test_a_report_on_the_sample_is_marked(tmp_path):
    make_run(tmp_path, "mart", clips=12, data="sample")
    found = built(tmp_path)
    assert found.report.is_sample and any("BUILT-IN SAMPLE" in line for line in found.report.warnings)


def test_only_searches_that_provided_values_have_a_section(tmp_path):
    winner = make_search(tmp_path, "mart", params={"lr": 0.0015})
    make_search(tmp_path, "mart", params={"lr": 0.0015}, dataset="perr")
    make_search(tmp_path, "probe", params={"lr": 0.0015})
    make_run(tmp_path, "mart", clips=12)
    assert [section.id for section in built(tmp_path).report.sections] == ["ablation"]
    make_run(tmp_path, "mart", clips=12, set={"lr": 0.0015}, seed=1, request={"winner": winner})
    make_run(tmp_path, "mart", clips=12, set={"lr": 0.0015}, request={"winner": winner})
    found = built(tmp_path)
    assert [section.id for section in found.report.sections] == ["ablation", "searches"]
    assert [(one.arm, one.dataset) for one in found.searches] == [("mart", "ekman6")]


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("ablation", lambda _: None, ["no finished run", "bench.py study ablation"]),
        ("ablation", lambda r: make_run(r, "probe", clips=12), ["no run of study", "'ablation'", "1 run under"]),
        ("ablation", lambda r: make_run(r, "mart", clips=12, version=90), ["mart version 90"]),
        ("", lambda r: make_run(r, "mart", clips=12, dataset="perr"), ["--runs: no matching run", "1 run under"]),
    ],
    ids=["empty", "others", "old", "filtered"],
)
def test_an_empty_report_is_explained_in_one_line(tmp_path, name, make, expected):
    make(tmp_path)
    with pytest.raises(StoreError) as error:
        built(tmp_path, name, runs="" if name else "dataset=ekman6")
    assert all(part in str(error.value) for part in expected) and "\n" not in str(error.value)


def test_a_preset_without_runs_is_reported_with_the_existing_runs(tmp_path):
    make_run(tmp_path, "mart", clips=12)
    with pytest.raises(StoreError, match="1 run left out: preset quick"):
        built(tmp_path, preset="paper")


BROKEN = {
    "cut off": b'{"key": "0", "spec": {',
    "empty": b"",
    "no text": b"\xff\xfe\x00\x80",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no spec": b"{}",
    "spec is a word": b'{"spec": "x"}',
    "another schema": b'{"spec": {"schema": 99}}',
    "unknown fields": b'{"spec": {"schema": 1, "more": 2}, "error": null}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["record.json", "failed-1.json"])
def test_a_broken_record_is_passed_over_with_a_warning(tmp_path, name, content):
    good = make_run(tmp_path, "mart", clips=12)
    place = tmp_path / "runs" / ("0" * 20)
    place.mkdir()
    (place / name).write_bytes(content)
    found = built(tmp_path)
    assert [run.record.key for run in found.report.runs] == [good.key]
    (warning,) = warned(found, place)
    assert "\n" not in warning


def test_files_and_folders_that_are_no_runs_are_passed_over(tmp_path):
    make_run(tmp_path, "mart", clips=12)
    (tmp_path / "runs" / "0000.lock").write_text("")
    (tmp_path / "runs" / "empty").mkdir()
    odd = tmp_path / "runs" / "odd"
    odd.mkdir()
    (odd / "failed-x.json").write_text("{}")
    folder = tmp_path / "runs" / "folder" / "record.json"
    folder.mkdir(parents=True)
    found = built(tmp_path)
    assert len(found.report.runs) == 1
    assert len(warned(found, folder.parent)) == len(warned(found, odd)) == 1
    assert len(warned(found, tmp_path / "runs")) == 2


WRONG = {
    "spec": {"config": [], "dataset": 3, "fold": "zero", "seed": None, "method": {}},
    "": {"scores": [], "scores ": {"test/acc_e": "high"}, "files": [], "preset": None, "notes": 3, "provenance": []},
}


@pytest.mark.parametrize(("where", "field"), [(where, field) for where, fields in WRONG.items() for field in fields])
def test_a_record_with_a_value_of_the_wrong_kind_is_no_crash(tmp_path, where, field):
    good = make_run(tmp_path, "mart", clips=12)
    record = make_run(tmp_path, "mart", clips=12, seed=1)
    path = tmp_path / "runs" / record.key / "record.json"
    raw = json.loads(path.read_text())
    (raw[where] if where else raw)[field.strip()] = WRONG[where][field]
    path.write_text(json.dumps(raw))
    found = built(tmp_path)
    assert [run.record.key for run in found.report.runs] == [good.key]
    assert len(warned(found, path)) == 1


SEARCHES = {
    **{name: BROKEN[name] for name in ("cut off", "empty", "no text", "a list", "a number", "null", "no spec")},
    "no winner": {"winner": ...},
    "no params": {"winner": {"value": 1.0}},
    "base is a list": {"base": [1]},
    "ranges are a list": {"ranges": [1]},
    "params are a list": {"winner": {"value": 1.0, "params": [1]}},
    "tried is a number": {"tried": 3},
    "trials are a number": {"trials": 3},
}


@pytest.mark.parametrize("broken", SEARCHES.values(), ids=SEARCHES)
def test_a_broken_search_is_skipped_and_reported(tmp_path, broken):
    make_run(tmp_path, "mart", clips=12)
    make_search(tmp_path, "mart")
    (path,) = (tmp_path / "searches").glob("*/search.json")
    if isinstance(broken, bytes):
        path.write_bytes(broken)
    else:
        raw = {**json.loads(path.read_text()), **broken}
        path.write_text(json.dumps({name: value for name, value in raw.items() if value is not ...}))
    found = built(tmp_path)
    (line,) = warned(found, path)
    assert "move it away" in line and "\n" not in line and found.searches == ()


def test_runs_whose_requests_are_not_known_are_counted(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "mart", clips=12, seed=seed)
    make_run(tmp_path, "mbt", clips=12, request={})
    assert any("2 runs have no stored request" in line for line in built(tmp_path).report.omissions)
    assert {run.arm: run.request for run in built(tmp_path).report.runs} == {
        "mart": "unknown request",
        "mbt": "a command",
    }
    ask_for(tmp_path, "ablation", seeds=range(2))
    found = built(tmp_path)
    assert not any("unknown" in line for line in found.report.omissions)
    assert {run.request for run in found.report.runs} == {"study ablation"}


@pytest.mark.parametrize("content", [b"{}\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"study": 3}\n'], ids=range(4))
def test_broken_requests_are_reported_in_one_line_and_the_request_is_unknown(tmp_path, content):
    record = make_run(tmp_path, "mart", clips=12)
    path = tmp_path / "runs" / record.key / REQUESTS
    path.write_bytes(content)
    found = built(tmp_path)
    (line,) = warned(found, path)
    assert "skipped 1 of 1 lines (" in line and "\n" not in line
    assert [run.request for run in found.report.runs] == ["unknown request"]


@pytest.mark.parametrize("name", [DATASET_INFO_FILE, CURVES_FILE])
@pytest.mark.parametrize("content", [b"", b"{", b"[3]", b"\xff\xfe"], ids=str)
def test_a_broken_file_beside_a_record_is_no_crash(tmp_path, name, content):
    record = make_run(tmp_path, "mart", clips=12)
    (tmp_path / "runs" / record.key / name).write_bytes(content)
    make_run(tmp_path, "mart", clips=12, seed=1)
    found = built(tmp_path)
    assert render_texts(found.report, found.results, found.searches)
    assert (
        any(name in line for line in found.report.omissions)
        == (len(found.report.runs) < 2)
        == (name == DATASET_INFO_FILE)
    )


@pytest.mark.slow
def test_names_and_messages_with_markup_newlines_and_letters_of_any_script_survive_a_whole_report(tmp_path):
    own = DatasetInfo("own", NASTY, Classification(("good <b>", "bad & {中文}\n%_#"), (1, -1)), {}, "", "", "", "")
    results = tmp_path / "results"
    make_run(results, "mart", card=own, clips=12)
    make_run(results, "mbt", card=own, clips=12)
    make_run(results, "mart", card=own, clips=12, seed=1, error=NASTY)
    for folder in (results / "runs").iterdir():
        if (record := RunFolder(folder).read_record()) is not None:
            facts = {**record.provenance, "device": NASTY, "processor": NASTY}
            RunFolder(folder).write_record(replace(record, provenance=facts))
    found = built(results, "comparison")
    out = tmp_path / "out"
    write_report(found.report, found.results, found.searches, {}, out, lambda *expected: None)
    page = (out / "index.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "中文" in page
    for path, text in render_texts(found.report, found.results, found.searches).items():
        assert (out / path).read_bytes().decode() == text
        if path.endswith(".tex"):
            assert "\\input{secret}" not in text
    for path in (out / "tables").glob("*.html"):
        assert "<script" not in path.read_text()


def test_a_message_that_is_no_proper_text_survives_a_whole_report(tmp_path):
    """Report a message with a lone surrogate (from a path that is not UTF-8), which no file can hold."""
    results = results_of(tmp_path / "results", "probe", seeds=1)
    make_run(results, "probe", clips=12, seed=1, error="cannot read clip \udce9.mp4")
    write(composed(results), tmp_path / "out")
    assert check(composed(results), tmp_path / "out") == []
    assert r"\udce9.mp4" in (tmp_path / "out" / "tables" / "comparison_scores.md").read_text()


def test_only_searches_that_provided_values_are_reported(tmp_path):
    shared = make_search(tmp_path, "mart", params={"lr": 0.0015})
    make_search(tmp_path, "mart", params={"lr": 0.0015}, preset="paper")
    own = make_search(tmp_path, "mart-no-masking", params={"lr": 0.0007})
    make_search(tmp_path, "probe", params={"lr": 0.0015})
    make_run(tmp_path, "mart-no-masking", clips=12, set={"lr": 0.0015}, request={"winner": shared})
    found = built(tmp_path)
    assert [run.tuning for run in found.report.runs] == ["shared"]
    assert [(one.arm, one.preset) for one in found.searches] == [("mart", "quick")]
    make_run(tmp_path, "mart-no-masking", clips=12, set={"lr": 0.0007}, request={"winner": own})
    found = built(tmp_path)
    assert [run.tuning for run in found.report.runs] == ["shared", "per-arm"]
    assert [(one.arm, one.preset) for one in found.searches] == [("mart", "quick"), ("mart-no-masking", "quick")]


def test_a_study_states_the_values_of_its_runs(tmp_path):
    make_run(tmp_path, "mart", clips=12, set={"epochs": 3})
    paragraphs = [text for section in built(tmp_path).report.sections for text in section.paragraphs]
    assert any("quick" in text and "epochs=3" in text for text in paragraphs)
    assert not any("searched" in text for text in paragraphs)
    winner = make_search(tmp_path, "mart", params={"lr": 0.0015}, set={"epochs": 3})
    for seed in range(2):
        make_run(tmp_path, "mart", clips=12, set={"epochs": 3, "lr": 0.0015}, seed=seed, request={"winner": winner})
    paragraphs = [text for section in built(tmp_path).report.sections for text in section.paragraphs]
    assert any("searched on val" in text and "6 configurations" in text for text in paragraphs)


def test_a_filter_is_reported_and_excluded_arms_are_not_reported_as_missing(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "mart", clips=12, seed=seed)
        make_run(tmp_path, "mbt", clips=12, seed=seed)
    ask_for(tmp_path, "ablation", seeds=range(3), datasets={"ekman6": (0,), "perr": (0,)})
    found = built(tmp_path, runs="arm=m*t,seed=0,dataset=ekman6")
    narrowed = [note for note in notes(found) if "NARROWED" in note]
    assert narrowed and all("arm=m*t, seed=0, dataset=ekman6" in note and "2 other runs" in note for note in narrowed)
    assert not any("lacks" in line for line in found.report.warnings)
    assert not any("runs)" in text for text in cells(found).values())  # the one requested seed exists
    assert any("no runs of mbt-long" in line and "perr" in line for line in built(tmp_path).report.warnings)


def test_a_single_fold_of_several_is_named_below_the_table_and_in_the_details(tmp_path):
    for arm in ("mart", "mbt"):
        make_run(tmp_path, arm, dataset="iemocap", fold=2, clips=12)
    found = built(tmp_path, "comparison")
    expected = re.compile(r"[Oo]nly fold 2 of the 5 folds of IEMOCAP")
    (notes,) = [grid.notes for grid in list_tables(found.report) if grid.name == "comparison_scores"]
    assert expected.search(" ".join(notes))
    assert expected.search(render_texts(found.report, found.results, found.searches)["details.tex"])


def test_more_than_two_data_sets_have_two_tables_of_scores(tmp_path):
    names = ("ekman6", "videoemotion8", "perr", "iemocap")
    for dataset in names:
        make_run(tmp_path, "majority", dataset=dataset, clips=16)
    found = built(tmp_path, "comparison")
    groups = {
        grid.name: {column.id.partition("/")[0] for column in grid.columns[1:]}
        for grid in list_tables(found.report)
        if grid.name in ("comparison_scores", "comparison_scores_2")
    }
    assert groups == {"comparison_scores": set(names[:2]), "comparison_scores_2": set(names[2:4])}


@pytest.mark.parametrize(("where", "value"), [("notes", float("inf")), ("seconds", None), ("scores", 10**400)])
def test_a_record_with_invalid_numbers_is_skipped_and_reported(tmp_path, where, value):
    kept = make_run(tmp_path, "mart", clips=12)
    broken = make_run(tmp_path, "mbt", clips=12)
    path = tmp_path / "runs" / broken.key / "record.json"
    raw = json.loads(path.read_text())
    raw[where] |= {"test/acc_e" if where == "scores" else "step": value}
    path.write_text(json.dumps(raw))
    found = built(tmp_path)
    assert [run.record.key for run in found.report.runs] == [kept.key] and warned(found, path)


def test_uncommitted_code_is_reported_in_the_details(tmp_path):
    make_run(tmp_path, "mart", clips=12, provenance={"dirty": True})
    found = built(tmp_path)
    details = render_texts(found.report, found.results, found.searches)["details.tex"]
    assert "uncommitted changes" in details and "1 of 1 runs" in details
