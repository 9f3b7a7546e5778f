import math

import pytest

from reports.figures import classes as radar
from reports.figures.classes import RadarPanel, RadarPlot, RadarPolygon
from tests.reports.plots.shown import lines, radars_of

CLASSES = ("a", "b", "c", "d")


def one(*values):
    return RadarPlot((RadarPanel("g", CLASSES, (RadarPolygon("mart", values),)),))


def test_polygons_go_round_once_through_the_values_of_the_rows_and_close():
    data = radars_of(("b", "_a"), ("second", "first"))
    for axes, panel in zip(radar.draw_radar(data).axes, data.panels, strict=True):
        for label in ("b", "_a"):
            rows = [row for row in radar.tabulate_radar(data) if (row["panel"], row["label"]) == (panel.title, label)]
            ((turns, values),) = lines(axes, label)
            assert turns == pytest.approx([0, math.pi / 2, math.pi, 3 * math.pi / 2, 0])
            given = [math.nan if row["percent"] is None else row["percent"] for row in rows]
            assert values == pytest.approx([*given, given[0]], nan_ok=True)


def test_the_first_class_is_on_top_and_the_others_clockwise():
    axes = radar.draw_radar(one(10.0, 20.0, 30.0, 40.0)).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == list(CLASSES)
    assert axes.get_theta_offset() == pytest.approx(math.pi / 2) and axes.get_theta_direction() == -1


def test_the_centre_is_0():
    assert radar.draw_radar(one(50.0, 60.0, 70.0, 80.0)).axes[0].get_ylim() == (0, 100)


def test_a_missing_class_leaves_a_gap():
    ((_, values),) = lines(radar.draw_radar(one(None, 20.0, 30.0, 40.0)).axes[0], "mart")
    assert math.isnan(values[0]) and math.isnan(values[-1]) and values[1:4] == [20, 30, 40]


def test_lines_differ_in_dashes_and_marks_too():
    axes = radar.draw_radar(radars_of(("a", "b", "c"), ("g",))).axes[0]
    assert len({line.get_marker() for line in axes.get_lines()}) == 3
    assert len({str(line._dash_pattern) for line in axes.get_lines()}) == 3


@pytest.mark.parametrize(
    "data, words",
    [
        (one(10.0, 20.0), "mart has 2 values"),
        (RadarPlot((RadarPanel("g", ("a", "b"), (RadarPolygon("mart", (1.0, 2.0)),)),)), "3 classes or more"),
        (RadarPlot((RadarPanel("g", CLASSES, ()),)), "and a polygon"),
    ],
)
def test_what_makes_no_polygon_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        radar.draw_radar(data)
