"""Figures of masks and words: patches, outlines and words are drawn at the right position and in the right colour."""

from __future__ import annotations

import numpy as np

from methods.mart.figures import (
    LEVEL_COLOURS,
    assign_lanes,
    draw_masks,
    draw_words,
    find_masked_positions,
    grey_out,
    pick_evenly,
)
from tests.reports.clips.explained import KEYS, WORDS, audio, explained, told, video


def test_just_the_hidden_patches_are_greyed_out():
    grey = find_masked_positions(video(), 0)
    expected = np.zeros((2, 8, 8), dtype=bool)
    expected[0, :4, :4] = True
    np.testing.assert_array_equal(grey, expected)
    drawn = grey_out(video().content[0], grey)
    assert (drawn[~expected] == 255).all() and (drawn[expected] < 255).all()


def test_hidden_audio_is_grey_only_where_no_visible_patch_overlaps():
    grey = find_masked_positions(audio(), 0)
    assert grey.shape == (4, 6) and grey[:, :2].all() and not grey[:, 2:].any()


def test_every_hint_is_outlined_once_and_at_its_place():
    from matplotlib.patches import Rectangle

    figure = draw_masks(explained({KEYS[0]: told(0)}))
    frames, sound = figure.subfigs[0].axes
    outlines = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in (frames, sound)]
    assert [len(found) for found in outlines] == [2, 2]  # one per segment
    x, y = outlines[0][0].get_xy()
    assert 3.5 < x < 4.5 and 12.5 < y < 13.5  # the second frame is 9 pixels lower: its corner is at (4, 13)


def test_evenly_spaced_places_hold_both_ends():
    assert (pick_evenly(12, 6), pick_evenly(3, 6), pick_evenly(1, 4)) == ([0, 2, 4, 7, 9, 11], [0, 1, 2], [0])


def test_a_word_is_drawn_at_its_time_in_the_colour_of_the_stage_that_drops_it():
    axes = draw_words(explained()).axes[0]
    drawn = {text.get_text(): text for text in axes.texts}
    assert list(drawn) == ["grief", "calm ×E2", "joy"]
    for word, text in zip(WORDS, drawn.values(), strict=True):
        assert text.get_color() == LEVEL_COLOURS[word.dropped] and 0 < text.get_position()[0] - word.start < 0.1
    struck = [line for line in axes.lines if np.ptp(line.get_xdata()) > 0]
    assert [line.get_color() for line in struck] == [LEVEL_COLOURS["emotion"], LEVEL_COLOURS["sentiment"]]


def test_words_never_lie_on_each_other():
    assert assign_lanes([(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.2, 3.0), (2.0, 2.5)]) == [0, 1, 0, 2, 0]
