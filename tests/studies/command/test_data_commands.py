"""Tests of check, prepare and list datasets."""

import csv
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from datasets.catalog.ekman6 import INFO
from datasets.prepare import read_store_manifest
from datasets.registry import DATASETS
from tests.conftest import ROOT
from tests.datasets.trees import write_media, write_tree
from tests.studies.command_line import bench, one_line, process


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Write 36 clips of Ekman-6 in the usual layout, one of them broken and one listed but missing."""
    root = write_tree(tmp_path_factory.mktemp("data"), INFO, 5, 1, layout="video", seconds=0.3)
    (root / "video/joy/c0.avi").write_bytes(b"no video")
    (root / "video/fear/c1.avi").unlink()
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory):
    """Prepare these clips; return the results folder, not to be changed, and the output of the command."""
    results = tmp_path_factory.mktemp("prepared")
    return results, bench("prepare", "--dataset", "ekman6", "--data", tree, "--results", results)


@pytest.fixture
def folder(tmp_path):
    """Write a custom data set: two classes of ten clips."""
    for shade in range(1, 21):
        name = ("joy", "anger")[shade % 2]
        write_media(tmp_path / "mine" / name / f"{name}{shade}.avi", 0.2, rate=16000, size=(32, 24), shade=shade)
    return tmp_path / "mine"


def store(results):
    """Return every prepared file by name, the manifest without time stamps, and left-over hidden files."""
    (place,) = (path for path in (results / "prepared").glob("*/*") if path.is_dir())
    files = {path.name: path.read_bytes() for path in place.glob("*.safetensors")}
    rows = {key: (row.name, row.content, row.readable, row.problems) for key, row in read_store_manifest(place).items()}
    left = [path.name for path in place.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    return files, rows, left


def test_check_counts_and_says_what_is_wrong_in_seconds(tree):
    done = bench("check", "--dataset", "ekman6", "--data", tree)
    assert done.code == 0
    assert "Ekman-6" in done.out and "missing" in done.out and "fear/c1" in done.out and "fit to run" in done.out
    assert "unreadable" not in done.out  # nothing was decoded


def test_check_sees_files_of_no_bytes(tree, tmp_path):
    hollow = shutil.copytree(tree, tmp_path / "hollow")
    (hollow / "video/joy/c2.avi").write_bytes(b"")
    done = bench("check", "--dataset", "ekman6", "--data", hollow)
    assert done.code == 0 and "empty file (0 bytes): c2.avi" in done.out


def test_check_says_what_makes_a_data_set_unfit(tree, tmp_path):
    broken = shutil.copytree(tree, tmp_path / "broken")
    shutil.rmtree(broken / "video/joy")
    done = bench("check", "--dataset", "ekman6", "--data", broken)
    assert done.code == 2 and "not fit to run" in done.out and "joy" in done.out


def test_prepare_reports_every_problem_by_name_and_writes_a_page(prepared, tree):
    results, done = prepared
    assert done.code == 0 and "unreadable" in done.out and "joy/c0" in done.out
    assert "missing" in done.out
    with (results / "datasets/ekman6/problems.csv").open() as file:
        rows = {(row["what"], row["where"]) for row in csv.DictReader(file)}
    assert {("unreadable", "joy/c0"), ("missing", "fear/c1")} <= rows
    page = (results / "datasets/ekman6/index.html").read_text()
    assert "Ekman-6" in page and "data:image/jpeg;base64," in page and "joy/c0" in page
    files, ledger, left = store(results)
    assert len(files) == 34 and len(ledger) == 35 and not left
    stamps = {path: path.stat().st_mtime_ns for path in (results / "prepared").rglob("*.safetensors")}
    assert bench("prepare", "--dataset", "ekman6", "--data", tree, "--results", results).code == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    listed = bench("list", "datasets", "--results", results)
    assert listed.code == 0 and "34" in listed.out


def test_a_run_starts_from_what_was_prepared(prepared, tree, results, monkeypatch):
    shutil.copytree(prepared[0] / "prepared", results / "prepared")
    monkeypatch.setattr("datasets.prepare.prepare_clip", lambda *args: pytest.fail("prepared again"))
    assert bench("--method", "majority", "--dataset", "ekman6", "--data", tree, "--results", results).code == 0


def test_a_custom_folder_runs_by_its_path_and_its_model_predicts(folder, results):
    assert bench("check", "--dataset", folder).code == 0
    done = bench("--method", "probe", "--dataset", folder, "--fold", "2", "--results", results)
    assert done.code == 0 and "mine" in done.out
    done = bench("predict", folder / "joy/joy2.avi", "--results", results)
    assert done.code == 0 and "joy" in done.out


MISTAKES = {
    "no such data set": (["check", "--dataset", "ekmann6"], "did you mean 'ekman6'"),
    "nothing there": (["prepare", "--dataset", "perr"], "PERR (ERATO) was not found"),
    "no manifest": (["check", "--dataset", "none/manifest.csv"], "no such file or folder"),
    "data twice": (["check", "--dataset", "./docs", "--data", "docs"], "not allowed with --dataset"),
    "preset": (["prepare", "--dataset", "ekman6", "--preset", "quik"], "quick"),
    "fold": (["check", "--dataset", "ekman6", "--fold", "1"], "has one split and no folds"),
    "fold out of range": (["--method", "mbt", "--dataset", "iemocap", "--fold", "6"], "1 to 5 (session left out)"),
    "fold of the sample": (
        ["--method", "majority", "--dataset", "iemocap", "--fold", "2"],
        "built-in sample has no folds",
    ),
    "no clips": (["check", "--dataset", "./docs"], "no clips <Class>/<clip>.mp4"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, results):
    words, told = MISTAKES[name]
    assert one_line(bench(*words, results=results), told)


@pytest.mark.slow
def test_copies_that_no_run_would_use_are_not_counted_as_usable(prepared, tree, tmp_path):
    root = shutil.copytree(tree, tmp_path / "tree")
    shutil.copytree(prepared[0] / "prepared", tmp_path / "prepared")
    shutil.copy(root / "video/fear/c5.avi", root / "video/joy/c1.avi")
    done = bench("prepare", "--dataset", "ekman6", "--data", root, "--results", tmp_path)
    assert done.code == 0
    (joy,) = [line.split() for line in done.out.splitlines() if " joy " in line and "+" in line]
    assert joy[joy.index("+") + 2] == "3"  # five clips, one of them broken from the beginning
    assert "same content as fear/c5 in test" in (tmp_path / "datasets/ekman6/problems.csv").read_text()


@pytest.mark.slow
def test_overlapping_folds_are_reported(results):
    card = DATASETS["videoemotion8"].info
    root = write_tree(results / "tree", card, 5, 1, seconds=0.1)
    words = ("--method", "majority", "--dataset", "videoemotion8", "--data", root, "--results", results)
    first = bench(*words)
    assert first.code == 0 and "of its folds" not in first.out
    said = bench(*words, "--fold", "1")
    assert said.code == 0 and "test clips of its folds overlap" in said.out
    assert "fold 1" in said.out and "already finished" in said.out


@pytest.mark.slow
def test_prepare_killed_ten_times_ends_with_the_store_of_an_undisturbed_one(tmp_path):
    data = write_tree(tmp_path / "data", INFO, 6, 2, layout="video", seconds=1.5)
    words = ["prepare", "--dataset", "ekman6", "--data", str(data), "--results"]
    assert bench(*words, tmp_path / "calm").code == 0
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
    assert bench(*words, tmp_path / "killed").code == 0
    assert store(tmp_path / "killed") == store(tmp_path / "calm")


@pytest.mark.slow
def test_two_that_prepare_at_once_do_each_clip_once(tmp_path):
    data = write_tree(tmp_path / "data", INFO, 6, 2, layout="video", seconds=0.5)
    words = [sys.executable, "bench.py", "prepare", "--dataset", "ekman6", "--data", str(data), "--results"]
    pair = [subprocess.Popen([*words, str(tmp_path / "both")], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0] and all(b"page: " in text for text in said)
    assert bench(*words[2:], tmp_path / "one").code == 0
    assert store(tmp_path / "both") == store(tmp_path / "one")
    (ledger,) = (tmp_path / "both").rglob("ledger.jsonl")
    assert len(ledger.read_text().splitlines()) == 48


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_a_store_that_goes_on(folder, tmp_path):
    """Limit the size of a file instead of filling the disk: the error takes the same path."""
    large = write_media(folder / "joy/joy99.avi", 8.0, rate=16000, size=(320, 240))
    words = ("prepare", "--dataset", folder, "--preset", "paper", "--results", tmp_path / "out")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    assert one_line(process("bench.py", *words, first=limit), "cannot write ", "free disk space")
    assert bench(*words).code == 0
    files, rows, left = store(tmp_path / "out")
    assert len(files) == len(rows) == 21 and not left
    assert f"joy/{large.stem}" in rows


def test_a_clip_that_is_gone_is_not_counted_any_more(prepared, tree, tmp_path):
    root = shutil.copytree(tree, tmp_path / "data" / "ekman6")

    def counted():
        said = bench("list", "datasets", "--results", prepared[0], data=tmp_path / "data").out
        (row,) = [line.split() for line in said.splitlines() if line.strip().startswith("ekman6")]
        return [*row[-5:-3], row[-1]]  # listed, usable, prepared

    assert counted() == ["36", "34", "34"]
    (root / "video/joy/c1.avi").unlink()
    assert counted() == ["36", "33", "33"]
