from pathlib import Path

from bench.explanations import choose_showcase_clips
from bench.types import Clip, ClipSources


def clips(*rows):
    """(label, spoken) of each clip."""
    spoken = {True: ClipSources(transcript=Path("a.srt")), False: ClipSources()}
    return [Clip(f"c{label}/{i}", label, "train", str(i), spoken[said]) for i, (label, said) in enumerate(rows)]


def test_of_each_of_the_first_classes_the_first_clip_with_words_is_chosen():
    rows = [(1, False), (1, True), (0, True), (0, True), (5, True), (3, True), (2, True)]
    assert choose_showcase_clips(clips(*rows)) == (2, 1, 6, 5)


def test_where_no_clip_has_words_the_first_of_each_class_is():
    assert choose_showcase_clips(clips((1, False), (0, False), (0, False))) == (1, 0)


def test_no_clips_no_choice():
    assert choose_showcase_clips(()) == ()
