"""The tables of a study, and the references of its comparisons."""

from __future__ import annotations

import pytest

from methods.mart.config import PAPER as FILE
from reports.build import compose_study
from reports.runs import PredictionCache, StudyResults
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import TWO, by_hand, frame_of
from tests.reports.tables.cases import ON_TEST, SEEDS, tuned

FLAGGED = {"spec": {"protocol": "best-on-test"}, "run": ON_TEST}


def made(frame, kind="scores", full="mart", controls=("mbt",)):
    section = compose_study(StudyResults("study", "?", kind, full, controls, frame, (FILE,)), PredictionCache())
    return {grid.name: grid for grid in section.tables}, section


def ids(grid):
    return [line.id for line in grid.rows]


@pytest.fixture(scope="module")
def optimism(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimism")
    return frame_of(
        *(
            by_hand(folder, arm, seed, skill=skill + extra, **told)
            for arm, skill in (("mbt", 0.3), ("mart", 0.5))
            for told, extra in (({}, 0.0), (FLAGGED, 0.1))
            for seed in SEEDS
        )
    )


def test_best_on_test_rows_are_compared_only_with_the_clean_runs_of_their_arm(optimism):
    grids, section = made(optimism, "optimism")
    assert not any("worth" in name or "controls" in name for name in grids)
    labels = [f"{arm} (EPOCH CHOSEN ON TEST)" for arm in ("mbt", "mart")]
    assert ids(grids["study_tests"]) == [f"ekman6/{label}" for label in labels]
    assert "clean" in grids["study_tests"].title
    ps = []
    for label, cell in zip(labels, (line.cells[2] for line in grids["study_tests"].rows), strict=True):
        gains = recompute.gains(optimism.runs_of(label), optimism.runs_of(label.partition(" ")[0]))
        assert cell.value == pytest.approx(recompute.interval(gains)[0])
        assert set(cell.run_keys) == {
            r.record.key for r in (*optimism.runs_of(label), *optimism.runs_of(label.partition(" ")[0]))
        }
        ps.append(recompute.signed_rank(gains))
    assert [line.cells[6].value for line in grids["study_tests"].rows] == pytest.approx(recompute.holm(ps))
    (picture,) = [picture for picture in section.figures if picture.name == "study_differences"]
    assert [row["label"] for row in picture.rows] == labels


def test_a_best_on_test_row_without_clean_runs_is_compared_with_none(tmp_path):
    frame = frame_of(by_hand(tmp_path, "mbt", **FLAGGED), by_hand(tmp_path, "mart"))
    grids, _ = made(frame, "optimism")
    assert set(grids) == {"study_scores", "study_cost_ekman6"}


def test_a_study_without_its_full_method_has_scores_and_costs_alone(tmp_path):
    frame = frame_of(by_hand(tmp_path, "mbt"), by_hand(tmp_path, "probe"))
    grids, _ = made(frame, controls=())
    assert set(grids) == {"study_scores", "study_scores_published", "study_cost_ekman6"}


def test_a_full_method_alone_is_compared_with_nothing(tmp_path):
    grids, _ = made(frame_of(*(by_hand(tmp_path, "mart", seed) for seed in SEEDS)))
    assert set(grids) == {"study_scores", "study_scores_published", "study_cost_ekman6"}


def test_tables_of_each_data_set_and_one_of_all(tmp_path):
    frame = frame_of(*(by_hand(tmp_path, arm, card=card) for card in (TWO, *CARDS) for arm in ("mbt", "mart")))
    grids, _ = made(frame, "components")
    assert {"study_components_clips", "study_components_ekman6", "study_components_ekman6_published"} < set(grids)
    assert {"study_worth_clips", "study_controls_ekman6", "study_cost_clips", "study_overall"} < set(grids)
    assert "study_components_clips_published" not in grids
    assert len({grid.name for grid in grids.values()}) == len(grids)


CARDS = (by_hand(None, "mart", files=False).info,)


def test_data_sets_with_nothing_to_compare_with_a_reference_have_no_table_of_differences(tmp_path):
    frame = frame_of(
        *(by_hand(tmp_path, arm) for arm in ("probe", "mbt", "mart")),
        *(by_hand(tmp_path, arm, card=TWO) for arm in ("probe", "majority")),
    )
    grids, _ = made(frame)
    assert {"study_worth_ekman6", "study_controls_ekman6", "study_cost_clips"} < set(grids)
    assert not {"study_worth_clips", "study_controls_clips"} & set(grids)


def test_a_full_method_with_several_lines_has_tests_against_each(tmp_path):
    lines = [{"run": {"tuning": v, "label_suffix": v}, "config": {"lr": v}} for v in ("none", "per-arm")]
    runs = [by_hand(tmp_path, "mart", seed, **told) for told in lines for seed in SEEDS]
    grids, section = made(frame_of(*runs, *(by_hand(tmp_path, "mbt", seed) for seed in SEEDS)))
    assert ids(grids["study_tests"]) == ["ekman6/mart (per-arm)", "ekman6/mbt"]
    assert ids(grids["study_tests_2"]) == ["ekman6/mart (none)", "ekman6/mbt"]
    assert {"study_differences", "study_differences_2"} <= {picture.name for picture in section.figures}


def test_every_number_of_a_study_names_its_runs_and_no_others(tmp_path):
    frame = tuned(tmp_path)
    known = {run.record.key for run in frame.runs}
    for grid in made(frame)[0].values():
        for name, cell in grid.iter_cells():
            assert set(cell.run_keys) <= known
            printed = "/published/" in name or cell.text == "–"
            assert printed or cell.value is None or cell.run_keys, name


def test_both_ways_of_tuning_are_differences_to_the_full_method_with_their_own_runs(tmp_path):
    frame = tuned(tmp_path)
    cells = dict(made(frame)[0]["study_worth_ekman6"].iter_cells())
    for kind, n in (("shared", 3), ("per-arm", 2)):
        gains = recompute.gains([r for r in frame.runs_of(f"mbt ({kind})") if not r.failed], frame.runs_of("mart"))
        cell = cells[f"study_worth_ekman6/mbt/{kind}/mart/difference"]
        assert len(gains) == n and cell.value == pytest.approx(recompute.interval(gains)[0])
        assert cells[f"study_worth_ekman6/mbt/{kind}/mart/n"].text == str(n)
