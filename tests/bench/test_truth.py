"""Tests of matching explained words with the planted words of the sample."""

from bench.explanations import StoredWordOutcome, match_planted_words
from bench.types import Explanation, PlantedWord, SampleTruth


def test_a_word_that_occurs_twice_is_matched_by_its_time():
    first, second = PlantedWord("good", 0.0, None), PlantedWord("good", 2.0, "tone")
    outcome = StoredWordOutcome("good", 2.01, "tone")
    assert match_planted_words(SampleTruth((), (first, second)), Explanation(None, (outcome,))) == [(second, outcome)]


def test_words_that_were_not_planted_or_not_explained_match_nothing():
    truth = SampleTruth((), (PlantedWord("good", 0.0, None), PlantedWord("calm", 1.0, None)))
    outcomes = (StoredWordOutcome("filler", 0.0, None), StoredWordOutcome("calm", 1.1, None))  # the second is too late
    assert match_planted_words(truth, Explanation(None, outcomes)) == []
