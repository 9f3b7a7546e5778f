import pytest

from reports.figures import intervals as differences
from reports.figures.intervals import DifferencePlot, DifferencePoint
from tests.reports.plots.shown import differences_of, lines, told


def test_means_intervals_and_pairs_are_drawn_where_the_rows_say():
    data = differences_of(("b", "a"), ("second", "first"))
    for axes in differences.draw_differences(data).axes:
        rows = [row for row in differences.tabulate_differences(data) if row["group"] == axes.get_title(loc="left")]
        assert [x for x, _ in lines(axes, "mean")] == [[row["mean"]] for row in rows]
        assert [x for x, _ in lines(axes, "interval")] == [[row["low"], row["high"]] for row in rows]
        assert [x for x, _ in lines(axes, "pairs")] == [[row["pair 1"], row["pair 2"]] for row in rows]


def test_a_zero_line_stands_in_every_panel_on_one_scale_and_says_which_side_is_worse():
    figure = differences.draw_differences(differences_of(("b", "a"), ("second", "first")))
    assert [lines(axes, "zero")[0][0] for axes in figure.axes] == [[0, 0], [0, 0]]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[0] < 0 < figure.axes[0].get_xlim()[1]
    assert told(figure, "difference to mart") and told(figure, "Acc E, points")


def test_kinds_of_a_label_lie_below_each_other_within_its_line_with_marks_of_their_own():
    figure = differences.draw_differences(differences_of(("b", "a"), ("g",)))
    axes = figure.axes[0]
    heights = [y[0] for _, y in lines(axes, "mean")]
    assert [round(height) for height in heights] == [0, 0, 1, 1] and heights == sorted(set(heights))
    means = [line for line in axes.get_lines() if line.get_gid() == "mean"]
    assert len({line.get_marker() for line in means}) == len({line.get_color() for line in means}) == 2
    assert told(figure, "shared values") and told(figure, "per-arm values")


@pytest.mark.parametrize("kinds", [("none",), ("none", "shared", "per-arm")])
def test_marks_and_pairs_stay_within_the_line_of_their_label(kinds):
    every = tuple(DifferencePoint(label, "g", 1.0, 0.0, 2.0, (1.0,), kind) for label in "abc" for kind in kinds)
    axes = differences.draw_differences(DifferencePlot("mart", "Acc E", every)).axes[0]
    for gid in ("mean", "pairs"):
        heights = [y[0] for _, y in lines(axes, gid)]
        assert [round(height) for height in heights] == [line for line in range(3) for _ in kinds]


def test_own_values_alone_need_no_legend_and_one_pair_no_interval():
    figure = differences.draw_differences(
        DifferencePlot("mart", "Acc E", (DifferencePoint("a", "g", -1.2, None, None, (-1.2,)),))
    )
    assert figure.legends == [] and lines(figure.axes[0], "interval") == []


def test_no_difference_at_all_is_drawn_on_the_zero_line():
    figure = differences.draw_differences(
        DifferencePlot("mart", "Acc E", (DifferencePoint("a", "g", 0.0, 0.0, 0.0, (0.0, 0.0)),))
    )
    assert lines(figure.axes[0], "mean")[0][0] == [0] and figure.axes[0].get_xlim() == (-0.5, 0.5)


def test_an_arm_that_a_data_set_lacks_is_told():
    two = (DifferencePoint("a", "g", 1.0, None, None, ()), DifferencePoint("b", "h", 1.0, None, None, ()))
    figure = differences.draw_differences(DifferencePlot("mart", "Acc E", two))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["n/a"], ["n/a"]]


def test_a_label_twice_in_a_kind_is_refused():
    one = DifferencePoint("a", "g", 1.0, None, None, ())
    with pytest.raises(ValueError, match="g / a / none occurs twice"):
        differences.draw_differences(DifferencePlot("mart", "Acc E", (one, one)))
