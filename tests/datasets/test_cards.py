"""Facts of the five data sets: consistency, groups parsed from names, and the shipped lists."""

import csv
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from datasets.catalog import affwild2, ekman6, iemocap, perr, videoemotion8
from datasets.registry import DATASETS
from methods.mart.lexicon import PLUTCHIK_EMOTIONS, load_lexicon

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
CARDS = [entry.info for entry in DATASETS.values() if entry.info.classes]
LISTS = {"ekman6.csv": ("cten_ek6", ekman6.INFO), "videoemotion8-01.csv": ("mart_ve8", videoemotion8.INFO)}

each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def shipped(name):
    with (ROOT / "datasets/official" / name).open(encoding="utf-8", newline="") as file:
        return [(row["clip"], row["label"], row["split"]) for row in csv.DictReader(file)]


def counted(card, label):
    """Count the lexicon's entries with an emotion of a class, of these those with its sign, of these single words."""
    sign = card.sentiment[card.classes.index(label)]
    cues = [row for row in entries().items() if row[0][0] & card.emotions[label]]
    agreeing = [row for row in cues if (1 if row[0][1] else -1) == sign]
    return tuple(sum(count for _, count in rows) for rows in (cues, agreeing, [row for row in agreeing if row[0][2]]))


@cache
def entries():
    """Count the entries of the lexicon by (emotions, positive or not, single word or not)."""
    lexicon = load_lexicon("nrc")
    found = lexicon.entry_emotions.items()
    return Counter((emotions, lexicon.polarities[concept] > 0, "_" not in concept) for concept, emotions in found)


@each_card
def test_every_class_has_a_sentiment_a_map_and_a_reason(card):
    assert len(set(card.classes)) == len(card.classes) == len(card.sentiment)
    assert set(card.sentiment) <= {-1, 0, 1} and {-1, 1} <= set(card.sentiment)
    assert set(card.emotions) == set(card.reasons) == set(card.classes) and all(card.reasons.values())
    assert frozenset().union(*card.emotions.values()) <= PLUTCHIK_EMOTIONS


@each_card
def test_the_classes_that_no_cue_can_reach_are_the_neutral_ones_and_are_stated(card):
    neutral = {label for label, sign in zip(card.classes, card.sentiment, strict=True) if not sign}
    assert neutral == set(card.unreached) == {label for label in card.classes if not card.emotions[label]}
    assert all(counted(card, label)[1] > 200 for label in card.classes if label not in neutral)


@each_card
def test_another_name_of_a_class_is_in_lower_case_and_no_class_itself(card):
    assert set(card.aliases.values()) <= set(card.classes)
    assert not set(card.aliases) & {label.lower() for label in card.classes}
    assert all(alias == alias.lower() for alias in card.aliases)


@each_card
def test_the_page_shows_the_card_and_the_cues_as_counted(card):
    section = DOC.split(f"\n## {card.name}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    expected = [
        [label, "-0+"[sign + 1], ", ".join(sorted(card.emotions[label])) or "none"]
        + [str(number) for number in counted(card, label)]
        + [card.reasons[label]]
        for label, sign in zip(card.classes, card.sentiment, strict=True)
    ]
    assert rows[2:] == expected
    assert card.cite in " ".join(section.split())
    assert f"docs/datasets.md#{card.name}" in card.obtain
    assert all(link.rstrip(";,") in section for link in re.findall(r"https?://[^ )]+", card.obtain))


def test_folds_are_the_official_lists_and_the_sessions():
    assert [card.folds for card in CARDS] == [(0,), tuple(range(1, 11)), (0,), (1, 2, 3, 4, 5), (0,)]
    assert [bool(card.fold) for card in CARDS] == [len(card.folds) > 1 for card in CARDS]
    assert [card.name for card in CARDS if card.overlap] == ["videoemotion8"]


def test_the_session_is_parsed_from_an_utterance_and_from_nothing_else():
    assert iemocap.parse_session("Ses01F_impro01_F012") == 1
    assert iemocap.parse_session("Ses05M_script03_2_M041") == 5
    assert iemocap.parse_session("Ses05M_script01_1b_M000") == 5
    assert iemocap.parse_session("Ses05F_script03_2_MXX007") == 5
    others = ("Ses06F_impro01_F012", "Ses01F_impro01", "Ses01X_impro01_F012", "000", "", "xSes01F_impro01_F012")
    assert [iemocap.parse_session(name) for name in others] == [None] * 6


def test_the_video_and_the_split_are_parsed_from_a_clip_of_affwild2():
    expected = {
        "12-24-1920x1080_Train_0to100": ("12-24-1920x1080", "train"),
        "video5_left_Validation_31to60": ("video5", "test"),
        "video5_Val_31to60": ("video5", "test"),
        "video5_Test_31to60": ("video5", "test"),
        "a_Train_b_Val_1to2": ("a_Train_b", "test"),
        "video5": (None, None),
        "video5_Train_": (None, None),
        "_Train_1to2": (None, None),
    }
    assert {name: (affwild2.parse_video(name), affwild2.parse_split(name)) for name in expected} == expected


def test_a_drama_is_the_name_before_the_numbers_or_none():
    expected = {
        "HappyHome_03_0012": "HappyHome",
        "HappyHome12": "HappyHome",
        "都挺好-01-2": "都挺好",
        "Reply1988 ep_01_003": "Reply1988 ep",
        "HappyHome": None,
        "HappyHome_03_end": None,
        "0012": None,
        "12_34": None,
        "": None,
    }
    assert {name: perr.guess_drama(name) for name in expected} == expected


@pytest.mark.parametrize(("name", "train", "test"), [("ekman6.csv", 819, 818), ("videoemotion8-01.csv", 732, 367)])
def test_the_shipped_lists_have_their_counts_and_classes(name, train, test):
    rows = shipped(name)
    assert Counter(split for _, _, split in rows) == {"train": train, "test": test}
    assert {label for _, label, _ in rows} == set(LISTS[name][1].classes)
    assert len({(label, clip) for clip, label, _ in rows}) == len(rows)


def test_the_clip_under_two_classes_is_in_the_shipped_list_twice():
    counts = Counter(clip for clip, _, _ in shipped("videoemotion8-01.csv"))
    assert [clip for clip, count in counts.items() if count > 1] == ["3527012618_7ceb8fb27b_700"]


def test_the_clips_of_ekman6_alternate_between_training_and_test():
    splits = [split for _, _, split in sorted(shipped("ekman6.csv"), key=lambda row: (row[1], row[0]))]
    assert all(one != other for one, other in pairwise(splits))


@pytest.mark.parametrize("name", LISTS)
def test_the_shipped_lists_are_the_real_ones_row_by_row(name, shared):
    folder, card = LISTS[name]
    expected = []
    for split in ("train", "test"):
        for line in (shared / "ve8_ek6_lists" / folder / f"{split}list01.txt").read_text("utf-8").splitlines():
            label, clip = line.split("/")
            expected.append((clip.removesuffix(f" {card.classes.index(label) + 1}"), label, split))
    assert shipped(name) == expected
