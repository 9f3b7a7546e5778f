"""IEMOCAP: acted dialogues of ten actors in five sessions, by utterance (Busso et al., 2008)."""

from __future__ import annotations

import re

from bench.types import DatasetInfo
from datasets.rows import NamingRules

SESSIONS = (1, 2, 3, 4, 5)
INFO = DatasetInfo(
    name="iemocap",
    title="IEMOCAP",
    classes=("Anger", "Happy", "Neutral", "Sadness"),
    sentiment=(-1, 1, 0, -1),  # ours; the paper names no map
    emotions={
        "Anger": frozenset({"anger"}),
        "Happy": frozenset({"joy"}),
        "Neutral": frozenset(),
        "Sadness": frozenset({"sadness"}),
    },
    reasons={
        "Anger": "the lexicon has it by this name",
        "Happy": "joy is the lexicon's word for it; excited utterances are merged into it",
        "Neutral": "no cue agrees with a segment that is judged neutral, so none would be of use",
        "Sadness": "the lexicon has it by this name",
    },
    unreached=("Neutral",),
    aliases={  # the codes of its label files, the names in its documentation, and the merged class
        **dict.fromkeys(("ang", "angry"), "Anger"),
        **dict.fromkeys(("hap", "happiness", "exc", "excited", "excitement"), "Happy"),
        **dict.fromkeys(("neu", "neutral state"), "Neutral"),
        "sad": "Sadness",
    },
    language="en",
    licence="under a signed release form of its owners, for research; may not be passed on",
    cite=(
        "Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan: IEMOCAP: Interactive emotional dyadic "
        "motion capture database, Language Resources and Evaluation 42(4), 2008, doi:10.1007/s10579-008-9076-6"
    ),
    obtain=(
        "fill in the release form at https://sail.usc.edu/iemocap/iemocap_release.htm; "
        "docs/datasets.md#iemocap says where to put the files"
    ),
    splits="one session for test, the next for validation, three for training",
    group="session",
    folds=SESSIONS,
    fold="session left out",
    clips=5531,
)
_UTTERANCE_ID = re.compile(r"Ses0([1-5])[FM]_(?:impro|script)\w+_[FM]\w*\d{3}")


def parse_session(clip: str) -> int | None:
    """1 of "Ses01F_impro01_F012"; None for what is no id of an utterance."""
    found = _UTTERANCE_ID.fullmatch(clip)
    return int(found[1]) if found else None


def _parse_group(clip: str) -> str | None:
    number = parse_session(clip)
    return None if number is None else f"session {number}"


NAMING_RULES = NamingRules(group=_parse_group, test_fold=parse_session)
