"""Text and lines of a figure, and examples of every kind of figure with unusual names."""

from __future__ import annotations

from matplotlib.text import Text

from reports.figures import classes, curves, intervals

NAMES = (
    "mart",
    "mart-no-verification (per-arm)",
    "_ & % $ # < x_$a$",
    "中文方法",
    "kpnet (epochs=2, lr=0.01; best-on-test)",
)
GROUPS = ("Ekman-6", "VideoEmotion-8 <fold 2 of 3>", "我的数据 & $y$")
CLASSES = ("anger", "anticipation", "_dis$gust$", "喜悦 & 信任")
MANY = tuple(f"{NAMES[place % len(NAMES)]} {place}" for place in range(16))
FIVE = ("Ekman-6", "VideoEmotion-8", "PERR", "IEMOCAP", "Aff-Wild2")


def texts(figure):
    """Return every visible text."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            drawn = axis._update_ticks()
            unseen |= {tick.label1 for tick in axis.get_major_ticks() if tick not in drawn}
    return [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in unseen
    ]


def words(figure):
    """Return all text, without line breaks."""
    return {text.get_text().replace("\n", "").replace(" ", "") for text in texts(figure)}


def told(figure, name):
    """Return whether a name is in the figure, possibly wrapped."""
    return any(name.replace(" ", "") in word for word in words(figure))


def lines(axes, gid):
    """Return the (x, y) of each line with this name, in drawing order."""
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axes.get_lines()
        if line.get_gid() == gid
    ]


def results_of(labels, groups, sample=False):
    points = tuple(
        intervals.ScorePoint(
            label, group, 40.0 + i - j, 39.0 + i - j, 42.0 + i - j, (39.5 + i - j, 40.5 + i - j), i == 1
        )
        for j, group in enumerate(groups)
        for i, label in enumerate(labels)
    )
    return intervals.ScorePlot("Acc E, percent", points, sample=sample)


def differences_of(labels, groups, sample=False):
    found = tuple(
        intervals.DifferencePoint(label, group, -1.0 - i, -2.0 - i, 0.5 - i, (-1.5 - i, -0.5 - i), kind)
        for group in groups
        for i, label in enumerate(labels)
        for kind in ("shared", "per-arm")
    )
    return intervals.DifferencePlot("mart", "Acc E, points", found, sample=sample)


def confusions_of(labels, groups, sample=False):
    counts = tuple(tuple(3 * i + j + 1 for j in range(len(CLASSES))) for i in range(len(CLASSES)))
    panels = tuple(classes.ConfusionMatrix(f"{labels[0]} on {group}", CLASSES, counts, 5) for group in groups)
    return classes.ConfusionPlot(panels, sample)


def line_of(label, start=20.0, runs=3):
    mean = tuple(start + 3 * epoch for epoch in range(6))
    return curves.LearningCurve(
        label, tuple(range(1, 7)), mean, tuple(m - 1 for m in mean), tuple(m + 2 for m in mean), runs
    )


def learning_of(labels, groups, sample=False):
    panels = tuple(
        curves.LearningPanel(group, tuple(line_of(label, 20.0 + i) for i, label in enumerate(labels)))
        for group in groups
    )
    return curves.LearningPlot("val Acc E, percent", panels, sample)


def search_of(label, start=30.0):
    return curves.SearchCurve(label, (0.1, 0.4, 0.5, 0.9, 1.3), (None, start, start - 2, None, start + 4))


def searches_of(labels, groups, sample=False):
    return curves.SearchPlot(
        "val Acc E, percent", tuple(search_of(label, 30.0 + i) for i, label in enumerate(labels)), sample
    )


def radars_of(labels, groups, sample=False):
    panels = tuple(
        classes.RadarPanel(
            group,
            CLASSES,
            tuple(
                classes.RadarPolygon(label, (50.0 + i, None if i == 1 else 30.0, 100.0, 0.0))
                for i, label in enumerate(labels)
            ),
        )
        for group in groups
    )
    return classes.RadarPlot(panels, sample)


def reliabilities_of(labels, groups, sample=False):
    bins = tuple(classes.ConfidenceBin(20.0 + 25 * place, 15.0 + 25 * place, 10 + place) for place in range(4))
    drawn = tuple(classes.ReliabilityCurve(label, bins, 5.0) for label in labels)
    return classes.ReliabilityPlot(tuple(classes.ReliabilityPanel(group, drawn) for group in groups), sample=sample)


FIGURES = {  # how it is drawn, its rows, an example
    "results": (intervals.draw_scores, intervals.tabulate_scores, results_of),
    "differences": (intervals.draw_differences, intervals.tabulate_differences, differences_of),
    "confusion": (classes.draw_confusion, classes.tabulate_confusion, confusions_of),
    "learning": (curves.draw_learning, curves.tabulate_learning, learning_of),
    "searching": (curves.draw_searches, curves.tabulate_searches, searches_of),
    "radar": (classes.draw_radar, classes.tabulate_radar, radars_of),
    "reliability": (classes.draw_reliability, classes.tabulate_reliability, reliabilities_of),
}
EMPTY = {
    "results": intervals.ScorePlot("Acc E", ()),
    "differences": intervals.DifferencePlot("mart", "Acc E", ()),
    "confusion": classes.ConfusionPlot(()),
    "learning": curves.LearningPlot("val Acc E", ()),
    "searching": curves.SearchPlot("val Acc E", ()),
    "radar": classes.RadarPlot(()),
    "reliability": classes.ReliabilityPlot(()),
}
