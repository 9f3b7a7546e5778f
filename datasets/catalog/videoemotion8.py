"""VideoEmotion-8: user-made videos labelled with Plutchik's eight emotions (Jiang et al., 2014)."""

from __future__ import annotations

from bench.tasks import Classification
from bench.types import DatasetInfo
from datasets.rows import NamingRules

CLASSES = ("Anger", "Anticipation", "Disgust", "Fear", "Joy", "Sadness", "Surprise", "Trust")
INFO = DatasetInfo(
    name="videoemotion8",
    title="VideoEmotion-8",
    task=Classification(
        CLASSES,
        sentiment=(-1, 1, -1, -1, 1, -1, 1, 1),  # from the MART authors' code
    ),
    emotions={name: frozenset({name.lower()}) for name in CLASSES},
    reasons=dict.fromkeys(CLASSES, "an emotion of the lexicon has this name"),
    language="en",
    licence="research only, without warranty; no redistribution",
    cite="Jiang, Xu, Xue: Predicting Emotions in User-Generated Videos, AAAI 2014, doi:10.1609/aaai.v28i1.8724",
    obtain=(
        "Obtain VideoEmotion-8 from its owners: write to the authors, "
        "see https://fvl.fudan.edu.cn/dataset/predemo/list.htm (folders: docs/datasets.md#videoemotion8)"
    ),
    splits="ten official lists, training to test about 2:1",
    group="clip",
    folds=tuple(range(1, 11)),
    fold="official list",
    overlap=True,
    clips=1101,
)
NAMING_RULES = NamingRules()
