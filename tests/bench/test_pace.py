"""What costs time is done as often as keeps it under a small share, and not put off for ever."""

import bench.pace
from bench.pace import LONGEST, SHARE, Pace


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_what_costs_a_second_is_due_again_when_a_second_is_a_small_share(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.pace, "perf_counter", time)
    pace = Pace()
    assert pace.due()
    with pace():
        time.now += 1.0
    time.now += 0.99 / SHARE
    assert not pace.due()
    time.now += 0.02 / SHARE
    assert pace.due()


def test_what_costs_much_is_not_put_off_for_ever(monkeypatch):
    time = Time()
    monkeypatch.setattr(bench.pace, "perf_counter", time)
    pace = Pace()
    with pace():
        time.now += 1000.0
    time.now += LONGEST
    assert pace.due()
