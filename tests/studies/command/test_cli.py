"""The command line as a person meets it: exit codes, one-line mistakes, what is printed."""

import json
import os
import subprocess
import sys

import pytest

from studies.command.cli import main
from tests.conftest import ROOT


def bench(*words, results=None, cwd=ROOT, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    if results is not None:
        env["BENCH_RESULTS"] = str(results)
    return subprocess.run(
        [sys.executable, "-m", "tests.toy_bench", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


def one_line(done, *parts):
    """A mistake: exit code 2 and one line on stderr that says all of `parts`."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    for part in parts:
        assert part in done.stderr
    return True


MISTAKES = {
    "method": (["--method", "matr", "--dataset", "toy"], ["unknown method 'matr'", "did you mean 'mart'"]),
    "dataset": (["--method", "toy", "--dataset", "ekman"], ["unknown data set 'ekman'", "did you mean 'ekman6'"]),
    "field": (["--method", "toy", "--dataset", "toy", "--set", "epoch=3"], ["'epoch'", "did you mean 'epochs'"]),
    "no fields": (["--method", "majority", "--dataset", "toy", "--set", "lr=1"], ["'lr'", "known: mels, size"]),
    "value": (["--method", "toy", "--dataset", "toy", "--set", "epochs=many"], ["'epochs'", "'many'"]),
    "bounds": (["--method", "toy", "--dataset", "toy", "--set", "epochs=0"], ["'epochs'", "'0'"]),
    "choice": (["--method", "mart", "--dataset", "toy", "--set", "mask=afective"], ["'mask'", "affective"]),
    "pinned": (["--method", "mart-no-masking", "--dataset", "toy", "--set", "mask=random"], ["contradicts", "mask"]),
    "preset": (["--method", "toy", "--dataset", "toy", "--preset", "quik"], ["preset 'quik'", "quick"]),
    "seed": (["--method", "toy", "--dataset", "toy", "--seed", "-1"], ["--seed"]),
    "nothing": (["--dataset", "toy"], ["--method"]),
    "option": (["--metod", "toy"], ["--metod", "--method"]),
    "command": (["lst"], ["lst"]),
    "before": (["--seed", "3", "list"], ["--seed", "list", "behind"]),
    "before, renamed": (["--set", "lr=1", "list"], ["--set", "behind"]),
    "infinite": (["--method", "toy", "--dataset", "toy", "--set", "lr=inf"], ["'lr'"]),
    "json": (["--method", "toy", "--dataset", "toy", "--json", "/"], ["--json", "file"]),
    "uri": (["--method", "toy", "--dataset", "toy", "--tracking-uri", "foo://x"], ["--tracking-uri", "http"]),
    "file": (["--method", "mart", "--dataset", "ekman6", "--set", "lexicon=ncr"], ["'lexicon'", "'ncr'"]),
    "list": (["list", "method"], ["did you mean 'methods'"]),
    "data": (["--method", "majority", "--dataset", "ekman6", "--data", "/nowhere"], ["/nowhere"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name, tmp_path):
    words, parts = MISTAKES[name]
    assert one_line(bench(*words, results=tmp_path), *parts)


def test_a_results_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert one_line(bench("--method", "toy", "--dataset", "toy", results=tmp_path / "file"), "cannot write")


def test_an_empty_data_folder_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    done = bench("--method", "majority", "--dataset", "ekman6", "--data", str(tmp_path / "empty"), results=tmp_path)
    assert one_line(done, "empty")


def bad_tree(root, what):
    """A data folder with one of the mistakes that a list or an annotation file can hold."""
    for name in ("joy", "anger"):
        (root / "video" / name).mkdir(parents=True)
        (root / "video" / name / "c.mp4").write_bytes(b"")
    lists = {"class": "hapiness/c 4", "path": "../../etc/passwd 1"}
    if what == "annotation":
        entry = {"subset": "training", "annotations": {"label": "hapiness"}}
        (root / "ek6.json").write_text(json.dumps({"database": {"c": entry}}))
    else:
        (root / "trainlist01.txt").write_text(lists[what] + "\n")
        (root / "testlist01.txt").write_text("joy/c\n")
    return root


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("class", ["trainlist01.txt:1", "hapiness", "Ekman-6"]),
        ("annotation", ["ek6.json", "hapiness", "Ekman-6"]),
        ("path", ["trainlist01.txt:1", "../../etc/passwd"]),
    ],
)
def test_a_mistake_in_a_list_is_one_line_that_names_its_place(what, parts, tmp_path):
    tree = bad_tree(tmp_path / "data", what)
    done = bench("--method", "majority", "--dataset", "ekman6", "--data", str(tree), results=tmp_path / "results")
    assert one_line(done, *parts)


def test_what_was_finished_before_a_mistake_is_shown(results):
    words = ("--method", "toy", "--dataset", "toy,ekman6", "--data", str(results / "nowhere"))
    done = bench(*words, results=results)
    assert one_line(done, "nowhere") and "Acc E" in done.stdout


def test_a_run_prints_a_table_and_where_to_look(results):
    done = bench(
        "--method", "toy", "--dataset", "toy", "--seeds", "2", "--json", str(results / "o.json"), results=results
    )
    assert done.returncode == 0, done.stderr
    for part in ("Toy clips", "Acc E", "F1 S", "bal. Acc E", "recall by class", "±", "bench.py ui", "records:"):
        assert part in done.stdout
    rows = json.loads((results / "o.json").read_text())
    assert [row["spec"]["seed"] for row in rows] == [0, 1]
    assert {"key", "run_id", "spec", "scores", "seconds", "problems", "error"} <= set(rows[0])
    assert {"test/acc_e", "test/f1_e", "test/acc_s", "test/f1_s", "val/acc_e"} <= set(rows[0]["scores"])
    assert {"method", "dataset", "fold", "seed", "preset", "protocol", "data", "config"} == set(rows[0]["spec"])


def test_running_again_does_nothing_and_fresh_repeats(results):
    words = ("--method", "toy", "--dataset", "toy")
    assert "finished before" not in bench(*words, results=results).stdout
    assert "finished before" in bench(*words, results=results).stdout
    assert "finished before" not in bench(*words, "--fresh", results=results).stdout


def test_a_failed_run_is_told_and_exit_code_3(results):
    done = bench("--method", "toy", "--dataset", "toy", "--set", "fail=error", results=results)
    assert done.returncode == 3 and "the toy broke as asked" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_mlflow_unreachable_is_exit_code_3_and_sync_brings_it_in(results):
    words = ("--method", "toy", "--dataset", "toy")
    done = bench(*words, "--tracking-uri", "http://127.0.0.1:9", results=results)
    assert done.returncode == 3 and "nothing is lost" in done.stdout and "Acc E" in done.stdout
    assert done.stderr == ""  # what MLflow has to say stands in results/log
    done = bench("sync", results=results)
    assert done.returncode == 0 and "1 records pushed" in done.stdout


def test_the_bare_command_works_from_any_directory(tmp_path, ready_mlflow):
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench.py"), "list"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "mart-no-masking" in done.stdout and "ekman6" in done.stdout


def test_help_names_the_options(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--method", "--dataset", "--data", "--seeds", "--preset", "--set", "--fresh", "--json"):
        assert option in text


def test_ui_binds_to_this_machine_alone_and_says_where_to_look(results, monkeypatch, capsys):
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.extend(words))
    assert main(["ui", "--results", str(results), "--port", "5123"]) == 0
    assert started[started.index("--host") + 1] == "127.0.0.1" and f"sqlite:///{results}/mlflow.db" in started
    assert "http://127.0.0.1:5123/#/experiments" in capsys.readouterr().out
