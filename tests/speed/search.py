"""Benchmark of pruning: epochs that a search saves, replayed on stored curves of unpruned trials.

`python -m tests.speed search` replays them; `python -m tests.speed.search record` runs the trials again.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench.config import SearchRange
from bench.execute import RunEnvironment, RunRequest, execute
from bench.files import atomic_write
from bench.mlflow import MlflowStore
from bench.record import collect_provenance
from datasets.registry import DATASETS
from methods.mbt.config import MBT
from studies.search import choose_pruner, make_pruner
from tests.conftest import Quiet

STORED = Path(__file__).with_name("search_curves.json")
TRIALS = 60  # at most; the file may have fewer
SEED = 1000  # of every trial: only the config differs between trials
SEARCHES = 20
SMALL = 20  # trials of a small search; a large one runs all stored trials

Curve = Sequence[float]


@dataclass(frozen=True)
class Replayed:
    """Outcome of a replayed search: epochs until the best val score, all epochs, and whether trial 1 has that score.

    `reached` is infinite if the trials with the best score were pruned. With `at_once` there was nothing to save.
    """

    reached: float
    spent: int
    at_once: bool


def replay(curves: Sequence[Curve], pruner: str, name: str) -> Replayed:
    """Replay trials in sequence with an Optuna pruner.

    The score to reach is the best val score of the unpruned trials; the first finished trial with that score reaches it
    and counts with all its epochs.
    """
    import optuna

    study = optuna.create_study(study_name=name, direction="maximize", pruner=make_pruner(pruner, len(curves), 1))
    best, reached, spent = max(map(max, curves)), math.inf, 0
    for curve in curves:
        trial = study.ask()
        for epoch, acc in enumerate(curve):
            spent += 1
            trial.report(acc, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, max(curve))
            if max(curve) >= best:
                reached = min(reached, spent)
    return Replayed(reached, spent, max(curves[0]) >= best)


def order(trials: int, known: int, own_first: bool, seed: int) -> list[int]:
    """Draw the stored trials of a search: random ones, with `own_first` after the preset's own (stored first)."""
    chance = random.Random(seed)
    return [0, *chance.sample(range(1, known), trials - 1)] if own_first else chance.sample(range(known), trials)


def compare(plain: Sequence[Replayed], pruned: Sequence[Replayed]) -> str:
    """Describe the median search without and with pruning (a failed one counts as infinite), and the total epochs."""
    without, with_ = (median(search.reached for search in searches) for searches in (plain, pruned))
    failed = sum(math.isinf(search.reached) for search in pruned)
    whole = fmean(search.spent for search in pruned) / fmean(search.spent for search in plain)
    return (
        f"best val after {with_:.0f} epochs, without pruning {without:.0f}: {with_ / without:.0%}; "
        f"{failed} of {len(pruned)} searches never; the whole search {whole:.0%}"
    )


def main() -> None:
    """Print every pruner for both search sizes, with the preset's own trial first, then anywhere."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = [trial["val"] for trial in json.loads(STORED.read_text())["trials"]]
    for own_first in (True, False):
        for size in (SMALL, len(curves)):
            orders = [order(size, len(curves), own_first, seed) for seed in range(SEARCHES)]
            searches = [[curves[number] for number in numbers] for numbers in orders]
            plain = [replay(search, "none", f"search {seed}") for seed, search in enumerate(searches)]
            print(
                f"{size} trials, the preset's own {'first' if own_first else 'anywhere'}; "
                f"{sum(search.at_once for search in plain)} of {SEARCHES} searches have the best val in trial 1"
            )
            for pruner in ("median", "hyperband", "halving"):
                pruned = [replay(search, pruner, f"search {seed}") for seed, search in enumerate(searches)]
                default = "auto, target: 50 % or less" if pruner == choose_pruner("auto", size, 1) else ""
                print(f"  {pruner:<10}{compare(plain, pruned)}  {default}".rstrip(), flush=True)


def draw(number: int) -> dict[str, float]:
    """Draw the config values of a trial from the search ranges; trial 0 is the preset itself, without changes."""
    chance = random.Random(number)
    return {name: _draw(range_, chance) for name, range_ in MBT.config.get_declared_ranges().items()} if number else {}


def _draw(range_: SearchRange, chance: random.Random) -> float:
    assert range_.low is not None and range_.high is not None, "mbt has no categorical ranges"
    low, high, at = range_.low, range_.high, chance.random()
    return float(f"{low * (high / low) ** at if range_.log else low + (high - low) * at:.5g}")


def record(path: Path = STORED) -> None:
    """Run the trials that are not in the file yet, about 15 s each; run all again if the code changed."""
    facts = collect_provenance("cpu", 1)
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("provenance", {}).get("source") != facts["source"]:
        names = ("commit", "dirty", "source", "lock", "python", "torch", "numpy", "processor", "threads")
        about = {"method": "mbt", "preset": "quick", "dataset": "ekman6, the built-in sample", "seed": SEED}
        stored = {**about, "provenance": {name: facts[name] for name in names}, "trials": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = RunEnvironment(folder, MlflowStore(folder), Quiet(), lambda *_: [], threads=1, keep_weights=False)
        for number in range(len(stored["trials"]), TRIALS):
            values, curve = draw(number), run(draw(number), environment)
            stored["trials"].append({"values": values, "val": curve})
            atomic_write(path, _written(stored).encode())
            print(f"trial {number}: best val {max(curve):.3f} in epoch {curve.index(max(curve))}, {values}", flush=True)


def run(values: dict[str, float], environment: RunEnvironment) -> list[float]:
    """Run a trial and return its val/acc_e by epoch."""
    curve: list[float] = []
    config = MBT.config.from_preset("quick").override(values)
    request = RunRequest(
        "mbt",
        MBT,
        config,
        "quick",
        DATASETS["ekman6"],
        SEED,
        stage="trial",
        pruning_callback=lambda _, acc: curve.append(acc),
    )
    result = execute(request, environment)
    if result.record.error is not None or len(curve) != config.epochs:
        raise SystemExit(f"the trial with {values} failed: {result.record.error}")
    return [round(acc, 5) for acc in curve]


def _written(stored: dict[str, Any]) -> str:
    """Format the trials as JSON, one trial per line."""
    head = json.dumps({name: value for name, value in stored.items() if name != "trials"}, indent=1)
    rows = ",\n".join(f"  {json.dumps(trial)}" for trial in stored["trials"])
    return f'{head[:-2]},\n "trials": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    if sys.argv[1:] != ["record"]:
        raise SystemExit("usage: python -m tests.speed.search record")
    record()
