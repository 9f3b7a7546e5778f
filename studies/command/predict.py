"""What a model says of any video: its emotion, and how that changes over time.

Key: S segments, C classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.data import Problem, WordOutcome
from bench.errors import ConfigError, MediaError
from studies.command.model import Model


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file. `segments` and `curve` are None where a method tells nothing of segments."""

    probabilities: np.ndarray  # (C,)
    seconds: float  # of the file; slots beyond it are looped copies of a short one
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in s
    segments: np.ndarray | None  # (S, C) each segment's own probabilities
    curve: np.ndarray | None  # (S, C) temporal emotion scores
    present: dict[str, bool]  # video, audio, words
    problems: tuple[Problem, ...]
    cues: tuple[WordOutcome, ...]
    stills: tuple[np.ndarray, ...]  # S x (H, W, 3) uint8, or none

    @property
    def label(self) -> int:
        """The class it is given."""
        return int(self.probabilities.argmax())

    @property
    def strongest(self) -> tuple[float, float] | None:
        """The slot that carries most of that class, in the clip itself rather than in a looped copy."""
        told = self.curve if self.curve is not None else self.segments
        if told is None:
            return None
        own = sum(start < self.seconds for start, _ in self.slots)
        start, end = self.slots[int(told[:own, self.label].argmax())]
        return start, min(end, self.seconds)


@dataclass(frozen=True)
class Answer:
    """A file, and what is said of it or why nothing is."""

    path: Path
    said: Prediction | None
    error: str | None = None


def check_words(model: Model, transcript: Path | None, files: Sequence[Path]) -> None:
    """Raise ConfigError for a transcript that cannot be used."""
    if transcript is None:
        return
    if len(files) > 1:
        raise ConfigError(f"--transcript belongs to one video, {len(files)} are given; predict them one by one")
    if not transcript.is_file():
        raise ConfigError(f"--transcript {transcript} is no file")
    if "lexicon" in model.record.spec.weights:
        raise ConfigError(
            f"run {model.record.key} judged words by a lexicon file, which a record does not keep; leave --transcript "
            "out, words do not change what it predicts"
        )


def predict_files(
    model: Model, files: Sequence[Path], transcript: Path | None, begin: Callable[[Path], None]
) -> Iterator[Answer]:
    """An answer for each file, one after the other; `begin` is told of each before. Nothing is written beside them."""
    with TemporaryDirectory(prefix="predict-") as folder:
        for path in files:
            begin(path)
            try:
                yield Answer(path, _predict(model, path, transcript, Path(folder)))
            except MediaError as error:
                yield Answer(path, None, str(error))


def _predict(model: Model, path: Path, transcript: Path | None, folder: Path) -> Prediction:
    import torch

    from bench.loading import collate
    from datasets.anyfile import open_file, stills

    opened = open_file(path, transcript, model.sampling, folder)
    inputs = collate([opened.sample]).to(torch.device(model.device))
    with torch.inference_mode():
        scores, (told,) = model.predictor(inputs), model.predictor.explain(inputs)
    return Prediction(
        probabilities=scores.label[0].float().softmax(-1).cpu().numpy(),
        seconds=opened.seconds,
        slots=opened.slots,
        segments=None if scores.segments is None else scores.segments[0].float().softmax(-1).cpu().numpy(),
        curve=None if told.curve is None else told.curve.float().cpu().numpy(),
        present=dict(zip(("video", "audio", "words"), opened.sample.present.tolist(), strict=True)),
        problems=opened.problems,
        cues=told.verdicts,
        stills=tuple(stills(path, opened)),
    )
