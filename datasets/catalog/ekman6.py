"""Ekman-6: user-made videos labelled with Ekman's six emotions (Xu et al., 2018)."""

from __future__ import annotations

from bench.tasks import Classification
from bench.types import DatasetInfo
from datasets.rows import NamingRules

CLASSES = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
INFO = DatasetInfo(
    name="ekman6",
    title="Ekman-6",
    task=Classification(
        CLASSES,
        sentiment=(-1, -1, -1, 1, -1, 1),  # from the MART authors' code
    ),
    emotions={name: frozenset({name}) for name in CLASSES},
    reasons=dict.fromkeys(CLASSES, "an emotion of the lexicon has this name"),
    language="en",
    licence="research only, on request from the authors; no redistribution",
    cite=(
        "Xu, Fu, Jiang, Li, Sigal: Heterogeneous Knowledge Transfer in Video Emotion Recognition, Attribution and "
        "Summarization, IEEE Transactions on Affective Computing 9(2), 2018, arXiv:1511.04798"
    ),
    obtain=(
        "Obtain Ekman-6 from its owners: write to the authors of arXiv:1511.04798 at Fudan University "
        "(folders: docs/datasets.md#ekman6)"
    ),
    splits="one official list: 819 clips for training, 818 for test",
    group="clip",
    clips=1637,
)
NAMING_RULES = NamingRules()
