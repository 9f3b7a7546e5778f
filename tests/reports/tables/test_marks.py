"""Marks of the best numbers, as printed, among complete rows that are not best-on-test."""

from __future__ import annotations

import re

import pytest

from reports.comparisons import compare_with_reference
from reports.runs import Mean, PredictionCache, Run, RunTable
from reports.tables.columns import (
    choose_decimals,
    count_decimals,
    format_difference,
    format_mean,
    format_quantity,
    mark_best,
)
from reports.tables.costs import make_costs_table
from reports.tables.differences import format_p, index_comparisons, make_ablation_table
from reports.tables.differences import make_significance_table as against
from reports.tables.scores import make_components_table, make_scores_table
from tests.reports.tables.by_hand import by_hand, frame_of

FAILED = "the loss is no number"


def scored(arm: str, *accuracies: float | None, protocol: str = "clean", **told) -> list[Run]:
    """Return runs with these values of Acc E in percent and no files; None for a failed run."""
    runs = []
    for seed, accuracy in enumerate(accuracies):
        error = FAILED if accuracy is None else ""
        found = {} if accuracy is None else {"test/acc_e": accuracy / 100, "test/n": 1000.0}
        runs.append(by_hand(None, arm, seed, error=error, scores=found, spec={"protocol": protocol}, **told))
    return runs


def shown_of(frame: RunTable, column: str = "ekman6/acc_e") -> dict[str, tuple[str, str]]:
    """Return label -> text and mark."""
    grid = make_scores_table(frame, "scores", "Scores")
    place = [one.id for one in grid.columns].index(column)
    return {line.id: (line.cells[place].text, line.cells[place].mark) for line in grid.rows}


@pytest.mark.parametrize(
    ("printed", "direction", "expected"),
    [
        ([50.0, 60.0, 55.0], "higher", ["", "best", "second"]),
        ([50.0, 60.0, 55.0], "lower", ["best", "", "second"]),
        ([60.0, 60.0, 55.0], "higher", ["best", "best", ""]),
        ([60.0, 55.0, 55.0, 50.0], "higher", ["best", "second", "second", ""]),
        ([60.0, None, 55.0], "higher", ["best", "", "second"]),
        ([60.0], "higher", [""]),
        ([60.0, None], "higher", ["", ""]),
        ([60.0, 60.0], "higher", ["", ""]),
        ([], "higher", []),
        ([0.0, -0.0, 1.0], "lower", ["best", "best", ""]),
    ],
)
def test_marks_go_to_the_best_and_the_second_and_to_all_ties(printed, direction, expected):
    assert mark_best(printed, direction) == expected


@pytest.mark.parametrize(
    ("spread", "places"),
    [(12.0, 0), (9.96, 0), (9.94, 1), (1.0, 1), (0.996, 1), (0.994, 2), (0.1, 2), (0.01, 2), (0.0, 2), (123.0, 0)],
)
def test_decimals_show_two_digits_of_a_spread_and_two_at_most(spread, places):
    assert count_decimals(spread) == places


def test_decimals_of_a_column_are_of_its_median_spread_and_a_spread_of_0_is_ignored():
    def number(spread):
        return Mean(50.0, spread, (50.0,), ("k",))

    assert choose_decimals([number(12.0), number(1.0), number(1.1)]) == 1
    assert choose_decimals([number(12.0), number(0.0), number(None)]) == 0
    assert choose_decimals([number(0.0), number(0.0)], [100.0]) == 1  # 5.0 points of standard error
    assert choose_decimals([number(None)], [10000.0]) == 2 and choose_decimals([number(None)], [10.0]) == 0
    assert choose_decimals([]) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.012344, "0.0123"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (77.64, "77.6"),
        (999.6, "1000"),
        (86e3, "86000"),
    ],
)
def test_a_cost_has_three_digits(value, text):
    assert format_quantity(value) == text


def test_a_difference_has_a_sign_and_the_decimals_of_its_own_spread():
    found = {
        spread: format_difference(Mean(-1.26, spread, (-1.26,), ("k",))) for spread in (None, 0.0, 0.123, 4.0, 12.0)
    }
    assert list(found.values()) == ["−1.3", "−1.3 ± 0.0", "−1.26 ± 0.12", "−1.3 ± 4.0", "−1 ± 12"]


def test_a_zero_has_no_sign():
    assert format_mean(Mean(-0.001, None, (-0.001,), ("k",)), 1) == "0.0"


def test_numbers_that_are_equal_when_printed_share_a_mark():
    frame = frame_of(*scored("mbt", 59.0, 61.02), *scored("mart", 59.0, 61.0), *scored("probe", 49.0, 51.0))
    assert shown_of(frame) == {
        "mbt": ("60.0 ± 1.4", "best"),
        "mart": ("60.0 ± 1.4", "best"),
        "probe": ("50.0 ± 1.4", ""),
    }


