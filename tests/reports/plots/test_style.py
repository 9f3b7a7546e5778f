import io

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.errors import StoreError
from reports.figures import intervals as results
from reports.figures import style
from tests.reports.plots.shown import results_of


def test_pdf_and_png_are_written_whole_with_fonts_as_outlines_of_type_42_and_without_a_date(tmp_path):
    names = style.save_figure(results.draw_scores(results_of(("mart",), ("Ekman-6",))), tmp_path / "fig.a")
    assert sorted(path.name for path in tmp_path.iterdir()) == names == ["fig.a.pdf", "fig.a.png"]
    pdf = (tmp_path / "fig.a.pdf").read_bytes()
    assert b"FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf
    wide, _ = Image.open(tmp_path / "fig.a.png").size
    assert wide == pytest.approx(200 * style.COLUMN_WIDTH, abs=1)


def test_nothing_is_left_where_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError):
        style.save_figure(results.draw_scores(results_of(("mart",), ("Ekman-6",))), tmp_path / "file" / "fig")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_settings_of_matplotlib_neither_matter_nor_change():
    data = results_of(("mart",), ("Ekman-6",))
    before = style.render_png(results.draw_scores(data))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.parse_math": True}):
        assert style.render_png(results.draw_scores(data)) == before
        assert matplotlib.rcParams["axes.facecolor"] == "red" and matplotlib.rcParams["font.size"] == 30


def test_a_png_is_as_wide_as_its_dots_per_inch_ask():
    picture = Image.open(io.BytesIO(style.render_png(results.draw_scores(results_of(("mart",), ("Ekman-6",))), dpi=50)))
    assert picture.size[0] == round(50 * style.COLUMN_WIDTH) and len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_two_figures_in_a_page_share_no_name():
    texts = [style.render_svg(results.draw_scores(results_of((label,), ("Ekman-6",)))) for label in ("mart", "mbt")]
    named = [{part.split('"')[0] for part in text.split(' id="')[1:]} for text in texts]
    assert named[0] and named[1] and not named[0] & named[1]


def test_48_lines_differ_in_colour_and_the_lines_of_a_panel_in_grey():
    looks = [style.get_line_style(place) for place in range(48)]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 48
    for start in range(0, 48, 8):
        assert len({look["marker"] for look in looks[start : start + 8]}) == 8


@pytest.mark.parametrize(
    "text, letters, wrapped",
    [
        ("mart", 10, "mart"),
        ("mart-no-verification (per-arm)", 20, "mart-no-verification\n(per-arm)"),
        ("mart-no-complementary", 20, "mart-no-\ncomplementary"),
        ("abcdefgh", 3.5, "abc\ndef\ngh"),
        ("wwwwllllllll", 3, "ww\nww\nllllll\nll"),
        ("中文方法", 4, "中文\n方法"),
        ("5\N{NO-BREAK SPACE}runs here", 6, "5\N{NO-BREAK SPACE}runs\nhere"),
        ("_", 5, "_"),
        ("", 5, ""),
    ],
)
def test_names_are_wrapped_at_spaces_then_hyphens_then_anywhere(text, letters, wrapped):
    assert style.wrap_text(text, letters) == wrapped


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="ab -_/中é$", max_size=40), letters=st.integers(2, 12))
def test_wrapping_loses_no_letter_and_no_line_is_too_long(text, letters):
    wrapped = style.wrap_text(text, letters)
    assert [letter for letter in wrapped if letter not in " \n"] == [letter for letter in text if letter != " "]
    if text.strip():
        assert all(style.measure_text_width(line) <= letters for line in wrapped.split("\n"))


@given(count=st.integers(1, 40), most=st.integers(1, 9))
def test_parts_keep_the_order_and_are_as_few_as_can_be(count, most):
    parts = style.split_evenly(range(count), most)
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) <= most and len(parts) == -(-count // most)


def test_control_characters_in_a_name_are_escaped():
    assert style.wrap_text("a\x07b \udce9", 40) == "a\\x07b \\udce9"
    assert style.measure_text_width("\x07") == style.measure_text_width("\\x07") > 0
