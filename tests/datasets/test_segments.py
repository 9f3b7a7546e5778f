"""Slots and segments: one moment for video and audio, all words of the slot, short clips looped."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.types import AudioSpec, Sampling, VideoSpec, Word
from datasets.segments import MISSING_FRAME, compute_slots, cut_segments

FOUR = Sampling(4, VideoSpec(5, 2, 8), AudioSpec(16), training=False)


def test_without_a_generator_a_segment_is_in_the_middle_of_its_slot():
    found = cut_segments(240, 800, [], FOUR, None)  # 8 s, slots of 2 s
    assert [segment.frames[2] for segment in found] == [30, 90, 150, 210]  # the middle frame: 1, 3, 5, 7 s
    assert found[0].frames.tolist() == [26, 28, 30, 32, 34]
    assert [(s.sound[0], s.sound[-1]) for s in found] == [(50, 149), (250, 349), (450, 549), (650, 749)]


@given(st.integers(0, 2**32 - 1), st.integers(90, 2000))
def test_drawn_moments_lie_in_their_slots_and_video_and_audio_share_them(seed, frames):
    sound = round(frames * 100 / 30)
    found = cut_segments(frames, sound, [], FOUR, np.random.default_rng(seed))
    slot = frames / 30 / 4
    for number, segment in enumerate(found):
        seen, heard = segment.frames[2] / 30, segment.sound[50] / 100
        inside = 0.5 <= heard <= frames / 30 - 0.5 - 1e-6  # not shifted to stay inside the clip
        if inside and 4 < segment.frames[2] < frames - 6:
            assert number * slot - 0.05 <= seen <= (number + 1) * slot + 0.05
            assert abs(seen - heard) < 0.06 or segment.sound[0] == 0 or segment.sound[-1] >= sound - 2


def test_draws_differ_from_slot_to_slot_and_from_seed_to_seed():
    one, two = (cut_segments(600, 2000, [], FOUR, np.random.default_rng(seed)) for seed in (1, 2))
    offsets = {int(segment.frames[2] - 150 * number) for number, segment in enumerate(one)}
    assert len(offsets) > 1 and [s.frames[0] for s in one] != [s.frames[0] for s in two]


def test_a_slot_has_all_of_its_words_and_no_others():
    words = [Word(str(tenth), tenth / 10, tenth / 10 + 0.1) for tenth in range(80)]
    found = cut_segments(240, 800, words, FOUR, None)
    assert [[w.text for w in s.words] for s in found] == [[str(20 * n + k) for k in range(20)] for n in range(4)]
    drawn = cut_segments(240, 800, words, FOUR, np.random.default_rng(0))
    assert [s.words for s in drawn] == [s.words for s in found]  # whatever the moment


@pytest.mark.parametrize("segments", range(1, 17))
def test_a_word_on_the_edge_of_a_slot_is_in_one_slot(segments):
    sampling = replace(FOUR, segments=segments)
    for frames in range(400, 700, 7):
        edges = [end for _, end in compute_slots(frames / 30, sampling)]
        words = [Word(str(number), edge, edge + 0.1) for number, edge in enumerate([0.0, *edges[:-1]])]
        found = cut_segments(frames, 0, words, sampling, None)
        assert [[word.text for word in segment.words] for segment in found] == [[str(n)] for n in range(segments)]


def test_words_outside_the_clip_belong_to_no_slot():
    found = cut_segments(60, 200, [Word("late", 5.0, 5.1)], FOUR, None)
    assert all(not segment.words for segment in found)


def test_a_short_clip_is_looped_and_its_copies_have_no_words():
    words = [Word("here", 0.05, 0.1)]
    found = cut_segments(6, 20, words, FOUR, None)  # 0.2 s; four segments need 1.33 s
    assert all(((s.frames >= 0) & (s.frames < 6)).all() and ((s.sound >= 0) & (s.sound < 20)).all() for s in found)
    assert [len(segment.words) for segment in found] == [1, 0, 0, 0]
    assert found[1].frames.tolist() == [(found[1].frames[0] + 2 * k) % 6 for k in range(5)]


def test_a_clip_of_one_frame_is_that_frame_everywhere():
    assert all((segment.frames == 0).all() for segment in cut_segments(1, 0, [], FOUR, None))


def test_sound_that_ends_early_is_missing_and_not_looped():
    found = cut_segments(240, 400, [], FOUR, None)  # 8 s of video, 4 s of audio
    assert (found[1].sound != MISSING_FRAME).all() and (found[3].sound == MISSING_FRAME).all()


def test_audio_after_the_end_of_the_video_is_not_used():
    assert max(int(segment.sound.max()) for segment in cut_segments(240, 2000, [], FOUR, None)) < 800


@pytest.mark.parametrize(("frames", "sound"), [(0, 800), (240, 0)])
def test_an_absent_modality_has_no_places(frames, sound):
    for segment in cut_segments(frames, sound, [], FOUR, None):
        assert (len(segment.frames) == 0) is (frames == 0)
        assert bool((segment.sound == MISSING_FRAME).all()) is (sound == 0)


def test_more_segments_cut_finer():
    assert len(cut_segments(240, 800, [], replace(FOUR, segments=12), None)) == 12
