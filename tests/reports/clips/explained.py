"""Explanations of a run of six clips, made by hand for tests of figures."""

from __future__ import annotations

import numpy as np

from bench.explanations import ClipExplanation, MaskArrays, RunExplanations, StoredWordOutcome

CLASSES = ("low", "mid", "high")
KEYS = tuple(f"{name}/{i}" for i in range(2) for name in CLASSES)
WORDS = (
    StoredWordOutcome("grief", 0.5, None),
    StoredWordOutcome("calm", 0.6, "emotion", "emotion"),
    StoredWordOutcome("joy", 3.0, "sentiment"),
)


def video(segments: int = 2) -> MaskArrays:
    """Return frames of 8 x 8 white pixels, two tokens each way; the first token hidden, the last a hint."""
    hidden, hints = np.zeros((2, segments, 8), dtype=bool)
    hidden[:, 0], hints[:, 7] = True, True
    frames = np.full((segments, 2, 8, 8, 3), 255, dtype=np.uint8)
    return MaskArrays(hidden, hints, (2, 2, 2), (2, 4, 4), (2, 4, 4), frames)


def audio(segments: int = 2) -> MaskArrays:
    """Return two patches of 4 bins x 4 steps that overlap by half; the first is hidden."""
    hidden, hints = np.zeros((2, segments, 2), dtype=bool)
    hidden[:, 0], hints[:, 1] = True, True
    sound = np.random.default_rng(0).random((segments, 6, 4)).astype(np.float16)
    return MaskArrays(hidden, hints, (1, 2), (4, 4), (2, 2), sound)


def told(number: int) -> ClipExplanation:
    """Return a clip with every kind of explanation."""
    rng = np.random.default_rng(number)
    curve, feature = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=4).astype(np.float16)
    recovered = np.full((2, 3), 1 / 3, dtype=np.float32)
    return ClipExplanation(curve, recovered, feature, WORDS, {"video": video(), "audio": audio()})


def explained(
    clips: dict[str, ClipExplanation] | None = None, stage: str = "pretrain", sample: bool = True
) -> RunExplanations:
    """Return explanations of six clips, the first three to be shown individually."""
    found = clips if clips is not None else {key: told(number) for number, key in enumerate(KEYS)}
    labels = {key: CLASSES.index(key.split("/")[0]) for key in KEYS}
    return RunExplanations("mart", "Toy clips", sample, CLASSES, labels, KEYS[:3], {stage: found})
