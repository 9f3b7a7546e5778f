"""The parts of a method in a table agree with its config, for every arm."""

from __future__ import annotations

import pytest

from reports.tables.scores import YES, make_components_table
from studies.requests import get_arms
from studies.studies import STUDIES
from tests.reports.tables.by_hand import by_hand, frame_of

NO = "–"
EVERY = "E1, E2, E3"
RAMP = "affective 10-50 %"
HEADINGS = {
    "components": ["masking", "verification"],
    "masking": ["hidden tokens"],
    "target": ["recovered"],
    "verification": ["verified by"],
    "modalities": ["video", "audio"],
}
WORDS = {
    "components": {
        "mbt": (NO, NO),
        "mbt-long": (NO, NO),
        "mart-no-masking": (NO, EVERY),
        "mart-no-verification": (YES, NO),
        "mart-sentiment-only": (YES, "E1"),
        "mart-emotion-only": (YES, "E1, E2"),
        "mart": (YES, EVERY),
    },
    "masking": {
        "mbt": (NO,),
        "mart-mask-frame": ("frame 40 %",),
        "mart-mask-random": ("random 90 %",),
        "mart-mask-tube": ("tube 95 %",),
        "mart-mask-attention": ("attention 10-50 %",),
        "mart-no-masking": (NO,),
        "mart": (RAMP,),
    },
    "target": {
        "mbt": (NO,),
        "mbt-long": (NO,),
        "mart-no-masking": (NO,),
        "mart-target-kl": ("kl",),
        "mart-target-pixel": ("pixel",),
        "mart-target-hog": ("hog",),
        "mart-target-clip": ("clip",),
        "mart": ("distribution",),
    },
    "verification": {
        "mart-no-verification": (NO,),
        "mart-sentiment-only": ("E1",),
        "mart-emotion-only": ("E1, E2",),
        "mart": (EVERY,),
    },
    "modalities": {
        "mbt-video": (YES, NO),
        "mbt-audio": (NO, YES),
        "mbt": (YES, YES),
        "mart-video": (YES, NO),
        "mart-audio": (NO, YES),
        "mart": (YES, YES),
    },
}


def config(name: str, preset: str) -> dict:
    arm = get_arms()[name]
    return arm.method.config.from_preset(preset).override(arm.overrides).model_dump(mode="json")


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("kind", WORDS)
def test_the_parts_of_each_arm_of_a_study_are_read_in_its_config(kind, preset):
    mine = [study for study in STUDIES["paper"] if study.table == kind]
    assert mine and {arm for study in mine for arm in study.arms} <= WORDS[kind].keys()
    runs = [by_hand(None, name, files=False, config=config(name, preset)) for name in WORDS[kind]]
    grid = make_components_table(frame_of(*runs), kind, "name", "Title", "ekman6")
    places = [place for place, column in enumerate(grid.columns) if column.id.startswith("part/")]
    assert [grid.columns[place].title for place in places] == HEADINGS[kind]
    assert {line.id: tuple(line.cells[place].text for place in places) for line in grid.rows} == WORDS[kind]


@pytest.mark.parametrize("kind", WORDS)
def test_stages_are_explained_where_they_are_named(kind):
    grid = make_components_table(frame_of(by_hand(None, "mart", files=False)), kind, "name", "Title", "ekman6")
    named = any("E1" in cell.text for _, cell in grid.iter_cells())
    assert any("E1" in entry.text for entry in grid.legend) is named


def test_columns_are_the_classes_of_the_data_set():
    run = by_hand(None, "mart", files=False)
    grid = make_components_table(frame_of(run), "target", "name", "Title", "ekman6")
    assert [column.title for column in grid.columns[4:]] == [*run.info.classes]
    assert {column.group for column in grid.columns[4:]} == {"recall"}
    assert [column.title for column in grid.columns[1:3]] == ["Acc E", "tried"]
