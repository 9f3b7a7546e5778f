"""Tests that macros are valid LaTeX commands, unique, and equal to the table of scores."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.tasks import Regression, TargetRange
from bench.types import DatasetInfo
from reports.paper import make_macro_name, render_macros
from reports.runs import RunTable, StudyResults
from reports.tables.scores import make_scores_table
from tests.reports.tables.by_hand import MOOD, TWO, by_hand, frame_of
from tests.reports.tables.cases import EIGHT, SEEDS, mixed

LINE = re.compile(r"\\newcommand\{\\([A-Za-z]+)\}\{(-?[0-9]+(?:\.[0-9]+)?)\} % ([0-9a-f ]+?)(?: \((\d+/\d+ runs)\))?")


def part(frame: RunTable, name: str = "comparison") -> StudyResults:
    return StudyResults(name, "?", "scores", "mart", (), frame)


def read(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return the text and the runs of each macro. Fails on lines that are no command and on duplicate names."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line for line, one in zip(lines, found, strict=True) if not one]
    names = [one[1] for one in found if one]
    assert len(set(names)) == len(names)
    return {one[1]: (one[2], one[3].split()) for one in found if one}


def bare(arm="mart", seed=0, fold=0, **fields):
    return by_hand(None, arm, seed, fold, files=False, **fields)


def card(name: str, title: str) -> DatasetInfo:
    return replace(TWO, name=name, title=title)


def shown(frame: RunTable) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return mean, deviation and runs of each cell that has a number, in the order of the macros."""
    grid = make_scores_table(frame, "s", "S")
    found = []
    for place in (place for place, column in enumerate(grid.columns) if column.numeric and column.title != "tried"):
        for line in grid.rows:
            cell = line.cells[place]
            if cell.value is not None:
                mean, _, spread = cell.text.partition(" (")[0].partition(" ± ")
                found.append((mean, spread, "", cell.run_keys))
    return found


def test_every_cell_of_the_table_of_scores_has_a_macro_with_its_text_and_runs(tmp_path):
    frame = mixed(tmp_path)
    found = read(render_macros([part(frame)]))
    means = [(name, *found[name]) for name in found if f"{name}N" in found]
    assert len(means) == len(shown(frame)) > 20
    for (name, text, runs), (mean, spread, _, keys) in zip(means, shown(frame), strict=True):
        assert text == mean and set(runs) <= set(keys)
        assert (found[f"{name}Std"][0] if f"{name}Std" in found else "") == spread
        assert found[f"{name}N"][0] == str(len(runs)) and found[f"{name}N"][1] == runs


def test_names_are_those_of_the_documentation():
    found = read(
        render_macros([part(frame_of(*(bare(arm, seed) for arm in ("mart", "mart-no-masking") for seed in SEEDS)))])
    )
    for name in ("martEkmanAccE", "martEkmanAccEStd", "martEkmanAccEN", "martNoMaskingEkmanFS", "martEkmanFE"):
        assert name in found


def test_a_single_run_has_no_deviation_and_a_failed_one_no_macro():
    found = read(render_macros([part(frame_of(bare(), bare("mbt", error="stopped")))]))
    assert {"martEkmanAccE", "martEkmanAccEN"} <= found.keys()
    assert not any(name.endswith("Std") or name.startswith("mbt") for name in found)
    assert found["martEkmanAccEN"][0] == "1"


def test_data_sets_whose_names_differ_in_digits_alone_are_spelt():
    own = card("VideoEmotion9", "VideoEmotion9")
    found = read(render_macros([part(frame_of(bare(card=EIGHT, skill=0.4), bare(card=own, skill=0.6)))]))
    assert {"martVideoemotionEightAccE", "martVideoEmotionNineAccE"} <= found.keys()
    assert not any(name.startswith("martVideoEmotionAcc") for name in found)
    alone = read(render_macros([part(frame_of(bare(card=EIGHT)))]))
    assert "martVideoEmotionAccE" in alone


@pytest.mark.parametrize(
    "names", [("my-clips", "my_clips", "my clips"), ("データ", "映像", "123"), ("a1", "a2", "aOne"), ("x", "X", "8")]
)
def test_data_sets_with_equal_spelt_names_still_have_unique_names(names):
    runs = [bare(card=card(name, name), skill=0.2 + 0.2 * place) for place, name in enumerate(names)]
    found = read(render_macros([part(frame_of(*runs))]))
    means = {tuple(keys) for name, (_, keys) in found.items() if name.endswith("AccE")}
    assert means == {(run.record.key,) for run in runs}


