"""Runs of the command on real media in both layouts, from a folder with unusual files to a row of a table."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.real_clips import arrange, real_clips

QUICKLY = ("--set", "pretrain_epochs=2", "--set", "epochs=2")


def bench(*words, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "bench.py"), *words],
        cwd=environment.pop("cwd", ROOT),
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module", params=["imgs", "video"])
def tree(request, shared, tmp_path_factory):
    """Arrange real clips, one listed file that is no media, one listed file that is missing, and one unlisted file."""
    root = arrange(real_clips(shared), tmp_path_factory.mktemp(request.param) / "ekman6", request.param)
    (root / "video" / "joy").mkdir(parents=True, exist_ok=True)
    (root / "video" / "joy" / "broken.mp4").write_bytes(b"no media at all")
    (root / "video" / "joy" / "stranger.mp4").write_bytes(b"in no list")
    with (root / "trainlist01.txt").open("a") as file:
        file.write("joy/broken 4\nfear/lost 3\n")
    return root


@pytest.fixture(scope="module")
def results(tree, tmp_path_factory, ready_mlflow):
    """Return a results folder for each tree; the first run prepares its clips there."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copy(ready_mlflow, folder / "mlflow.db")
    return folder


@pytest.mark.slow
def test_mart_runs_on_real_clips_to_the_end_and_reports_their_issues(tree, results):
    words = ("--method", "mart", "--dataset", "ekman6", *QUICKLY, "--json", str(results / "o.json"))
    done = bench(*words, "--data", str(tree), "--results", str(results), cwd=results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SAMPLE" not in done.stdout and "Ekman-6" in done.stdout
    (row,) = json.loads((results / "o.json").read_text())
    assert row["spec"]["data"] == "real" and row["scores"]["test/n"] == 6 and row["error"] is None
    problems = {(problem["what"], problem["where"]) for problem in row["problems"]}
    assert {("unreadable", "joy/broken"), ("missing", "fear/lost"), ("unlisted", "joy/stranger")} <= problems
    assert sum(what == "no picture" for what, _ in problems) == 6  # the clips with audio only are used anyway
    for what, where in problems & {("unreadable", "joy/broken"), ("missing", "fear/lost")}:
        assert what in done.stdout and where in done.stdout
    assert row["notes"]["pretrain/coverage"] >= 0


@pytest.mark.slow
def test_the_folder_may_be_given_by_the_environment(tree, results):
    done = bench("--method", "majority", "--dataset", "ekman6", BENCH_DATA=str(tree.parent), BENCH_RESULTS=str(results))
    assert done.returncode == 0 and "SAMPLE" not in done.stdout, done.stderr
