"""A table of every kind, of runs made by hand, with everything in it that has to be said of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datasets.registry import DATASETS
from methods.mart.describe import PAPER as FILE
from reports.published.facts import published
from reports.results.comparisons import compare_with
from reports.results.frame import Frame
from reports.results.predicted import Shelf
from reports.results.searched import Summary
from reports.tables import differences as worth
from reports.tables.beside import beside
from reports.tables.components import components
from reports.tables.costs import costs
from reports.tables.grid import Grid
from reports.tables.overall import overall
from reports.tables.scores import scores
from reports.tables.spaces import spaces
from reports.tables.tests import tests
from tests.reports.tables.by_hand import by_hand, frame_of

PAPER = published(FILE)
EKMAN, EIGHT = DATASETS["ekman6"].card, DATASETS["videoemotion8"].card
SEEDS = range(3)
ON_TEST = {"apart": "EPOCH CHOSEN ON TEST"}
NAN = "the loss is no number"


def clean(folder: Path) -> Frame:
    """Complete lines on one data set and nothing to warn of."""
    arms = {"majority": 0.1, "mbt": 0.4, "mart-no-masking": 0.45, "mart": 0.5}
    return frame_of(*(by_hand(folder, arm, seed, skill=skill) for arm, skill in arms.items() for seed in SEEDS))


def mixed(folder: Path) -> Frame:
    """Two data sets, one with two folds; a failed run, an arm that lacks runs, one that failed altogether, one whose
    epoch test chose, and one of the paper's sizes from scratch."""
    scratch = {"weights_video": "", **by_hand(folder / "none", "mart", files=False).record.spec.config}
    paper = {"config": scratch, "record": {"preset": "paper"}, "run": {"apart": "paper"}}
    flagged = {"spec": {"protocol": "best-on-test"}, "run": ON_TEST}
    eight = {"card": EIGHT}
    return frame_of(
        *(by_hand(folder, "majority", error="stopped\nat once", provenance={"dirty": True}) for _ in range(1)),
        *(by_hand(folder, "mbt", seed, skill=0.42, error="" if seed else NAN) for seed in SEEDS),
        *(by_hand(folder, "mbt", seed, fold, skill=0.3, **eight) for fold in (1, 2) for seed in (0, 1)),
        *(by_hand(folder, "mart-released", seed, skill=0.44) for seed in (0, 1)),
        *(by_hand(folder, "mart", seed, skill=0.5) for seed in SEEDS),
        *(by_hand(folder, "mart", seed, fold, skill=0.4, **eight) for fold in (1, 2) for seed in (0, 1)),
        *(by_hand(folder, "mart", seed, skill=0.6, **flagged) for seed in SEEDS),
        *(by_hand(folder, "mart", seed, skill=0.55, **paper) for seed in SEEDS),
        mart_released="the method as its authors released it, with the epoch chosen on val",
    )


def ablation(folder: Path) -> Frame:
    """Six seeds of four arms."""
    arms = {"mbt": 0.3, "mart-no-masking": 0.45, "mart-no-verification": 0.49, "mart": 0.5}
    return frame_of(*(by_hand(folder, arm, seed, skill=skill) for arm, skill in arms.items() for seed in range(6)))


def tuned(folder: Path) -> Frame:
    """Arms with values of the full method and with their own, one run of which failed."""
    runs = []
    for arm, skill in {"mbt": 0.4, "mart-no-masking": 0.45}.items():
        for values, extra, drawn in (("shared", 0.0, "frozen"), ("per-arm", 0.03, "re-tuned")):
            for seed in SEEDS:
                told = {"values": values, "apart": values, "tried": 20}
                error = NAN if (arm, values, seed) == ("mbt", "per-arm", 2) else ""
                config = {"lr": 0.002 if values == "shared" else 0.003}
                made = {"skill": skill + extra, "run": told, "error": error, "config": config}
                runs.append(by_hand(folder, arm, seed, like=arm + drawn, **made))
    full = {"values": "per-arm", "tried": 20}
    runs += [by_hand(folder, "mart", seed, skill=0.5, run=full) for seed in SEEDS]
    return frame_of(*runs, values="Preset quick; shared: tuned on val for the full method; per-arm: for each arm.")


def sample(folder: Path) -> Frame:
    """One seed on the built-in sample."""
    spec = {"data": "sample"}
    return frame_of(*(by_hand(folder, arm, skill=skill, spec=spec) for arm, skill in (("mbt", 0.4), ("mart", 0.5))))


def _worth(frame: Frame, name: str, references: tuple[str, ...] = ("mart",)) -> Grid:
    labels = [label for label in frame.labels if label.partition(" ")[0] in references]
    found = [one for reference in labels for one in compare_with(frame, reference, Shelf())]
    title = "What each part is worth"
    return worth.differences(frame, worth.by_place(found), "mart", references, "ekman6", name, title)


def _tests(frame: Frame, name: str) -> Grid:
    return tests(frame, compare_with(frame, "mart", Shelf()), "mart", name)


