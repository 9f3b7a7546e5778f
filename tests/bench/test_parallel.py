"""Tests of data-parallel fits: same losses, gradients and scores as in one process, and no process is left behind."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.distributed import _make_picklable_error, _serialise, fit_distributed
from bench.errors import ConfigError, Diverged
from bench.execute import RunEnvironment, RunRequest, classify_failure, execute, halve_micro_batch
from bench.method import Method, Replica
from bench.mlflow import MlflowStore
from bench.rng import RngTree
from bench.timing import Timer
from bench.tracker import Pruned
from bench.types import Explanation
from tests.bench.together import every_gradient, nothing, one_breaks
from tests.bench.together_methods import real_methods
from tests.conftest import Quiet
from tests.toys import CARD, TOY, TOY_DATA, ToyConfig, make_context

CONFIG = ToyConfig(epochs=2, drop=0.0)


def fitted(method: Method, folder: Path, devices: int, config: ToyConfig = CONFIG, **context: Any) -> tuple[Any, Any]:
    """Return the predictor of a fit and its tracker."""
    tracker = context.pop("tracker", Quiet())
    ctx = make_context(tracker, folder / str(devices), config, rng=RngTree(3), threads=devices, **context)
    predictor = method.fit(ctx) if devices == 1 else fit_distributed(method, ctx, devices)
    assert not multiprocessing.active_children()
    return predictor, tracker


def assert_same(alone: Any, together: Any, rtol: float, atol: float) -> None:
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def assert_same_epochs(alone: Quiet, together: Quiet, tolerance: float) -> None:
    logged = [[epoch for epoch in tracker.epochs if epoch[0] != "dropout"] for tracker in (alone, together)]
    for one, two in zip(*logged, strict=True):
        assert one[:2] == two[:2] and one[2] == pytest.approx(two[2], rel=tolerance, abs=tolerance)


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_one_process_for_all_shard_sizes(tmp_path: Path) -> None:
    method = replace(TOY, build=nothing, fit=every_gradient)
    (one, tracker), (two, other_tracker) = (fitted(method, tmp_path, devices) for devices in (1, 2))
    assert_same(one.tensors, two.tensors, rtol=1e-5, atol=1e-7)
    assert_same_epochs(tracker, other_tracker, 1e-6)
    steps = {name.rsplit("/", 1)[0] for name in one.tensors if name.count("/") == 2}
    expected = {"even": 1, "uneven": 6, "odd": 4, "group": 2, "sgd": 4}
    assert steps == {f"{name}/{i}" for name, count in expected.items() for i in range(count)}
    differences = [value for name, value in two.tensors.items() if name.startswith("resumed/")]
    assert differences and not any(value.any() for value in differences)  # equal bits, with dropout


@pytest.mark.slow
def test_mbt_and_mart_have_the_same_results_on_two_devices(tmp_path: Path) -> None:
    method = replace(TOY, build=nothing, fit=real_methods)
    (one, tracker), (two, other_tracker) = (fitted(method, tmp_path, devices) for devices in (1, 2))
    assert_same_epochs(tracker, other_tracker, 1e-4)
    assert_same(one.tensors, two.tensors, rtol=1e-3, atol=1e-4)
    assert tracker.chosen == other_tracker.chosen
    assert tracker.explanations.keys() == other_tracker.explanations.keys()
    for stage, explanations in tracker.explanations.items():
        for key, explanation in explanations.items():
            other = other_tracker.explanations[stage][key]
            assert explanation.verdicts == other.verdicts and explanation.masks.keys() == other.masks.keys()
            torch.testing.assert_close(explanation.curve, other.curve, rtol=1e-2, atol=1e-3)


def make_request(**values: Any) -> RunRequest:
    return RunRequest("toy", TOY, CONFIG.override(values), "quick", TOY_DATA, 0)


@pytest.mark.slow
def test_a_run_on_two_devices_has_the_scores_and_the_seconds_of_one(results: Path, tmp_path: Path) -> None:
    environment = RunEnvironment(results, MlflowStore(results), Quiet(), lambda *_: [])
    one = execute(make_request(), replace(environment, results=tmp_path / "one")).record
    two = execute(make_request(), replace(environment, results=tmp_path / "two", devices=2)).record
    assert one.error is None and two.error is None and one.key == two.key and one.chosen == two.chosen
    assert two.scores == pytest.approx(one.scores, rel=1e-4)
    assert one.provenance["devices"] == 1 and two.provenance["devices"] == 2
    assert {"read", "step", "checkpoint", "predict"} <= two.seconds.keys() and min(two.seconds.values()) >= 0


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_is_the_same_error_as_in_one_process(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="loss of epoch 1 is not finite") as raised:
        fitted(TOY, tmp_path, 2, CONFIG.override({"fail": "nan"}))
    assert classify_failure(raised.value).kind == "nan" and not multiprocessing.active_children()


@pytest.mark.slow
def test_an_error_of_a_process_is_raised_here_with_its_class_and_traceback(tmp_path: Path) -> None:
    try:
        fitted(replace(TOY, fit=one_breaks), tmp_path, 2)
        pytest.fail("nothing was raised")
    except torch.OutOfMemoryError as error:
        failure = classify_failure(error)
    assert failure.kind == "out of memory" and "in break_down" in failure.traceback
    assert "in the process of device 1" in failure.traceback and not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_is_killed_is_reported_and_leaves_none_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"device 1 was killed \(SIGKILL\)"):
        fitted(replace(TOY, fit=one_breaks), tmp_path, 2, CONFIG.override({"fail": "kill"}))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_tracker_that_prunes_the_trial_ends_every_process(tmp_path: Path) -> None:
    class Strict(Quiet):
        def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
            raise Pruned("enough")

    with pytest.raises(Pruned, match="enough"):
        fitted(TOY, tmp_path, 2, CONFIG.override({"epochs": 100, "pause": 0.5}), tracker=Strict())
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_the_seconds_of_the_processes_are_here_before_each_checkpoint(tmp_path: Path) -> None:
    timer, spent = Timer(), list[dict[str, float]]()

    class Keeper(Quiet):
        def before_checkpoint(self) -> None:
            spent.append(timer.get_seconds())

    fitted(TOY, tmp_path, 2, CONFIG.override({"pause": 0.02}), tracker=Keeper(), timer=timer)
    steps = 2 * CONFIG.epochs * math.ceil(5 * len(CARD.classes) / CONFIG.batch)  # of two stages
    assert min(seconds["step"] for seconds in spent) > 0 and spent[-1]["step"] >= 0.02 * steps


def test_a_method_that_cannot_be_pickled_is_reported_before_a_process_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'toy' cannot be pickled"):
        fitted(replace(TOY, fit=lambda *_: None), tmp_path, 2)


def test_an_error_that_cannot_be_pickled_keeps_its_name() -> None:
    class Local(Exception):
        pass

    assert str(_make_picklable_error(Local("text"))) == "Local: text"
    error = Diverged("no number")
    assert _make_picklable_error(error) is error


def test_a_view_is_sent_without_the_rest_of_its_storage() -> None:
    row = torch.zeros(1000, 10)[3]
    assert len(_serialise(("explain", ("fit", {"clip": Explanation(row, ())})))) < 2000


@pytest.mark.parametrize("clips", [1, 2, 5, 6])
def test_shards_are_disjoint_and_complete_and_no_rank_is_without_a_clip(clips: int) -> None:
    batch, replicas = list(range(clips)), [Replica(rank, 3) for rank in range(3)]
    shards = [replica.shard(batch) for replica in replicas if not replica.is_idle(clips)]
    assert sorted(index for shard in shards for index in shard) == batch
    assert all(replica.shard(batch) for replica in replicas)


def test_the_halved_micro_batch_is_half_of_a_device_s_shard() -> None:
    config = ToyConfig(batch=9)
    assert [
        halve_micro_batch(config, None),
        halve_micro_batch(config, None, 2),
        halve_micro_batch(config, 20, 2),
        halve_micro_batch(config, 3, 2),
    ] == [
        4,
        2,
        2,
        1,
    ]
