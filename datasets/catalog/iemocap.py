"""IEMOCAP: acted dialogues of ten actors in five sessions, cut into utterances (Busso et al., 2008)."""

from __future__ import annotations

import re

from bench.tasks import Classification
from bench.types import DatasetInfo
from datasets.rows import NamingRules

SESSIONS = (1, 2, 3, 4, 5)
INFO = DatasetInfo(
    name="iemocap",
    title="IEMOCAP",
    task=Classification(
        ("Anger", "Happy", "Neutral", "Sadness"),
        sentiment=(-1, 1, 0, -1),  # ours; the paper gives no map
    ),
    emotions={
        "Anger": frozenset({"anger"}),
        "Happy": frozenset({"joy"}),
        "Neutral": frozenset(),
        "Sadness": frozenset({"sadness"}),
    },
    reasons={
        "Anger": "an emotion of the lexicon has this name",
        "Happy": "the lexicon calls it joy; includes the excited utterances",
        "Neutral": "a cue never agrees with a neutral segment, so cues would be useless",
        "Sadness": "an emotion of the lexicon has this name",
    },
    unreached=("Neutral",),
    aliases={  # the codes of its label files, the names in its documentation, and the merged class
        **dict.fromkeys(("ang", "angry"), "Anger"),
        **dict.fromkeys(("hap", "happiness", "exc", "excited", "excitement"), "Happy"),
        **dict.fromkeys(("neu", "neutral state"), "Neutral"),
        "sad": "Sadness",
    },
    language="en",
    licence="research only, by a signed release form of the owners; no redistribution",
    cite=(
        "Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan: IEMOCAP: Interactive emotional dyadic "
        "motion capture database, Language Resources and Evaluation 42(4), 2008, doi:10.1007/s10579-008-9076-6"
    ),
    obtain=(
        "Obtain IEMOCAP from its owners: fill in the release form at "
        "https://sail.usc.edu/iemocap/iemocap_release.htm (folders: docs/datasets.md#iemocap)"
    ),
    splits="one session for test, the next one for validation, the other three for training",
    group="session",
    folds=SESSIONS,
    fold="session left out",
    clips=5531,
)
_UTTERANCE_ID = re.compile(r"Ses0([1-5])[FM]_(?:impro|script)\w+_[FM]\w*\d{3}")


def parse_session(clip: str) -> int | None:
    """Return the session of an utterance (1 for "Ses01F_impro01_F012"), or None for other names."""
    found = _UTTERANCE_ID.fullmatch(clip)
    return int(found[1]) if found else None


def _parse_group(clip: str) -> str | None:
    number = parse_session(clip)
    return None if number is None else f"session {number}"


NAMING_RULES = NamingRules(group=_parse_group, test_fold=parse_session)