LESSER = {
    "incomplete": lambda: scored("best", 80.0, 81.0),
    "failed in part": lambda: scored("best", 80.0, 81.0, None),
    "chosen on test": lambda: scored("best", 80.0, 81.0, 82.0, protocol="best-on-test"),
}


@pytest.mark.parametrize("why", LESSER)
def test_a_line_that_lacks_runs_or_was_chosen_on_test_never_wins(why):
    others = [*scored("mbt", 60.0, 61.0, 62.0), *scored("mart", 50.0, 51.0, 52.0)]
    found = shown_of(frame_of(*LESSER[why](), *others))
    assert [mark for _, mark in found.values()] == ["", "best", "second"]
    again = shown_of(frame_of(*scored("best", 80.0, 81.0, 82.0), *others))
    assert [mark for _, mark in again.values()] == ["best", "second", ""]


def test_refit_lines_compete_with_each_other_and_not_with_clean_ones():
    clean = [*scored("mbt", 60.0, 61.0), *scored("mart", 65.0, 66.0)]
    refit = [*scored("mbt2", 70.0, 71.0, protocol="refit"), *scored("mart2", 75.0, 76.0, protocol="refit")]
    assert [mark for _, mark in shown_of(frame_of(*refit)).values()] == ["second", "best"]
    assert [mark for _, mark in shown_of(frame_of(*clean, *refit)).values()] == ["second", "best", "", ""]


def test_a_line_alone_has_no_mark():
    assert shown_of(frame_of(*scored("mart", 60.0, 61.0))) == {"mart": ("60.50 ± 0.71", "")}


def test_cells_print_the_number_of_runs_where_some_are_missing():
    frame = frame_of(
        *scored("mbt", 60.0, 61.5, 63.0),
        *scored("mart", 70.0, None, 73.0),
        *scored("probe", None, None, None),
        *scored("majority", 10.0),
        *scored("other", None),
    )
    assert {label: text for label, (text, _) in shown_of(frame).items()} == {
        "mbt": "61.5 ± 1.5",
        "mart": "71.5 ± 2.1 (2/3 runs)",
        "probe": "failed (0/3 runs)",
        "majority": "10.0 (1/3 runs)",
        "other": "failed (0/3 runs)",
    }
    names = {line.id: line.cells[0].footnotes for line in make_scores_table(frame, "s", "S").rows}
    for label, count in (("mart", "1"), ("probe", "3")):
        (note,) = names[label]
        assert note.startswith(count) and "nan" in note and FAILED in note
    assert names["mbt"] == ()


def test_rows_are_incomplete_until_all_requested_runs_of_a_study_are_there():
    found = shown_of(frame_of(*scored("mbt", 60.0, 61.5), *scored("mart", 70.0, 71.5), wanted={"ekman6": 5}))
    assert found == {"mbt": ("60.8 ± 1.1 (2/5 runs)", ""), "mart": ("70.8 ± 1.1 (2/5 runs)", "")}


def test_a_failed_run_counts_only_where_no_finished_one_has_its_place():
    found = shown_of(frame_of(*scored("mart", None), *scored("mart", 60.0, 61.5), *scored("mbt", 50.0, 51.5)))
    assert found["mart"] == ("60.8 ± 1.1", "best")


def test_a_table_of_failed_runs_alone_can_be_made(tmp_path):
    frame = frame_of(*scored("mbt", None), *scored("mart", None))
    made = [make_scores_table(frame, "s", "S"), make_components_table(frame, "components", "c", "C", "ekman6")]
    made += [
        make_costs_table(frame, PredictionCache(), "ekman6", "costs"),
        make_ablation_table(frame, {}, "mart", ["mart"], "ekman6", "w", "W"),
    ]
    for grid in made:
        texts = {cell.text for _, cell in grid.iter_cells()}
        assert "failed (0/1 runs)" in texts and not any(cell.mark for _, cell in grid.iter_cells())


def test_of_calibration_errors_the_least_is_the_best(tmp_path):
    frame = frame_of(
        *(by_hand(tmp_path, arm, s, skill=k) for arm, k in {"mbt": 0.2, "mart": 0.8}.items() for s in (0, 1))
    )
    grid = make_costs_table(frame, PredictionCache(), "ekman6", "costs")
    place = [one.id for one in grid.columns].index("ece")
    found = {line.id: line.cells[place] for line in grid.rows}
    low, high = sorted(found, key=lambda label: found[label].value)
    assert (found[low].mark, found[high].mark) == ("best", "second")


