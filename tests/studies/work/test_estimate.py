"""How long a plan takes is told from runs that were timed here."""

import pytest

from bench.execute import Ask, Desk, execute
from bench.store import Store
from studies.work.estimate import Timings, in_words, read_timings
from tests.toys import TOY, TOY_DATA, ToyConfig


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 seconds"), (80, "80 seconds"), (600, "10 minutes"), (7200, "2.0 hours"), (9e5, "10 days")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert in_words(seconds) == words


def test_timings_are_medians_of_a_method_on_a_data_set_or_else_on_any():
    timings = Timings({("mbt", "quick", "ekman6"): 20.0, ("mbt", "quick", ""): 30.0})
    assert timings.of("mbt", "quick", "ekman6") == 20.0 and timings.of("mbt", "quick", "perr") == 30.0
    assert timings.of("mbt", "paper", "ekman6") is None


def test_timings_are_read_from_records_and_a_broken_one_stands_in_nobodys_way(results, quiet):
    desk = Desk(results, Store(results), quiet, lambda *given: [], threads=1)
    ask = Ask("toy", TOY, ToyConfig(epochs=1), "quick", TOY_DATA, 0)
    spent = sum(execute(ask, desk).record.seconds.values())
    broken = results / "runs" / "0broken"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    assert read_timings(results).of("toy", "quick", "toy") == pytest.approx(spent)
