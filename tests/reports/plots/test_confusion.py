import matplotlib
import numpy as np
import pytest

from reports.figures import classes as confusion
from reports.figures.classes import ConfusionMatrix, ConfusionPlot

COUNTS = ((6, 2, 0), (0, 0, 0), (1, 1, 2))
PANEL = ConfusionMatrix("mart", ("a", "b", "c"), COUNTS, 5)


def test_cells_hold_the_percents_of_their_line_as_the_rows_do():
    figure = confusion.draw_confusion(ConfusionPlot((PANEL,)))
    (mesh,) = figure.axes[0].collections
    drawn = mesh.get_array().filled(np.nan).ravel().tolist()
    rows = confusion.tabulate_confusion(ConfusionPlot((PANEL,)))
    assert [row["percent"] for row in rows] == [75, 25, 0, None, None, None, 25, 25, 50]
    assert drawn == pytest.approx([np.nan if row["percent"] is None else row["percent"] for row in rows], nan_ok=True)
    assert [row["count"] for row in rows] == [6, 2, 0, 0, 0, 0, 1, 1, 2]


def test_the_words_in_the_cells_are_their_percents_and_a_class_without_clips_has_dashes():
    axes = confusion.draw_confusion(ConfusionPlot((PANEL,))).axes[0]
    places = {tuple(map(float, text.get_position())): text.get_text() for text in axes.texts}
    read = [[places[column + 0.5, row + 0.5] for column in range(3)] for row in range(3)]
    assert read == [["75", "25", "0"], ["–", "–", "–"], ["25", "25", "50"]]
    assert axes.yaxis_inverted() and not axes.xaxis_inverted()


def test_classes_stand_in_the_order_given_and_the_runs_in_the_title():
    axes = confusion.draw_confusion(ConfusionPlot((PANEL,))).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_title(loc="left").replace("\N{NO-BREAK SPACE}", " ") == "mart (5 runs)"
    one = confusion.draw_confusion(ConfusionPlot((ConfusionMatrix("mart", ("a",), ((1,),), 1),))).axes[0]
    assert one.get_title(loc="left").replace("\N{NO-BREAK SPACE}", " ") == "mart (1 run)"


@pytest.mark.parametrize("share", range(0, 101, 5))
def test_the_percent_can_be_read_on_its_colour(share):
    colour = matplotlib.colormaps[confusion.COLOUR_MAP](share / 100)
    grey = np.array([0.2126, 0.7152, 0.0722]) @ np.power(colour[:3], 2.2)
    letter = {"white": 1.0, "black": 0.0}[confusion._choose_text_colour(colour)]
    assert (max(grey, letter) + 0.05) / (min(grey, letter) + 0.05) > 4


def test_the_map_rises_in_grey():
    colours = np.array([matplotlib.colormaps[confusion.COLOUR_MAP](share / 20)[:3] for share in range(21)])
    assert (np.diff(colours @ np.array([0.299, 0.587, 0.114])) > 0).all()


@pytest.mark.parametrize("panels", [1, 2, 3, 6])
@pytest.mark.parametrize("classes", [3, 8])
def test_cells_are_square_and_wide_enough_for_their_words(panels, classes):
    names = tuple(f"emotion{place}" for place in range(classes))
    counts = tuple(tuple(range(1, classes + 1)) for _ in names)
    figure = confusion.draw_confusion(
        ConfusionPlot(tuple(ConfusionMatrix(f"m{place}", names, counts, 2) for place in range(panels)))
    )
    wide, tall = figure.get_size_inches()
    assert len(figure.axes) == panels
    for axes in figure.axes:
        box = axes.get_position()
        assert box.width * wide == pytest.approx(box.height * tall, rel=0.02)
        assert 0.2 < box.width * wide / classes < 0.75


def test_panels_of_other_classes_name_their_own():
    other = ConfusionMatrix("mbt", ("x", "y"), ((1, 0), (0, 1)), 2)
    second = confusion.draw_confusion(ConfusionPlot((PANEL, other))).axes[1]
    assert [text.get_text() for text in second.get_yticklabels()] == ["x", "y"]


@pytest.mark.parametrize("counts", [((1, 2), (3, 4)), ()])
def test_counts_that_do_not_fit_the_classes_are_refused(counts):
    with pytest.raises(ValueError, match="counts for 3 classes"):
        confusion.draw_confusion(ConfusionPlot((ConfusionMatrix("mart", ("a", "b", "c"), counts, 1),)))
