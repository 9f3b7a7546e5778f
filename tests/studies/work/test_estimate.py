"""Tests of time estimates from earlier runs."""

import pytest

from bench.execute import RunEnvironment, RunRequest, execute
from bench.mlflow import MlflowStore
from bench.timing import sum_compute_seconds
from studies.scheduler import format_duration, get_seconds, read_timings
from tests.toys import TOY, TOY_DATA, ToyConfig


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (80, "80 seconds"), (600, "10 minutes"), (7200, "2.0 hours"), (9e5, "10 days")],
)
def test_durations_are_readable(seconds, words):
    assert format_duration(seconds) == words


def test_timings_are_medians_of_a_method_on_a_data_set_or_else_on_any():
    timings = {("mbt", "quick", "ekman6"): (20.0, 5.0), ("mbt", "quick", ""): (30.0, 0.0)}
    assert get_seconds(timings, "mbt", "quick", "ekman6") == 25.0
    assert get_seconds(timings, "mbt", "quick", "ekman6", with_stages=False) == 20.0
    assert get_seconds(timings, "mbt", "quick", "perr") == 30.0
    assert get_seconds(timings, "mbt", "paper", "ekman6") is None


def test_timings_are_read_from_records_and_a_broken_one_is_skipped(results, quiet):
    environment = RunEnvironment(results, MlflowStore(results), quiet, lambda *given: [], threads=1)
    request = RunRequest("toy", TOY, ToyConfig(epochs=1), "quick", TOY_DATA, 0)
    spent = sum_compute_seconds(execute(request, environment).record.seconds)
    broken = results / "runs" / "0broken"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    assert get_seconds(read_timings(results), "toy", "quick", "toy") == pytest.approx(spent)
