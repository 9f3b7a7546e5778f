"""Unusual media with faults known from public bug reports; the README of each case defines the right result.

Cases not handled yet are expected failures with a strict mark, which a fix has to remove. The wording of an issue is
free as long as it names the fault.
"""

import re
import unicodedata
from collections.abc import Iterable

import pytest

from bench.errors import MediaError
from bench.types import DataIssue, Word
from datasets.decode.container import ClipTooLong
from datasets.streams.text import read_transcript
from datasets.summary import locate_dataset
from studies.cli.main import main
from studies.requests import find_source
from tests.conftest import ROOT
from tests.datasets.odd_media import Span, decode, decode_video, write_frames_at_25

CLOSE = 0.1  # seconds; more than a frame of 1/30 s
GAP, LATE_STAMPS, TRACKS = "01-sound-gap", "03-stamps-from-70-minutes", "04-default-track"
HOLE = r"\b(holes?|gaps?|pauses?|breaks?|interrupt\w*|jumps?|missing|absent|lost|skip\w*|dropped|silence|discontinu\w*)"
OTHERS = r"\b(others?|another|several|more|two|2|first|second|default|tracks|streams)\b"
ROLLED = "we were so happy until the storm came then everyone cried"


@pytest.fixture(scope="session")
def odd(shared):
    return shared / "odd_media"


def wrong(*values, reason, raises=AssertionError):
    """Mark the values of a test as an expected failure."""
    return pytest.param(*values, marks=pytest.mark.xfail(strict=True, raises=raises, reason=reason))


def is_near(found: float, expected: float) -> bool:
    return abs(found - expected) <= CLOSE


def begins_at(span: Span | None, expected: float) -> bool:
    return span is not None and is_near(span[0], expected)


def names(problems: Iterable[DataIssue], *patterns: str, but: str = "") -> bool:
    """Return whether one issue matches all patterns, ignoring case and the file name `but`."""
    texts = [f"{problem.what}: {problem.why}".replace(but, "") for problem in problems]
    return any(all(re.search(pattern, text, re.IGNORECASE) for pattern in patterns) for text in texts)


def spoken(words: Iterable[Word]) -> str:
    """Join all words with spaces, in Unicode form NFC."""
    return unicodedata.normalize("NFC", " ".join(word.text for word in words))


def is_said(part: str, words: Iterable[Word]) -> bool:
    return f" {part} " in f" {spoken(words)} "


@pytest.mark.parametrize("name", ["gap_a.mp4", "gap_a.webm"])
def test_video_next_to_a_gap_in_the_audio_keeps_its_time(odd, name):
    assert begins_at(decode_video(odd / GAP / name).flash, 4.0)


CLOSED = "audio after missing packets is too early: the gap is closed"


@pytest.mark.parametrize("name", [wrong("gap_a.mp4", reason=CLOSED), wrong("gap_a.webm", reason=CLOSED)])
def test_sound_after_a_hole_keeps_its_time(odd, name):
    assert begins_at(decode_video(odd / GAP / name).beep, 4.0)


UNNAMED = "only 'the rest is silent' is reported"


@pytest.mark.parametrize("name", [wrong("gap_a.mp4", reason=UNNAMED), wrong("gap_a.webm", reason=UNNAMED)])
def test_a_hole_in_the_sound_is_reported(odd, name):
    assert names(decode_video(odd / GAP / name).problems, HOLE, r"sound|audio", but=name)


REFUSED = "time stamps that begin late are read as an hour of media"


@pytest.mark.parametrize(
    "name", [wrong("h1.mkv", reason=REFUSED, raises=ClipTooLong), wrong("h1.webm", reason=REFUSED, raises=ClipTooLong)]
)
def test_an_excerpt_whose_time_stamps_begin_at_70_minutes_is_used_from_its_start(odd, name):
    decoded = decode_video(odd / LATE_STAMPS / name)
    assert is_near(decoded.picture, 6.0) and is_near(decoded.sound, 6.0)
    assert begins_at(decoded.flash, 4.0) and begins_at(decoded.beep, 4.0)


def test_an_excerpt_whose_time_stamps_begin_at_15_minutes_is_used_from_its_start(odd):
    decoded = decode_video(odd / LATE_STAMPS / "neg.mkv")
    assert is_near(decoded.picture, 1.0) and decoded.sound == 0


@pytest.mark.parametrize(
    "name",
    [
        wrong("h1.mkv", reason=REFUSED, raises=ClipTooLong),
        wrong("h1.webm", reason=REFUSED, raises=ClipTooLong),
        wrong("neg.mkv", reason="reported as truncated: its last time stamp is used as its length"),
    ],
)
def test_time_stamps_that_begin_late_are_no_problem(odd, name):
    found = {problem.what for problem in decode_video(odd / LATE_STAMPS / name).problems}
    assert found == ({"no sound"} if name == "neg.mkv" else set())  # neg.mkv has no audio


@pytest.mark.parametrize(
    "name",
    [
        wrong("two_audio.mkv", reason="the first audio track is used, which is silent, and not the default one"),
        wrong("unknown_first.mp4", reason="only the first audio track is tried, whose codec is unknown"),
    ],
)
def test_the_default_or_else_the_decodable_sound_track_is_used(odd, name):
    assert begins_at(decode_video(odd / TRACKS / name).beep, 4.0)


