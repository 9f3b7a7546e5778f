"""Transcripts: captions as words with times, in any encoding."""

import pytest

from datasets.transcript import read_transcript

TEXT = "1\n00:00:01,000 --> 00:00:02,000\nWhat <i>Joy</i>, café!\n\n2\n00:01:00,500 --> 00:01:01,500\nDon’t\n"


def read(tmp_path, raw):
    path = tmp_path / "clip.srt"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_transcript(path, "joy/clip")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_words_are_lower_cased_and_share_their_captions_time(tmp_path, encoding):
    text = TEXT.replace("’", "'") if encoding == "latin-1" else TEXT
    words, problems = read(tmp_path, text.encode(encoding))
    assert not problems
    assert [word.text for word in words] == ["what", "joy", "café", "don't"]
    assert [round(word.start, 3) for word in words] == [1.0, 1.333, 1.667, 60.5]
    assert round(words[0].end, 3) == 1.333


def test_windows_line_ends_and_missing_blank_lines_are_read(tmp_path):
    words, _ = read(tmp_path, TEXT.replace("\n\n", "\n").replace("\n", "\r\n"))
    assert [word.text for word in words] == ["what", "joy", "café", "don't"]


def test_overlapping_captions_come_in_the_order_of_time(tmp_path):
    text = "1\n00:00:02,000 --> 00:00:04,000\nlate\n\n2\n00:00:01,000 --> 00:00:03,000\nearly\n"
    assert [word.text for word in read(tmp_path, text)[0]] == ["early", "late"]


def test_an_empty_file_is_no_problem_and_has_no_words(tmp_path):
    assert read(tmp_path, "") == ([], [])


@pytest.mark.parametrize(("text", "why"), [("Conversion failed", "Conversion failed"), ("hello there", "no captions")])
def test_what_is_no_transcript_is_told(tmp_path, text, why):
    words, problems = read(tmp_path, text)
    assert not words and [(p.what, p.where) for p in problems] == [("transcript", "joy/clip")]
    assert why in problems[0].why