@pytest.mark.parametrize(
    "apart",
    [
        ("shared", "per-arm"),
        ("epochs=2", "epochs=4"),
        ("lr=0.01", "lr=0.001"),
        ("lr=1e-05", "lr=1e-06"),
        ("a_b", "a-b"),
        ("EPOCH CHOSEN ON TEST", "refit on train + val"),
    ],
)
def test_rows_of_one_arm_have_unique_names(apart):
    runs = [bare(run={"label_suffix": text}, config={"x": text}, skill=0.2 + 0.3 * n) for n, text in enumerate(apart)]
    found = read(render_macros([part(frame_of(*runs))]))
    assert {tuple(keys) for name, (_, keys) in found.items() if name.endswith("AccE")} == {
        (run.record.key,) for run in runs
    }


def test_shared_and_per_arm_are_read_in_the_name():
    runs = [bare(run={"label_suffix": text}, config={"x": text}) for text in ("shared", "per-arm")]
    found = read(render_macros([part(frame_of(*runs))]))
    assert {"martSharedEkmanAccE", "martPerArmEkmanAccE"} <= found.keys()


def test_a_number_shared_by_two_studies_has_one_macro_and_others_have_the_name_of_their_study():
    mart, mbt = [bare(seed=seed, skill=0.5) for seed in SEEDS], [bare("mbt", seed, skill=0.3) for seed in SEEDS]
    first, same = part(frame_of(*mart, *mbt)), part(frame_of(*mart, *mbt), "ablation")
    assert render_macros([first, same]) == render_macros([first])
    other = part(frame_of(*mart[:2], *mbt), "ablation")
    found = read(render_macros([first, other]))
    assert found["martEkmanAccEN"][0] == "3" and found["ablationMartEkmanAccEN"][0] == "2"
    assert found["martEkmanAccE"][1] == [run.record.key for run in mart]
    assert found["ablationMartEkmanAccE"][1] == [run.record.key for run in mart[:2]]
    assert "ablationMbtEkmanAccEN" not in found


def test_three_studies_with_different_numbers_lose_none():
    parts = [part(frame_of(*(bare(seed=s) for s in range(n + 1))), name) for n, name in enumerate(("a", "b", "c"))]
    found = read(render_macros(parts))
    assert [found[name][0] for name in ("martEkmanAccEN", "bMartEkmanAccEN", "cMartEkmanAccEN")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "first", "spelt", "expected"),
    [
        ("Acc E", True, False, "AccE"),
        ("mart-no-masking", False, False, "martNoMasking"),
        ("VideoEmotion-8", True, True, "VideoEmotionEight"),
        ("Aff-Wild2", True, False, "AffWild"),
        ("été", True, False, "T"),
        ("²³", False, True, "x"),
        ("", True, False, "X"),
    ],
)
def test_a_name_becomes_letters(name, first, spelt, expected):
    assert make_macro_name(name, first, spelt) == expected


def scores(*targets, **task):
    """Return a data set of numbers with these names of targets."""
    ranges = tuple(TargetRange(name, -3.0, 3.0) for name in targets)
    return replace(MOOD, name="own", title="Own", task=Regression(ranges, **task))


def test_a_negative_number_has_a_minus_in_tables_and_a_hyphen_in_macros():
    given = {"test/mae": 2.5, "test/ccc": -0.496, "test/corr": -0.66, "test/n": 20.0}
    frame = frame_of(bare(card=MOOD, scores=given))
    assert read(render_macros([part(frame)]))["martOwnScoresCCC"][0] == "-0.496"
    (cell,) = [cell for name, cell in make_scores_table(frame, "s", "S").iter_cells() if name.endswith("/ccc")]
    assert cell.text == "−0.496"


def test_names_of_metrics_with_digits_are_spelt():
    found = read(render_macros([part(frame_of(*(bare(seed=seed, card=scores("mood")) for seed in SEEDS)))]))
    names = {name.removeprefix("martOwn") for name in found if not name.endswith(("Std", "N"))}
    assert names == {"MAE", "Corr", "CCC", "AccSeven", "AccFive", "AccTwo", "F", "AccTwoHasZero", "FHas"}


@pytest.mark.parametrize(
    "targets",
    [
        ("valence", "arousal"),
        ("valence 1", "valence 2"),
        ("中", "文", "笑"),
        ("a", "A", "中"),
        ("b", "中", "文", "1"),
        ("n", "std", "N 2"),
        tuple(chr(0x4E00 + place) for place in range(40)),
    ],
)
def test_every_target_has_a_macro_of_its_own(targets):
    frame = frame_of(*(bare(seed=seed, card=scores(*targets, select="ccc")) for seed in SEEDS))
    found = read(render_macros([part(frame)]))
    means = [(name, *found[name]) for name in found if f"{name}N" in found]
    assert [text for _, text, _ in means] == [mean for mean, *_ in shown(frame)] and len(means) == 3 + len(targets)
    assert found["martOwnCCC"][0] == shown(frame)[0][0] and found["martOwnCCCN"][0] == "3"
    if targets == ("valence", "arousal"):
        assert {"martOwnCCCValence", "martOwnCCCArousal"} <= found.keys()