ALONE = "audio tracks after the first are not reported"


@pytest.mark.parametrize("name", [wrong("two_audio.mkv", reason=ALONE), wrong("unknown_first.mp4", reason=ALONE)])
def test_further_sound_tracks_are_reported(odd, name):
    assert names(decode_video(odd / TRACKS / name).problems, OTHERS, r"track|stream|sound|audio", but=name)


ROLLING = "repeated lines are read twice, and a caption that begins with an empty line is lost"


@pytest.mark.parametrize("name", [wrong("roll.srt", reason=ROLLING), wrong("roll.vtt", reason=ROLLING)])
def test_rolling_captions_give_each_word_once_or_are_reported(odd, name):
    words, problems = read_transcript(odd / "05-rolling-captions" / name, "joy/a")
    once = spoken(words) == ROLLED and is_near(words[0].start, 0.16) and words[-1].start < 6.0
    repeated = names(problems, r"repeat|twice|again|duplicat|roll|same", but=name)
    assert once or (repeated and names(problems, r"empty|blank", but=name))


@pytest.mark.parametrize("name", [wrong("blankinside.srt", reason="the text after an empty line is lost")])
def test_an_empty_line_within_a_caption_loses_no_word_or_is_reported(odd, name):
    words, problems = read_transcript(odd / "07-empty-line-in-caption" / name, "joy/a")
    assert spoken(words) == "happy birthday to you so sad" or problems


SPLIT = "a word is split at a combining mark"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        wrong("nfd.srt", "émotion très café", reason=SPLIT),
        wrong("hindi.srt", "मैं बहुत खुश हूँ", reason=SPLIT),
    ],
)
def test_combining_marks_belong_to_their_word(odd, name, text):
    words, _ = read_transcript(odd / "08-combining-marks" / name, "joy/a")
    assert spoken(words) == unicodedata.normalize("NFC", text) and len(words) == len(text.split())


UNSPOKEN = "only text in square brackets is left out"


@pytest.mark.parametrize(
    "word", [wrong(word, reason=UNSPOKEN) for word in ("joy", "anger", "shouting", "laughs", "music")]
)
def test_names_of_speakers_and_descriptions_of_sounds_are_no_spoken_words(odd, word):
    words, _ = read_transcript(odd / "11-sound-descriptions/speaker.srt", "joy/a")
    assert not is_said(word, words)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("speaker.srt", "i am here"),
        ("speaker.srt", "no"),
        wrong(
            "convfail.srt",
            "the currency conversion failed and i am so angry",
            reason="a caption with the words 'conversion failed' is read as an error of the recogniser",
        ),
        ("lt.srt", "i"),
        wrong("lt.srt", "this show it is", reason="all text between < and > is read as a tag"),
        ("lt.srt", "all"),
    ],
)
def test_what_is_spoken_is_kept(odd, name, part):
    words, _ = read_transcript(odd / "11-sound-descriptions" / name, "joy/a")
    assert is_said(part, words)


@pytest.mark.xfail(strict=True, raises=MediaError, reason="check finds no issue, but no clip can be decoded")
def test_frames_as_png_are_decoded_or_check_reports_them(odd, capsys):
    folder = str(odd / "12-frames-png")
    code = main(["check", "--dataset", folder])
    if code == 0 and "no problems found" in capsys.readouterr().out:
        clips = locate_dataset(find_source(folder, None), None, 0).listing.available
        assert len(clips) == 16 and all(decode(clip.sources).picture > 0 for clip in clips)


def test_video_that_begins_after_the_audio_keeps_its_time_to_it(odd):
    decoded = decode_video(odd / "14-stamps-late-video/vlate.mkv")
    assert decoded.flash is not None and decoded.beep is not None
    assert is_near(decoded.flash[0] - decoded.beep[0], 1.0)  # the file's video is 1 s late


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the second before the video is reported as missing")
def test_video_that_begins_after_the_audio_is_not_truncated(odd):
    assert not names(decode_video(odd / "14-stamps-late-video/vlate.mkv").problems, r"truncat|missing")


def test_an_audio_file_next_to_frames_keeps_its_time(tmp_path):
    assert begins_at(decode(write_frames_at_25(tmp_path)).beep, 4.0)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="frames are always read as 30 per second")
def test_frames_at_another_rate_keep_their_time_or_the_likely_rate_is_reported(tmp_path):
    decoded = decode(write_frames_at_25(tmp_path))
    assert begins_at(decoded.flash, 4.0) or names(decoded.problems, r"\b25(\.0+)?\b")


def test_pixels_that_are_not_square_leave_all_times_as_they_are(odd):
    decoded = decode_video(odd / "17-pixel-aspect/sar.mp4")
    assert begins_at(decoded.flash, 4.0) and begins_at(decoded.beep, 4.0) and decoded.words == 0


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the pixel aspect ratio is not read")
def test_pixels_that_are_not_square_are_shown_in_shape_or_reported_or_documented(odd):
    decoded = decode_video(odd / "17-pixel-aspect/sar.mp4")
    documented = re.search(r"aspect|square pixel|pixels[^.]*\bsquare|anamorph", (ROOT / "docs/data.md").read_text())
    assert decoded.size == (112, 299) or decoded.problems or documented
