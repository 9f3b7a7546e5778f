"""Mean, interval and rank over data sets agree with an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.tables.scores import make_overall_table
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import accuracy, by_hand, frame_of
from tests.reports.tables.cases import EIGHT, EKMAN


def test_a_mean_over_data_sets_has_its_interval_and_the_mean_rank(tmp_path):
    arms = {"majority": 0.1, "mbt": 0.4, "mart": 0.5}
    runs = {
        arm: [[by_hand(tmp_path, arm, s, f, card=c, skill=k) for s in range(5)] for c, f in ((EKMAN, 0), (EIGHT, 1))]
        for arm, k in arms.items()
    }
    frame = frame_of(*(run for of in runs.values() for each in of for run in each))
    found = {
        name.partition("/")[2]: cell.text for name, cell in make_overall_table(frame, "overall", "Overall").iter_cells()
    }
    values = {arm: np.array([[accuracy(run) for run in each] for each in of]) for arm, of in runs.items()}
    ranks = np.mean([stats.rankdata([-values[arm][place].mean() for arm in arms]) for place in (0, 1)], axis=0)
    rng = np.random.default_rng(5)
    for arm, rank in zip(arms, ranks, strict=True):
        assert recompute.numbers(found[f"{arm}/mean"]) == [pytest.approx(values[arm].mean(), abs=0.051)]
        assert found[f"{arm}/rank"] == f"{rank:.2f}"
        draws = [np.mean([rng.choice(of, 5).mean() for of in values[arm]]) for _ in range(4000)]
        low, high = (float(end) for end in found[f"{arm}/interval"].split(" to "))
        expected = np.percentile(draws, [2.5, 97.5])
        assert [low, high] == pytest.approx(expected.tolist(), abs=0.1 * np.ptp(expected) + 0.05)


def test_folds_are_one_run_each_and_have_the_wider_interval_of_clips_they_share(tmp_path):
    """Compare ten folds with two seeds on one data set, and five seeds of one fold on another."""
    runs = {
        arm: [
            [by_hand(tmp_path, arm, s, card=EKMAN, skill=skill) for s in range(5)],
            [by_hand(tmp_path, arm, s, f, card=EIGHT, skill=skill) for f in range(1, 11) for s in range(2)],
        ]
        for arm, skill in {"mbt": 0.4, "mart": 0.5}.items()
    }
    frame = frame_of(*(run for of in runs.values() for each in of for run in each))
    found = {
        name.partition("/")[2]: cell.text for name, cell in make_overall_table(frame, "overall", "Overall").iter_cells()
    }
    for arm, (seeds, folds) in runs.items():
        one, two = (np.array([accuracy(run) for run in of]) for of in (seeds, folds))
        two = two.reshape(10, 2).mean(1)
        share = folds[0].record.scores["test/n"] / folds[0].record.notes["clips/train"]
        error = np.sqrt(one.var() / 5 + two.var() * (1 / 10 + share)) / 2
        low, high = (float(end) for end in found[f"{arm}/interval"].split(" to "))
        assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_three_folds_are_too_few_for_an_interval_however_many_seeds_each_has():
    runs = [by_hand(None, arm, s, files=False, card=EKMAN) for arm in ("mbt", "mart") for s in range(5)]
    runs += [
        by_hand(None, arm, s, f, files=False, card=EIGHT)
        for arm in ("mbt", "mart")
        for f in (1, 2, 3)
        for s in range(5)
    ]
    found = dict(make_overall_table(frame_of(*runs), "overall", "Overall").iter_cells())
    assert "here 3" in found["overall/mart/interval"].footnotes[0]


def test_lines_that_lack_a_data_set_or_a_run_or_were_chosen_on_test_have_no_mean_over_data_sets(tmp_path):
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {"label_suffix": "EPOCH CHOSEN ON TEST"}}

    def lines(*odd):
        arms = [by_hand(None, arm, files=False, card=card) for arm in ("mbt", "mart") for card in (EKMAN, EIGHT)]
        return [line.id for line in make_overall_table(frame_of(*arms, *odd), "o", "O").rows]

    def odd(card, **told):
        return by_hand(None, "odd", files=False, card=card, **told)

    assert lines(odd(EKMAN), odd(EIGHT)) == ["mbt", "mart", "odd"]
    assert lines(odd(EKMAN)) == lines(odd(EKMAN), odd(EIGHT, error="stopped")) == ["mbt", "mart"]
    assert lines(odd(EKMAN, **flagged), odd(EIGHT, **flagged)) == ["mbt", "mart"]
    assert (
        make_overall_table(frame_of(by_hand(None, "mbt", files=False), by_hand(None, "mart", files=False)), "o", "O")
        is None
    )
