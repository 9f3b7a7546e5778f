import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from reports.figures.clips import CLASS_COLOURS, ClipCurves, draw_emotion_curves, get_class_style, save_clip_curves

CLASSES = ("low", "mid", "high")
CURVE = np.array([[0.0, 0.2, 1.0], [0.5, 0.1, -0.5]])
SLOTS = [(0.0, 2.0), (2.0, 4.0)]


def page(**values):
    facts = {"title": "a_$b$ clip", "note": "of run 1", "classes": CLASSES, "probabilities": np.array([0.1, 0.2, 0.7])}
    return ClipCurves(**{**facts, "duration": 3.0, "segment_spans": SLOTS, **values})


def test_each_class_is_a_line_through_its_scores_at_their_times_and_one_is_emphasised():
    axes = Figure().subplots()
    draw_emotion_curves(axes, [1.0, 3.0], CURVE, CLASSES, strong=2)
    lines = {line.get_label(): line for line in axes.get_lines()}
    for label, name in enumerate(CLASSES):
        assert lines[name].get_xdata().tolist() == [1.0, 3.0]
        assert lines[name].get_ydata().tolist() == CURVE[:, label].tolist()
    assert lines["high"].get_linewidth() > lines["low"].get_linewidth()


def test_more_classes_than_colours_differ_in_their_dashes():
    looks = {
        (get_class_style(label)["color"], get_class_style(label)["linestyle"])
        for label in range(3 * len(CLASS_COLOURS))
    }
    assert len(looks) == 3 * len(CLASS_COLOURS)


STILLS = [np.zeros((96, 128, 3), np.uint8)] * 2
SHARES = np.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"emotion_scores": CURVE},
        {"segment_probabilities": SHARES},
        {"thumbnails": STILLS},
        {"emotion_scores": CURVE, "segment_probabilities": SHARES, "thumbnails": STILLS, "duration": 4.0},
    ],
)
def test_a_page_shows_what_there_is_and_is_written_whole(values, tmp_path):
    save_clip_curves(tmp_path / "page.png", page(**values))
    (path,) = tmp_path.iterdir()
    assert path.name == "page.png" and min(Image.open(path).size) > 200


def test_a_page_of_many_segments_stays_a_page(tmp_path):
    slots = [(float(s), s + 1.0) for s in range(64)]
    save_clip_curves(
        tmp_path / "page.png",
        page(
            segment_spans=slots, duration=64.0, thumbnails=STILLS * 32, segment_probabilities=np.tile(SHARES, (32, 1))
        ),
    )
    assert Image.open(tmp_path / "page.png").size[0] < 2000
