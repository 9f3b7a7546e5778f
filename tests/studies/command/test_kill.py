"""Commands killed at any point: no result is lost or doubled, no process is left running."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from bench.mlflow import MlflowStore
from tests.conftest import ROOT
from tests.studies.command_line import bench

WORDS = ("--method", "toy", "--dataset", "toy", "--set", "pause=0.01")


def start(results, *words):
    env = {**os.environ, "BENCH_RESULTS": str(results)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.toy_bench", *words],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(results, *words):
    """Run the next command in this process; only killed commands need a process."""
    done = bench(*words, results=results)
    assert done.code == 0, done.out + done.err
    return done.out


def wait_for(condition, process=None, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def runs_of(results):
    client = MlflowStore(results).connect()
    return client, client.search_runs([e.experiment_id for e in client.search_experiments()])


def _has_checkpoint(results, stage):
    return list(results.glob(f"runs/*/checkpoints/{stage}.pt"))


def _are_gone(processes):
    return not any(process.is_running() and process.status() != "zombie" for process in processes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, ready_mlflow):
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(ready_mlflow, folder / "mlflow.db")
    finish(folder, *WORDS, "--json", str(folder / "o.json"))
    return json.loads((folder / "o.json").read_text())[0]["scores"]


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_run_killed_in_each_stage_of_its_training_ends_as_if_nothing_had_been(results, undisturbed, loaders):
    words = (*WORDS, "--loaders", str(loaders))
    for stage in ("warm", "finetune"):
        process = start(results, *words)
        wait_for(partial(_has_checkpoint, results, stage), process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not loaders or children
        wait_for(partial(_are_gone, children), seconds=10)
        assert not list(results.glob("runs/*/record.json"))
    finish(results, *words, "--json", str(results / "o.json"))
    (row,) = json.loads((results / "o.json").read_text())
    assert row["scores"] == undisturbed
    client, runs = runs_of(results)
    assert [run.info.status for run in runs] == ["FINISHED"] and row["run_id"] == runs[0].info.run_id
    for name in ("warm/loss", "finetune/loss", "finetune/val/acc_e"):
        assert [point.step for point in client.get_metric_history(row["run_id"], name)] == list(range(6))


def test_loaders_do_not_outlive_a_parent_that_is_killed_while_they_start(results):
    process = start(results, *WORDS, "--loaders", "2")
    children = []
    end = time.monotonic() + 60
    while len(children) < 2 and time.monotonic() < end:
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert children
    wait_for(partial(_are_gone, children), seconds=20)


def test_a_run_killed_while_it_is_published_is_published_once_by_the_next_command(results):
    process = start(results, *WORDS)
    wait_for(lambda: list(results.glob("runs/*/record.json")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    output = finish(results, *WORDS, "--json", str(results / "o.json"))
    assert "already finished" in output and not list(results.glob("runs/*/checkpoints"))
    client, runs = runs_of(results)
    assert [run.info.status for run in runs] == ["FINISHED"]
    run = client.get_run(json.loads((results / "o.json").read_text())[0]["run_id"])
    assert "bench.record" in run.data.tags and run.data.params["config.lr"] == "0.05"
    for name in ("warm/loss", "final/test/acc_e"):
        assert len(client.get_metric_history(run.info.run_id, name)) == (6 if name == "warm/loss" else 1)


def test_a_terminated_run_reports_how_to_resume(results, undisturbed):
    process = start(results, *WORDS)
    wait_for(partial(_has_checkpoint, results, "warm"), process)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command resumes" in output
    finish(results, *WORDS, "--json", str(results / "o.json"))
    assert json.loads((results / "o.json").read_text())[0]["scores"] == undisturbed


def test_three_processes_at_once_on_a_fresh_folder_succeed_and_make_one_record_a_seed(tmp_path):
    three = [start(tmp_path, *WORDS, "--seed", seed) for seed in ("0", "0", "1")]
    outputs = [process.communicate(timeout=300)[0] for process in three]
    assert [process.returncode for process in three] == [0, 0, 0], outputs
    assert ["already finished" in output for output in outputs[:2]].count(True) == 1
    assert "already finished" not in outputs[2]
    _, runs = runs_of(tmp_path)
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {run.data.tags["bench.seed"] for run in runs} == {"0", "1"}


def test_two_seeds_at_once_on_a_fresh_folder_whose_database_is_named_both_succeed(tmp_path):
    uri = ("--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}")
    both = [start(tmp_path, *WORDS, "--seed", seed, *uri) for seed in ("0", "1")]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(runs_of(tmp_path)[1]) == 2
