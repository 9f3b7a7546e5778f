"""Cues as padded tensors."""

from __future__ import annotations

import pytest

from methods.mart.lexicon import load_lexicon
from methods.mart.verification import CueFinder
from tests.methods.mart.toys import CARD, spoken_batch


def test_cues_are_in_their_clip_and_segment() -> None:
    cues = CueFinder(load_lexicon("nrc"), CARD)(spoken_batch().inputs)
    assert cues.mask.sum(-1).tolist() == [[1, 2, 1]] * 6
    first = cues.by_segment[4][0][0]
    assert (first.text, first.start) == ("joy", 0.2)
    assert cues.classes[4, 0, 0].tolist() == [False, False, True]
    assert int(cues.polarity[4, 0, 0]) == 1 and int(cues.polarity[0, 0, 0]) == -1
    assert float(cues.degree[4, 0, 0]) == pytest.approx(first.degree)


def test_padding_has_no_row_of_the_word_table_and_a_word_has_always_the_same() -> None:
    cues = CueFinder(load_lexicon("nrc"), CARD)(spoken_batch().inputs)
    assert ((cues.word_rows[..., 0] > 0) == cues.mask).all()
    assert (cues.word_rows[..., 1:] == 0).all()  # all cues here are single words
    assert cues.word_rows[0, 0, 0, 0] == cues.word_rows[1, 0, 0, 0] != cues.word_rows[4, 0, 0, 0]


def test_every_word_of_the_lexicon_has_its_own_row_and_inflected_forms_share_it() -> None:
    lexicon = load_lexicon("nrc")
    rows = list(lexicon.word_rows.values())
    assert rows == list(range(2, 2 + len(rows))) and len(rows) > 10_000
    assert lexicon.find_row("misery") == lexicon.word_rows["misery"]
    assert "murdered" not in lexicon.word_rows and lexicon.find_row("murdered") == lexicon.word_rows["murder"]
    assert lexicon.find_row("qwxyz") == 1


def test_a_batch_without_words_has_no_cues() -> None:
    cues = CueFinder(load_lexicon("nrc"), CARD)(spoken_batch(speaks=False).inputs)
    assert cues.mask.shape == (6, 3, 1) and not cues.mask.any()
