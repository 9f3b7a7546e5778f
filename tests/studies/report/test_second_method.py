"""A second pre-training method is reported through its Method value: reports contain no code for it or for MART."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import Field
from rich.console import Console

from bench.config import Config
from bench.method import ConfigParts, Measure, Method, NoteTable
from bench.mlflow import MlflowStore
from bench.types import AudioSpec, Sampling, VideoSpec
from methods import METHODS, VARIANTS, Variant
from reports.terminal import render_records
from reports.types import Table
from reports.write import list_figures, list_tables, render_texts
from studies import requests as ask
from studies.build_report import BuiltReport, build_report
from studies.select import ReportQuery
from studies.studies import Study
from tests.reports.made import make_run


class CropConfig(Config):
    pretrain_epochs: int = Field(30, ge=1)
    crop: float = Field(0.5, gt=0, le=1)


class PlainConfig(Config):
    depth: int = Field(2, ge=1)


def never(*_: Any) -> Any:
    raise AssertionError("a report trains nothing")


def sample(config: Config, training: bool) -> Sampling:
    return Sampling(1, VideoSpec(1, 1, 8), AudioSpec(16), training=training)


def describe_crops(config: Mapping[str, Any]) -> Mapping[str, ConfigParts]:
    size = f"{100 * config['crop']:.0f} %"
    return {"crops": ConfigParts({"crop": size, "cropped": config["crop"] < 1}, "Crops are of the picture's area.")}


SEEN = Measure(
    *("seen", "pretrain/seen", "seen", "pixels seen, percent"),
    unit=100.0,
    meaning="Seen: share of pixels.",
    least=40.0,
    warning="hardly anything is seen",
)
TABLE = NoteTable(
    "what is seen, percent",
    labels=("crops",),
    headings=("seen", "guessed"),
    rows=((("all",), ("pretrain/seen", "pretrain/guessed")), (("small",), ("pretrain/seen/small", "pretrain/none"))),
    flag=SEEN,
)
PRINTED = {
    "source": "Doe: Crops, 2031",
    "protocol": "five folds: as its section 4 says",
    "tables": {
        "crops": {"of": "Table 9", "dataset": "ekman6", "lines": {"cropper": {"acc_e": 61.5, "recall/joy": 70.25}}},
        "scores": {"of": "Table 8", "lines": {"cropper": {"ekman6/acc_e": 61.5}}},
    },
    "footnotes": [{"text": "a slip of the pen", "cells": ["crops/cropper/acc_e"]}],
    "elsewhere": [],
}
STUDY = Study(
    "crops",
    "Does the size of crops matter?",
    arms=("plain", "cropper-whole", "mart", "cropper"),
    reference_method="cropper",
    controls=("cropper-whole",),
    table="crops",
    tuning="none",
)


@dataclass(frozen=True)
class Reported:
    """The report of the study, with its tables by name."""

    built: BuiltReport

    @property
    def grids(self) -> dict[str, Table]:
        return {grid.name: grid for grid in list_tables(self.built.report)}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    results = tmp_path_factory.mktemp("results")
    paper = results / "crops.json"
    paper.write_text(json.dumps(PRINTED))
    reporting = {"describe": describe_crops, "measures": (SEEN,), "note_tables": (TABLE,), "paper": paper}
    cropper = Method(
        "cropper", 1, "crops", CropConfig, never, never, sample, shown_fields=("crop", "pretrain_epochs"), **reporting
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "cropper", cropper)
        patch.setitem(METHODS, "plain", Method("plain", 1, "a plain method", PlainConfig, never, never, sample))
        patch.setitem(VARIANTS, "cropper-whole", Variant("cropper", {"crop": 1.0}, "crops as large as the picture"))
        notes = {"cropper": {"pretrain/seen": 0.25, "pretrain/guessed": 0.5}, "cropper-whole": {"pretrain/seen": 1.0}}
        forget_arms()
        for arm in STUDY.arms:
            for seed in (0, 1):
                make_run(results, arm, seed=seed, clips=24, notes=notes.get(arm, {}))
        yield Reported(build_report(results, "crops", (STUDY,), ReportQuery(), MlflowStore(results), ""))
    forget_arms()


def forget_arms() -> None:
    ask.get_arms.cache_clear()
    ask.get_preset_values.cache_clear()


def cells(grid: Table, *columns: str) -> dict[str, list[str]]:
    places = [[column.id for column in grid.columns].index(name) for name in columns]
    return {line.id: [line.cells[place].text for place in places] for line in grid.rows}


def test_its_ablation_table_has_its_own_parts_and_other_methods_have_none_of_them(reported):
    grid = reported.grids["crops_crops_ekman6"]
    assert [column.title for column in grid.columns if column.id.startswith("part/")] == ["crop", "cropped"]
    assert cells(grid, "part/crop", "part/cropped") == {
        "plain": ["–", "–"],
        "cropper-whole": ["100 %", "–"],
        "mart": ["–", "–"],
        "cropper": ["50 %", "✓"],
    }
    assert [entry.text for entry in grid.legend].count("Crops are of the picture's area.") == 1


def test_the_cost_table_has_the_measures_of_every_method_and_none_of_a_method_that_lacks_it(reported):
    grid = reported.grids["crops_cost_ekman6"]
    assert [column.id for column in grid.columns[-3:]] == ["seen", "coverage", "kept"]  # in the order of their runs
    assert cells(grid, "seen", "coverage", "kept") == {
        "plain": ["–", "–", "–"],
        "cropper-whole": ["100", "–", "–"],  # its records have such a note, which this method does not report
        "mart": ["–", "77.6", "22.8"],
        "cropper": ["25.0", "–", "–"],
    }
    warned = {line.id: cell.footnotes for line in grid.rows for cell in line.cells[-3:-2] if cell.footnotes}
    assert warned == {"cropper": ("hardly anything is seen",)}
    assert "Seen: share of pixels." in [entry.text for entry in grid.legend]


def test_the_cost_figure_has_an_axis_for_its_measure(reported):
    (picture,) = [one for one in list_figures(reported.built.report) if one.name == "crops_cost_ekman6"]
    shown = {(row["group"], row["label"]): row["mean"] for row in picture.rows}
    seen = {label: mean for (group, label), mean in shown.items() if group == "pixels seen, percent"}
    assert seen == {"cropper-whole": pytest.approx(100.0), "cropper": pytest.approx(25.0)}
    assert {label for group, label in shown if group == "segments with a kept cue, percent"} == {"mart"}


def test_its_published_numbers_are_listed_next_to_its_scores(reported):
    grid = reported.grids["crops_crops_ekman6_published"]
    assert [line.id for line in grid.rows] == ["published/cropper", "ours/cropper", "gap/cropper"]
    printed = grid.rows[0].cells
    assert [cell.text for cell in printed] == ["cropper", "published (five folds)", "61.50", "–", "70.25"]
    assert printed[2].footnotes == ("a slip of the pen",)
    ours = cells(reported.grids["crops_crops_ekman6"], "acc_e")["cropper"]
    assert (
        [grid.rows[1].cells[2].text] == ours
        and grid.rows[1].cells[3].text == "1"
        and "Doe: Crops, 2031; five folds" in grid.notes[0]
    )


def test_no_paper_is_printed_for_a_kind_of_table_that_it_lacks(reported):
    assert [name for name in reported.grids if "published" in name] == ["crops_crops_ekman6_published"]


def test_its_notes_have_a_terminal_table(reported):
    console = Console(width=140, record=True)
    console.print(render_records([run for part in reported.built.results for run in part.run_table.runs]))
    text = console.export_text()
    shown = text.partition("what is seen, percent")[2].partition("hardly anything is seen")[0]
    rows = [line.replace("│", " ").split() for line in shown.splitlines() if "cropper" in line]
    assert rows == [
        *(["cropper-whole", "all", "100", "-"], ["cropper-whole", "small", "-", "-"]),
        *(["cropper", "(!)", "all", "25.0", "50.0"], ["cropper", "(!)", "small", "-", "-"]),
    ]


def test_its_values_are_named_in_the_details_of_a_paper(reported):
    built = reported.built
    details = render_texts(built.report, built.results, built.searches)["details.tex"]
    assert "cropper: crop 0.5, pretrain\\_epochs 30." in details
