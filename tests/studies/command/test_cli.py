"""The command line: exit codes, one-line errors and output."""

import json
import re

import pytest

from tests.conftest import ROOT
from tests.studies.command_line import bench, one_line, process

MISTAKES = {
    "method": (["--method", "matr", "--dataset", "toy"], ["unknown method 'matr'", "did you mean 'mart'"]),
    "dataset": (["--method", "toy", "--dataset", "ekman"], ["unknown data set 'ekman'", "did you mean 'ekman6'"]),
    "field": (["--method", "toy", "--dataset", "toy", "--set", "epoch=3"], ["'epoch'", "did you mean 'epochs'"]),
    "no fields": (["--method", "majority", "--dataset", "toy", "--set", "lr=1"], ["'lr'", "known: mels, size"]),
    "value": (["--method", "toy", "--dataset", "toy", "--set", "epochs=many"], ["epochs: ", "'many'"]),
    "bounds": (["--method", "toy", "--dataset", "toy", "--set", "epochs=0"], ["epochs: ", "'0'"]),
    "choice": (["--method", "mart", "--dataset", "toy", "--set", "mask=afective"], ["mask: ", "affective"]),
    "pinned": (["--method", "mart-no-masking", "--dataset", "toy", "--set", "mask=random"], ["pins this", "mask"]),
    "preset": (["--method", "toy", "--dataset", "toy", "--preset", "quik"], ["preset 'quik'", "quick"]),
    "seed": (["--method", "toy", "--dataset", "toy", "--seed", "-1"], ["--seed"]),
    "nothing": (["--dataset", "toy"], ["--method"]),
    "option": (["--metod", "toy"], ["--metod", "--method"]),
    "command": (["lst"], ["lst"]),
    "integer": (
        ["--method", "toy", "--dataset", "toy", "--seeds", "x"],
        ["error: --seeds: input should be a valid int"],
    ),
    "method as a command": (["mart", "ekman6"], ["unknown command 'mart'", "--method"]),
    "before": (["--seed", "3", "list"], ["--seed", "list", "after the command"]),
    "before, renamed": (["--set", "lr=1", "list"], ["--set", "after the command"]),
    "infinite": (["--method", "toy", "--dataset", "toy", "--set", "lr=inf"], ["lr: "]),
    "json": (["--method", "toy", "--dataset", "toy", "--json", "/"], ["--json", "file"]),
    "uri": (["--method", "toy", "--dataset", "toy", "--tracking-uri", "foo://x"], ["--tracking-uri", "http"]),
    "file": (["--method", "mart", "--dataset", "ekman6", "--set", "lexicon=ncr"], ["lexicon: ", "'ncr'"]),
    "list": (["list", "method"], ["did you mean 'methods'"]),
    "data": (["--method", "majority", "--dataset", "ekman6", "--data", "/nowhere"], ["/nowhere"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name, results):
    words, parts = MISTAKES[name]
    assert one_line(bench(*words, results=results), *parts)


def test_a_results_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert one_line(bench("--method", "toy", "--dataset", "toy", results=tmp_path / "file"), "--results", "is a file")


def test_an_empty_data_folder_is_one_line(results):
    (results / "empty").mkdir()
    done = bench("--method", "majority", "--dataset", "ekman6", "--data", results / "empty", results=results)
    assert one_line(done, "empty")


def bad_tree(root, what):
    """Write a data folder with one mistake in its list or annotation file."""
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
def test_a_mistake_in_a_list_is_one_line_that_names_its_place(what, parts, results):
    tree = bad_tree(results / "data", what)
    done = bench("--method", "majority", "--dataset", "ekman6", "--data", tree, results=results)
    assert one_line(done, *parts)


def test_what_was_finished_before_a_mistake_is_shown(results):
    tree = bad_tree(results / "data", "class")  # only found when its lists are read
    done = bench("--method", "toy", "--dataset", "toy,ekman6", "--data", tree, results=results)
    assert one_line(done, "hapiness") and "Acc E" in done.out


def test_a_run_prints_a_table_and_where_to_look(results):
    words = ("--method", "toy", "--dataset", "toy", "--seeds", "2", "--json", results / "o.json")
    done = bench(*words, results=results)
    assert done.code == 0, done.err
    for part in (
        "Toy clips",
        "Acc E",
        "val Acc E",
        "F1 S",
        "tried",
        "bal. Acc E",
        "recall by class",
        "±",
        "bench.py ui",
        "records:",
    ):
        assert part in done.out
    rows = json.loads((results / "o.json").read_text())
    assert [row["spec"]["seed"] for row in rows] == [0, 1]
    assert {"key", "run_id", "spec", "scores", "seconds", "problems", "error"} <= set(rows[0])
    assert [row["tried"] for row in rows] == [1, 1]
    assert {"test/acc_e", "test/f1_e", "test/acc_s", "test/f1_s", "val/acc_e"} <= set(rows[0]["scores"])
    assert {"method", "dataset", "fold", "seed", "preset", "protocol", "data", "config"} == set(rows[0]["spec"])


def test_values_set_by_hand_are_counted_where_a_score_is_printed(results):
    words = ("--method", "toy", "--dataset", "toy", "--json", results / "o.json")
    for count, setting in enumerate((["--set", "lr=0.1"], ["--set", "lr=0.01"], []), start=1):
        for more in ([], ["--fresh"]):
            done = bench(*words, *setting, *more, results=results)
            (row,) = json.loads((results / "o.json").read_text())
            heading = next(line for line in done.out.splitlines() if re.match("┃.* tried ", line))
            printed = next(line for line in done.out.splitlines() if line.startswith("│ toy"))
            cells = {name.strip(): cell for name, cell in zip(heading.split("┃"), printed.split("│"), strict=True)}
            assert row["tried"] == count == int(cells["tried"]) and done.code == 0
    again = bench(*words, "--set", "lr=0.1", results=results)
    assert "already finished" in again.out and json.loads((results / "o.json").read_text())[0]["tried"] == 3


def test_running_again_does_nothing_and_fresh_repeats(results):
    words = ("--method", "toy", "--dataset", "toy")
    assert "already finished" not in bench(*words, results=results).out
    assert "already finished" in bench(*words, results=results).out
    assert "already finished" not in bench(*words, "--fresh", results=results).out


def test_a_failed_run_is_reported_with_exit_code_3(results):
    done = bench("--method", "toy", "--dataset", "toy", "--set", "fail=error", results=results)
    assert done.code == 3 and "the toy failed as configured" in done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.slow
def test_mlflow_unreachable_is_exit_code_3_and_sync_brings_it_in(results):
    words = ("--method", "toy", "--dataset", "toy", "--results", str(results))
    done = process("-m", "tests.toy_bench", *words, "--tracking-uri", "http://127.0.0.1:9")
    assert done.code == 3 and "the records are saved" in done.out and "Acc E" in done.out
    assert done.err == ""  # MLflow's messages go to results/log
    done = bench("sync", results=results)
    assert done.code == 0 and "1 record pushed" in done.out


def test_the_bare_command_works_from_any_directory(tmp_path):
    done = process(str(ROOT / "bench.py"), "list", cwd=tmp_path)
    assert done.code == 0 and "mart-no-masking" in done.out and "ekman6" in done.out


def test_help_names_the_options():
    done = bench("--help")
    assert done.code == 0
    for option in ("--method", "--dataset", "--data", "--seeds", "--preset", "--set", "--fresh", "--json"):
        assert option in done.out


def test_ui_binds_to_this_machine_alone_and_says_where_to_look(results, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.extend(words))
    done = bench("ui", "--port", "5123", results=results)
    assert done.code == 0 and "http://127.0.0.1:5123/#/experiments" in done.out
    assert started[started.index("--host") + 1] == "127.0.0.1" and f"sqlite:///{results}/mlflow.db" in started
