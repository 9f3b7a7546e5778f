"""Tests of timers: which seconds of a run are training and scoring, and which are other work."""

import ast
from contextlib import contextmanager
from time import sleep

import pytest

from bench.execute import RunEnvironment, RunRequest, execute
from bench.mlflow import MlflowStore
from bench.timing import OVERHEAD, Timer, describe_overhead, sum_compute_seconds, sum_overhead_seconds
from tests.conftest import ROOT
from tests.toys import TOY, TOY_DATA, ToyConfig

TRAINING = {"method", "read", "step", "predict"}


def list_timed_names() -> set[str]:
    """Return the names under which our code counts seconds: `timer("name")` and `timer.enter("name", ...)`."""
    names = set()
    for path in sorted(path for folder in ("bench", "methods", "datasets") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".enter")[0] in (
                "timer",
                "ctx.timer",
                "self.ctx.timer",
            ):
                names |= {node.args[0].value}
    return names


def test_every_name_that_is_timed_is_training_or_overhead():
    assert list_timed_names() == OVERHEAD | TRAINING and not OVERHEAD & TRAINING


def test_seconds_of_other_names_are_those_of_a_method():
    seconds = {"prepare": 9.0, "wait": 2.0, "write": 1.0, "step": 5.0, "own": 0.5}
    assert sum_compute_seconds(seconds) == 5.5 and sum_overhead_seconds(seconds) == 12.0
    assert sum_compute_seconds({}) == sum_overhead_seconds({}) == 0.0


def test_overhead_of_a_few_seconds_is_not_worth_a_message():
    assert describe_overhead({"prepare": 4.0, "step": 100.0}) == ""
    assert describe_overhead({"prepare": 12.4, "write": 1.8, "step": 100.0}).startswith(", plus 14 s ")


def test_a_timer_counts_the_wait_for_a_lock_but_not_the_block_that_holds_it():
    events, timer = [], Timer()

    @contextmanager
    def lock():
        sleep(0.05)
        events.append("locked")
        try:
            yield "value"
        finally:
            events.append("released")

    with pytest.raises(KeyError), timer("outer"), timer.enter("wait", lock()) as value:
        events.append(value)
        sleep(0.1)
        raise KeyError
    assert events == ["locked", "value", "released"]
    seconds = timer.get_seconds()
    assert 0.05 <= seconds["wait"] < 0.1 <= seconds["outer"]


def test_a_run_counts_preparing_and_writing_apart_from_training(results, quiet):
    def draw(*given):
        sleep(0.3)
        return []

    environment = RunEnvironment(results, MlflowStore(results), quiet, draw, threads=1)
    request = RunRequest("toy", TOY, ToyConfig(epochs=2, pause=0.02), "quick", TOY_DATA, 0)
    seconds = execute(request, environment).record.seconds
    assert seconds["write"] > 0.3 and seconds["wait"] < 0.2 and "prepare" in seconds and "open store" in seconds
    assert seconds["step"] > 0.02 * 2 * 2 * 2  # two stages of two epochs of two batches
    total = sum(seconds.values())
    assert sum_compute_seconds(seconds) + sum_overhead_seconds(seconds) == pytest.approx(total)
