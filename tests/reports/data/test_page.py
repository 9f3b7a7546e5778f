import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bench.tasks import Classification
from bench.types import DataIssue, Thumbnail
from reports.dataset import count_by_class
from reports.dataset_page import (
    DURATION_TICKS,
    WORD_TICKS,
    draw_classes,
    draw_histogram,
    format_duration,
    make_dataset_page,
)
from tests.chromium import PROGRAM, chromium
from tests.reports.data.facts import CARD, clip, clips, facts, heard, missing
from tests.reports.page.made import HOSTILE_TEXTS

VOID = {"meta", "img"}


class Parsed(HTMLParser):
    """Parser of a page's tags, text and table cells; fails on tags that are not closed."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._table = ""
        self.feed(content)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "figure" and str(values.get("id")).startswith("table-"):
            self._table = str(values["id"]).removeprefix("table-")
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.tables[self._table][-1][-1] += data


def test_clips_are_counted_by_class_and_split_with_a_row_of_totals():
    found = Parsed(make_dataset_page(missing(facts(), "joy/0"))).tables["classes"]
    assert found[0] == ["class (sentiment)", "train", "test", "groups", "lost", "hours"]
    assert ["joy (+)", "5", "2", "7", "1", "0.01"] in found and ["calm (0)", "6", "2", "8", "0", "0.01"] in found
    assert found[-1] == ["all", "17", "6", "23", "1", "0.03"]


def test_val_has_a_column_if_the_lists_define_it():
    assert "split from train" in Parsed(make_dataset_page(facts())).text
    stated = Parsed(make_dataset_page(facts(clips=(*clips(), clip(0, 99, "val")))))
    assert stated.tables["classes"][0][:4] == ["class (sentiment)", "train", "val", "test"]
    assert "split from train" not in stated.text


def test_the_page_lists_the_facts_of_the_data_set():
    text = Parsed(make_dataset_page(facts())).text
    for fact in (CARD.title, CARD.language, CARD.licence, CARD.cite, CARD.obtain, CARD.splits):
        assert fact in text
    many = replace(CARD, folds=(1, 2, 3), fold="session left out", clips=99)
    text = Parsed(make_dataset_page(replace(facts(), info=many, fold=2))).text
    assert "2, of 1 to 3: session left out" in text and "official number is 99" in text


@pytest.mark.parametrize("ticks", [DURATION_TICKS, WORD_TICKS])
@pytest.mark.parametrize("values", [[1], [3, 3], [3, 4], [2, 11, 11], [1, 50_000], [1, 900_000], [4.0] * 9, [0.0, 1.5]])
def test_bars_of_a_histogram_hold_every_clip_once(values, ticks):
    (axes,) = draw_histogram(values, ticks, format_duration).axes
    assert sum(bar.get_height() for bar in axes.patches) == len(values) and 1 <= len(axes.patches) <= 24
    assert [label.get_text() for label in axes.get_xticklabels()]


def test_bars_of_classes_hold_their_clips_by_split_and_the_lost_ones():
    rows = count_by_class(missing(facts(), "joy/0"))
    (axes,) = draw_classes(rows, ["train", "test", "lost"]).axes
    assert [bar.get_width() for bar in axes.patches] == [6, 5, 6, 2, 2, 2, 0, 1, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["anger", "joy", "calm"]


def test_the_longest_and_the_median_clip_are_named():
    long = clip(1, 77, seconds=7200.0)
    text = Parsed(make_dataset_page(facts(clips=(*clips(), long)))).text
    assert "joy/77 (2 h)" in text and "median 4 s" in text


def test_clips_without_words_are_counted():
    silent = [replace(row, words=0) for row in clips()[:6]]
    text = Parsed(make_dataset_page(facts(clips=(*silent, *clips()[6:])))).text
    assert "25 % of the clips (6 of 24) have no words; the others have 54 in total" in text


def test_modalities_are_shares_of_the_readable_clips():
    half = tuple(replace(row, streams=("video", *(["audio"] if row.split == "train" else []))) for row in clips())
    found = Parsed(make_dataset_page(facts(clips=half))).tables["streams"]
    assert found[1] == ["anger", "100 %", "75 %", "0 %"] and found[-1] == ["all", "100 %", "75 %", "0 %"]


def test_arrays_are_streams_like_any_other():
    card = replace(CARD, streams=("audio", "features/face"), features={"face": 4})
    some = tuple(replace(row, streams=("audio", "features/face")[: 1 + row.key.endswith("1")]) for row in clips())
    found = Parsed(make_dataset_page(replace(facts(clips=some), info=card))).tables["streams"]
    assert found[0] == ["class", "video", "audio", "text", "features/face"]
    assert found[-1][:3] == ["all", "0 %", "100 %"] and found[-1][4] not in ("0 %", "100 %")
    alone = replace(card, streams=("features/face",))
    found = Parsed(make_dataset_page(replace(facts(clips=some), info=alone))).tables["streams"]
    assert found[0] == ["class", "features/face"]


def test_a_section_that_a_method_adds_has_its_table_its_reasons_and_what_they_mean():
    found = Parsed(make_dataset_page(facts(sections=(heard(CARD, joy=("1,234", 0.256)),))))
    rows = found.tables["heard"]
    assert rows[0] == ["class", "entries", "share", "why"] and ["joy", "1,234", "26 %", "why joy"] in rows
    assert "Heard in Toys & Co" in found.text and "Nothing for calm." in found.text and "What is meant." in found.text
    assert "heard" not in Parsed(make_dataset_page(facts(sections=()))).tables


def test_frames_are_shown_with_the_names_of_their_clips():
    found = Parsed(make_dataset_page(facts(thumbnails={"joy": (Thumbnail("joy/1", b"\xff\xd8one"),)})))
    (image,) = [values for _, values in found.tags if str(values.get("src")).startswith("data:image/jpeg")]
    assert image["alt"] == "joy/1"
    assert base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,")) == b"\xff\xd8one"
    assert found.text.count("No frame.") == 2


def test_problems_of_a_kind_are_named_up_to_a_hundred():
    problems = tuple(DataIssue("silent", f"joy/{number}", "no sound") for number in range(250))
    found = Parsed(make_dataset_page(facts(issues=problems)))
    assert [tag for tag, _ in found.tags].count("li") == 100
    assert "and 150 more in problems.csv" in found.text and "joy/99" in found.text and "joy/100" not in found.text


def test_fitness_is_shown_with_reasons():
    assert "Fit to run" in Parsed(make_dataset_page(facts())).text
    text = Parsed(
        make_dataset_page(facts(clips=tuple(row for row in clips() if row.target or row.split == "test")))
    ).text
    assert "Not fit to run" in text and "class 'anger' has no training clip" in text


def named(name: str) -> str:
    """Return the page of a data set in which every text is `name`."""
    card = replace(
        CARD,
        title=name,
        task=Classification((name, "joy", "calm"), (-1, 1, 0)),
        cite=name,
        licence=name,
        language=name,
        obtain=name,
    )
    card = replace(card, group=name, fold=name, folds=(1, 2), splits=name)
    section = heard(card, joy=(name, name))
    section = replace(section, title=name, headings=(name, name), meaning=name, lead=name, names=name)
    rows = tuple(replace(row, key=f"{name}/{at}", group=name) for at, row in enumerate(clips()))
    problems = tuple(DataIssue(name, f"{name}/\x1b\u202e\udcff", name) for _ in range(3))
    stills = {name: (Thumbnail(f"{name}/{name}", b"x"),)}
    return make_dataset_page(
        replace(
            facts(clips=rows, issues=problems, thumbnails=stills, is_sample=True),
            info=card,
            fold=1,
            sections=(section,),
        )
    )


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_name_becomes_a_tag_or_an_attribute_or_a_part_of_a_template(text):
    shown = text.replace("\u202e", "\\u202e")
    pages = [Parsed(named(name)) for name in ("p" * len(shown), text)]
    plain, hostile = ([(tag, list(values)) for tag, values in page.tags] for page in pages)
    assert plain == hostile
    assert pages[1].text.count(shown) > 10 and "\u202e" not in pages[1].text


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_browser_shows_hostile_names_as_text(tmp_path, text):
    path = tmp_path / "page.html"
    path.write_text(named(text))
    with chromium() as browser:
        browser.open(path)
        assert browser.evaluate("document.querySelector('h1').textContent") == text.replace("\u202e", "\\u202e")
        assert browser.evaluate("document.querySelectorAll('script, a, [onload], [onerror]').length") == 0
        assert browser.exceptions == [] and browser.console == []
        assert [url for url in browser.requests if not url.startswith("data:")] == [path.as_uri()]


def test_control_and_direction_characters_and_broken_bytes_are_spelt_out():
    content = named("plain")
    content.encode()
    assert "plain/\\x1b\\u202e\\udcff" in content and not {"\x1b", "\u202e"} & set(content)


def test_the_page_fetches_nothing_and_runs_nothing():
    content = make_dataset_page(
        facts(thumbnails={"joy": (Thumbnail("joy/1", b"x"),)}, issues=(DataIssue("silent", "a", "b"),))
    )
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|<iframe|\bon\w+=", content)
    sources = [values[name] for _, values in Parsed(content).tags for name in ("src", "href") if name in values]
    assert all(source.startswith(("data:image/jpeg;", "data:image/svg+xml;")) for source in sources)


def test_the_sample_is_marked_at_the_top_and_in_every_section():
    content = make_dataset_page(facts(is_sample=True))
    assert content.count("BUILT-IN SAMPLE") == 3 + content.count("<section")
    assert "BUILT-IN SAMPLE" not in make_dataset_page(facts())


@pytest.mark.parametrize(
    "found",
    [
        facts(clips=(), sections=(), store_bytes=0),
        facts(clips=clips(seconds=None, words=0, streams=()), sections=(), store_bytes=0),
        facts(clips=clips(words=0, streams=())),
        facts(clips=clips(seconds=0.0)),
        missing(facts(), *[row.key for row in clips()]),
    ],
    ids=["no clips", "nothing prepared", "nothing present", "no length", "all missing"],
)
def test_a_data_set_with_few_facts_still_has_a_page(found):
    assert "<h1>" in make_dataset_page(found) and Parsed(make_dataset_page(found)).text


def test_thirty_thousand_clips_make_a_small_page():
    rows = tuple(
        clip(at % 3, at, "train" if at % 5 else "test", 0.1 + at % 997, words=at % 313) for at in range(31_182)
    )
    problems = tuple(DataIssue(kind, row.key, "of a reason " * 20) for kind in "abcdefgh" for row in rows[::4])
    content = make_dataset_page(facts(clips=rows, issues=problems))
    assert len(content.encode()) < 1_000_000
    assert Parsed(content).tables["classes"][-1][1:4] == ["24,945", "6,237", "31,182"]
