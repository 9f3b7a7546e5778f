"""Tests of failed runs: kinds of failure, and the retry with half the micro-batch after out of memory."""

from pathlib import Path

import pytest

from bench.errors import ConfigError, DataError, Diverged
from bench.execute import RunEnvironment, RunRequest, classify_failure, execute, halve_micro_batch
from bench.mlflow import MlflowStore
from bench.tracker import Pruned
from tests.toys import TOY, TOY_DATA, ToyConfig


@pytest.fixture
def environment(results: Path, quiet) -> RunEnvironment:
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *args: [], threads=1)


def make_request(**values) -> RunRequest:
    return RunRequest("toy", TOY, ToyConfig(epochs=2, drop=0.0, **values), "quick", TOY_DATA, 0)


@pytest.mark.parametrize(("fail", "kind"), [("error", "other"), ("nan", "nan"), ("data", "data"), ("scores", "nan")])
def test_every_failure_has_a_class_and_no_score(environment, fail, kind):
    record = execute(make_request(fail=fail), environment).record
    assert record.error is not None and record.error.kind == kind and record.scores == {}


def test_a_run_out_of_memory_is_retried_with_half_the_micro_batch_and_reports_it(environment, quiet):
    outcome = execute(make_request(fail="memory", batch=4), environment)
    assert outcome.record.error is None and outcome.record.provenance["micro_batch"] == 2
    assert any("out of memory" in line for line in quiet.notices)
    assert outcome.record.attempt == 2  # the first attempt is counted
    whole = execute(make_request(batch=4), environment).record
    assert outcome.record.scores["test/loss"] == pytest.approx(whole.scores["test/loss"], abs=1e-5)


def test_a_run_that_is_out_of_memory_twice_has_failed(environment):
    record = execute(make_request(fail="memory", batch=8), environment).record
    assert record.error is not None and record.error.kind == "out of memory" and record.attempt == 2


def test_a_run_of_one_clip_at_a_time_cannot_be_halved(environment):
    assert halve_micro_batch(ToyConfig(batch=1), None) == 0
    assert halve_micro_batch(ToyConfig(batch=8), None) == 4 and halve_micro_batch(ToyConfig(batch=8), 4) == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Pruned("x"), "pruned"),
        (Diverged("x"), "nan"),
        (DataError("x"), "data"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (ValueError("x"), "other"),
    ],
)
def test_errors_are_classified(error, kind):
    assert classify_failure(error).kind == kind


def test_a_users_mistake_is_no_failure_of_the_run():
    with pytest.raises(ConfigError):
        classify_failure(ConfigError("x"))


def test_the_mlflow_run_of_a_failed_run_has_the_reason(environment):
    outcome = execute(make_request(fail="error"), environment)
    client = environment.store.connect()
    run = client.get_run(outcome.run_id)
    assert run.info.status == "FAILED" and "the toy failed as configured" in run.data.tags["bench.message"]
    assert [file.path for file in client.list_artifacts(outcome.run_id)] == ["traceback.txt"]
