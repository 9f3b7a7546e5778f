"""Facts that captions and the legend state, in any wording: seeds and folds, values, marks, number of tests."""

from __future__ import annotations

import re

import pytest

from reports.build import compose_study
from reports.comparisons import compare_with_reference
from reports.runs import PredictionCache, StudyResults
from reports.tables.columns import describe_averaging
from reports.tables.costs import make_costs_table, make_search_spaces_table
from reports.tables.differences import index_comparisons, make_ablation_table
from reports.tables.differences import make_significance_table as against
from reports.tables.published import make_published_comparison
from reports.tables.scores import make_components_table, make_overall_table, make_scores_table
from reports.types import Table
from tests.reports.tables.by_hand import by_hand, frame_of
from tests.reports.tables.cases import CASES, EIGHT, PAPER, SEEDS, ablation, summaries

MAX_WORDS = 40
CACHE = PredictionCache()
VALUES = "Whose values these are."
ARMS = ("majority", "mbt", "mart")


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    """Return a table of every kind with means, of three seeds on one data set and two folds of another."""
    runs = [by_hand(None, arm, seed, files=False) for arm in ARMS for seed in SEEDS]
    runs += [by_hand(None, arm, 0, fold, files=False, card=EIGHT) for arm in ARMS for fold in (1, 2)]
    frame = frame_of(*runs, values=VALUES)
    compared = compare_with_reference(frame, "mart", PredictionCache())
    first = make_scores_table(frame, "scores", "Scores")
    return {
        "scores": first,
        "components": make_components_table(frame, "components", "components", "Components", "ekman6"),
        "costs": make_costs_table(frame, PredictionCache(), "ekman6", "costs"),
        "worth": make_ablation_table(frame, index_comparisons(compared), "mart", ["mart"], "ekman6", "worth", "Worth"),
        "tests": against(frame, compared, "mart", "tests"),
        "published": make_published_comparison(frame, first, "scores", "published", PAPER),
        "overall": make_overall_table(frame, "overall", "Overall"),
    }


def test_captions_name_the_seeds_and_folds_that_means_are_over():
    one = [by_hand(None, arm, seed, files=False) for arm in ARMS for seed in (0, 1, 2, 7)]
    folds = [by_hand(None, arm, 0, fold, files=False, card=EIGHT) for arm in ARMS for fold in (1, 2, 5)]
    assert numbers(describe_averaging(frame_of(*one))) == ["0", "1", "2", "7"]
    assert numbers(describe_averaging(frame_of(*one[:3]))) == ["0", "2"]  # from 0 to 2
    assert numbers(describe_averaging(frame_of(*one[:3], *folds))) == ["0", "2", "3", "8"]  # 3 folds of VideoEmotion-8
    assert numbers(describe_averaging(frame_of(*one, *folds), "ekman6"))[:4] == ["0", "1", "2", "7"]


@pytest.mark.parametrize("name", ["scores", "components", "costs", "worth"])
def test_a_table_of_means_names_its_seeds(name, tables):
    assert {"0", "2"} <= set(numbers(tables[name].caption))


def test_a_study_states_once_which_values_its_runs_have():
    runs = [by_hand(None, arm, seed, files=False) for arm in ARMS for seed in SEEDS]
    section = compose_study(StudyResults("study", "?", "scores", "mart", (), frame_of(*runs, values=VALUES)), CACHE)
    assert section.paragraphs.count(VALUES) == 1
    assert not any(VALUES in part.caption for part in (*section.tables, *section.figures))


@pytest.mark.parametrize("name", ["scores", "components", "worth", "overall", "costs"])
def test_marks_are_explained_in_the_legend_of_each_table_that_has_them(name, tables):
    texts = [entry.text.lower() for entry in tables[name].legend]
    assert any("bold" in text and "underlined" in text for text in texts)


def test_marks_are_explained_by_one_entry_and_not_where_a_figure_would_repeat_them(tables):
    entries = {entry for table in tables.values() for entry in table.legend}
    assert [entry.term for entry in entries if "bold" in entry.text.lower()] == ["Bold, underlined"]


@pytest.mark.parametrize("name", CASES)
def test_a_caption_has_at_most_40_words_and_repeats_no_sentence_of_the_legend(name, tmp_path):
    table = CASES[name](tmp_path)
    assert table is not None
    check_captions([table], table.legend)


def check_captions(parts, legend):
    """Assert the length of captions, and that they share no sentence with the legend."""
    explained = {text for entry in legend for text in sentences(entry.text)}
    for part in parts:
        assert 0 < len(part.caption.split()) <= MAX_WORDS, part.name
        assert not explained & set(sentences(part.caption)), part.name
        assert set(part.legend) <= set(legend), part.name


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return re.split(r"(?<=[.?!;:]) ", text)


def test_the_table_of_tests_names_the_number_of_comparisons_it_is_adjusted_for(tmp_path):
    frame = ablation(tmp_path)
    for labels in (frame.labels, frame.labels[1:]):
        some = frame_of(*(run for run in frame.runs if run.label in labels))
        grid = against(some, compare_with_reference(some, "mart", PredictionCache()), "mart", "tests")
        told = {"2", "3"} & set(numbers(grid.caption))
        assert len(grid.rows) == len(labels) - 1 and told == {str(len(labels) - 1)}


def test_the_mean_over_data_sets_names_them(tables):
    assert "Ekman-6" in tables["overall"].caption and "VideoEmotion-8" in tables["overall"].caption


def test_published_numbers_are_marked_as_of_an_unknown_protocol(tables):
    grid = tables["published"]
    printed = [line.cells[1].text for line in grid.rows if line.id.startswith("published/")]
    assert len(printed) > 5 and all("protocol unknown" in text for text in (*printed, grid.caption, grid.notes[0]))


def test_the_table_of_searches_lists_ranges_and_chosen_values():
    grid = make_search_spaces_table(summaries(), {"ekman6": "Ekman-6", "videoemotion8": "VideoEmotion-8"}, "spaces")
    found = {line.id: [cell.text for cell in line.cells] for line in grid.rows}
    assert [texts[1] for texts in found.values()] == ["lr", "mask_to", "negatives", "lr"]
    lr, mask, negatives, other = found.values()
    assert negatives[3:5] == ["paper", "paper+words"] and "paper, paper+words" in negatives[2]
    assert "log" in lr[2] and "log" in other[2] and "log" not in mask[2]
    assert "mart" in lr[0] and "Ekman-6" in lr[0] and mask[0] == negatives[0] == ""
    assert "mbt" in other[0] and "VideoEmotion-8" in other[0] and "1" in other[0] and other[4] == other[6] == "–"
