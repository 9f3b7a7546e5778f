from pathlib import Path

from bench.explanations import choose_showcase_clips
from bench.types import Clip, ClipSources


def clips(*rows):
    """Return clips with the given (label, has a transcript)."""
    spoken = {True: ClipSources(transcript=Path("a.srt")), False: ClipSources()}
    return [
        Clip(f"c{label}/{i}", label, "train", str(i), spoken[has_words]) for i, (label, has_words) in enumerate(rows)
    ]


def test_the_first_clip_with_words_of_each_of_the_first_classes_is_selected():
    rows = [(1, False), (1, True), (0, True), (0, True), (5, True), (3, True), (2, True)]
    assert choose_showcase_clips(clips(*rows)) == (2, 1, 6, 5)


def test_without_words_the_first_clip_of_each_class_is_selected():
    assert choose_showcase_clips(clips((1, False), (0, False), (0, False))) == (1, 0)


def test_no_clips_select_none():
    assert choose_showcase_clips(()) == ()
