"""Every printed number agrees with an independent computation from the stored predictions."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.comparisons import compare_with_reference
from reports.formats.plain import render_markdown
from reports.runs import PredictionCache, RunTable
from reports.tables.costs import make_costs_table
from reports.tables.differences import index_comparisons, make_ablation_table
from reports.tables.differences import make_significance_table as against
from reports.tables.published import make_published_comparison
from reports.tables.scores import make_components_table, make_scores_table
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import accuracy, by_hand, frame_of, read, right
from tests.reports.tables.cases import EIGHT, PAPER, SEEDS

METRICS = ("acc_s", "f1_s", "acc_e", "f1_e")
ARMS = {"mbt": 0.3, "mart-no-masking": 0.45, "mart-no-verification": 0.49, "mart": 0.5}


@pytest.fixture(scope="module")
def ekman(tmp_path_factory) -> RunTable:
    """Return six seeds of four arms."""
    folder = tmp_path_factory.mktemp("ekman")
    return frame_of(*(by_hand(folder, arm, seed, skill=skill) for arm, skill in ARMS.items() for seed in range(6)))


@pytest.fixture(scope="module")
def eight(tmp_path_factory) -> RunTable:
    """Return three overlapping folds with two seeds."""
    folder = tmp_path_factory.mktemp("eight")
    return frame_of(
        *(
            by_hand(folder, arm, seed, fold, skill=skill, card=EIGHT)
            for arm, skill in {"mbt": 0.35, "mart": 0.5}.items()
            for fold in (1, 2, 3)
            for seed in (0, 1)
        )
    )


def cells(grid) -> dict[str, str]:
    return {name.partition("/")[2]: cell.text for name, cell in grid.iter_cells()}


def keys(grid) -> dict[str, tuple[str, ...]]:
    return {name.partition("/")[2]: cell.run_keys for name, cell in grid.iter_cells()}


def column(frame: RunTable, metric: str) -> dict[str, str]:
    """Return label -> expected text."""
    values = {label: [recompute.score(run, metric) for run in frame.runs_of(label)] for label in frame.labels}
    decimals = recompute.places(list(values.values()), 60)
    return {label: recompute.shown(found, decimals) for label, found in values.items()}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("which", ["ekman", "eight"])
def test_scores_are_means_and_deviations_of_what_is_stored(which, metric, request):
    frame = request.getfixturevalue(which)
    dataset = frame.runs[0].info.name
    found = cells(make_scores_table(frame, "scores", "Scores"))
    for label, text in column(frame, metric).items():
        assert found[f"{label}/{dataset}/{metric}"] == text
    assert keys(make_scores_table(frame, "s", "S"))[f"mart/{dataset}/{metric}"] == tuple(
        r.record.key for r in frame.runs_of("mart")
    )


def test_a_single_run_has_the_decimals_of_the_error_of_so_many_clips(tmp_path):
    few = frame_of(*(by_hand(tmp_path, arm, skill=0.5) for arm in ("mbt", "mart")))
    many = frame_of(*(by_hand(tmp_path / "many", arm, skill=0.5, clips=6000) for arm in ("mbt", "mart")))
    for frame, clips, decimals in ((few, 60, 1), (many, 6000, 2)):
        found = cells(make_scores_table(frame, "scores", "Scores"))
        for run in frame.runs:
            assert found[f"{run.arm}/ekman6/acc_e"] == f"{accuracy(run):.{decimals}f}"
        assert recompute.places([[accuracy(run)] for run in frame.runs], clips) == decimals


def test_recalls_of_classes_are_those_of_what_is_stored(ekman):
    found = cells(make_components_table(ekman, "components", "components", "Components", "ekman6"))
    for name in (*(f"recall/{one}" for one in ekman.runs[0].info.classes), "acc_e"):
        for label, text in column(ekman, name).items():
            assert found[f"{label}/{name}"] == text


def test_differences_intervals_and_p_are_those_of_the_pairs(ekman):
    compared = index_comparisons(compare_with_reference(ekman, "mart", PredictionCache()))
    found = cells(make_ablation_table(ekman, compared, "mart", ["mart"], "ekman6", "worth", "Worth"))
    others = [label for label in ekman.labels if label != "mart"]
    gains = {label: recompute.gains(ekman.runs_of(label), ekman.runs_of("mart")) for label in others}
    adjusted = recompute.holm([recompute.signed_rank(gains[label]) for label in others])
    for label, p in zip(others, adjusted, strict=True):
        mean, low, high, _ = recompute.interval(gains[label])
        text = found[f"{label}/none/mart/difference"]
        decimals = recompute.two_digits(float(np.std(gains[label], ddof=1)))
        assert recompute.numbers(text) == [round(value, decimals) for value in (mean, low, high)]
        assert found[f"{label}/none/mart/n"] == "6"
        assert recompute.numbers(found[f"{label}/none/mart/p"]) == [pytest.approx(p, abs=5e-5 if p < 0.1 else 5e-4)]
    assert found["mart/none/mart/difference"] == "reference"


def detectable(gains: list[float]) -> str:
    """Return the expected text, with the decimals of the mean of these six pairs."""
    decimals = recompute.two_digits(float(np.std(gains, ddof=1)))
    return f"{recompute.detectable(6, recompute.interval(gains)[3]):.{decimals}f}"


def test_the_range_of_detectable_differences_is_printed(ekman):
    compared = index_comparisons(compare_with_reference(ekman, "mart", PredictionCache()))
    grid = make_ablation_table(ekman, compared, "mart", ["mart"], "ekman6", "worth", "Worth")
    gains = [recompute.gains(ekman.runs_of(label), ekman.runs_of("mart")) for label in ekman.labels if label != "mart"]
    sizes = sorted((detectable(one) for one in gains), key=float)
    (note,) = grid.notes
    told = re.findall(r"\d+(?:\.\d+)?", note)
    assert [one for one in told if "." in one] == ["0.0312", "0.0938", sizes[0], sizes[-1]]
    assert {"6", "3"} <= set(told)  # pairs of runs, and number of comparisons
    assert "no difference can be significant" in note


def test_tests_by_runs_are_those_of_the_pairs(ekman):
    found = cells(against(ekman, compare_with_reference(ekman, "mart", PredictionCache()), "mart", "tests"))
    for label in ekman.labels[:-1]:
        gains, line = recompute.gains(ekman.runs_of(label), ekman.runs_of("mart")), f"ekman6/{label}"
        assert recompute.numbers(found[f"{line}/runs/p"]) == [pytest.approx(recompute.signed_rank(gains), abs=6e-4)]
        assert recompute.numbers(found[f"{line}/runs/smallest"]) == [pytest.approx(2**-5, abs=6e-5)]
        assert found[f"{line}/runs/detectable"] == detectable(gains)
        assert found[f"{line}/runs/n"] == "6"


def resampled(ours: np.ndarray, theirs: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Return mean differences in points over resampled videos."""
    gains = 100 * (ours.mean(axis=0) - theirs.mean(axis=0))
    names = sorted(set(videos))
    sums = np.array([gains[videos == one].sum() for one in names])
    sizes = np.array([(videos == one).sum() for one in names])
    drawn = np.random.default_rng(1).integers(len(names), size=(4000, len(names)))
    return sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)