def test_a_calibration_error_of_some_of_the_runs_is_labelled_and_not_the_best(tmp_path):
    full = [by_hand(tmp_path, "mbt", seed, skill=0.2) for seed in (0, 1)]
    light = [by_hand(tmp_path, "mart", 0, skill=0.9), by_hand(tmp_path, "mart", 1, skill=0.9, files=False)]
    grid = make_costs_table(frame_of(*full, *light), PredictionCache(), "ekman6", "costs")
    place = [one.id for one in grid.columns].index("ece")
    found = {line.id: line.cells[place] for line in grid.rows}
    assert found["mart"].text.endswith(" (1/2 runs)") and found["mart"].run_keys == (light[0].record.key,)
    assert found["mart"].mark == found["mbt"].mark == "" and "runs" not in found["mbt"].text


def tuned(arm: str, values: str, *accuracies: float) -> list[Run]:
    return scored(arm, *accuracies, config={"lr": values}, run={"tuning": values, "label_suffix": values})


def test_each_way_of_tuning_has_its_own_best():
    runs = [*tuned("mbt", "shared", 50.0, 51.0), *tuned("mbt", "per-arm", 70.0, 71.0)]
    runs += scored("mart", 60.0, 61.0, run={"tuning": "per-arm"})
    grid = make_ablation_table(frame_of(*runs), index_comparisons([]), "mart", ["mart"], "ekman6", "worth", "Worth")
    found = {name: cell.mark for name, cell in grid.iter_cells() if name.endswith("acc_e")}
    assert found == {
        "worth/mbt/shared/acc_e": "second",
        "worth/mart/shared/acc_e": "best",
        "worth/mbt/per-arm/acc_e": "best",
        "worth/mart/per-arm/acc_e": "second",
    }


def test_failures_of_either_way_of_tuning_are_footnotes_of_the_arm():
    told = {"run": {"tuning": "per-arm", "label_suffix": "per-arm"}, "config": {"lr": "per-arm"}}
    runs = [*tuned("mbt", "shared", 50.0, 51.0), *scored("mbt", 70.0, None, **told)]
    runs += scored("mart", 60.0, 61.0, run={"tuning": "per-arm"})
    grid = make_ablation_table(frame_of(*runs), index_comparisons([]), "mart", ["mart"], "ekman6", "worth", "Worth")
    (note,) = grid.rows[0].cells[0].footnotes
    assert note.startswith("1") and "nan" in note and FAILED in note


def test_one_seed_has_no_spread_no_interval_and_no_p_below_1(tmp_path):
    frame = frame_of(by_hand(tmp_path, "mbt", skill=0.2), by_hand(tmp_path, "mart", skill=0.8))
    compared = compare_with_reference(frame, "mart", PredictionCache())
    line = {name.rpartition("mbt/")[2]: cell for name, cell in against(frame, compared, "mart", "tests").iter_cells()}
    assert "[" not in line["runs/difference"].text and line["runs/detectable"].text == "–"
    assert [line[name].text for name in ("runs/n", "runs/p", "runs/smallest", "runs/holm")] == ["1", "1", "1", "1"]
    grid = make_ablation_table(frame, index_comparisons(compared), "mart", ["mart"], "ekman6", "worth", "Worth")
    first, note = grid.notes
    assert re.findall(r"\d+", note) == ["1", "1"] and "no difference can be significant" in note
    assert "±" not in shown_of(frame)["mart"][0]
    assert "spread" in first and first in make_scores_table(frame, "s", "S").notes


def test_p_values_are_printed_with_enough_decimals():
    found = {p: format_p(p) for p in (1.0, 0.5, 0.31249, 0.1, 0.0999, 0.0625, 0.03125, 0.0078125, 0.0001, 0.00009)}
    assert list(found.values()) == [
        *("1", "0.5", "0.312", "0.1", "0.0999", "0.0625", "0.0312", "0.0078", "0.0001", "< 0.0001")
    ]


def test_stars_are_given_by_the_adjusted_p_and_only_where_n_reaches_it(tmp_path):
    def star(seeds: int, others: int) -> list[str]:
        worse = [scored(f"worse{n}", *(50.0 - s - 0.1 * n for s in range(seeds))) for n in range(others)]
        frame = frame_of(*(run for runs in worse for run in runs), *scored("mart", *(70.0 for _ in range(seeds))))
        grid = against(frame, compare_with_reference(frame, "mart", PredictionCache()), "mart", "tests")
        return [cell.text for name, cell in grid.iter_cells() if name.endswith("runs/holm")]

    assert star(5, 1) == ["0.0625"]
    assert star(6, 1) == ["0.0312*"] and star(6, 2) == ["0.0625", "0.0625"]
    assert star(8, 1) == ["0.0078**"] and star(8, 6) == ["0.0469*"] * 6
    assert star(11, 1) == ["0.001***"]


def test_where_all_but_the_best_are_equal_there_is_no_second():
    assert mark_best([38.0, 0.0, 0.0, 0.0]) == ["best", "", "", ""]
    assert mark_best([38.0, 7.0, 0.0, 0.0]) == ["best", "second", "", ""]
    assert mark_best([38.0, 0.0]) == ["best", "second"]
