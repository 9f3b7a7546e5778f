"""What costs time is done as often as keeps it under a small share, and not put off for ever."""

import bench.timing
from bench.timing import MAX_COST_SHARE, MAX_DELAY, Throttle


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_what_costs_a_second_is_due_again_when_a_second_is_a_small_share(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.timing, "perf_counter", time)
    pace = Throttle()
    assert pace.is_due()
    with pace():
        time.now += 1.0
    time.now += 0.99 / MAX_COST_SHARE
    assert not pace.is_due()
    time.now += 0.02 / MAX_COST_SHARE
    assert pace.is_due()


def test_what_costs_much_is_not_put_off_for_ever(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.timing, "perf_counter", time)
    pace = Throttle()
    with pace():
        time.now += 1000.0
    time.now += MAX_DELAY
    assert pace.is_due()