@pytest.mark.parametrize("which", ["ekman", "eight"])
def test_intervals_by_clips_are_those_of_a_bootstrap_of_videos(which, request):
    frame = request.getfixturevalue(which)
    compared = compare_with_reference(frame, "mart", PredictionCache())
    found = cells(against(frame, compared, "mart", "tests"))
    seeds = sorted({run.record.spec.seed for run in frame.runs})

    def rows(label):
        return np.array(
            [np.concatenate([right(r) for r in frame.runs_of(label) if r.record.spec.seed == s]) for s in seeds]
        )

    mine = [run for run in frame.runs_of("mart") if run.record.spec.seed == 0]
    videos = np.concatenate([read(run)["group"].to_numpy() for run in mine])
    for one in compared:
        draws = resampled(rows(one.label), rows("mart"), videos)
        mean, low, high = recompute.numbers(found[f"{one.dataset}/{one.label}/clips/difference"])
        wide = np.subtract(*np.percentile(draws, [97.5, 2.5]))
        assert mean == pytest.approx(100 * (rows(one.label).mean() - rows("mart").mean()), abs=0.051)
        assert [low, high] == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist(), abs=0.1 * wide + 0.05)
        assert found[f"{one.dataset}/{one.label}/clips/groups"] == str(len(set(videos)))


