"""Figures of a finished run show its stored explanations, and nothing that is missing there."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import reports.figures.clips
from bench.metrics import Predictions
from bench.tasks import Classification, Regression, TargetRange
from methods.mart.figures import FIGURES
from reports.figures.clips import (
    RECOVERED_TITLE,
    all_pictures,
    compute_emotion_distribution,
    draw_emotions,
    draw_features,
    find_features,
    project_features,
    save_run_figures,
)
from tests.reports.clips.explained import CLASSES, KEYS, audio, explained, told
from tests.reports.clips.test_confusion import FOUND
from tests.toys import CARD

PICTURES = all_pictures(FIGURES)


def texts(figure):
    """Return all text in a figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_target_and_recovered_curves_are_those_that_are_stored():
    rows = np.reshape(draw_emotions(explained()).axes, (3, 2))
    for row, number in zip(rows, range(3), strict=True):
        kept = told(number)
        for axes, curve in zip(row, (compute_emotion_distribution(kept.curve), kept.recovered), strict=True):
            lines = [line for line in axes.lines if line.get_label() in CLASSES]
            np.testing.assert_allclose([line.get_ydata() for line in lines], curve.T)
            assert lines[number].get_linewidth() > lines[number - 1].get_linewidth()  # the class of the clip


def test_a_distribution_sums_to_one():
    curve = told(0).curve
    np.testing.assert_allclose(
        compute_emotion_distribution(curve), np.exp(curve) / np.exp(curve).sum(1, keepdims=True), rtol=1e-6
    )


def test_without_recovery_there_is_one_column():
    clips = {key: replace(told(0), recovered=None, masks={}, words=()) for key in KEYS}
    figure = draw_emotions(explained(clips, "finetune"))
    assert len(figure.axes) == 3 and not any(RECOVERED_TITLE in text for text in texts(figure))


@pytest.mark.parametrize("draw", [figure.draw for figure in PICTURES.values()], ids=PICTURES)
def test_a_picture_names_the_method_the_data_set_the_clips_and_the_sample(draw):
    said = " ".join(texts(draw(explained())))
    assert "mart on Toy clips (BUILT-IN SAMPLE)" in said and "SAMPLE" not in " ".join(
        texts(draw(explained(sample=False)))
    )
    assert draw is draw_features or all(f"0, labelled {name}" in said for name in CLASSES)


@pytest.mark.parametrize("draw", [figure.draw for figure in PICTURES.values()], ids=PICTURES)
def test_the_title_of_a_method_with_a_long_name_stays_inside_the_picture(draw):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw(replace(explained(), method="mart-no-verification"))
    FigureCanvasAgg(figure).draw()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_the_map_has_every_clip_in_the_colour_of_its_class_and_is_the_same_again():
    figure = draw_features(explained())
    known, labels = find_features(explained())
    places = project_features(known)
    np.testing.assert_array_equal(project_features(known), places)
    for label, points in enumerate(figure.axes[0].collections):
        np.testing.assert_array_equal(points.get_offsets(), places[labels == label])
    assert any("n = 6" in text for text in texts(figure))


def drawn(monkeypatch, folder, found):
    monkeypatch.setattr(reports.figures.clips, "read_explanations", lambda folder: found)
    notices = []
    return save_run_figures(folder, CARD, FOUND, True, FIGURES, notices.append), notices


def test_all_pictures_are_written_whole(monkeypatch, tmp_path):
    before = "matplotlib.pyplot" in sys.modules  # another test may have imported it
    names, notices = drawn(monkeypatch, tmp_path, explained())
    assert names == ["confusion.png", "emotions.png", "maskings.png", "words.png", "features.png"] and not notices
    assert all(min(Image.open(tmp_path / name).size) > 200 for name in names)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_without_figures_of_its_own_a_method_has_those_of_any(monkeypatch, tmp_path):
    monkeypatch.setattr(reports.figures.clips, "read_explanations", lambda folder: explained())
    assert save_run_figures(tmp_path, CARD, FOUND, True, {}) == ["confusion.png", "emotions.png", "features.png"]


def test_a_run_without_words_or_with_one_modality_draws_the_rest(monkeypatch, tmp_path):
    clips = {key: replace(told(i), words=(), masks={"audio": audio()}) for i, key in enumerate(KEYS)}
    names, _ = drawn(monkeypatch, tmp_path, explained(clips))
    assert names == ["confusion.png", "emotions.png", "maskings.png", "features.png"]


def test_too_few_clips_make_no_map_and_this_is_reported(monkeypatch, tmp_path):
    clips = {key: replace(told(number), words=(), masks={}) for number, key in enumerate(KEYS[:4])}
    names, (notice,) = drawn(monkeypatch, tmp_path, explained(clips))
    assert names == ["confusion.png", "emotions.png"]
    assert "no feature map" in notice and re.findall(r"\d+", notice) == ["5", "4"]  # clips needed, and present


def test_a_model_that_has_collapsed_has_no_map(monkeypatch, tmp_path):
    alike = replace(told(0), words=(), masks={})
    names, (notice,) = drawn(monkeypatch, tmp_path, explained(dict.fromkeys(KEYS, alike)))
    assert names == ["confusion.png", "emotions.png"] and re.findall(r"\d+", notice) == ["5", "1"]


def test_a_run_without_explanations_has_only_the_confusion_matrix(tmp_path):
    assert save_run_figures(tmp_path, CARD, FOUND, False, FIGURES) == ["confusion.png"]


MOOD = replace(CARD, task=Regression((TargetRange("mood", -3, 3), TargetRange("$\\frac$", 0, 1))))
SCORED = Predictions(KEYS, np.array([[-2.0, 0.1]] * 6), np.array([[-1.5, 0.2]] * 6), KEYS)


def test_clips_of_numbers_have_a_map_in_the_colours_of_the_first_target_and_no_emotion_curves(monkeypatch, tmp_path):
    labels = {key: (0.5 * place - 1, 0.0) for place, key in enumerate(KEYS)}
    found = replace(explained(), classes=("mood", "$\\frac$"), labels=labels)
    figure = draw_features(found)
    assert figure.axes[0].collections[0].get_array().tolist() == [0.5 * place - 1 for place in range(6)]
    assert "mood" in texts(figure) and draw_emotions(found) is None
    monkeypatch.setattr(reports.figures.clips, "read_explanations", lambda folder: found)
    assert save_run_figures(tmp_path, MOOD, SCORED, True, {}) == ["scatter.png", "features.png"]


def test_a_name_with_two_dollars_is_no_formula(monkeypatch, tmp_path):
    names = ("$\\frac$", "$x$", "high")
    info = replace(CARD, task=Classification(names, (0, 0, 0)))
    monkeypatch.setattr(reports.figures.clips, "read_explanations", lambda folder: replace(explained(), classes=names))
    predictions = Predictions(KEYS, np.arange(6) % 3, np.eye(3)[np.arange(6) % 3], KEYS)
    names = save_run_figures(tmp_path, info, predictions, False, FIGURES)
    assert len(names) == 5 and all(min(Image.open(tmp_path / name).size) > 200 for name in names)
