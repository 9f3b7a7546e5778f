"""What pruning saves a search, replayed on stored curves of unpruned trials.

`python -m tests.speed search` replays them; `python -m tests.speed.search record` makes the curves anew.
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
from methods.mbt.method import MBT
from studies.search import choose_pruner, make_pruner
from tests.conftest import Quiet

STORED = Path(__file__).with_name("search_curves.json")
TRIALS = 60  # at most: the file may have fewer
SEED = 1000  # of every trial: clips, weights and order are the same, only the config differs
SEARCHES = 20
SMALL = 20  # trials of a replayed search; a large one runs all that are stored

Curve = Sequence[float]


@dataclass(frozen=True)
class Replayed:
    """One search: epochs until its best val was reached (infinite: given up with the trials that have it), all epochs,
    and whether its first trial has that val already, so that there was nothing to save."""

    reached: float
    spent: int
    at_once: bool


def replay(curves: Sequence[Curve], pruner: str, name: str) -> Replayed:
    """Run the trials one after the other as Optuna's. Sought is the best val that the same trials reach unpruned; of
    equals the first that finishes has reached it, and counts with all its epochs."""
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
    """Which stored trials a search runs: the preset's own (the first stored) and others, or any, at random."""
    chance = random.Random(seed)
    return [0, *chance.sample(range(1, known), trials - 1)] if own_first else chance.sample(range(known), trials)


def compare(plain: Sequence[Replayed], pruned: Sequence[Replayed]) -> str:
    """The median search without and with pruning, one that failed counted as endless; and the whole searches."""
    without, with_ = (median(one.reached for one in searches) for searches in (plain, pruned))
    failed = sum(math.isinf(one.reached) for one in pruned)
    whole = fmean(one.spent for one in pruned) / fmean(one.spent for one in plain)
    return (
        f"best val after {with_:.0f} epochs, without pruning {without:.0f}: {with_ / without:.0%}; "
        f"{failed} of {len(pruned)} searches never; the whole search {whole:.0%}"
    )


def main() -> None:
    """Every pruner for both sizes of a search: in the order of real ones, then with the preset's own trial anywhere."""
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
                f"{sum(one.at_once for one in plain)} of {SEARCHES} searches have their best val in the first trial"
            )
            for pruner in ("median", "hyperband", "halving"):
                pruned = [replay(search, pruner, f"search {seed}") for seed, search in enumerate(searches)]
                default = "auto, wanted: 50 % or less" if pruner == choose_pruner("auto", size, 1) else ""
                print(f"  {pruner:<10}{compare(plain, pruned)}  {default}".rstrip(), flush=True)


def draw(number: int) -> dict[str, float]:
    """The config values of a trial: none for the first, which is the preset's own; else at random from the ranges."""
    chance = random.Random(number)
    return {name: _draw(range_, chance) for name, range_ in MBT.config.get_declared_ranges().items()} if number else {}


def _draw(range_: SearchRange, chance: random.Random) -> float:
    assert range_.low is not None and range_.high is not None, "mbt declares no choices"
    low, high, at = range_.low, range_.high, chance.random()
    return float(f"{low * (high / low) ** at if range_.log else low + (high - low) * at:.5g}")


def record(path: Path = STORED) -> None:
    """Run the trials that are not in the file yet, about 15 s each; those of other code are made anew."""
    facts = collect_provenance("cpu", 1)
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("provenance", {}).get("source") != facts["source"]:
        wanted = ("commit", "dirty", "source", "lock", "python", "torch", "numpy", "processor", "threads")
        about = {"method": "mbt", "preset": "quick", "dataset": "ekman6, the built-in sample", "seed": SEED}
        stored = {**about, "provenance": {name: facts[name] for name in wanted}, "trials": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        desk = RunEnvironment(folder, MlflowStore(folder), Quiet(), lambda *_: [], threads=1, keep_weights=False)
        for number in range(len(stored["trials"]), TRIALS):
            values, curve = draw(number), run(draw(number), desk)
            stored["trials"].append({"values": values, "val": curve})
            atomic_write(path, _written(stored).encode())
            print(f"trial {number}: best val {max(curve):.3f} in epoch {curve.index(max(curve))}, {values}", flush=True)


def run(values: dict[str, float], desk: RunEnvironment) -> list[float]:
    """val/acc_e of every epoch of a trial."""
    curve: list[float] = []
    config = MBT.config.from_preset("quick").override(values)
    ask = RunRequest(
        "mbt",
        MBT,
        config,
        "quick",
        DATASETS["ekman6"],
        SEED,
        stage="trial",
        pruning_callback=lambda _, acc: curve.append(acc),
    )
    outcome = execute(ask, desk)
    if outcome.record.error is not None or len(curve) != config.epochs:
        raise SystemExit(f"the trial with {values} did not end: {outcome.record.error}")
    return [round(acc, 5) for acc in curve]


def _written(stored: dict[str, Any]) -> str:
    """JSON with a trial a line."""
    head = json.dumps({name: value for name, value in stored.items() if name != "trials"}, indent=1)
    rows = ",\n".join(f"  {json.dumps(trial)}" for trial in stored["trials"])
    return f'{head[:-2]},\n "trials": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    if sys.argv[1:] != ["record"]:
        raise SystemExit("usage: python -m tests.speed.search record")
    record()