def test_p_by_clips_is_that_of_the_bootstrap_adjusted(ekman):
    compared = compare_with_reference(ekman, "mart", PredictionCache())
    found = cells(against(ekman, compared, "mart", "tests"))
    videos = read(ekman.runs_of("mart")[0])["group"].to_numpy()
    ps = []
    for one in compared:
        draws = resampled(
            np.array([right(run) for run in ekman.runs_of(one.label)]),
            np.array([right(run) for run in ekman.runs_of("mart")]),
            videos,
        )
        ps.append(min(1.0, 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean()))))
    for one, p in zip(compared, recompute.holm(ps), strict=True):
        assert recompute.numbers(found[f"ekman6/{one.label}/clips/holm"]) == [pytest.approx(p, abs=0.004 + 0.1 * p)]


def test_mcnemar_is_twice_the_median_of_exact_tests_of_the_seeds(ekman):
    found = cells(against(ekman, compare_with_reference(ekman, "mart", PredictionCache()), "mart", "tests"))
    for label in ekman.labels[:-1]:
        each = []
        for ours, theirs in zip(ekman.runs_of(label), ekman.runs_of("mart"), strict=True):
            one, other = right(ours), right(theirs)
            each.append(recompute.mcnemar(int((one & ~other).sum()), int((~one & other).sum())))
        p = min(1.0, 2 * float(np.median(each)))
        assert recompute.numbers(found[f"ekman6/{label}/clips/mcnemar"]) == [pytest.approx(p, abs=6e-4)]


def test_folds_that_overlap_are_pairs_and_their_interval_and_p_are_corrected(eight):
    grid = against(eight, compare_with_reference(eight, "mart", PredictionCache()), "mart", "tests")
    found = cells(grid)
    gains = recompute.gains(eight.runs_of("mbt"), eight.runs_of("mart"))
    assert len(gains) == 3
    mean, low, high, error = recompute.interval(gains, overlap=60 / 200)
    decimals = recompute.two_digits(float(np.std(gains, ddof=1)))
    line = "videoemotion8/mbt"
    assert recompute.numbers(found[f"{line}/runs/difference"]) == [round(v, decimals) for v in (mean, low, high)]
    p = 2 * stats.t.sf(abs(mean) / error, 2)
    assert recompute.numbers(found[f"{line}/runs/p"]) == [pytest.approx(p, abs=6e-4)]
    assert found[f"{line}/runs/n"] == "3" and found[f"{line}/runs/smallest"] == "–"
    assert found[f"{line}/runs/detectable"] == f"{recompute.detectable(3, error):.1f}"
    assert found[f"{line}/clips/mcnemar"] == "–"
    notes = {name.rpartition("/")[2]: cell.footnotes for name, cell in grid.iter_cells() if cell.footnotes}
    assert notes.keys() == {"difference", "mcnemar"} and len(grid.footnotes) == 2
    assert "corrected" in notes["difference"][0] and "McNemar" in notes["mcnemar"][0]


def test_folds_of_records_without_training_clips_are_corrected_by_the_size_of_the_data_set(eight):
    older = [replace(run, record=replace(run.record, notes={})) for run in eight.runs]
    (found,) = compare_with_reference(frame_of(*older), "mart", PredictionCache())
    gains = recompute.gains(eight.runs_of("mbt"), eight.runs_of("mart"))
    _, low, high, _ = recompute.interval(gains, overlap=60 / (0.8 * (EIGHT.clips - 60)))
    assert (found.paired_test.low, found.paired_test.high) == pytest.approx((low, high))


def test_one_fold_of_such_a_data_set_is_not_corrected_and_has_mcnemars_test(eight):
    first = frame_of(*(run for run in eight.runs if run.record.spec.fold == 1))
    (found,) = compare_with_reference(first, "mart", PredictionCache())
    assert not found.paired_test.is_corrected and found.paired_test.n_pairs == 2 and found.mcnemar_p is not None


