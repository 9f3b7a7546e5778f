import pytest

from reports.figures import intervals as results
from reports.figures.intervals import ScorePlot, ScorePoint
from tests.reports.plots.shown import FIVE, MANY, lines, results_of, told


def names(axes):
    return [text.get_text().replace("\n", " ") for text in axes.get_yticklabels()]


def test_means_intervals_and_runs_are_drawn_where_the_rows_say():
    data = results_of(("b", "a", "c"), ("second", "first"))
    figure = results.draw_scores(data)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["second", "first"]
    for axes in figure.axes:
        rows = [row for row in results.tabulate_scores(data) if row["group"] == axes.get_title(loc="left")]
        assert [x for x, _ in lines(axes, "mean")] == [[row["mean"]] for row in rows]
        assert [x for x, _ in lines(axes, "interval")] == [[row["low"], row["high"]] for row in rows]
        assert [x for x, _ in lines(axes, "runs")] == [[row["run 1"], row["run 2"]] for row in rows]


def test_labels_are_in_the_order_given_from_top_to_bottom_next_to_their_marks():
    figure = results.draw_scores(results_of(("b", "a", "c"), ("second", "first")))
    axes = figure.axes[0]
    assert names(axes) == ["b", "a", "c"]
    assert [y for _, y in lines(axes, "mean")] == [[0], [1], [2]] and axes.yaxis_inverted()


def test_a_flagged_score_is_hollow_and_the_legend_says_so():
    figure = results.draw_scores(results_of(("a", "b"), ("g",)))
    fills = [line.get_markerfacecolor() for line in figure.axes[0].get_lines() if line.get_gid() == "mean"]
    assert fills[0] != "white" and fills[1] == "white" and told(figure, "not ranked")
    assert [row["flagged"] for row in results.tabulate_scores(results_of(("a", "b"), ("g",)))] == ["", "flagged"]


def test_one_run_has_no_interval_and_no_legend():
    figure = results.draw_scores(ScorePlot("Acc E", (ScorePoint("a", "g", 50.0, None, None, (50.0,)),)))
    assert lines(figure.axes[0], "interval") == [] and lines(figure.axes[0], "runs") == [([50.0], [0.3])]
    assert figure.legends == []


def test_a_missing_cell_is_marked_and_is_no_row():
    data = ScorePlot(
        "Acc E", (ScorePoint("a", "g", 5.0, 4.0, 6.0, ()), ScorePoint("b", "h", 5.0, 4.0, 6.0, (4.0, 6.0)))
    )
    figure = results.draw_scores(data)
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["n/a"], ["n/a"]]
    assert [text.get_position()[1] for axes in figure.axes for text in axes.texts] == [1, 0]
    assert len(results.tabulate_scores(data)) == 2 and results.tabulate_scores(data)[0]["run 1"] is None


def test_every_value_lies_within_its_panel():
    for axes in results.draw_scores(results_of(MANY, FIVE)).axes:
        left, right = axes.get_xlim()
        for name in ("mean", "interval", "runs"):
            assert all(left < x < right for line in lines(axes, name) for x in line[0])


def test_more_groups_than_fit_in_a_row_are_stacked():
    figure = results.draw_scores(results_of(("a",), [f"set {place}" for place in range(7)]))
    assert len(figure.axes) == 7
    assert len({round(axes.get_position().y0, 3) for axes in figure.axes}) == 2


def test_a_label_twice_in_a_group_is_refused():
    point = ScorePoint("a", "g", 5.0, None, None, ())
    with pytest.raises(ValueError, match="g / a occurs twice"):
        results.draw_scores(ScorePlot("Acc E", (point, point)))
