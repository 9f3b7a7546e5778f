import numpy as np
import pytest

from reports.figures import curves as learning
from reports.figures.curves import LearningCurve, LearningPanel, LearningPlot
from tests.reports.plots.shown import FIVE, MANY, learning_of, lines


def band(axes, label):
    """Corners of the band of that name."""
    (found,) = [area for area in axes.collections if area.get_gid() == label]
    return {tuple(point) for point in found.get_paths()[0].vertices.tolist()}


def test_means_and_ranges_are_drawn_where_the_rows_say():
    data = learning_of(("b", "_a"), ("second", "first"))
    figure = learning.draw_learning(data)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["second", "first"]
    for axes in figure.axes:
        for label in ("b", "_a"):
            key = (axes.get_title(loc="left"), label)
            rows = [row for row in learning.tabulate_learning(data) if (row["panel"], row["label"]) == key]
            assert lines(axes, label) == [([row["epoch"] for row in rows], [row["mean"] for row in rows])]
            assert {(row["epoch"], row[end]) for row in rows for end in ("low", "high")} == band(axes, label)


def test_the_legend_has_the_labels_in_the_order_given_even_those_that_start_with_a_line():
    (legend,) = learning.draw_learning(learning_of(("b", "_a"), ("g",))).legends
    assert [text.get_text() for text in legend.get_texts()] == ["b", "_a"]


def test_one_run_has_no_band_and_one_epoch_is_a_mark():
    line = LearningCurve("a", (1,), (30.0,), (30.0,), (30.0,), 1)
    axes = learning.draw_learning(LearningPlot("val Acc E", (LearningPanel("g", (line,)),))).axes[0]
    assert len(axes.collections) == 0 and lines(axes, "a") == [([1], [30])]
    assert axes.get_lines()[0].get_marker() == "o"


def test_a_label_looks_the_same_in_every_panel():
    few = learning_of(("b", "a"), ("first",)).panels[0]
    other = LearningPanel("second", few.curves[1:])
    first, second = learning.draw_learning(LearningPlot("val Acc E", (few, other))).axes
    assert first.get_lines()[1].get_color() == second.get_lines()[0].get_color()


def test_many_lines_are_spread_over_panels_of_one_scale_and_none_is_lost():
    figure = learning.draw_learning(learning_of(MANY, FIVE))
    assert len(figure.axes) == 10
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["Ekman-6 (1 of 2)", "Ekman-6 (2 of 2)"]
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert left.get_ylim() == right.get_ylim()
        assert [line.get_gid() for line in (*left.get_lines(), *right.get_lines())] == list(MANY)
        assert len({line.get_color() for line in left.get_lines()}) == 8


def test_everything_lies_within_its_panel():
    axes = learning.draw_learning(learning_of(("a", "b"), ("g",))).axes[0]
    heights = np.array([y for _, y in band(axes, "a") | band(axes, "b")])
    assert axes.get_ylim()[0] < heights.min() and heights.max() < axes.get_ylim()[1]


def test_a_line_without_an_epoch_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        learning.draw_learning(
            LearningPlot("val Acc E", (LearningPanel("g", (LearningCurve("a", (), (), (), (), 1),)),))
        )
