import math

import pytest

from reports.figures import curves as searching
from reports.figures.curves import SearchCurve, SearchPlot
from tests.reports.plots.shown import MANY, lines, search_of, searches_of, told


def nothing(value):
    return None if math.isnan(value) else value


def test_the_best_so_far_is_drawn_in_steps_against_trials_and_hours_where_the_rows_say():
    data = searches_of(("b", "a"), ())
    rows = searching.tabulate_searches(data)
    for axes, name in zip(searching.draw_searches(data).axes, ("trial", "hours"), strict=True):
        best = [line for line in axes.get_lines() if line.get_gid() == "best"]
        assert [line.get_drawstyle() for line in best] == ["steps-post"] * 2
        drawn = [(x, nothing(y)) for line in lines(axes, "best") for x, y in zip(*line, strict=True)]
        assert drawn == [(row[name], row["best"]) for row in rows]


def test_each_value_is_a_dot_and_each_trial_without_one_a_cross_at_the_bottom():
    data = searches_of(("b", "a"), ())
    rows = searching.tabulate_searches(data)
    for axes, name in zip(searching.draw_searches(data).axes, ("trial", "hours"), strict=True):
        dots = [point for line in lines(axes, "values") for point in zip(*line, strict=True)]
        assert dots == [(row[name], row["value"]) for row in rows if row["value"] is not None]
        crosses = [x for line in lines(axes, "none") for x in line[0]]
        assert crosses == [row[name] for row in rows if row["value"] is None]
        assert all(0 < y < searching.FAILED_STRIP for line in lines(axes, "none") for y in line[1])
        bottom, top = axes.get_ylim()
        above = [(y - bottom) / (top - bottom) for _, y in dots]
        assert min(above) > searching.FAILED_STRIP and max(above) < 1


def test_the_legend_explains_crosses_only_where_there_are_some():
    assert told(searching.draw_searches(SearchPlot("val Acc E", (search_of("a"),))), "failed or pruned")
    clean = SearchCurve("a", (0.1, 0.2), (30.0, 31.0))
    figure = searching.draw_searches(SearchPlot("val Acc E", (clean,)))
    assert not told(figure, "failed or pruned") and told(figure, "a trial")


def test_a_search_whose_trials_all_failed_is_crosses_alone():
    failed = SearchCurve("a", (0.0, 0.0), (None, None))
    figure = searching.draw_searches(SearchPlot("val Acc E", (failed,)))
    assert lines(figure.axes[0], "none")[0][0] == [1, 2] and lines(figure.axes[0], "values") == []
    assert [row["best"] for row in searching.tabulate_searches(SearchPlot("", (failed,)))] == [None, None]


def test_many_searches_are_spread_over_panels_of_one_scale_and_none_is_missing():
    axes = searching.draw_searches(searches_of(MANY, ())).axes
    assert len(axes) == 4 and len({one.get_ylim() for one in axes}) == 1
    assert sum(len(lines(one, "best")) for one in axes[::2]) == len(MANY)


def test_a_search_without_a_trial_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        searching.draw_searches(SearchPlot("val Acc E", (SearchCurve("a", (), ()),)))
