"""Look-up of cues: concepts, stems and degrees, and the facts about the lexicon packages that it relies on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.types import Word
from methods.mart.lexicon import PLUTCHIK_EMOTIONS, Lexicon, join_words, load_lexicon
from tests.methods.mart.toys import CARD

FEW = Lexicon(
    polarities={"good": 0.2, "good_morning": 0.1, "morning": 0.2, "not_good_at_all": -0.9, "kill": -0.2, "rain": 0.0},
    emotions={
        "good": frozenset({"joy"}),
        "not_good_at_all": frozenset({"sadness", "fear"}),
        "kill": frozenset({"fear"}),
        "rain": frozenset({"sadness"}),
    },
)


def words_of(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, float(i), i + 0.5) for i, word in enumerate(text.split()))


def test_the_longest_concept_wins_and_its_words_belong_to_no_other_cue() -> None:
    cues = FEW.find_cues(words_of("It was NOT good, at all. Good morning!"), CARD)
    assert [(cue.text, cue.start) for cue in cues] == [("not good at all", 2.0), ("good morning", 6.0)]
    assert [(cue.polarity, sorted(cue.classes)) for cue in cues] == [(-1, [0, 1]), (1, [2])]


def test_a_cue_has_the_spans_of_its_words_in_the_transcript() -> None:
    words = words_of("It was NOT good, at all. Good-morning! they were killing")
    text = join_words(words)
    found = [[text[start:end] for start, end in cue.word_spans] for cue in FEW.find_cues(words, CARD)]
    assert found == [["NOT", "good", "at", "all"], ["Good", "morning"], ["killing"]]


def test_a_word_that_is_not_listed_is_looked_up_by_its_stem() -> None:
    assert [cue.text for cue in FEW.find_cues(words_of("they were killing time"), CARD)] == ["killing"]


def test_a_word_without_polarity_or_without_emotions_is_no_cue() -> None:
    assert FEW.find_cues(words_of("rain in the morning"), CARD) == ()


def test_the_degree_is_the_percentile_of_the_polaritys_size() -> None:
    # sizes 0 .1 .2 .2 .2 .9
    assert FEW.compute_degree(0.2) == FEW.compute_degree(-0.2) == pytest.approx(3.5 / 6)
    assert FEW.compute_degree(-0.9) == pytest.approx(5.5 / 6)


def test_senticnets_mood_tags_are_displaced_and_know_no_surprise() -> None:
    """Pin why emotions come from EmoLex: the package tags words with the moods of neighbouring entries."""
    from senticnet.senticnet6 import senticnet

    moods = {word: set(senticnet[word][4:6]) for word in ("fear", "anger", "disgust", "joy")}
    assert moods == {"fear": {"#anger"}, "anger": {"#disgust"}, "disgust": {"#fear"}, "joy": {"#joy"}}
    assert not any("surprise" in tag for values in senticnet.values() for tag in values[4:6])


def test_emolex_names_what_senticnet_displaces() -> None:
    lexicon = load_lexicon("nrc")
    assert {word: lexicon.find_entry(word) is not None for word in ("fear", "anger", "joy")} == dict.fromkeys(
        ("fear", "anger", "joy"), True
    )
    for word, emotion in (("fear", "fear"), ("anger", "anger"), ("joy", "joy"), ("grief", "sadness")):
        entry = lexicon.find_entry(word)
        assert entry is not None and emotion in entry.emotions and entry.emotions <= PLUTCHIK_EMOTIONS


def test_the_senticnet_lexicon_takes_the_displaced_tags() -> None:
    entry = load_lexicon("senticnet").find_entry("fear")
    assert entry is not None and entry.emotions == {"anger"}


def test_a_lexicon_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "custom.json"
    file.write_text(json.dumps({"well done": {"polarity": 0.5, "emotions": ["joy", "pride"]}}))
    entry = load_lexicon(str(file)).find_entry("well_done")
    assert entry is not None and entry.emotions == {"joy"} and entry.polarity == 0.5


@pytest.mark.parametrize(
    "content",
    [
        *(None, "no json", '["a"]', '{"good": {"polarity": 1}}'),
        '{"good": {"polarity": 7, "emotions": ["joy"]}}',
        '{"good": {"polarity": 1, "emotions": "joy"}}',
        '{"good": {"polarity": 1, "emotions": ["pride"]}}',
        '{"Good": {"polarity": 1, "emotions": ["joy"]}}',
        '{"a good deal too good": {"polarity": 1, "emotions": ["joy"]}}',
    ],
)
def test_an_invalid_lexicon_raises_a_one_line_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "custom.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="is neither nrc, senticnet nor") as caught:
        load_lexicon(str(file))
    assert "\n" not in str(caught.value)
