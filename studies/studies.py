"""The named studies: a question each, with the arms, data sets, folds and protocols whose runs answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from bench.config import get_or_suggest
from bench.errors import ConfigError
from bench.record import EvaluationProtocol
from bench.requests import Tuning

TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
PROTOCOLS: tuple[EvaluationProtocol, ...] = get_args(EvaluationProtocol)
ALL_DATASETS = ("ekman6", "videoemotion8", "perr", "iemocap", "affwild2")


@dataclass(frozen=True)
class Study:
    """A named study. `required_settings` lists the arms that need a config value from the user, with the field."""

    name: str
    question: str
    arms: tuple[str, ...]
    datasets: tuple[str, ...] = ("ekman6",)  # the data set of the paper's ablations
    every_fold: bool = False  # run all folds of a data set, or only its first
    tuning: Tuning = "shared"
    reference_method: str = "mart"  # others are compared to it, and use its values if tuning is "shared"
    controls: tuple[str, ...] = ("mbt", "mbt-long")  # further arms that the others are compared to
    footnoted: tuple[str, ...] = ("mart-released",)  # arms that a table explains in a footnote
    table: str = "scores"  # "scores", "optimism", or the name of a table for which methods describe their components
    protocols: tuple[EvaluationProtocol, ...] = ("clean",)
    required_settings: tuple[tuple[str, str], ...] = ()  # (arm, config field)
    quick_overrides: tuple[str, ...] = ()  # settings of all arms under the quick preset, written as for --set


RUNS = Study("runs", "", arms=())
"""Placeholder study of a report on arbitrary runs (`report --runs` without a study name)."""

COMPARISON = Study(
    "comparison",
    "Does MART outperform its supervised backbone and simpler baselines on each data set (Tables 1 and 2)?",
    arms=("majority", "probe", "mbt", "mbt-long", "mart-released", "mart"),
    datasets=ALL_DATASETS,
    every_fold=True,
    tuning="per-arm",  # the same budget for each method
)

_PARTS_LEFT_OUT = ("mart-no-masking", "mart-no-verification", "mart-sentiment-only", "mart-emotion-only")
ABLATION = Study(
    "ablation",
    "Which components of MART contribute to its accuracy (Table 3; also verification by sentiment or by emotion only)?",
    # mbt-long is the control: as many training steps as MART, with the label loss only
    arms=("mbt", "mbt-long", *_PARTS_LEFT_OUT, "mart"),
    table="components",
)

MASKING = Study(
    "masking",
    "How does the masking strategy affect accuracy (Table 4)?",
    arms=("mart-mask-frame", "mart-mask-random", "mart-mask-tube", "mart-mask-attention", "mart-no-masking", "mart"),
    quick_overrides=(
        "patch=12",
        "audio_patch=16",
    ),  # the preset has one patch per frame: a single tube
    table="masking",
)

TARGET = Study(
    "target",
    "How does the reconstruction target of the masked tokens affect accuracy (Table 5)?",
    arms=("mart-target-kl", "mart-target-pixel", "mart-target-hog", "mart-target-clip", "mart"),
    required_settings=(("mart-target-clip", "weights_teacher"),),
    table="target",
)

VERIFICATION = Study(
    "verification",
    "Does verifying cues against video and audio improve accuracy, and how much does each stage add (Fig. 5)?",
    arms=("mart-no-verification", "mart-sentiment-only", "mart-emotion-only", "mart"),
    table="verification",
)

MODALITIES = Study(
    "modalities",
    "How much do video and audio each contribute, in the supervised model and in MART?",
    arms=("mbt-video", "mbt-audio", "mbt", "mart-video", "mart-audio", "mart"),
    table="modalities",
)

OPTIMISM = Study(
    "optimism",
    "By how many points does selecting the epoch on the test split, as published code does, inflate accuracy?",
    arms=("mbt", "mart"),
    tuning="none",
    protocols=("clean", "best-on-test"),  # the same seeds and clips under both; best-on-test is flagged
    table="optimism",
)

PAPER_STUDIES: tuple[Study, ...] = (COMPARISON, ABLATION, MASKING, TARGET, VERIFICATION, MODALITIES)
# name -> its studies; `paper` combines all studies of the paper and executes each run once
STUDIES: dict[str, tuple[Study, ...]] = {study.name: (study,) for study in (*PAPER_STUDIES, OPTIMISM)} | {
    "paper": PAPER_STUDIES
}


def find_studies(name: str) -> tuple[Study, ...]:
    """Return the studies of a name. Raises ConfigError for an unknown name, or none."""
    if not name:
        raise ConfigError(f"study: no name given; known: {', '.join(STUDIES)} (see `python bench.py list studies`)")
    return get_or_suggest(name, STUDIES, "study")