def test_calibration_gap_size_work_and_hours_are_those_of_the_records(ekman):
    found = cells(make_costs_table(ekman, PredictionCache(), "ekman6", "costs"))
    errors = {label: [recompute.calibration(run) for run in ekman.runs_of(label)] for label in ekman.labels}
    decimals = recompute.places(list(errors.values()), 60)
    for label in ekman.labels:
        runs = ekman.runs_of(label)
        assert found[f"{label}/ece"] == recompute.shown(errors[label], decimals)
        gaps = [accuracy(run, "val") - accuracy(run) for run in runs]
        digits = recompute.two_digits(float(np.std(gaps, ddof=1)))
        spread = round(float(np.std(gaps, ddof=1)), digits)
        assert recompute.numbers(found[f"{label}/gap"]) == [round(float(np.mean(gaps)), digits), spread]
        assert found[f"{label}/parameters"] == "1.25" and found[f"{label}/flops"] == "3.40"
        hours = np.mean([(3600 + 360 * run.record.spec.seed + 36) / 3600 for run in runs])
        assert found[f"{label}/hours"] == f"{hours:.2f}"


@pytest.mark.parametrize(
    ("flops", "text"),
    [(2.88e12, "2880"), (9.999e9, "10.0"), (1.5e7, "0.0150"), (0.0, "0.00"), (9.996e11, "1000"), (1.234e11, "123")],
)
def test_sizes_have_three_digits_and_no_power_of_ten(tmp_path, flops, text):
    frame = frame_of(by_hand(tmp_path, "mart", notes={"cost/flops": flops}))
    assert cells(make_costs_table(frame, PredictionCache(), "ekman6", "costs"))["mart/flops"] == text


def test_a_gap_is_ours_minus_what_is_published(ekman):
    grid = make_published_comparison(ekman, make_scores_table(ekman, "scores", "Scores"), "scores", "published", PAPER)
    found = {name.partition("/")[2]: cell for name, cell in grid.iter_cells()}
    for metric in METRICS:
        ours = np.mean([recompute.score(run, metric) for run in ekman.runs_of("mart")])
        printed = recompute.numbers(found[f"published/mart/ekman6/{metric}"].text)[0]
        cell = found[f"gap/mart/ekman6/{metric}"]
        assert cell.value == pytest.approx(ours - printed)
        assert recompute.numbers(cell.text) == [round(float(ours - printed), 1)]
        assert set(cell.run_keys) == {run.record.key for run in ekman.runs_of("mart")}


def shuffled(frame: RunTable, seed: int) -> RunTable:
    """Return the same rows in order, with their runs in another order."""
    mixed = np.random.default_rng(seed)
    runs = [run for label in frame.labels for run in mixed.permutation(np.array(frame.runs_of(label), dtype=object))]
    return RunTable(tuple(runs), frame.expected_runs, frame.footnotes, frame.tuning_note)


@pytest.mark.parametrize("which", ["ekman", "eight"])
def test_the_order_of_runs_changes_nothing_in_any_table(which, request):
    frame = request.getfixturevalue(which)
    dataset = frame.runs[0].info.name

    def all_of(frame: RunTable) -> list[str]:
        compared = compare_with_reference(frame, "mart", PredictionCache())
        first = make_scores_table(frame, "scores", "Scores")
        made = [
            first,
            make_published_comparison(frame, first, "scores", "published", PAPER),
            make_costs_table(frame, PredictionCache(), dataset, "costs"),
        ]
        made += [make_ablation_table(frame, index_comparisons(compared), "mart", ["mart"], dataset, "worth", "Worth")]
        made += [
            against(frame, compared, "mart", "tests"),
            make_components_table(frame, "components", "c", "C", dataset),
        ]
        return [render_markdown(grid) for grid in made]

    assert all(all_of(shuffled(frame, seed)) == all_of(frame) for seed in range(2))


def test_a_method_against_itself_has_difference_0_and_p_1(tmp_path):
    runs = [by_hand(tmp_path, arm, seed, like="mart") for arm in ("mbt", "mart") for seed in SEEDS]
    frame = frame_of(*runs)
    found = cells(against(frame, compare_with_reference(frame, "mart", PredictionCache()), "mart", "tests"))
    line = {name.removeprefix("ekman6/mbt/"): text for name, text in found.items()}
    assert line["runs/difference"] == "0.0" and line["runs/p"] == line["runs/holm"] == "1"
    assert line["clips/difference"] == "0.0" and line["clips/holm"] == line["clips/mcnemar"] == "1"
    assert line["runs/detectable"] == "–"
