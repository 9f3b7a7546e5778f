"""Built-in sample: properties of its timelines, words and truth."""

import hashlib
import json
import shutil
from importlib import resources

import numpy as np
import pytest
from senticnet.senticnet6 import senticnet

from datasets import sample as sample
from datasets.catalog.ekman6 import INFO
from datasets.index import index_tree
from datasets.registry import DATASETS
from datasets.sample import WRONG_SHARE, draw_timeline, find_span, make_transcript
from datasets.sample_media import draw_frames, synthesise_voice
from datasets.streams.text import read_transcript
from methods.mart.lexicon import load_lexicon

NRC = json.loads(resources.files("nrclex.data").joinpath("nrc_en.json").read_text(encoding="utf-8"))
STRENGTHS = np.sort([abs(float(row[7])) for row in senticnet.values()])
CARDS = [entry.info for entry in DATASETS.values() if entry.info.classes]


@pytest.fixture(scope="module")
def root(few_drawn):
    return few_drawn / "sample" / f"{INFO.name}-form{sample.SAMPLE_VERSION}"


def talks(count=200, card=INFO):
    """Yield (label, timeline, words, planted cues) of many clips without drawing their media."""
    classes = len(card.classes)
    for number in range(count):
        rng = np.random.default_rng(number)
        course = draw_timeline(number % classes, classes, 6.0, rng)
        yield number % classes, course, *make_transcript(course, 6.0, card, rng)


def test_it_has_the_official_layout_without_an_issue(root):
    _, clips, problems = index_tree(root, INFO)
    assert not problems and len(clips) == 36 and sum(clip.split == "test" for clip in clips) == 6
    assert all(clip.sources.frames and clip.sources.audio and clip.sources.transcript for clip in clips)
    assert len(list((root / "imgs/joy/000").glob("*.jpg"))) in range(150, 211)  # 5 to 7 s, 30 a second


def test_the_whole_of_it_has_forty_clips_a_class(root):
    assert (sample.CLIPS_PER_CLASS, sample.TRAINING_PER_CLASS) == (40, 28) and sample.CLIP_SECONDS == (5.0, 7.0)


def test_it_is_the_same_every_time(root, tmp_path):
    again = sample.ensure_sample(INFO, tmp_path, lambda *_: None, clips=1, training=1)
    compared = [path.relative_to(again) for path in again.rglob("*") if path.is_file() and "list" not in path.name]
    assert len(compared) > 900
    for path in compared:
        if path.name != "truth.json":
            assert (again / path).read_bytes() == (root / path).read_bytes(), path
    truths = sample.read_truth(again)
    assert truths.items() <= sample.read_truth(root).items()


def test_writing_it_twice_changes_nothing_and_leaves_no_other_files(root):
    stamp = (root / "truth.json").stat().st_mtime_ns
    assert sample.ensure_sample(INFO, root.parents[1], lambda *_: pytest.fail("made again")) == root
    assert (root / "truth.json").stat().st_mtime_ns == stamp
    assert {path.name for path in root.parent.iterdir()} <= {root.name, f"{root.name}.lock"}


def test_the_emotion_is_strong_in_a_fifth_to_two_fifths_of_a_clip():
    for number in range(300):
        label = number % 6
        course = draw_timeline(label, 6, 6.0, np.random.default_rng(number))
        strong = sum(span.end - span.start for span in course if span.strength >= 0.8)
        assert 0.2 <= strong / 6 <= 0.4
        assert all(span.label == label for span in course if span.strength > 0.5)
        assert any(span.strength <= 0.5 for span in course)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_planted_words_match_their_kind_in_the_real_lexica(card):
    for _, course, _, planted in talks(60, card):
        for word in planted:
            span = find_span(course, word.start)
            polarity, emotions = float(senticnet[word.text][7]), set(NRC[word.text])
            degree = np.searchsorted(STRENGTHS, abs(polarity)) / len(STRENGTHS)
            sign = np.sign(polarity) == card.sentiment[span.label]
            named = bool(card.emotions[card.classes[span.label]] & emotions)
            near = abs(degree - span.strength) < 0.2
            far = abs(degree - span.strength) > 0.5
            expected = {None: (True, True, near), "sentiment": (False, False, near)}
            expected |= {"emotion": (True, False, near), "degree": (True, True, far)}
            assert (sign, named, True) == expected[word.wrong], (word, span)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_class_has_cues_if_and_only_if_they_can_be_verified(card):
    heard = set()
    for _, course, words, planted in talks(100, card):
        assert len(words) >= 9  # fillers replace cues
        heard |= {find_span(course, word.start).label for word in planted if word.wrong is None}
    speaking = {label for label, sign in enumerate(card.sentiment) if sign and card.emotions[card.classes[label]]}
    assert heard == speaking


