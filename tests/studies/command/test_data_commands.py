"""check, prepare and list datasets as a person meets them."""

import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from datasets.ekman6 import CARD
from datasets.registry import DATASETS
from datasets.store.ledger import read_ledger
from studies.command.cli import main
from tests.conftest import ROOT
from tests.datasets.trees import write_media, write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Eighteen clips of Ekman-6 in the usual layout, one of them broken, one listed and not there."""
    root = write_tree(tmp_path_factory.mktemp("data"), CARD, 6, 2, layout="video", seconds=0.3)
    (root / "video/joy/c0.avi").write_bytes(b"no video")
    (root / "video/fear/c1.avi").unlink()
    return root


@pytest.fixture
def folder(tmp_path):
    """A folder of one's own: two classes of ten clips."""
    for shade in range(1, 21):
        name = ("joy", "anger")[shade % 2]
        write_media(tmp_path / "mine" / name / f"{name}{shade}.avi", 0.2, rate=16000, size=(32, 24), shade=shade)
    return tmp_path / "mine"


def bench(*words, **options):
    return subprocess.run(
        [sys.executable, "bench.py", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def store(results):
    """Every prepared file's bytes by name, and what the ledger says without the marks of this machine's clock."""
    (place,) = (path for path in (results / "prepared").glob("*/*") if path.is_dir())
    files = {path.name: path.read_bytes() for path in place.glob("*.safetensors")}
    rows = {key: (row.name, row.content, row.readable, row.problems) for key, row in read_ledger(place).items()}
    left = [path.name for path in place.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    return files, rows, left


def test_check_counts_and_says_what_is_wrong_in_seconds(tree, capsys):
    assert main(["check", "--dataset", "ekman6", "--data", str(tree)]) == 0
    said = capsys.readouterr().out
    assert "Ekman-6" in said and "missing" in said and "fear/c1" in said and "fit to run" in said
    assert "unreadable" not in said  # nothing was decoded


def test_check_sees_files_of_no_bytes(tree, tmp_path, capsys):
    hollow = shutil.copytree(tree, tmp_path / "hollow")
    (hollow / "video/joy/c2.avi").write_bytes(b"")
    assert main(["check", "--dataset", "ekman6", "--data", str(hollow)]) == 0
    assert "c2.avi: 0 bytes" in capsys.readouterr().out


def test_check_says_what_makes_a_data_set_unfit(tree, tmp_path, capsys):
    broken = shutil.copytree(tree, tmp_path / "broken")
    shutil.rmtree(broken / "video/joy")
    assert main(["check", "--dataset", "ekman6", "--data", str(broken)]) == 2
    said = capsys.readouterr().out
    assert "not fit to run" in said and "joy" in said


def test_prepare_tells_every_problem_by_name_and_writes_a_page(tree, tmp_path, capsys):
    words = ["prepare", "--dataset", "ekman6", "--data", str(tree), "--results", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "unreadable" in said and "joy/c0" in said and "missing" in said
    with (tmp_path / "datasets/ekman6/problems.csv").open() as file:
        rows = {(row["what"], row["where"]) for row in csv.DictReader(file)}
    assert {("unreadable", "joy/c0"), ("missing", "fear/c1")} <= rows
    page = (tmp_path / "datasets/ekman6/index.html").read_text()
    assert "Ekman-6" in page and "data:image/jpeg;base64," in page and "joy/c0" in page
    files, ledger, left = store(tmp_path)
    assert len(files) == 46 and len(ledger) == 47 and not left
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*.safetensors")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert main(["list", "datasets", "--results", str(tmp_path)]) == 0
    assert "46" in capsys.readouterr().out


def test_a_run_starts_from_what_was_prepared(tree, tmp_path, ready_mlflow, monkeypatch, capsys):
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    where = ["--dataset", "ekman6", "--data", str(tree), "--results", str(tmp_path)]
    assert main(["prepare", *where]) == 0
    monkeypatch.setattr("datasets.store.prepared.prepare_clip", lambda *args: pytest.fail("prepared again"))
    assert main(["--method", "majority", *where]) == 0


def test_ones_own_folder_runs_by_its_path_and_its_model_predicts(folder, tmp_path, ready_mlflow, capsys):
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    where = ["--results", str(tmp_path)]
    assert main(["check", "--dataset", str(folder)]) == 0
    assert main(["--method", "probe", "--dataset", str(folder), "--fold", "2", *where]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["predict", str(folder / "joy/joy2.avi"), *where]) == 0
    assert "joy" in capsys.readouterr().out


MISTAKES = {
    "no such data set": (["check", "--dataset", "ekmann6"], "did you mean 'ekman6'"),
    "nothing there": (["prepare", "--dataset", "perr"], "no PERR (ERATO) was found"),
    "no manifest": (["check", "--dataset", "none/manifest.csv"], "there is no"),
    "data twice": (["check", "--dataset", "./docs", "--data", "docs"], "leave --data out"),
    "preset": (["prepare", "--dataset", "ekman6", "--preset", "quik"], "quick"),
    "fold": (["check", "--dataset", "ekman6", "--fold", "1"], "has one split and no folds"),
    "fold out of range": (["--method", "mbt", "--dataset", "iemocap", "--fold", "6"], "1 to 5 (session left out)"),
    "fold of the sample": (
        ["--method", "majority", "--dataset", "iemocap", "--fold", "2"],
        "built-in sample has one split",
    ),
    "no clips": (["check", "--dataset", "./docs"], "holds no <Class>/<clip>.mp4"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, tmp_path, monkeypatch, capsys):
    words, told = MISTAKES[name]
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and told in said


def test_copies_that_no_run_would_use_are_not_counted_as_usable(tmp_path, capsys):
    root = write_tree(tmp_path / "tree", CARD, 6, 1, layout="video", seconds=0.2)
    shutil.copy(root / "video/fear/c6.avi", root / "video/joy/c0.avi")
    assert main(["prepare", "--dataset", "ekman6", "--data", str(root), "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (joy,) = [line.split() for line in said.splitlines() if " joy " in line and "+" in line]
    assert joy[joy.index("+") + 2] == "5"
    assert "its copy fear/c6" in (tmp_path / "datasets/ekman6/problems.csv").read_text()


def test_folds_that_overlap_are_said_to(tmp_path, ready_mlflow, capsys):
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    card = DATASETS["videoemotion8"].card
    root = write_tree(tmp_path / "tree", card, 5, 1, seconds=0.1)
    words = ["--method", "majority", "--dataset", "videoemotion8", "--data", str(root), "--results", str(tmp_path)]
    assert main(words) == 0 and "of its folds" not in capsys.readouterr().out
    assert main([*words, "--fold", "1"]) == 0
    said = capsys.readouterr().out
    assert "test clips of its folds overlap" in said and "fold 1" in said and "finished before" in said


@pytest.mark.slow
def test_prepare_killed_ten_times_ends_with_the_store_of_an_undisturbed_one(tmp_path):
    data = write_tree(tmp_path / "data", CARD, 6, 2, layout="video", seconds=1.5)
    words = ["prepare", "--dataset", "ekman6", "--data", str(data), "--results"]
    assert bench(*words, tmp_path / "calm").returncode == 0
    moments = random.Random(4)
    for number in range(10):
        process = subprocess.Popen(
            [sys.executable, "bench.py", *words, str(tmp_path / "killed")],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        places = tmp_path / "killed" / "prepared"
        end = time.monotonic() + 60
        while (
            len(list(places.rglob("*.safetensors"))) <= 3 * number and process.poll() is None and time.monotonic() < end
        ):
            time.sleep(0.01)
        time.sleep(moments.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert bench(*words, tmp_path / "killed").returncode == 0
    assert store(tmp_path / "killed") == store(tmp_path / "calm")


@pytest.mark.slow
def test_two_that_prepare_at_once_do_each_clip_once(tmp_path):
    data = write_tree(tmp_path / "data", CARD, 6, 2, layout="video", seconds=0.5)
    words = [sys.executable, "bench.py", "prepare", "--dataset", "ekman6", "--data", str(data), "--results"]
    pair = [subprocess.Popen([*words, str(tmp_path / "both")], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0] and all(b"page: " in text for text in said)
    assert bench(*words[2:], tmp_path / "one").returncode == 0
    assert store(tmp_path / "both") == store(tmp_path / "one")
    (ledger,) = (tmp_path / "both").rglob("ledger.jsonl")
    assert len(ledger.read_text().splitlines()) == 48


def test_a_full_disk_is_one_line_and_leaves_a_store_that_goes_on(folder, tmp_path):
    """A limit on the size of a file stands in for the disk: the system's answer takes the same way."""
    large = write_media(folder / "joy/joy99.avi", 8.0, rate=16000, size=(320, 240))
    words = ["prepare", "--dataset", folder, "--preset", "paper", "--results", tmp_path / "out"]

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    done = bench(*words, preexec_fn=limit)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: cannot write ") and "free space" in done.stderr
    assert bench(*words).returncode == 0
    files, rows, left = store(tmp_path / "out")
    assert len(files) == len(rows) == 21 and not left
    assert f"joy/{large.stem}" in rows


def test_a_clip_that_is_gone_is_not_counted_any_more(tmp_path, monkeypatch, capsys):
    root = write_tree(tmp_path / "data" / "ekman6", CARD, 5, 1, layout="video", seconds=0.2)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "250")
    where = ["--results", str(tmp_path)]
    assert main(["prepare", "--dataset", "ekman6", *where]) == 0
    (root / "video/joy/c0.avi").unlink()
    capsys.readouterr()
    assert main(["list", "datasets", *where]) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("ekman6")]
    assert row[-5:-3] == ["36", "35"] and row[-1] == "35"
