"""A word that is told of is matched with the planted word that it is."""

from bench.explanations import StoredWordOutcome, match_planted_words
from bench.types import Explanation, PlantedWord, SampleTruth


def test_a_word_said_twice_is_matched_by_its_time():
    first, second = PlantedWord("good", 0.0, None), PlantedWord("good", 2.0, "tone")
    told = StoredWordOutcome("good", 2.01, "tone")
    assert match_planted_words(SampleTruth((), (first, second)), Explanation(None, (told,))) == [(second, told)]


def test_words_that_nobody_planted_or_told_of_match_nothing():
    truth = SampleTruth((), (PlantedWord("good", 0.0, None), PlantedWord("calm", 1.0, None)))
    told = (StoredWordOutcome("filler", 0.0, None), StoredWordOutcome("calm", 1.1, None))  # the second is too late
    assert match_planted_words(truth, Explanation(None, told)) == []
