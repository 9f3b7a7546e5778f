"""Table and tolerances of the guard, and its stored scores as far as they can be checked without runs."""

from __future__ import annotations

import pytest

from tests.guard import step
from tests.guard.scores import check_names, is_met, read_stored
from tests.guard.table import Check, table

EXPECTED = {
    "val/n": 40.0,
    "val/loss": 1.5,
    "val/acc_e": 0.5,
    "val/recall/joy": 0.5,
    "val/recall/fear": 0.25,
    "val/f1_s2": None,
}


def test_every_method_has_stored_scores_of_its_present_version():
    assert not check_names(read_stored()).faults


def test_the_table_is_at_most_80_columns_wide():
    long = Check("results", "a long name " * 9, "found" * 30, "expected " * 9, 12345.0)
    lines = table([long, Check("kills", "short")]).splitlines()
    assert all(len(line) <= 80 for line in lines)


def test_each_failure_has_a_line_below_the_table():
    text = table([Check("step", "speed", faults=["too slow", "and too large"]), Check("step", "size")])
    assert "FAILED: step: speed: too slow\nFAILED: step: speed: and too large\n1 of 2 checks passed" in text


@pytest.mark.parametrize(("name", "apart"), [("val/loss", 1e-3), ("val/acc_e", 2 / 40), ("val/recall/joy", 4 / 40)])
def test_on_another_machine_a_score_may_be_apart_by_its_tolerance_and_no_more(name, apart):
    near, far = ({**EXPECTED, name: EXPECTED[name] + way * apart} for way in (0.99, 1.01))
    assert is_met(name, near, EXPECTED, exact=False) and not is_met(name, far, EXPECTED, exact=False)
    assert is_met(name, EXPECTED, EXPECTED, exact=True) and not is_met(name, near, EXPECTED, exact=True)


def test_a_score_that_is_new_or_gone_is_not_met():
    assert is_met("val/f1_s2", EXPECTED, EXPECTED, exact=False)
    assert not is_met("val/f1_s2", {**EXPECTED, "val/f1_s2": 0.5}, EXPECTED, exact=False)
    assert not is_met("val/new", {**EXPECTED, "val/new": 0.5}, EXPECTED, exact=False)


@pytest.mark.parametrize(("more", "ok"), [([0.9] * 4, True), ([0.7, 0.7, 0.9, 0.9], False)])
def test_a_step_that_falls_short_is_measured_again_and_all_its_steps_count(monkeypatch, more, ok):
    answers = {3: [0.7, 0.75, 0.9], 4: more}
    monkeypatch.setattr(step, "measure", lambda steps: (answers[steps], [50.0] * steps))
    (check,) = step.check_step(3)
    assert bool(check.faults) is not ok and check.notes[0].count("(50.0 s)") == 7
