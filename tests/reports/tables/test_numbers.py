"""Tables of runs that predict numbers: units, marks, signs and legends where a lower score is better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.metrics import Predictions, score
from bench.tasks import ERROR_METRICS, Regression, TargetRange
from reports.comparisons import compare_with_reference
from reports.runs import Mean, PredictionCache, SearchSummary
from reports.tables.columns import count_decimals, describe_difference, format_difference
from reports.tables.costs import make_costs_table, make_search_spaces_table
from reports.tables.differences import index_comparisons, make_ablation_table, make_significance_table
from reports.tables.scores import (
    make_components_table,
    make_overall_table,
    make_scores_table,
    rank_rows,
    select_complete_rows,
)
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import AFFECT, MOOD, by_hand, frame_of, read
from tests.reports.tables.cases import EKMAN, SEEDS
from tests.reports.tables.test_captions import check_captions

ARMS = {"majority": 0.0, "mbt": 0.6, "mart": 0.8}
SIMS = replace(MOOD, name="narrow", title="Narrow", task=Regression((TargetRange("sentiment", -1, 1),)))
WIDE = replace(MOOD, name="wide", title="Wide", task=Regression((TargetRange("score", 0, 100),)))


def runs(folder, *cards, seeds=SEEDS, arms=ARMS):
    return [
        by_hand(folder, arm, seed, card=card, skill=skill)
        for card in cards
        for arm, skill in arms.items()
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return frame_of(*runs(tmp_path_factory.mktemp("runs"), MOOD, AFFECT, seeds=range(6)))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return frame_of(*runs(tmp_path_factory.mktemp("runs"), EKMAN, MOOD, seeds=range(6)))


def worth(frame, dataset):
    compared = index_comparisons(compare_with_reference(frame, "mart", PredictionCache()))
    return make_ablation_table(frame, compared, "mart", ["mart"], dataset, "worth", "Worth")


def compared(frame):
    return make_significance_table(frame, compare_with_reference(frame, "mart", PredictionCache()), "mart", "tests")


def cells(table):
    return {name.partition("/")[2]: cell for name, cell in table.iter_cells()}


def stored_scores(run):
    """Return the scores of the stored test predictions."""
    table, names = read(run), run.info.task.output_names
    columns = [table[[f"{kind}/{name}" for name in names]].to_numpy() for kind in ("target", "score")]
    return score(Predictions(tuple(table["clip"]), *columns), run.info.task)


def test_columns_are_the_metrics_of_each_data_set_with_their_digits(frame):
    found = cells(make_scores_table(frame, "scores", "Scores"))
    assert [name.partition("/")[2] for name in found if name.startswith("mart/")] == [
        *("mood/mae", "mood/corr", "mood/ccc", "mood/acc7", "mood/acc5", "mood/acc2_non0"),
        *("mood/f1_non0", "mood/acc2_has0", "mood/f1_has0", "mood/tried"),
        *("affect/ccc", "affect/mae", "affect/corr", "affect/ccc/valence", "affect/ccc/arousal", "affect/tried"),
    ]
    for card in (MOOD, AFFECT):
        for metric in card.task.shown:
            values = {
                arm: [
                    metric.scale * stored_scores(run)[metric.name]
                    for run in frame.runs_of(arm)
                    if run.info.name == card.name
                ]
                for arm in ("mbt", "mart")
            }
            for arm, each in values.items():
                cell = found[f"{arm}/{card.name}/{metric.name}"]
                mean, spread = recompute.numbers(cell.text)
                assert cell.value == pytest.approx(np.mean(each))
                places = len(cell.text.partition(" ")[0].partition(".")[2])
                assert places <= (2 if metric.scale == 100 else 4)
                assert [mean, spread] == pytest.approx([np.mean(each), np.std(each, ddof=1)], abs=0.51 * 10**-places)


@pytest.mark.parametrize("name", ["mae", "corr", "ccc"])
def test_the_lowest_error_is_the_best_and_the_highest_correlation(name, frame):
    found = cells(make_scores_table(frame, "scores", "Scores"))
    marks = {arm: found[f"{arm}/mood/{name}"].mark for arm in ARMS}
    assert marks == {"majority": "", "mbt": "second", "mart": "best"}
    values = {arm: found[f"{arm}/mood/{name}"].value for arm in ARMS}
    assert (values["mart"] < values["mbt"] < values["majority"]) == (name == "mae")


def test_a_number_that_is_no_percent_has_up_to_four_decimals():
    assert [count_decimals(spread, percent=False) for spread in (12.0, 0.5, 0.025, 0.0025, 0.00001, 0.0)] == [
        *(0, 2, 3, 4, 4, 4)
    ]


@pytest.mark.parametrize("card", [MOOD, SIMS, AFFECT, WIDE])
def test_captions_are_short_and_the_legend_explains_every_metric(card, tmp_path):
    frame = frame_of(*runs(tmp_path, card))
    tables = [
        make_scores_table(frame, "scores", "Scores"),
        make_components_table(frame, "components", "parts", "Parts", card.name),
        make_costs_table(frame, PredictionCache(), card.name, "costs"),
        worth(frame, card.name),
        compared(frame),
    ]
    for table in tables:
        check_captions([table], table.legend)
        terms = {word.strip(",") for entry in table.legend for word in entry.term.split()}
        for column in table.columns[1:]:
            if column.id.rpartition("/")[2] in {metric.name for metric in card.task.shown}:
                assert column.title.split()[0] in terms, (table.name, column.title)
        assert len({entry.term for entry in table.legend}) == len(table.legend)
        texts = " ".join([table.caption, *table.notes, *(f"{entry.term} {entry.text}" for entry in table.legend)])
        assert "points" not in texts and "Acc E" not in texts and "ECE" not in texts
    percent = "percent" in tables[0].caption
    assert percent == any(metric.scale == 100 for metric in card.task.shown)


def test_other_scores_take_the_place_of_recall(frame):
    table = make_components_table(frame, "components", "parts", "Parts", "affect")
    scored = [column.id for column in table.columns if not column.id.startswith("part/")]
    assert scored == ["method", "ccc", "tried", "mae", "corr", "ccc/valence", "ccc/arousal"]
    assert "other scores" in table.caption and "recall" not in " ".join(entry.text for entry in table.legend)


def test_a_difference_in_an_error_is_above_0_where_it_is_worse(frame):
    found = cells(worth(frame, "mood"))
    assert found["mbt/none/mart/difference"].text.startswith("+") and found["mart/none/mae"].mark == "best"
    (side,) = [entry for entry in worth(frame, "mood").legend if entry.term == "Differences in MAE"]
    assert "above 0 is worse" in side.text
    assert cells(worth(frame, "affect"))["mbt/none/mart/difference"].text.startswith("−")
    (side,) = [entry for entry in worth(frame, "affect").legend if entry.term == "Differences in CCC"]
    assert "below 0 is worse" in side.text
    sides = [[stored_scores(run)["mae"] for run in frame.for_dataset("mood").runs_of(arm)] for arm in ("mbt", "mart")]
    gains = np.subtract(*sides).tolist()
    mean, low, high, _ = recompute.interval(gains)
    shown = recompute.numbers(found["mbt/none/mart/difference"].text)
    assert shown == pytest.approx([mean, low, high], abs=0.0006)
    assert found["mbt/none/mart/p"].value == pytest.approx(4 * recompute.signed_rank(gains))  # Holm, of 4 comparisons


def test_tests_by_clips_have_an_interval_and_no_mcnemar(frame):
    table = compared(frame)
    found = cells(table)
    for dataset in ("mood", "affect"):
        line = f"{dataset}/mbt"
        assert found[f"{line}/clips/mcnemar"].text == "–"
        (note,) = found[f"{line}/clips/mcnemar"].footnotes
        assert "classes" in note
        mean, low, high = recompute.numbers(found[f"{line}/clips/difference"].text)
        assert low < mean < high and (low > 0) == (dataset == "mood")
        assert found[f"{line}/clips/difference"].value == pytest.approx(found[f"{line}/runs/difference"].value)
        assert found[f"{line}/clips/groups"].value == 30
    assert "MAE or CCC" in table.caption


def test_points_are_only_of_percents(mixed):
    table = compared(mixed)
    assert "points of Acc E or MAE" in table.caption
    assert {entry.term for entry in table.legend} >= {"Differences in points of Acc E", "Differences in MAE"}
    assert any("points" in note and "of MAE" in note for note in table.notes)
    found = cells(table)
    assert found["mood/mbt/clips/mcnemar"].text == "–" and found["ekman6/mbt/clips/mcnemar"].text != "–"
    assert [describe_difference(metric) for metric in (EKMAN.task.primary, MOOD.task.primary)] == [
        *("points of Acc E", "MAE")
    ]
    scores = make_scores_table(mixed, "scores", "Scores")
    check_captions([table, scores], (*table.legend, *scores.legend))
    assert "Acc and F1 in percent" in scores.caption


def test_costs_have_no_calibration_error_and_a_gap_with_the_digits_of_the_score(frame):
    table = make_costs_table(frame, PredictionCache(), "mood", "costs")
    assert "ece" not in [column.id for column in table.columns] and "Calibration" not in table.caption
    found = cells(table)
    each = [run.record.scores["val/mae"] - run.record.scores["test/mae"] for run in frame.runs_of("mart")[:6]]
    assert found["mart/gap"].value == pytest.approx(np.mean(each))
    mean, spread = recompute.numbers(found["mart/gap"].text)
    assert [mean, spread] == pytest.approx([np.mean(each), np.std(each, ddof=1)], abs=0.0051)
    assert not any(cell.mark for cell in found.values())


def test_the_best_trial_of_a_search_is_printed_in_the_unit_of_its_metric():
    how = {"arm": "mbt", "data": "real", "fold": 0, "preset": "quick", "sampler": "tpe", "pruner": "median", "seeds": 1}
    how |= {"base_config": {"lr": 0.1}, "ranges": {"lr": [0.01, 1.0, "log"]}, "best_values": {"lr": 0.2}}
    how |= {"configurations_tried": 2, "best_score": 0.71239, "trials": (), "metric": ERROR_METRICS["mae"]}
    found = [SearchSummary("a" * 12, dataset="mood", **how)]
    table = make_search_spaces_table(found, {"mood": "Own scores"}, "spaces")
    assert table.columns[-1].title == "best val MAE" and table.rows[0].cells[-1].text == "0.712"
    assert any(entry.term.startswith("MAE") for entry in table.legend)


def test_a_mean_over_data_sets_needs_one_metric_and_one_range(tmp_path, mixed):
    twin = replace(MOOD, name="twin", title="Twin")
    table = make_overall_table(frame_of(*runs(tmp_path, MOOD, twin, seeds=range(5))), "overall", "Overall")
    assert table is not None and table.columns[1].title == "mean MAE" and "percent" not in table.caption
    found = cells(table)
    assert {arm: found[f"{arm}/mean"].mark for arm in ARMS} == {"majority": "", "mbt": "second", "mart": "best"}
    assert {arm: found[f"{arm}/rank"].text for arm in ARMS} == {"majority": "3.00", "mbt": "2.00", "mart": "1.00"}
    low, high = (float(end) for end in found["mart/interval"].text.split(" to "))
    assert low <= found["mart/mean"].value <= high < 1
    check_captions([table], table.legend)
    for cards in ((MOOD, WIDE), (MOOD, AFFECT)):
        assert make_overall_table(frame_of(*runs(tmp_path / cards[1].name, *cards)), "overall", "Overall") is None
    assert make_overall_table(mixed, "overall", "Overall") is None


def test_ranks_are_by_the_first_score_of_each_data_set(mixed):
    ranks = rank_rows(select_complete_rows(mixed))
    assert dict(zip(ranks.methods, ranks.ranks, strict=True)) == {"majority": 3, "mbt": 2, "mart": 1}


def test_a_constant_prediction_has_no_correlation_and_is_not_compared_by_it(tmp_path):
    task = Regression((TargetRange("sentiment", -3, 3),), select="corr")
    card = replace(MOOD, name="corr", task=task)
    frame = frame_of(*(by_hand(tmp_path, arm, s, card=card, skill=k) for arm, k in ARMS.items() for s in SEEDS))
    flat = frame_of(*(constant(run) if run.arm == "majority" else run for run in frame.runs))
    found = cells(make_scores_table(flat, "scores", "Scores"))
    assert found["majority/corr/corr"].text == "–" and found["mart/corr/corr"].mark == "best"
    assert [one.label for one in compare_with_reference(flat, "mart", PredictionCache())] == ["mbt"]


def constant(run):
    """Return a run whose correlation is not defined."""
    scores = {name: None if "corr" in name else value for name, value in run.record.scores.items()}
    return replace(run, record=replace(run.record, scores=scores))


def test_a_difference_of_errors_has_the_decimals_of_its_spread():
    assert format_difference(Mean(-0.01234, 0.00256, (-0.01234,), ("k",)), percent=False) == "−0.0123 ± 0.0026"
