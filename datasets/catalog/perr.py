"""PERR: the relationship of two people in a scene of a drama, on the corpus ERATO (Gao et al., 2021)."""

from __future__ import annotations

from bench.types import DatasetInfo
from datasets.rows import NamingRules

INFO = DatasetInfo(
    name="perr",
    title="PERR (ERATO)",
    classes=("Neutral", "Mild", "Intimate", "Tense", "Hostile"),
    sentiment=(0, 1, 1, -1, -1),  # as in the MART authors' code; neutral as 0 is ours
    emotions={
        "Neutral": frozenset(),
        "Mild": frozenset({"trust"}),
        "Intimate": frozenset({"joy", "trust"}),
        "Tense": frozenset({"fear", "sadness"}),
        "Hostile": frozenset({"anger", "disgust"}),
    },
    reasons={
        "Neutral": "no cue agrees with a segment that is judged neutral, so none would be of use",
        "Mild": "ours: calm goodwill, whose word in Plutchik's wheel is acceptance, a weak trust",
        "Intimate": "ours: joy with trust is Plutchik's love; a word of trust speaks for Mild as well",
        "Tense": "ours: strain without attack, unease and hurt; anger is left to Hostile to tell the two apart",
        "Hostile": "ours: attack and contempt, which is anger with disgust in Plutchik's wheel",
    },
    unreached=("Neutral",),
    language="zh",  # probably: a corpus of drama from a Chinese company; unverified
    licence="under a signed agreement with its owners; may not be passed on",
    cite=(
        "Gao, Zhao, Zhang, Cai: Pairwise Emotional Relationship Recognition in Drama Videos: Dataset and Benchmark, "
        "ACM Multimedia 2021, arXiv:2109.11243"
    ),
    obtain=(
        "sign the agreement at https://github.com/CTI-VISION/PERR and send it as its page says; "
        "docs/datasets.md#perr says where to put the files"
    ),
    splits="lists given by the user",
    group="drama",  # where the id tells it
    clips=31182,
)


def guess_drama(clip: str) -> str | None:
    """The name before the numbers at the end, "HappyHome" of "HappyHome_03_0012"; None without numbers or name.

    The form of the ids is unverified, so the answer is a guess.
    """
    name = clip.rstrip("0123456789_-. ")
    numbered = clip[-1:].isdecimal() and any(letter.isalpha() for letter in name)
    return name if numbered else None


NAMING_RULES = NamingRules(group=guess_drama, certain=False)
