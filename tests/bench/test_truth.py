"""A word that is told of is matched with the planted word that it is."""

from bench.data import Explanation, Planted, Truth
from bench.explained import Fate
from bench.truth import match_words


def test_a_word_said_twice_is_matched_by_its_time():
    first, second = Planted("good", 0.0, None), Planted("good", 2.0, "tone")
    told = Fate("good", 2.01, "tone")
    assert match_words(Truth((), (first, second)), Explanation(None, (told,))) == [(second, told)]


def test_words_that_nobody_planted_or_told_of_match_nothing():
    truth = Truth((), (Planted("good", 0.0, None), Planted("calm", 1.0, None)))
    told = (Fate("filler", 0.0, None), Fate("calm", 1.1, None))  # the second is too late
    assert match_words(truth, Explanation(None, told)) == []
