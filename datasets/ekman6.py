"""Ekman-6: user-made videos under Ekman's six emotions (Xu et al., 2018)."""

from __future__ import annotations

from bench.data import Card
from datasets.index.rules import Rules

CARD = Card(
    name="ekman6",
    title="Ekman-6",
    classes=("anger", "disgust", "fear", "joy", "sadness", "surprise"),
    sentiment=(-1, -1, -1, 1, -1, 1),  # as in the MART authors' code
    emotions={name: frozenset({name}) for name in ("anger", "disgust", "fear", "joy", "sadness", "surprise")},
    language="en",
    licence="from its authors on request; may not be passed on",
    cite="Xu et al., Heterogeneous Knowledge Transfer in Video Emotion Recognition, IEEE T. Affective Computing 2018",
    obtain="ask its authors for the videos and put them where docs/data.md says",
)
RULES = Rules()