def _costs(folder: Path) -> Grid:
    cues = {"pretrain/coverage": 0.776, "pretrain/coverage_kept": 0.071}
    arms = {"majority": 0.1, "mbt": 0.4, "mart": 0.5}
    runs = [
        by_hand(folder, arm, seed, skill=skill, notes=(cues | {"cost/flops": 2.88e12}) if arm == "mart" else {})
        for arm, skill in arms.items()
        for seed in SEEDS
    ]
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {**ON_TEST, "tried": 20}}
    runs += [by_hand(folder, "mart", seed, skill=0.6, **flagged) for seed in SEEDS]
    runs += [by_hand(folder, "probe", seed, error=NAN) for seed in SEEDS]
    return costs(frame_of(*runs), Shelf(), "ekman6", "costs")


def _parts(folder: Path, kind: str, *arms: str) -> Grid:
    frame = frame_of(*(by_hand(folder, arm, seed) for arm in arms for seed in SEEDS))
    return components(frame, kind, f"{kind}_ekman6", kind.capitalize(), "ekman6")


def summaries() -> tuple[Summary, ...]:
    """Two searches, one of which no trial finished."""
    ranges = {"lr": [1e-5, 0.003, "log"], "mask_to": [0.3, 0.8, "linear"], "negatives": ["paper", "paper+words"]}
    base = {"lr": 0.001, "mask_to": 0.5, "negatives": "paper"}
    how = {"preset": "quick", "sampler": "tpe", "pruner": "median", "seeds": 1, "data": "real"}
    trials = tuple({"number": n, "state": "complete", "value": v, "spent": 1800.0 * (n + 1)} for n, v in TRIALS)
    winner = {"lr": 0.0015, "mask_to": 0.4321, "negatives": "paper+words"}
    return (
        Summary(
            **{
                "digest": "a" * 12,
                "arm": "mart",
                "dataset": "ekman6",
                "fold": 0,
                "ranges": ranges,
                "base": base,
                **how,
            },
            **{"tried": 4, "winner": winner, "best": 0.4125, "trials": trials},
        ),
        Summary(
            **{"digest": "b" * 12, "arm": "mbt", "dataset": "videoemotion8", "fold": 1, "base": base, **how},
            **{"ranges": {"lr": [1e-5, 0.003, "log"]}, "tried": 2, "winner": None, "best": None, "trials": ()},
        ),
    )


TRIALS = ((0, None), (1, 0.3), (2, 0.25), (3, 0.4125))
CLEAN_TWO = {"majority": 0.1, "mbt": 0.4, "mart": 0.5}


def _overall(folder: Path) -> Grid | None:
    """Five seeds on two data sets, and a line that lacks one of them."""
    runs = [
        by_hand(folder, arm, seed, fold, card=card, skill=skill)
        for card, fold in ((EKMAN, 0), (EIGHT, 1))
        for arm, skill in CLEAN_TWO.items()
        for seed in range(5)
    ]
    runs += [by_hand(folder, "probe", seed) for seed in range(5)]
    return overall(frame_of(*runs), "overall", "Comparison: over all data sets")


CASES: dict[str, Callable[[Path], Grid]] = {
    "scores": lambda folder: scores(clean(folder), "scores", "Comparison: all scores"),
    "scores_mixed": lambda folder: scores(mixed(folder), "scores_mixed", "Comparison: all scores"),
    "scores_sample": lambda folder: scores(sample(folder), "scores_sample", "Comparison: all scores"),
    "components": lambda folder: _parts(
        folder, "components", "mbt", "mart-no-masking", "mart-no-verification", "mart-emotion-only", "mart"
    ),
    "masking": lambda folder: _parts(folder, "masking", "mbt", "mart-no-masking", "mart-mask-random", "mart"),
    "target": lambda folder: _parts(folder, "target", "mbt", "mart-target-pixel", "mart"),
    "verification": lambda folder: _parts(folder, "verification", "mart-no-verification", "mart-emotion-only", "mart"),
    "modalities": lambda folder: _parts(folder, "modalities", "mbt", "mart-audio", "mart"),
    "published": lambda folder: beside(
        frame := mixed(folder), scores(frame, "scores", "Comparison"), "scores", "published", PAPER
    ),
    "published_sample": lambda folder: beside(
        frame := sample(folder),
        components(frame, "components", "c", "C", "ekman6"),
        "components",
        "published_sample",
        PAPER,
    ),
    "worth": lambda folder: _worth(ablation(folder), "worth"),
    "worth_tuned": lambda folder: _worth(tuned(folder), "worth_tuned"),
    "controls": lambda folder: _worth(ablation(folder), "controls", ("mbt",)),
    "tests": lambda folder: _tests(ablation(folder), "tests"),
    "tests_mixed": lambda folder: _tests(mixed(folder), "tests_mixed"),
    "costs": _costs,
    "overall": _overall,
    "spaces": lambda folder: spaces(summaries(), {"ekman6": "Ekman-6", "videoemotion8": "VideoEmotion-8"}, "spaces"),
}
