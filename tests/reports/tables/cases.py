"""Tables of every kind, of runs made by hand, with all kinds of warnings and footnotes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datasets.registry import DATASETS
from methods.mart.config import PAPER as FILE
from reports.comparisons import compare_with_reference
from reports.runs import PredictionCache, RunTable, SearchSummary
from reports.tables import differences as worth
from reports.tables.costs import make_costs_table, make_search_spaces_table
from reports.tables.differences import make_significance_table
from reports.tables.published import load_published_paper, make_published_comparison
from reports.tables.scores import make_components_table, make_overall_table, make_scores_table
from reports.types import Table
from tests.reports.tables.by_hand import by_hand, frame_of

PAPER = load_published_paper(FILE)
EKMAN, EIGHT = DATASETS["ekman6"].info, DATASETS["videoemotion8"].info
SEEDS = range(3)
ON_TEST = {"label_suffix": "EPOCH CHOSEN ON TEST"}
NAN = "the loss is no number"


def clean(folder: Path) -> RunTable:
    """Return complete rows on one data set, without warnings."""
    arms = {"majority": 0.1, "mbt": 0.4, "mart-no-masking": 0.45, "mart": 0.5}
    return frame_of(*(by_hand(folder, arm, seed, skill=skill) for arm, skill in arms.items() for seed in SEEDS))


def mixed(folder: Path) -> RunTable:
    """Return runs on two data sets, one with two folds, with every irregularity.

    A failed run, an arm that lacks runs, one whose runs all failed, a best-on-test one, and one from scratch.
    """
    scratch = {"weights_video": "", **by_hand(folder / "none", "mart", files=False).record.spec.config}
    paper = {"config": scratch, "record": {"preset": "paper"}, "run": {"label_suffix": "paper"}}
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


def ablation(folder: Path) -> RunTable:
    """Return six seeds of four arms."""
    arms = {"mbt": 0.3, "mart-no-masking": 0.45, "mart-no-verification": 0.49, "mart": 0.5}
    return frame_of(*(by_hand(folder, arm, seed, skill=skill) for arm, skill in arms.items() for seed in range(6)))


def tuned(folder: Path) -> RunTable:
    """Return arms with shared and per-arm values; one run failed."""
    runs = []
    for arm, skill in {"mbt": 0.4, "mart-no-masking": 0.45}.items():
        for values, extra, drawn in (("shared", 0.0, "frozen"), ("per-arm", 0.03, "re-tuned")):
            for seed in SEEDS:
                told = {"tuning": values, "label_suffix": values, "configurations_tried": 20}
                error = NAN if (arm, values, seed) == ("mbt", "per-arm", 2) else ""
                config = {"lr": 0.002 if values == "shared" else 0.003}
                made = {"skill": skill + extra, "run": told, "error": error, "config": config}
                runs.append(by_hand(folder, arm, seed, like=arm + drawn, **made))
    full = {"tuning": "per-arm", "configurations_tried": 20}
    runs += [by_hand(folder, "mart", seed, skill=0.5, run=full) for seed in SEEDS]
    return frame_of(*runs, values="Preset quick; shared: tuned on val for the full method; per-arm: for each arm.")


def sample(folder: Path) -> RunTable:
    """Return one seed on the built-in sample."""
    spec = {"data": "sample"}
    return frame_of(*(by_hand(folder, arm, skill=skill, spec=spec) for arm, skill in (("mbt", 0.4), ("mart", 0.5))))


def _worth(frame: RunTable, name: str, references: tuple[str, ...] = ("mart",)) -> Table:
    labels = [label for label in frame.labels if label.partition(" ")[0] in references]
    found = [one for reference in labels for one in compare_with_reference(frame, reference, PredictionCache())]
    title = "What each part is worth"
    return worth.make_ablation_table(frame, worth.index_comparisons(found), "mart", references, "ekman6", name, title)


def _tests(frame: RunTable, name: str) -> Table:
    return make_significance_table(frame, compare_with_reference(frame, "mart", PredictionCache()), "mart", name)


def _costs(folder: Path) -> Table:
    cues = {"pretrain/coverage": 0.776, "pretrain/coverage_kept": 0.071}
    arms = {"majority": 0.1, "mbt": 0.4, "mart": 0.5}
    runs = [
        by_hand(folder, arm, seed, skill=skill, notes=(cues | {"cost/flops": 2.88e12}) if arm == "mart" else {})
        for arm, skill in arms.items()
        for seed in SEEDS
    ]
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {**ON_TEST, "configurations_tried": 20}}
    runs += [by_hand(folder, "mart", seed, skill=0.6, **flagged) for seed in SEEDS]
    runs += [by_hand(folder, "probe", seed, error=NAN) for seed in SEEDS]
    return make_costs_table(frame_of(*runs), PredictionCache(), "ekman6", "costs")


def _parts(folder: Path, kind: str, *arms: str) -> Table:
    frame = frame_of(*(by_hand(folder, arm, seed) for arm in arms for seed in SEEDS))
    return make_components_table(frame, kind, f"{kind}_ekman6", kind.capitalize(), "ekman6")


def summaries() -> tuple[SearchSummary, ...]:
    """Return two searches, one without a finished trial."""
    ranges = {"lr": [1e-5, 0.003, "log"], "mask_to": [0.3, 0.8, "linear"], "negatives": ["paper", "paper+words"]}
    base = {"lr": 0.001, "mask_to": 0.5, "negatives": "paper"}
    how = {"preset": "quick", "sampler": "tpe", "pruner": "median", "seeds": 1, "data": "real"}
    trials = tuple({"number": n, "state": "complete", "value": v, "spent": 1800.0 * (n + 1)} for n, v in TRIALS)
    winner = {"lr": 0.0015, "mask_to": 0.4321, "negatives": "paper+words"}
    return (
        SearchSummary(
            **{
                "digest": "a" * 12,
                "arm": "mart",
                "dataset": "ekman6",
                "fold": 0,
                "ranges": ranges,
                "base_config": base,
                **how,
            },
            **{"configurations_tried": 4, "best_values": winner, "best_score": 0.4125, "trials": trials},
        ),
        SearchSummary(
            **{"digest": "b" * 12, "arm": "mbt", "dataset": "videoemotion8", "fold": 1, "base_config": base, **how},
            **{
                "ranges": {"lr": [1e-5, 0.003, "log"]},
                "configurations_tried": 2,
                "best_values": None,
                "best_score": None,
                "trials": (),
            },
        ),
    )


TRIALS = ((0, None), (1, 0.3), (2, 0.25), (3, 0.4125))
CLEAN_TWO = {"majority": 0.1, "mbt": 0.4, "mart": 0.5}


def _overall(folder: Path) -> Table | None:
    """Return a table of five seeds on two data sets, and a row that lacks one of them."""
    runs = [
        by_hand(folder, arm, seed, fold, card=card, skill=skill)
        for card, fold in ((EKMAN, 0), (EIGHT, 1))
        for arm, skill in CLEAN_TWO.items()
        for seed in range(5)
    ]
    runs += [by_hand(folder, "probe", seed) for seed in range(5)]
    return make_overall_table(frame_of(*runs), "overall", "Comparison: over all data sets")


CASES: dict[str, Callable[[Path], Table]] = {
    "scores": lambda folder: make_scores_table(clean(folder), "scores", "Comparison: all scores"),
    "scores_mixed": lambda folder: make_scores_table(mixed(folder), "scores_mixed", "Comparison: all scores"),
    "scores_sample": lambda folder: make_scores_table(sample(folder), "scores_sample", "Comparison: all scores"),
    "components": lambda folder: _parts(
        folder, "components", "mbt", "mart-no-masking", "mart-no-verification", "mart-emotion-only", "mart"
    ),
    "masking": lambda folder: _parts(folder, "masking", "mbt", "mart-no-masking", "mart-mask-random", "mart"),
    "target": lambda folder: _parts(folder, "target", "mbt", "mart-target-pixel", "mart"),
    "verification": lambda folder: _parts(folder, "verification", "mart-no-verification", "mart-emotion-only", "mart"),
    "modalities": lambda folder: _parts(folder, "modalities", "mbt", "mart-audio", "mart"),
    "published": lambda folder: make_published_comparison(
        frame := mixed(folder), make_scores_table(frame, "scores", "Comparison"), "scores", "published", PAPER
    ),
    "published_sample": lambda folder: make_published_comparison(
        frame := sample(folder),
        make_components_table(frame, "components", "c", "C", "ekman6"),
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
    "spaces": lambda folder: make_search_spaces_table(
        summaries(), {"ekman6": "Ekman-6", "videoemotion8": "VideoEmotion-8"}, "spaces"
    ),
}
