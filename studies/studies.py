"""The named studies: the question of each, and the arms, data sets, folds and protocols whose runs answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from bench.record import EvaluationProtocol
from bench.requests import Tuning

TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
PROTOCOLS: tuple[EvaluationProtocol, ...] = get_args(EvaluationProtocol)
ALL_DATASETS = ("ekman6", "videoemotion8", "perr", "iemocap", "affwild2")


@dataclass(frozen=True)
class Study:
    """A named question. `required_settings` are arms that need a config value from the user, with that field."""

    name: str
    question: str
    arms: tuple[str, ...]
    datasets: tuple[str, ...] = ("ekman6",)  # that of the paper's ablations
    every_fold: bool = False  # all folds of a data set that has folds, or its first
    tuning: Tuning = "shared"
    reference_method: str = "mart"  # whose values are shared where tuning is, and that others are held against
    controls: tuple[str, ...] = ("mbt", "mbt-long")  # arms that others are held against too
    remarked: tuple[str, ...] = ("mart-released",)  # arms that a table has to explain
    table: str = "scores"  # "scores", "optimism", or a kind of table that methods describe their parts for
    protocols: tuple[EvaluationProtocol, ...] = ("clean",)
    required_settings: tuple[tuple[str, str], ...] = ()  # (arm, config field)
    quick_overrides: tuple[str, ...] = ()  # settings of all arms under the quick preset, as --set has them


RUNS = Study("runs", "", arms=())
"""What a report of runs that no study names has in common with one of a study."""

COMPARISON = Study(
    "comparison",
    "Does MART beat the supervised model it starts from, and everything simpler, on each data set (Tables 1 and 2)?",
    arms=("majority", "probe", "mbt", "mbt-long", "mart-released", "mart"),
    datasets=ALL_DATASETS,
    every_fold=True,
    tuning="per-arm",  # the same budget for each method
)

_PARTS_LEFT_OUT = ("mart-no-masking", "mart-no-verification", "mart-sentiment-only", "mart-emotion-only")
ABLATION = Study(
    "ablation",
    "Which part of MART is its gain due to (Table 3, and verification stopped after sentiment and after emotion)?",
    # mbt-long is the control: as many steps as MART, on the label loss alone
    arms=("mbt", "mbt-long", *_PARTS_LEFT_OUT, "mart"),
    table="components",
)

MASKING = Study(
    "masking",
    "Does it matter which tokens are hidden (Table 4)?",
    arms=("mart-mask-frame", "mart-mask-random", "mart-mask-tube", "mart-mask-attention", "mart-no-masking", "mart"),
    quick_overrides=("patch=12", "audio_patch=16"),  # its one patch a frame leaves a tube nothing to choose from
    table="masking",
)

TARGET = Study(
    "target",
    "Does it matter what is recovered of the hidden tokens (Table 5)?",
    arms=("mart-target-kl", "mart-target-pixel", "mart-target-hog", "mart-target-clip", "mart"),
    required_settings=(("mart-target-clip", "weights_teacher"),),
    table="target",
)

VERIFICATION = Study(
    "verification",
    "Does checking a cue against the picture and the sound help, and up to which stage (Fig. 5)?",
    arms=("mart-no-verification", "mart-sentiment-only", "mart-emotion-only", "mart"),
    table="verification",
)

MODALITIES = Study(
    "modalities",
    "What do picture and sound each bring, to the supervised model and to MART?",
    arms=("mbt-video", "mbt-audio", "mbt", "mart-video", "mart-audio", "mart"),
    table="modalities",
)

OPTIMISM = Study(
    "optimism",
    "What is it worth, in points, to choose the epoch on the test list, as the field's released code does?",
    arms=("mbt", "mart"),
    tuning="none",
    protocols=("clean", "best-on-test"),  # each run twice with one seed and the same clips; the second is flagged
    table="optimism",
)

PAPER_STUDIES: tuple[Study, ...] = (COMPARISON, ABLATION, MASKING, TARGET, VERIFICATION, MODALITIES)
# name -> its studies; `paper` is all studies of the paper at once, each run made once
STUDIES: dict[str, tuple[Study, ...]] = {study.name: (study,) for study in (*PAPER_STUDIES, OPTIMISM)} | {
    "paper": PAPER_STUDIES
}
