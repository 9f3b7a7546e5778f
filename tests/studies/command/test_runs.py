"""The command `runs`: every state is listed, whatever the folder holds, and one run is shown whole."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest

from bench.record import RECORD_FILE, RunFolder, StageUse, StartedRun
from studies.cli import runs as command
from tests import toys
from tests.reports.made import MOOD, make_run
from tests.studies.command_line import bench, one_line
from tests.test_architecture import loaded_by

KEY = re.compile(r"[0-9a-f]{8}\b")


def start_run(results, record, seed, arm="mart"):
    """Write what a process leaves that is killed after its first checkpoint."""
    spec = replace(record.spec, seed=seed, stage="final", protocol="clean")
    folder = RunFolder(results / "runs" / spec.key)
    folder.checkpoints.mkdir(parents=True)
    folder.write_start(StartedRun(arm, "quick", spec))
    (folder.checkpoints / "pretrain.pt").write_bytes(b"")
    return folder


def list_runs(results, *words):
    """Return the fields of the `--json` rows of the runs that are listed, newest first."""
    file = results / "out.json"
    done = bench("runs", *words, "--json", file, results=results)
    assert done.code == 0 and done.err == "", done.err
    return [
        (row["state"], row["spec"] and (row["spec"]["method"], row["spec"]["seed"]))
        for row in json.loads(file.read_text())
    ]


def age(folder, hours):
    """Make the files of a run older."""
    for path in [folder, *folder.rglob("*")]:
        then = path.stat().st_mtime - 3600 * hours
        os.utime(path, (then, then))


@pytest.fixture
def mixed(tmp_path):
    """Return a results folder with a run in each state, the finished one being the oldest, and a trial."""
    finished = make_run(tmp_path, "mart-no-masking", seed=3, request={"command": "python bench.py --seed 3"})
    failed = make_run(tmp_path, "probe", seed=4, error="the toy failed")
    trial = make_run(tmp_path, "mbt", seed=1000, stage="trial")
    interrupted, running = start_run(tmp_path, finished, 5), start_run(tmp_path, finished, 6)
    for hours, key in enumerate([running.path.name, interrupted.path.name, trial.key, failed.key, finished.key]):
        age(tmp_path / "runs" / key, hours)
    with running.locked(lambda: None):
        yield tmp_path


def test_runs_of_every_state_are_listed_newest_first_without_trials(mixed):
    assert list_runs(mixed) == [
        ("running", ("mart", 6)),
        ("interrupted", ("mart", 5)),
        ("failed", ("probe", 4)),
        ("finished", ("mart-no-masking", 3)),
    ]
    done = bench("runs", results=mixed).out
    assert "4 runs" in done and "1 finished, 1 failed, 1 running, 1 interrupted" in done and "1 trial" in done
    rows = [line.split() for line in done.splitlines() if KEY.match(line)]
    assert [row[1:5] for row in rows[:2]] == [
        ["mart", "ekman6", "6", "running"],
        ["mart", "ekman6", "5", "interrupted"],
    ]
    assert rows[3][-4:-2] != ["-"] and rows[3][-2:] == ["4", "h"] and "%" in rows[3]


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["--state", "failed"], [4]),
        (["--state", "running"], [6]),
        (["--last", "2"], [6, 5]),
        (["--runs", "arm=mart*,seed=[35]"], [5, 3]),
        (["--runs", "method=mart", "--state", "finished"], [3]),
        (["--trials", "--runs", "arm=mbt"], [1000]),
        (["--runs", "arm=mbt"], []),
    ],
)
def test_filters_select_runs(mixed, words, seeds):
    assert [known[1] for _, known in list_runs(mixed, *words)] == seeds


def test_the_list_fits_80_columns_and_folds_names_at_dashes(mixed, monkeypatch):
    monkeypatch.setattr(command, "DEFAULT_RESULTS", mixed)
    make_run(
        mixed, "mart-no-verification", dataset="videoemotion8", fold=2, preset="paper", protocol="refit", seed=12345
    )
    monkeypatch.setattr("rich.console.Console.width", 80)
    lines = bench("runs", results=mixed).out.splitlines()
    table = lines[: next(at for at, line in enumerate(lines) if " runs in " in line)]
    assert max(map(len, table)) <= 80
    (at,) = [at for at, line in enumerate(table) if "12345" in line]
    assert "mart-no-" in table[at] and "(refit)" in " ".join(table[at : at + 3])


def test_a_run_is_shown_by_the_beginning_of_its_key_with_all_that_is_known(mixed):
    ((record, folder),) = [
        (RunFolder(path.parent).read_record(), path.parent)
        for path in mixed.glob(f"runs/*/{RECORD_FILE}")
        if "masking" in path.read_text()
    ]
    done = bench("runs", record.key[:6], results=mixed)
    for part in (
        record.key,
        str(folder),
        "finished",
        "mart-no-masking",
        "seed 3",
        "all values are those of the preset",
        "1a2b3c4d1a2b",
        "torch 2.11.0",
        "python bench.py --seed 3",
        "predictions.parquet",
        "Acc E",
        "recall of",
    ):
        assert part in done.out
    test = 100 * record.scores["test/acc_e"]
    assert re.search(rf"Acc E +\d+\.\d % +{test:.1f} %", done.out)


def test_a_failed_run_is_shown_with_the_end_of_its_traceback(mixed):
    (path,) = mixed.glob("runs/*/failed-1.json")
    raw = json.loads(path.read_text())
    raw["error"]["traceback"] = "".join(f"line {number}\n" for number in range(50))
    path.write_text(json.dumps(raw))
    done = bench("runs", path.parent.name, results=mixed)
    assert "other: the toy failed" in done.out and "line 49\n" in done.out and "line 30\n" not in done.out


def test_changed_config_values_and_issues_are_shown(tmp_path):
    record = make_run(tmp_path, "mart", set={"lr": 0.001}, request={"study": "ablation", "tuning": "none"})
    done = bench("runs", record.key, results=tmp_path)
    assert "lr=0.001 (preset: 0.002)" in done.out and "study ablation" in done.out


def test_a_shared_stage_is_shown_and_its_seconds_count_only_for_the_run_that_trained_it(tmp_path):
    record = make_run(tmp_path, "mart")
    for reused, total in ((False, 92), (True, 65)):
        stage = StageUse("5a" * 10, "b" * 64, 27.0, reused)
        seconds = {"step": 60.0, "read": 5.0, "prepare": 35.2, "write": 2.0, "log": 0.1}
        RunFolder(tmp_path / "runs" / record.key).write_record(
            replace(record, stages={"pretrain": stage}, seconds=seconds)
        )
        done = bench("runs", record.key, results=tmp_path).out
        assert f"stage      pretrain: {'5a' * 10}, 27 s by {'another' if reused else 'this'} run\n" in done
        trained = "" if reused else "pretrain 27, "
        assert f"seconds    {total} ({'step 60, ' + trained}read 5)\n" in done
        assert "overhead   37 (prepare 35, write 2)\n" in done


def test_a_limit_and_other_pretraining_data_are_named(tmp_path):
    other = {"dataset": "perr", "data": "real", "split": "d" * 64, "content": "e" * 64, "fold": 0}
    record = make_run(tmp_path, "mart", limit=3, pretrain_on=other)
    for words in ([], [record.key]):
        shown = " ".join(bench("runs", *words, results=tmp_path).out.split())
        assert "ekman6 (limit=3, pretrain_on=perr)" in shown


def test_a_run_that_is_killed_again_after_a_failure_is_interrupted(mixed):
    record = make_run(mixed, "mart", seed=9, error="first attempt")
    folder = RunFolder(mixed / "runs" / record.key)
    age(folder.path, 1)
    folder.checkpoints.mkdir()
    folder.write_start(StartedRun("mart", "quick", record.spec))
    assert ("interrupted", ("mart", 9)) in list_runs(mixed)


def test_a_folder_whose_process_wrote_no_spec_is_listed_and_an_empty_one_is_not(tmp_path):
    (tmp_path / "runs" / ("1" * 20) / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / ("2" * 20)).mkdir()
    (tmp_path / "runs" / "not-a-key").mkdir()
    assert list_runs(tmp_path) == [("interrupted", None)]
    assert list_runs(tmp_path, "--runs", "arm=*") == [] and len(list_runs(tmp_path, "--runs", "key=1*")) == 1
    assert "unknown" in bench("runs", "1", results=tmp_path).out


@pytest.mark.parametrize(
    "text", ['{"arm": "mart"}', "[" * 10_000, "", '{"arm": "../x", "preset": "quick", "spec": {}}']
)
def test_a_damaged_note_of_a_start_leaves_the_spec_unknown(mixed, text):
    (folder,) = [
        path
        for path in (mixed / "runs").glob("*")
        if (path / "checkpoints").is_dir() and '"seed": 5' in (path / "checkpoints/run.json").read_text()
    ]
    (folder / "checkpoints" / "run.json").write_text(text)
    assert ("interrupted", None) in list_runs(mixed)


def test_records_that_cannot_be_read_are_lines_and_the_others_are_listed(mixed):
    for key, text in {"1" * 20: "{", "2" * 20: '{"spec": {"schema": 99}}'}.items():
        (mixed / "runs" / key).mkdir()
        (mixed / "runs" / key / RECORD_FILE).write_text(text)
    (mixed / "runs" / ("3" * 20) / RECORD_FILE).mkdir(parents=True)
    (mixed / "runs" / ("4" * 20)).mkdir()
    (mixed / "runs" / ("4" * 20) / "failed-x.json").write_text("")
    done = bench("runs", results=mixed)
    assert done.code == 0 and done.out.count("not listed: ") == 4 and "4 runs in" in done.out
    assert "schema 99" in done.out and f"{'1' * 20}/{RECORD_FILE} is not a record" in done.out
    assert one_line(bench("runs", "1" * 20, results=mixed), "not a record")


def test_a_record_of_the_older_schema_is_marked(mixed, monkeypatch):
    monkeypatch.setattr(command, "SCHEMA", 3)
    assert "finished (0.1)" in bench("runs", results=mixed).out


def test_scores_of_data_sets_with_other_metrics_are_named(mixed):
    make_run(mixed, "mbt", dataset="", card=MOOD, seed=1)
    done = bench("runs", results=mixed)
    assert "MAE 0." in done.out and "Acc E " in done.out and "scores:" not in done.out


def test_no_runs_is_no_mistake(tmp_path):
    done = bench("runs", results=tmp_path / "none")
    assert done.code == 0 and "no run in" in done.out and not (tmp_path / "none").exists()
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["zzz"], ["unknown run 'zzz'"]),
        (["../.."], ["unknown run"]),
        (["--state", "finnished"], ["did you mean 'finished'"]),
        (["--runs", "sed=1"], ["did you mean 'seed'"]),
        (["seed=1"], ["--runs seed=1"]),
        (["--last", "0"], ["--last"]),
        (["--json", "/"], ["--json"]),
    ],
)
def test_mistakes_are_one_line(mixed, words, parts):
    assert one_line(bench("runs", *words, results=mixed), *parts)


def test_an_ambiguous_key_is_one_line(tmp_path):
    for key in ("a" * 20, "a" * 19 + "b"):
        (tmp_path / "runs" / key / "checkpoints").mkdir(parents=True)
    assert one_line(bench("runs", "aa", results=tmp_path), "matches 2 runs", "a" * 20)
    assert "a" * 20 in bench("runs", results=tmp_path).out  # as many digits as make them different


def test_a_run_of_the_command_line_leaves_a_note_while_it_trains_and_none_afterwards(results, monkeypatch):
    seen, train = [], toys.TOY.fit

    def look(ctx):
        (folder,) = (results / "runs").glob("*/")
        seen.append((command._read_run(RunFolder(folder)).state, RunFolder(folder).read_start().spec.seed))
        return train(ctx)

    monkeypatch.setattr("tests.studies.command_line.TOY", replace(toys.TOY, fit=look))
    assert bench("--method", "toy", "--dataset", "toy", "--seed", 2, "--set", "epochs=1", results=results).code == 0
    assert seen == [("running", 2)] and list_runs(results) == [("finished", ("toy", 2))]
    assert not list(results.glob("runs/*/checkpoints"))


def test_listing_imports_no_large_library():
    loaded = loaded_by("import studies.cli.main, studies.cli.runs")
    assert not loaded & {"torch", "mlflow", "optuna", "pandas", "pyarrow", "scipy", "matplotlib"}
