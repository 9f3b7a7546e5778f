import pytest

from reports.figures import classes as reliability
from reports.figures.classes import ReliabilityCurve, ReliabilityPanel, ReliabilityPlot
from tests.reports.plots.shown import lines, reliabilities_of, told


def test_bins_are_drawn_where_the_rows_say_and_more_clips_make_a_larger_mark():
    data = reliabilities_of(("b", "_a"), ("second", "first"))
    for axes, panel in zip(reliability.draw_reliability(data).axes, data.panels, strict=True):
        for label in ("b", "_a"):
            rows = [
                row
                for row in reliability.tabulate_reliability(data)
                if (row["panel"], row["label"]) == (panel.title, label)
            ]
            points = [(row["confidence"], row["accuracy"]) for row in rows]
            ((x, y),) = lines(axes, label)
            assert list(zip(x, y, strict=True)) == points
            (marks,) = [area for area in axes.collections if area.get_gid() == label]
            assert [tuple(point) for point in marks.get_offsets().tolist()] == points
            assert sorted(marks.get_sizes()) == list(marks.get_sizes()) and len(set(marks.get_sizes())) == 4


def test_the_diagonal_is_drawn_and_both_axes_are_equal():
    axes = reliability.draw_reliability(reliabilities_of(("a",), ("g",))).axes[0]
    assert lines(axes, "diagonal") == [([0, 100], [0, 100])] and axes.get_xlim() == axes.get_ylim()


def test_a_single_panel_prints_the_calibration_errors():
    assert told(reliability.draw_reliability(reliabilities_of(("a",), ("g",))), "a: ECE 5.0 %")
    assert not told(reliability.draw_reliability(reliabilities_of(("a",), ("g", "h"))), "ECE")


def test_a_curve_without_a_bin_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        reliability.draw_reliability(ReliabilityPlot((ReliabilityPanel("g", (ReliabilityCurve("a", ()),)),)))
