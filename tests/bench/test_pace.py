"""Tests of Throttle: a costly operation takes a small share of the time, and its delay is bounded."""

import bench.timing
from bench.timing import MAX_COST_SHARE, MAX_DELAY, Throttle


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_an_operation_of_a_second_is_due_again_when_a_second_is_a_small_share(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.timing, "perf_counter", time)
    throttle = Throttle()
    assert throttle.is_due()
    with throttle():
        time.now += 1.0
    time.now += 0.99 / MAX_COST_SHARE
    assert not throttle.is_due()
    time.now += 0.02 / MAX_COST_SHARE
    assert throttle.is_due()


def test_a_costly_operation_is_delayed_by_a_bounded_time(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.timing, "perf_counter", time)
    throttle = Throttle()
    with throttle():
        time.now += 1000.0
    time.now += MAX_DELAY
    assert throttle.is_due()
