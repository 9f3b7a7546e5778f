import shutil
import time
from dataclasses import replace

import pytest

import bench.mlflow
from bench.execute import execute
from bench.mlflow import MlflowRun, MlflowStore, sync
from bench.record import RunFolder
from bench.timing import read_peak_memory, reset_peak_memory
from tests.bench.test_execute import make_request
from tests.bench.test_store import UNREACHABLE, make_environment


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_trials_are_pushed_and_not_pulled(tmp_path, quiet, uri):
    execute(replace(make_request(epochs=1), stage="trial"), make_environment(tmp_path / "a", quiet, UNREACHABLE))
    assert sync(MlflowStore(tmp_path / "a", uri)).pushed == 1
    assert sync(MlflowStore(tmp_path / "b", uri)).pulled == 0


def test_the_peak_of_memory_counts_from_the_reset():
    block = bytearray(b"x") * 200_000_000
    assert read_peak_memory("cpu")["peak_memory_mb"] > 190
    high = read_peak_memory("cpu")["peak_memory_mb"]
    del block
    reset_peak_memory("cpu")
    assert read_peak_memory("cpu")["peak_memory_mb"] < high - 100


def test_a_long_run_has_system_metrics_and_its_end_waits_for_none(results, quiet, monkeypatch):
    monkeypatch.setattr(bench.mlflow, "MONITOR_DELAY", 0.1)
    monkeypatch.setattr(bench.mlflow, "MONITOR_INTERVAL", 0.2)
    store = MlflowStore(results)
    spec = execute(make_request(epochs=1), make_environment(results, quiet)).record.spec
    live = store.start_run(replace(spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    client, name = store.connect(), "system/cpu_utilization_percentage"
    deadline = time.monotonic() + 60
    while not client.get_metric_history(live.run_id, name) and time.monotonic() < deadline:
        time.sleep(0.2)
    start = time.monotonic()
    live.end("KILLED")
    assert client.get_metric_history(live.run_id, name) and time.monotonic() - start < 30


def test_a_run_ends_although_its_system_metrics_hang(results, monkeypatch):
    live = MlflowRun(MlflowStore(results))
    live._monitor = Hanging()
    start = time.monotonic()
    live.stop_monitor()
    assert time.monotonic() - start < 10


class Hanging:
    def finish(self):
        time.sleep(60)
