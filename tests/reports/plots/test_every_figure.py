import csv
import io
import re
from xml.dom import minidom

import pytest
from matplotlib.figure import Figure

from reports.figures import style
from tests.reports.plots.shown import CLASSES, EMPTY, FIGURES, FIVE, GROUPS, MANY, NAMES, texts, told

pytestmark = pytest.mark.slow

SHAPES = {
    "one": (NAMES[:1], GROUPS[:1]),
    "foreign": (NAMES, GROUPS),
    "many": (MANY, FIVE),
    "long": (("a-name-" * 12, "无" * 40, "w" * 70), ("data set " * 12,)),
}
DRAWN: dict[tuple[str, str], Figure] = {}


def drawn(name, shape):
    """Return the figure; each is drawn once for all tests, which do not change it."""
    if (name, shape) not in DRAWN:
        draw, _, make = FIGURES[name]
        DRAWN[name, shape] = draw(make(*SHAPES[shape], sample=shape == "foreign"))
        with style.report_style():
            DRAWN[name, shape].draw_without_rendering()  # puts the words of legends in their places
    return DRAWN[name, shape]


every = pytest.mark.parametrize("name", FIGURES)
shapes = pytest.mark.parametrize("shape", SHAPES)


@every
@shapes
def test_nothing_is_cut_at_the_edge(name, shape):
    figure = drawn(name, shape)
    wide, tall = figure.bbox.size
    for text in texts(figure):
        box = text.get_window_extent()
        where = f"{text.get_text()!r} at {box} of {wide} x {tall}"
        assert box.x0 >= -1 and box.x1 <= wide + 1 and box.y0 >= -1 and box.y1 <= tall + 1, where


@every
@shapes
def test_words_do_not_lie_on_each_other(name, shape):
    figure = drawn(name, shape)
    upright = [text for text in texts(figure) if text.get_rotation() in (0, 90)]
    boxes = [(text, text.get_window_extent()) for text in upright]
    for place, (text, box) in enumerate(boxes):
        for other, beside in boxes[place + 1 :]:
            across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            up = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert min(across, up) < 1.5, f"{text.get_text()!r} and {other.get_text()!r}"


@every
@shapes
def test_it_is_as_wide_as_one_column_or_two_and_no_taller_than_a_page(name, shape):
    wide, tall = drawn(name, shape).get_size_inches()
    assert wide in (style.COLUMN_WIDTH, style.PAGE_WIDTH) or (name == "confusion" and wide < style.PAGE_WIDTH)
    assert tall < (13.0 if (name, shape) == ("radar", "many") else 9.2)


@every
def test_its_letters_can_be_read_in_print(name):
    assert {text.get_fontsize() for text in texts(drawn(name, "foreign"))} <= {
        style.SMALL_SIZE,
        style.LABEL_SIZE,
        style.TITLE_SIZE,
    }


@every
def test_all_names_stand_in_it(name):
    figure = drawn(name, "foreign")
    for label in NAMES if name != "confusion" else NAMES[:1]:
        assert told(figure, label)
    for group in GROUPS if name != "searching" else ():
        assert told(figure, group)
    for one in CLASSES if name in ("confusion", "radar") else ():
        assert told(figure, one)


@every
@shapes
def test_no_name_is_taken_for_a_formula(name, shape):
    assert not any(text.get_parse_math() for text in texts(drawn(name, shape)))


@every
def test_a_figure_of_the_sample_says_so_in_itself_and_no_other_does(name):
    assert told(drawn(name, "foreign"), style.SAMPLE_WARNING)
    assert not told(drawn(name, "one"), "SAMPLE")


@every
def test_without_anything_to_draw_it_says_so(name):
    draw, rows, _ = FIGURES[name]
    assert rows(EMPTY[name]) == ()
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(EMPTY[name])


@every
def test_its_rows_make_a_csv(name):
    _, tabulate, make = FIGURES[name]
    rows = tabulate(make(NAMES, GROUPS))
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(target.getvalue())))
    assert [list(row) for row in read] == [list(row) for row in rows]
    assert all(value is None or isinstance(value, str | int | float) for row in rows for value in row.values())


@every
def test_as_svg_it_is_one_element_that_fetches_nothing_and_keeps_its_text(name):
    text = style.render_svg(drawn(name, "foreign"))
    document = minidom.parseString(text.encode())
    root = document.documentElement
    assert text.startswith("<svg") and root.tagName == "svg"
    for element in [root, *root.getElementsByTagName("*")]:
        for attribute, value in element.attributes.items():
            assert attribute.startswith("xmlns") or "//" not in value, f"{attribute}={value}"
    assert not root.getElementsByTagName("style") and not root.getElementsByTagName("metadata")
    found = {element.getAttribute("id") for element in root.getElementsByTagName("*")} - {""}
    refers = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
    elements = root.getElementsByTagName("*")
    pointed = [refers.search(value) for element in elements for _, value in element.attributes.items()]
    assert {hit[1] or hit[2] for hit in pointed if hit} == found
    read = "".join(node.firstChild.data for node in root.getElementsByTagName("text") if node.firstChild)
    assert (NAMES[0] in read and GROUPS[0][:5] in read) or name == "searching"


@every
def test_it_is_the_same_bytes_whenever_it_is_drawn(name, tmp_path):
    draw, _, make = FIGURES[name]
    first, second = drawn(name, "one"), draw(make(*SHAPES["one"]))
    assert style.save_figure(first, tmp_path / "a") == ["a.pdf", "a.png"]
    style.save_figure(second, tmp_path / "b")
    for end in (".pdf", ".png"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()
    assert style.render_svg(first) == style.render_svg(second)
