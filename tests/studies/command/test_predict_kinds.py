"""Results of `predict` for numbers, and for classes without known polarity: screen, table, JSON and figure."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from PIL import Image
from rich.console import Console

from bench.errors import MediaError
from bench.tasks import Classification, Regression, TargetRange
from bench.types import DatasetInfo
from reports.figures.clips import format_in_range, save_clip_curves
from studies.cli import predict as command
from studies.cli.predict import TrainedModel, VideoPrediction
from tests.datasets.trees import write_mp3
from tests.studies.command_line import bench

LONG = "the mean valence of all persons who are visible or audible in the clip"
AFFECT = Regression((TargetRange("valence", -1, 1), TargetRange("arousal", -1, 1)), select="ccc")
ODD = Regression((TargetRange("mood [red]x[/red]", -3, 3), TargetRange(LONG, 0, 100), TargetRange("$\\frac$", 0, 0.1)))
PLAIN = Classification(("calm", "$\\frac$", "tense [b]x"), None)


def model(task, data="real", extras=()):
    info = DatasetInfo("own", "Own clips", task, {}, "en", "own", "none", "here")
    spec = SimpleNamespace(seed=1, dataset="own", data=data, extras=dict(extras))
    record = SimpleNamespace(key="k" * 20, arm="mbt", spec=spec, scores={f"val/{task.primary.name}": 0.5})
    return TrainedModel(record, info, None, None, "cpu")


def predicted(output, segments=None):
    slots = tuple((2.0 * place, 2.0 * place + 2) for place in range(4))
    shares = None if segments is None else np.array(segments, dtype=float)
    present = {"video": True, "audio": False, "words": False}
    return VideoPrediction(np.array(output, dtype=float), 8.0, slots, shares, None, present, (), (), ())


SAID = predicted([-0.75, 0.5], [[-1.0, 0.0], [-0.5, 0.25], [0.0, 0.5], [4.0, -9.0]])


def shown(print_to, width=80):
    console = Console(width=width, record=True)
    print_to(console)
    return console.export_text()


def screen(task, one, width=80):
    return shown(lambda console: command._print_file(console, model(task).info, Path("clip [b].mp4"), one), width)


def table(task, *rows, width=80):
    made = command._make_table(model(task), rows)
    return shown(lambda console: command.print_table(console, made), width)


def test_a_line_of_blocks_is_scaled_to_the_range_of_its_target():
    first, second = screen(AFFECT, SAID).splitlines()[1:3]
    assert first.split() == ["valence", "▁" * 9 + "▃" * 9 + "▅" * 9 + "█" * 9, "-0.75", "(-1", "to", "1)"]
    assert second.split()[1] == "▅" * 9 + "▆" * 9 + "▇" * 9 + "▁" * 9
    assert "0 s" in screen(AFFECT, SAID) and "%" not in screen(AFFECT, SAID)


def test_a_method_without_segments_has_the_numbers_alone():
    assert screen(AFFECT, predicted([-0.75, 0.5])).splitlines()[1].split() == ["valence", "-0.75", "(-1", "to", "1)"]


@pytest.mark.parametrize(
    ("value", "ends", "text"),
    [
        (-2.5, (-3, 3), "-2.50"),
        (41.4, (0, 100), "41"),
        (0.03, (0, 0.1), "0.030"),
        (-0.001, (-1, 1), "0.00"),
        (0.5, (0, 1e6), "0"),
    ],
)
def test_a_number_has_the_digits_of_its_range(value, ends, text):
    assert format_in_range(value, *ends) == text


def test_names_are_text_and_fit_on_the_screen():
    one = predicted([-2.5, 140.0, 0.03], [[-3, 0, 0]] * 4)
    lines = screen(ODD, one).splitlines()
    assert lines[0] == "clip [b].mp4" and "mood [red]x[/red]" in lines[1] and "-2.50" in lines[1]
    assert lines[2].strip() == LONG and "140" in lines[3] and "(0 to 100)" in lines[3]
    assert all(len(line) <= 80 for line in lines)
    text = table(ODD, (Path("a [b].mp4"), one))
    assert "mood [red]x[/red]" in text and "a [b].mp4" in text and "see --json" in " ".join(text.split())
    wide = table(ODD, (Path("a.mp4"), one), width=200)
    assert LONG in wide and "140" in wide and "0.030" in wide


def test_the_table_has_a_column_for_each_target_and_a_row_for_each_file():
    broken = (Path("c.mp4"), MediaError("c.mp4: is empty"))
    text = table(AFFECT, (Path("a.mp4"), SAID), (Path("b.mp4"), predicted([0.25, -1.0])), broken)
    rows = [line.split() for line in text.splitlines() if ".mp4" in line]
    assert rows == [["a.mp4", "-0.75", "0.50", "video"], ["b.mp4", "0.25", "-1.00", "video"]]
    assert "valence" in text and "emotion" not in text and "sentiment" not in text


def test_the_json_has_scores_in_place_of_classes():
    row = command.make_row(model(AFFECT), Path("a.mp4"), SAID)
    assert row["scores"] == {"valence": -0.75, "arousal": 0.5}
    assert [segment["scores"]["valence"] for segment in row["segments"]] == [-1.0, -0.5, 0.0, 4.0]
    assert not {"emotion", "sentiment", "probabilities"} & row.keys()
    failed = command.make_row(model(AFFECT), Path("a.mp4"), MediaError("a.mp4: is empty"))
    assert failed.keys() == row.keys() and failed["scores"] is None and failed["error"] == "a.mp4: is empty"
    without = command.make_row(model(AFFECT), Path("a.mp4"), predicted([-0.75, 0.5]))
    assert all(segment["scores"] is None for segment in without["segments"])
    json.dumps([row, failed, without], allow_nan=False)


def test_classes_without_polarity_have_no_sentiment():
    one = predicted([0.2, 0.5, 0.3], [[0.2, 0.5, 0.3]] * 4)
    row = command.make_row(model(PLAIN), Path("a.mp4"), one)
    assert row["emotion"] == "$\\frac$" and row["sentiment"] is None and "scores" not in row
    assert command._make_page(model(PLAIN), Path("a.mp4"), one).title == "a.mp4: $\\frac$ 50 %"
    line = next(line for line in table(PLAIN, (Path("a.mp4"), one)).splitlines() if "a.mp4" in line)
    assert not {"neutral", "negative", "positive"} & set(line.split()) and "tense [b]x 30 %" in line
    known = Classification(PLAIN.classes, (0, 1, -1))
    assert command._make_page(model(known), Path("a.mp4"), one).title.endswith("50 %, positive")


@pytest.mark.parametrize(
    ("task", "one", "title"),
    [
        (AFFECT, SAID, "clip.mp4: valence -0.75, arousal 0.50"),
        (ODD, predicted([-2.5, 140.0, 0.03], [[-9, 140, 0]] * 4), f"clip.mp4: mood [red]x[/red] -2.50, {LONG} 140"),
        (AFFECT, predicted([0.0, 0.0]), "clip.mp4: valence 0.00, arousal 0.00"),
        (PLAIN, predicted([0.2, 0.5, 0.3], [[0.2, 0.5, 0.3]] * 4), "clip.mp4: $\\frac$ 50 %"),
    ],
)
def test_a_figure_of_any_names_and_numbers_is_drawn(task, one, title, tmp_path):
    page = command._make_page(model(task, "sample"), Path("clip.mp4"), one)
    assert page.title.startswith(title) and "BUILT-IN SAMPLE" in page.title
    save_clip_curves(tmp_path / "clip.png", page)
    assert min(Image.open(tmp_path / "clip.png").size) > 200


@pytest.mark.slow
def test_a_run_that_learned_numbers_predicts_those_that_it_stored(tmp_path):
    rows = [f"c{place}.mp3,{place % 4 - 1.5},{place / 8}" for place in range(10)]
    for place in range(10):
        write_mp3(tmp_path / f"c{place}.mp3", 0.3 + 0.1 * place)  # equal clips would be one
    (tmp_path / "clips.csv").write_text("\n".join(["audio,target/mood,target/[b]x", *rows]) + "\n")
    results = tmp_path / "results"
    assert bench("--method", "probe", "--dataset", tmp_path / "clips.csv", "--results", results).code == 0
    (table,) = (pandas.read_parquet(path) for path in results.glob("runs/*/predictions.parquet"))
    stored = table.query("split == 'test'").iloc[0]
    out = tmp_path / "out.json"
    done = bench("predict", tmp_path / f"{stored['clip']}.mp3", "--results", results, "--json", out)
    assert done.code == 0 and done.err == "" and "[b]x" in done.out and "val MAE" in done.out
    (row,) = json.loads(out.read_text())
    assert row["scores"] == pytest.approx({name: stored[f"score/{name}"] for name in ("mood", "[b]x")}, abs=1e-4)
    assert (results / "predictions" / f"{stored['clip']}.png").exists()


def test_the_heading_names_the_metric_of_the_run():
    text = shown(lambda console: command._print_heading(console, model(ODD)))
    assert "trained on Own clips, seed 1, val MAE 0.500" in text and "%" not in text
    text = shown(lambda console: command._print_heading(console, model(ODD, extras=[("limit", "3")])))
    assert "trained on Own clips, limit=3, seed 1" in text
