"""PERR: the relationship of two people in a drama scene, on the ERATO corpus (Gao et al., 2021)."""

from __future__ import annotations

from bench.tasks import Classification
from bench.types import DatasetInfo
from datasets.rows import NamingRules

INFO = DatasetInfo(
    name="perr",
    title="PERR (ERATO)",
    task=Classification(
        ("Neutral", "Mild", "Intimate", "Tense", "Hostile"),
        sentiment=(0, 1, 1, -1, -1),  # from the MART authors' code; the 0 of Neutral is ours
    ),
    emotions={
        "Neutral": frozenset(),
        "Mild": frozenset({"trust"}),
        "Intimate": frozenset({"joy", "trust"}),
        "Tense": frozenset({"fear", "sadness"}),
        "Hostile": frozenset({"anger", "disgust"}),
    },
    reasons={
        "Neutral": "a cue never agrees with a neutral segment, so cues would be useless",
        "Mild": "ours: calm goodwill; Plutchik's wheel names it acceptance, a weak form of trust",
        "Intimate": "ours: joy and trust form love in Plutchik's wheel; words of trust also count for Mild",
        "Tense": "ours: strain, unease and hurt without attack; anger counts for Hostile only, to separate the two",
        "Hostile": "ours: attack and contempt; anger and disgust form contempt in Plutchik's wheel",
    },
    unreached=("Neutral",),
    language="zh",  # unverified: the corpus comes from a Chinese company
    licence="by a signed agreement with the owners; no redistribution",
    cite=(
        "Gao, Zhao, Zhang, Cai: Pairwise Emotional Relationship Recognition in Drama Videos: Dataset and Benchmark, "
        "ACM Multimedia 2021, arXiv:2109.11243"
    ),
    obtain=(
        "Obtain PERR from its owners: sign the agreement on https://github.com/CTI-VISION/PERR and send it as "
        "described there (folders: docs/datasets.md#perr)"
    ),
    splits="lists supplied by the user",
    group="drama",  # guessed from the clip's name
    clips=31182,
)


def guess_drama(clip: str) -> str | None:
    """Return the part of a clip's name before its last numbers, "HappyHome" for "HappyHome_03_0012".

    Returns None for a name without numbers or letters. The format of the names is unverified, so this is a guess.
    """
    name = clip.rstrip("0123456789_-. ")
    numbered = clip[-1:].isdecimal() and any(letter.isalpha() for letter in name)
    return name if numbered else None


NAMING_RULES = NamingRules(group=guess_drama, certain=False)
