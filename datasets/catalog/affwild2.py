"""Aff-Wild2: faces in web videos, cut into clips of one expression each (Kollias and Zafeiriou, 2019)."""

from __future__ import annotations

import re

from bench.types import DatasetInfo, Split
from datasets.rows import NamingRules

BY_NAME = ("Anger", "Disgust", "Fear", "Sadness", "Surprise")  # classes named like an emotion of the lexicon
INFO = DatasetInfo(
    name="affwild2",
    title="Aff-Wild2",
    classes=("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
    sentiment=(-1, -1, -1, 1, 0, -1, 1),  # ours; the paper gives no map
    emotions={
        **{name: frozenset({name.lower()}) for name in BY_NAME},
        "Happiness": frozenset({"joy"}),
        "Neutral": frozenset(),
    },
    reasons={
        **dict.fromkeys(BY_NAME, "an emotion of the lexicon has this name"),
        "Happiness": "the lexicon calls it joy",
        "Neutral": "a cue never agrees with a neutral segment, so cues would be useless",
    },
    unreached=("Neutral",),
    aliases={"happy": "Happiness", "sad": "Sadness", "angry": "Anger"},
    language="mul",  # several; the owners do not list them
    licence="research only, by a signed agreement with the owners; no redistribution",
    cite=(
        "Kollias, Zafeiriou: Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace, "
        "BMVC 2019, arXiv:1910.04855"
    ),
    obtain=(
        "Obtain Aff-Wild2 from its owners: mail them as described on "
        "https://sites.google.com/view/dimitrioskollias/databases/aff-wild2 (folders: docs/datasets.md#affwild2)"
    ),
    splits="from the clips' names; the owners' validation part is the test split",
    group="video",
)
SPLIT_OF_PART: dict[str, Split] = {"Train": "train", "Validation": "test", "Val": "test", "Test": "test"}
_CLIP_NAME = re.compile(rf"(?P<video>.+)_(?P<part>{'|'.join(SPLIT_OF_PART)})_\d+to\d+")


def parse_video(clip: str) -> str | None:
    """Return the video of a clip "<video>_Train_<first>to<last>", or None for other names.

    Both people in a video ("_left", "_right") get the same one.
    """
    found = _CLIP_NAME.fullmatch(clip)
    return re.sub(r"_(left|right)$", "", found["video"]) if found else None


def parse_split(clip: str) -> Split | None:
    """Return the split in a clip's name, or None for other names; the owners' validation part is the test split."""
    found = _CLIP_NAME.fullmatch(clip)
    return SPLIT_OF_PART[found["part"]] if found else None


NAMING_RULES = NamingRules(group=parse_video, split=parse_split)