@pytest.mark.parametrize("card", CARDS[1:], ids=lambda card: card.name)
def test_clips_of_every_class_of_every_card_can_be_drawn(card, tmp_path):
    for name in card.classes:
        for part in ("mp3", "srt"):
            (tmp_path / part / name).mkdir(parents=True)
    for label, name in enumerate(card.classes):
        key, truth = sample.write_sample_clip(card, tmp_path, label, 0)
        strong = [span for span in truth["course"] if span[2] >= 0.8]
        assert key == f"{name}/000" and {span[1] for span in strong} == {label}
        spoken, problems = read_transcript(tmp_path / "srt" / f"{key}.srt", key)
        assert not problems and {word["text"] for word in truth["words"]} <= {word.text for word in spoken}
        assert len(list((tmp_path / "imgs" / key).glob("*.jpg"))) >= 150
        assert (tmp_path / "mp3" / f"{key}.mp3").stat().st_size > 10_000


def test_eight_classes_look_and_sound_different():
    strong = np.ones(30)
    seen = [draw_frames(np.full(30, label), strong, 8, np.random.default_rng(5)) for label in range(8)]
    heard = [synthesise_voice(np.full(8000, label), np.ones(8000), np.random.default_rng(5)) for label in range(8)]
    for one in range(8):
        for other in range(one):
            assert not np.array_equal(seen[one], seen[other]) and not np.array_equal(heard[one], heard[other])


def test_the_words_of_the_ekman_6_sample_are_frozen():
    texts = [[word.text for word in words] for _, _, words, _ in talks(12)]
    assert hashlib.sha256(repr(texts).encode()).hexdigest()[:16] == "9cb927ffc66a8101"


def test_a_tenth_of_the_cues_is_wrong_in_each_way():
    planted = [word.wrong for *_, words in talks() for word in words]
    for way in ("sentiment", "emotion", "degree"):
        share = planted.count(way) / len(planted)
        assert abs(share - WRONG_SHARE) < 3 * (WRONG_SHARE * (1 - WRONG_SHARE) / len(planted)) ** 0.5 + 0.01, way


def test_the_truth_agrees_with_the_transcript_as_it_is_read(root):
    for key, truth in sample.read_truth(root).items():
        words, problems = read_transcript(root / "srt" / f"{key}.srt", key)
        assert not problems
        spoken = {(word.text, round(word.start, 3)) for word in words}
        assert truth.words and {(word.text, round(word.start, 3)) for word in truth.words} <= spoken


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_lexicon_finds_the_planted_words_in_a_talk_and_no_others(card):
    lexicon = load_lexicon("nrc")
    for _, _, words, planted in talks(300 if card is INFO else 100, card):
        found = [(cue.text, cue.start) for cue in lexicon.find_cues(words, card)]
        assert found == [(word.text, word.start) for word in planted]


def test_leftovers_of_a_killed_process_are_removed(tmp_path, prepared_here):
    left = tmp_path / "sample" / f".ekman6-form{sample.SAMPLE_VERSION}.x1" / "imgs"
    left.mkdir(parents=True)
    root = sample.ensure_sample(INFO, tmp_path, lambda *_: None, clips=1, training=1)
    assert root.exists() and not left.parent.exists()


def test_after_an_interrupt_no_more_clips_are_drawn(tmp_path, monkeypatch):
    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # keep what was drawn, to count it
    with pytest.raises(KeyboardInterrupt):
        sample.ensure_sample(INFO, tmp_path, interrupt, clips=8, training=4)
    assert len(list(tmp_path.glob("sample/.ekman6*/imgs/*/*"))) < 24


def test_loudness_and_pitch_are_the_speakers_own():

    calm = np.zeros(16000)
    waves = [synthesise_voice(np.full(16000, label), calm, np.random.default_rng(3)) for label in (0, 3)]
    assert np.array_equal(waves[0], waves[1])  # at strength 0 the class has no effect
    loud = [synthesise_voice(np.full(16000, label), calm + 1, np.random.default_rng(3)) for label in (0, 3)]
    assert not np.array_equal(loud[0], loud[1])
