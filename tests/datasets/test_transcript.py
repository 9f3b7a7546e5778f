"""Transcripts: captions read as words with times, in any encoding."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.streams.text import read_transcript

TEXT = "1\n00:00:01,000 --> 00:00:02,000\nWhat <i>Joy</i>, café!\n\n2\n00:01:00,500 --> 00:01:01,500\nDon’t\n"


def read(tmp_path, raw):
    path = tmp_path / "clip.srt"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_transcript(path, "joy/clip")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_words_are_lower_cased_and_share_their_captions_time(tmp_path, encoding):
    words, problems = read(tmp_path, TEXT.encode(encoding))
    assert [p.what for p in problems] == ([] if encoding.startswith("utf-8") else ["encoding"])
    assert [word.text for word in words] == ["what", "joy", "café", "don't"]
    assert [round(word.start, 3) for word in words] == [1.0, 1.333, 1.667, 60.5]
    assert round(words[0].end, 3) == 1.333


def test_windows_line_ends_and_missing_blank_lines_are_read(tmp_path):
    words, _ = read(tmp_path, TEXT.replace("\n\n", "\n").replace("\n", "\r\n"))
    assert [word.text for word in words] == ["what", "joy", "café", "don't"]


def test_overlapping_captions_come_in_the_order_of_time(tmp_path):
    text = "1\n00:00:02,000 --> 00:00:04,000\nlate\n\n2\n00:00:01,000 --> 00:00:03,000\nearly\n"
    words, problems = read(tmp_path, text)
    assert [word.text for word in words] == ["early", "late"]
    assert [(p.what, p.where) for p in problems] == [("overlap", "joy/clip")] and "1 of 2 captions" in problems[0].why


def test_captions_that_follow_at_once_do_not_overlap(tmp_path):
    text = "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:02,000 --> 00:00:03,000\ntwo\n"
    assert read(tmp_path, text)[1] == []


@pytest.mark.parametrize("text", ["", "\n\n", "1\n00:00:00,000 --> 00:00:02,000\n...\n"], ids=["none", "blank", "dots"])
def test_a_transcript_without_a_word_is_reported(tmp_path, text):
    words, problems = read(tmp_path, text)
    assert not words and [(p.what, p.where) for p in problems] == [("no words", "joy/clip")]


MANY = st.lists(
    st.sampled_from([*TEXT.split(), "-->", "00:00:01,000 --> 00:00:00,5", "9" * 5000, "\n", "\0", "<", "{\\"])
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(), MANY.map(" ".join).map(str.encode), MANY.map("\n".join).map(lambda t: t.encode("utf-16"))
    )
)
def test_any_bytes_are_read_as_words_in_the_order_of_time(tmp_path, raw):
    words, _ = read(tmp_path, raw)
    assert all(word.text and 0 <= word.start <= word.end < float("inf") for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)


@pytest.mark.parametrize(("text", "why"), [("Conversion failed", "Conversion failed"), ("hello there", "no captions")])
def test_a_file_that_is_no_transcript_is_reported(tmp_path, text, why):
    words, problems = read(tmp_path, text)
    assert not words and [(p.what, p.where) for p in problems] == [("transcript", "joy/clip")]
    assert why in problems[0].why


def test_a_guessed_encoding_is_reported_by_name(tmp_path):
    words, problems = read(tmp_path, TEXT.encode("cp1252"))  # with a curly apostrophe, which Latin-1 has not
    assert words[-1].text == "don't"
    assert [(p.what, p.where) for p in problems] == [("encoding", "joy/clip")] and "cp1252" in problems[0].why
    words, problems = read(tmp_path, TEXT.replace("’", "\x81").encode("latin-1"))  # 0x81 is no letter of cp1252
    assert words[2].text == "café" and "latin-1" in problems[0].why


def test_entities_are_decoded_and_descriptions_of_sounds_are_no_words(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\n[Music] I don&#39;t &amp; you &lt;3\n")
    words, problems = read_transcript(tmp_path / "a.srt", "joy/a")
    assert [word.text for word in words] == ["i", "don't", "you", "3"] and not problems
