"""Counts of lexicon entries and cues in a data set, class by class."""

from __future__ import annotations

from dataclasses import replace

from bench.tasks import Classification
from bench.types import Clip, DatasetInfo, Word
from methods.mart.lexicon import survey_cues

CARD = DatasetInfo(
    name="toys",
    title="Toys",
    task=Classification(("fear", "joy", "calm"), (-1, 1, 0)),
    emotions={"fear": frozenset({"fear"}), "joy": frozenset({"joy", "trust"})},
    language="en",
    licence="",
    cite="",
    obtain="",
    unreached=("calm",),
    reasons={"joy": "joy is joy"},
)


def clip_of(label: int, *texts: str) -> tuple[Clip, list[Word]]:
    words = [Word(text, float(at), at + 0.5) for at, text in enumerate(texts)]
    return Clip(f"{CARD.classes[label]}/{texts}", label, "train", str(texts)), words


def test_clips_with_a_cue_of_their_class_and_all_cues_are_counted():
    clips = [clip_of(1, "happiness", "terror"), clip_of(1, "terror"), clip_of(1, "xyzzy"), clip_of(0, "terror")]
    found = survey_cues(CARD, clips)
    cells = {row.name: row.cells[1:] for row in found.classes}
    assert cells == {"fear": (1.0, "1.0"), "joy": (1 / 3, "1.0"), "calm": (0.0, "0.0")}
    entries = {row.name: int(str(row.cells[0]).replace(",", "")) for row in found.classes}
    assert entries["fear"] > 10_000 and entries["joy"] > 10_000 and entries["calm"] == 0


def test_each_class_lists_its_emotions_and_reason_and_classes_without_cues_are_named():
    found = survey_cues(CARD, [])
    assert [row.why for row in found.classes] == ["fear", "joy, trust: joy is joy", "no emotion of the lexicon"]
    assert found.names == "calm" and found.lead
    assert survey_cues(replace(CARD, unreached=()), []).lead == ""
