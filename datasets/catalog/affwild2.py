"""Aff-Wild2: faces in videos from the web, cut into clips of one expression (Kollias and Zafeiriou, 2019)."""

from __future__ import annotations

import re

from bench.types import DatasetInfo, Split
from datasets.rows import NamingRules

BY_NAME = ("Anger", "Disgust", "Fear", "Sadness", "Surprise")  # classes that the lexicon has by these names
INFO = DatasetInfo(
    name="affwild2",
    title="Aff-Wild2",
    classes=("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"),
    sentiment=(-1, -1, -1, 1, 0, -1, 1),  # ours; the paper names no map
    emotions={
        **{name: frozenset({name.lower()}) for name in BY_NAME},
        "Happiness": frozenset({"joy"}),
        "Neutral": frozenset(),
    },
    reasons={
        **dict.fromkeys(BY_NAME, "the lexicon has it by this name"),
        "Happiness": "joy is the lexicon's word for it",
        "Neutral": "no cue agrees with a segment that is judged neutral, so none would be of use",
    },
    unreached=("Neutral",),
    aliases={"happy": "Happiness", "sad": "Sadness", "angry": "Anger"},
    language="mul",  # several: people of many nations; which ones is not listed
    licence="under a signed agreement with its owners, for research; may not be passed on",
    cite=(
        "Kollias, Zafeiriou: Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and ArcFace, "
        "BMVC 2019, arXiv:1910.04855"
    ),
    obtain=(
        "ask by mail as https://sites.google.com/view/dimitrioskollias/databases/aff-wild2 says; "
        "docs/datasets.md#affwild2 says where to put the files"
    ),
    splits="as the clips' names say, the owners' validation part for test",
    group="video",
)
SPLIT_OF_PART: dict[str, Split] = {"Train": "train", "Validation": "test", "Val": "test", "Test": "test"}
_CLIP_NAME = re.compile(rf"(?P<video>.+)_(?P<part>{'|'.join(SPLIT_OF_PART)})_\d+to\d+")


def parse_video(clip: str) -> str | None:
    """Return the video that "<video>_Train_<first>to<last>" is cut from, the same for both people in it; else None."""
    found = _CLIP_NAME.fullmatch(clip)
    return re.sub(r"_(left|right)$", "", found["video"]) if found else None


def parse_split(clip: str) -> Split | None:
    """The split that a clip's name tells; its validation part is ours for test. None for other names."""
    found = _CLIP_NAME.fullmatch(clip)
    return SPLIT_OF_PART[found["part"]] if found else None


NAMING_RULES = NamingRules(group=parse_video, split=parse_split)
