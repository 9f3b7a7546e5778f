import os
import shutil
import time
from dataclasses import replace

import pytest

import bench.mlflow_run
from bench.execute import execute
from bench.mlflow import MlflowStore
from bench.mlflow_run import MAX_RECORD_TAGS, TAG_LENGTH, SystemMonitor, pack_record, unpack_record
from bench.record import RunFolder
from bench.sync import sync
from bench.timing import read_peak_memory, reset_peak_memory
from tests.bench.test_execute import ask
from tests.bench.test_store import AWAY, desk_at, folder_of


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_a_record_goes_into_tags_and_comes_back():
    import hashlib

    for text in (b"{}", os.urandom(15_000)):
        tags = pack_record(text)
        assert max(map(len, tags.values())) <= TAG_LENGTH
        assert unpack_record(tags, hashlib.sha256(text).hexdigest()) == text
        assert unpack_record(tags, "0" * 64) is None and unpack_record({}, "0" * 64) is None
    assert pack_record(os.urandom(TAG_LENGTH * MAX_RECORD_TAGS)) == {}


def test_a_light_record_counts_as_done_and_a_full_sync_brings_its_files(tmp_path, quiet, uri, ready_mlflow):
    here = execute(ask(epochs=1), desk_at(tmp_path / "a", quiet, uri))
    there = MlflowStore(tmp_path / "b", uri)
    assert (sync(there, files=False).pulled, sync(there, files=False).pulled) == (1, 0)
    folder = folder_of(tmp_path / "b", here)
    assert {path.name for path in folder.path.iterdir()} == {"record.json", "mlflow.json"}
    found = execute(ask(epochs=1), desk_at(tmp_path / "b", quiet, uri))
    assert found.already_done and found.record == here.record and found.run_id == here.run_id
    shutil.copy(ready_mlflow, tmp_path / "other.db")
    other = execute(ask(epochs=1), desk_at(tmp_path / "b", quiet, f"sqlite:///{tmp_path / 'other.db'}"))
    assert other.already_done and other.run_id is None  # elsewhere it is published with its files, or not at all
    full = sync(there)
    assert (full.completed, full.pushed, full.pulled) == (1, 0, 0)
    assert {path.name for path in folder.path.iterdir()} > set(here.record.files) - {"weights.safetensors"}
    assert sync(there).completed == 0


def test_a_light_record_is_not_pushed_elsewhere_and_that_is_told(tmp_path, quiet, uri, ready_mlflow):
    execute(ask(epochs=1), desk_at(tmp_path / "a", quiet, uri))
    sync(MlflowStore(tmp_path / "b", uri), files=False)
    shutil.copy(ready_mlflow, tmp_path / "b" / "mlflow.db")
    elsewhere = MlflowStore(tmp_path / "b")
    done = sync(elsewhere)
    assert done.pushed == 0 and "is here without" in done.skipped[0]
    assert list(elsewhere.search_runs("")) == []


def test_a_run_without_tags_of_its_record_is_downloaded(tmp_path, quiet, uri):
    here = execute(ask(epochs=1), desk_at(tmp_path / "a", quiet, uri))
    there = MlflowStore(tmp_path / "b", uri)
    there.connect().set_tag(here.run_id, "bench.json.0", "changed")
    assert sync(there, files=False).pulled == 1
    assert folder_of(tmp_path / "b", here).read_record() == here.record


def test_trials_are_pushed_and_not_pulled(tmp_path, quiet, uri):
    execute(replace(ask(epochs=1), stage="trial"), desk_at(tmp_path / "a", quiet, AWAY))
    assert sync(MlflowStore(tmp_path / "a", uri)).pushed == 1
    assert [sync(MlflowStore(tmp_path / "b", uri), files=files).pulled for files in (False, True)] == [0, 0]


def test_a_light_record_can_be_made_afresh(tmp_path, quiet, uri):
    here = execute(ask(epochs=1), desk_at(tmp_path / "a", quiet, uri))
    sync(MlflowStore(tmp_path / "b", uri), files=False)
    fresh = execute(ask(epochs=1), replace(desk_at(tmp_path / "b", quiet, uri), fresh=True))
    assert fresh.record.scores == here.record.scores and fresh.record.attempt == 2


def test_the_peak_of_memory_counts_from_the_reset():
    block = bytearray(b"x") * 200_000_000
    assert read_peak_memory("cpu")["peak_memory_mb"] > 190
    high = read_peak_memory("cpu")["peak_memory_mb"]
    del block
    reset_peak_memory("cpu")
    assert read_peak_memory("cpu")["peak_memory_mb"] < high - 100


def test_a_long_run_has_system_metrics_and_its_end_waits_for_none(results, quiet, monkeypatch):
    monkeypatch.setattr(bench.mlflow_run, "SAMPLE_INTERVAL", 0.2)
    store = MlflowStore(results)
    spec = execute(ask(epochs=1), desk_at(results, quiet)).record.spec
    live, client = (
        store.start_run(replace(spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x")),
        store.connect(),
    )
    name = "system/cpu_utilization_percentage"
    deadline = time.monotonic() + 60
    while not client.get_metric_history(live.run_id, name) and time.monotonic() < deadline:
        time.sleep(0.2)
    monkeypatch.setattr(bench.mlflow_run, "SAMPLE_INTERVAL", 60)
    start = time.monotonic()
    live.end("KILLED")
    assert client.get_metric_history(live.run_id, name) and time.monotonic() - start < 30


def test_a_monitor_that_mlflow_fails_ends_quietly(monkeypatch):
    monkeypatch.setattr(bench.mlflow_run, "SAMPLE_INTERVAL", 0.01)
    monitor = SystemMonitor(AWAY, "0" * 32)
    monitor.start()
    time.sleep(0.1)
    start = time.monotonic()
    monitor.stop()
    assert time.monotonic() - start < 30
