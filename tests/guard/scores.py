"""Every method still scores what it scored: each arm on the built-in sample, one epoch of each stage, three seeds.

Scores are stored unrounded with the processor, threads and packages they were made with. Where these are the same they
must be met to the last bit; elsewhere sums may be rounded otherwise, and scores must be met within the tolerance below.
A method whose `version` was raised has new numbers on purpose, and asks to be stored anew.

`mart-target-clip` is left out: it wants the file of a teacher.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.execute import RunEnvironment, RunRequest, execute, load_splits
from bench.mlflow import MlflowStore
from bench.record import collect_provenance
from methods import METHODS
from studies.plan import resolve_requests
from studies.requests import find_arm, get_arms
from studies.worker import LogReporter
from tests.guard.table import Check, say, timed

PART = "scores"
STORED = Path(__file__).with_name("scores.json")
LOCK = Path(__file__).parents[2] / "requirements.lock"
DATASET, SEEDS, THREADS = "ekman6", 3, 1  # one thread: sums are then rounded alike however many cores there are
LEFT_OUT = ("mart-target-clip",)
SHORT = {"epochs": "1", "pretrain_epochs": "1"}
OWN = {"mart-mask-tube": {"patch": "12", "audio_patch": "16"}}  # the preset's one patch leaves a tube nothing to choose
SAME = ("processor", "threads", "lock", "torch")  # where these are the same, so are the bits
LOSS = 1e-3  # on another machine: of a loss
CLIPS = 2  # on another machine: clips of the split (of the class, for a recall) that may be told otherwise

Scores = dict[str, dict[int, dict[str, float | None]]]
"""Arm -> seed -> name -> score."""


class Unpublished(MlflowStore):
    """A store that publishes nothing."""

    def connect(self) -> Any:
        """Refuse at once."""
        raise StoreError("these runs are not published")


@dataclass(frozen=True)
class Stored:
    """The table of stored scores: what made them, and each arm's version, maker and scores."""

    makers: list[dict[str, Any]]
    arms: dict[str, dict[str, Any]]  # arm -> version, maker (its place in the list), seeds

    def version(self, arm: str) -> int:
        """The version of the method that the arm's scores were made with."""
        return int(self.arms[arm]["version"])


def check_scores(cache: Path | None, workers: int) -> list[Check]:
    """Run every arm, and hold its scores against the stored ones."""
    stored = read_stored()
    checks = [check_names(stored)]
    arms = [arm for arm in arms_to_run() if arm in stored.arms and stored.version(arm) == version_of(arm)]
    with timed(PART, f"{len(arms)} arms, {SEEDS} seeds each") as check:
        found, seconds = run(arms, cache, workers)
        maker = describe_maker()
        counts = {"same bits": 0, "within tolerance": 0}
        for arm in arms:
            made_by = stored.makers[stored.arms[arm]["maker"]]
            is_same = all(made_by[name] == maker[name] for name in SAME)
            faults = list(differences(arm, found[arm], stored.arms[arm]["seeds"], exact=is_same))
            check.faults += faults
            counts["same bits" if is_same else "within tolerance"] += not faults
        other = [arm for arm in arms if any(stored.makers[stored.arms[arm]["maker"]][n] != maker[n] for n in SAME)]
        check.found = ", ".join(f"{count} {how}" for how, count in counts.items() if count) or "none"
        check.wanted = "tolerance" if other else "same bits"
        if other:
            check.notes.append(f"the machine differs: {_told(stored, other, maker)}; compared within the tolerance")
        check.notes.append(f"{seconds:.0f} s with {workers} processes of {THREADS} thread, the sample's drawing aside")
    return [*checks, check]


def check_names(stored: Stored) -> Check:
    """Check that the stored arms are those of the registry, each of the version that it has there."""
    with timed(PART, "arms of the registry") as check:
        wanted = arms_to_run()
        check.found, check.wanted = f"{len(stored.arms)} stored", f"{len(wanted)} arms"
        store = "`python -m tests.guard scores --store`"
        check.faults += [f"{arm} has no stored scores; {store} adds them" for arm in wanted if arm not in stored.arms]
        gone = [arm for arm in stored.arms if arm not in wanted]
        check.faults += [f"{arm} is stored and not in the registry; {store} drops it" for arm in gone]
        for arm in wanted:
            if arm in stored.arms and stored.version(arm) != version_of(arm):
                versions = f"version {version_of(arm)}, its stored scores are of {stored.version(arm)}"
                check.faults.append(f"{arm} has {versions}; {store} stores the new ones")
        check.notes.append(f"{', '.join(LEFT_OUT)} is left out: it wants the file of a teacher")
    return check


def differences(
    arm: str, found: dict[int, dict[str, float | None]], wanted: dict[str, dict[str, float | None]], exact: bool
) -> Iterator[str]:
    """What differs between the scores of an arm and the stored ones, seed by seed."""
    for seed, scores in found.items():
        stored = wanted[str(seed)]
        lines = [
            f"{name} is {scores.get(name)!r}, not {stored.get(name)!r}"
            for name in sorted(scores.keys() | stored.keys())
            if not is_met(name, scores, stored, exact)
        ]
        if lines:
            rest = f" and {len(lines) - 1} more scores" if len(lines) > 1 else ""
            yield f"{arm}, seed {seed}: {lines[0]}{rest}"


def is_met(name: str, found: dict[str, float | None], wanted: dict[str, float | None], exact: bool) -> bool:
    """Whether a score is the stored one: to the last bit, or within the tolerance."""
    if name not in found or name not in wanted:
        return False
    one, other = found[name], wanted[name]
    if exact or one is None or other is None:
        return one == other
    split, _, kind = name.partition("/")
    clips, classes = wanted[f"{split}/n"] or 1.0, sum(score.startswith(f"{split}/recall/") for score in wanted)
    room = {"loss": LOSS, "n": 0.0}.get(kind, CLIPS / clips)
    if kind.startswith("recall/"):
        room = CLIPS * classes / clips
    if kind.startswith("f1"):
        room = 2 * CLIPS / clips  # a clip that is told otherwise counts for two classes
    return abs(one - other) <= room + 1e-12


def store_scores(cache: Path | None, workers: int, everything: bool) -> list[Check]:
    """Run the arms that are new or have a raised version, or all, and store their scores."""
    with timed(PART, "store scores") as check:
        stored = read_stored() if STORED.exists() and not everything else Stored([], {})
        wanted = arms_to_run()
        new = [arm for arm in wanted if arm not in stored.arms or stored.version(arm) != version_of(arm)]
        found, _ = run(new, cache, workers)
        kept = {arm: told for arm, told in stored.arms.items() if arm in wanted}
        makers, maker = list(stored.makers), describe_maker()
        if maker not in makers:
            makers.append(maker)
        for arm in new:
            kept[arm] = {"version": version_of(arm), "maker": makers.index(maker), "seeds": found[arm]}
        write_stored(Stored(makers, {arm: kept[arm] for arm in wanted}))
        check.found, check.wanted = f"{len(new)} stored", "-"
    return [check]


def arms_to_run() -> list[str]:
    """Every method and pinned variant that runs without a file of its own."""
    return [name for name in get_arms() if name not in LEFT_OUT]


def version_of(arm: str) -> int:
    """The present version of an arm's method."""
    return METHODS[find_arm(arm).method.name].version


def run(arms: list[str], cache: Path | None, workers: int) -> tuple[Scores, float]:
    """Run arms with each seed; their scores, and the seconds that it took without the drawing of the sample."""
    work = [(arm, seed) for seed in range(SEEDS) for arm in arms]
    found: Scores = {arm: {} for arm in arms}
    with results_folder(cache) as folder, small_threads():
        if work:
            prepare(arms, folder)
        since = time.monotonic()
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for arm, seed, scores in pool.imap_unordered(partial(run_one, folder), work):
                found[arm][seed] = scores
        seconds = time.monotonic() - since
    return {arm: dict(sorted(seeds.items())) for arm, seeds in found.items()}, seconds


def run_one(results: Path, work: tuple[str, int]) -> tuple[str, int, dict[str, float | None]]:
    """Run an arm with a seed; its scores. Raises RuntimeError where the run failed."""
    arm, seed = work
    outcome = execute(make_ask(arm, seed), make_desk(results))
    error = outcome.record.error
    if error is not None:
        raise RuntimeError(f"{arm}, seed {seed}, failed: {error.kind}: {error.message}")
    return arm, seed, dict(outcome.record.scores)


def make_ask(arm: str, seed: int) -> RunRequest:
    """One epoch of each stage of an arm's quick preset."""
    fields = find_arm(arm).method.config.model_fields
    values = {**{name: value for name, value in SHORT.items() if name in fields}, **OWN.get(arm, {})}
    (ask,) = resolve_requests(
        arm, DATASET, "quick", [f"{name}={value}" for name, value in values.items()], range(seed, seed + 1)
    )
    return ask


def make_desk(results: Path) -> RunEnvironment:
    """A place for runs that are neither drawn, nor published, nor keep their weights."""
    return RunEnvironment(
        results, Unpublished(results), LogReporter(), _draw_nothing, threads=THREADS, keep_weights=False
    )


def prepare(arms: list[str], results: Path) -> None:
    """Draw the sample and decode it in every size that the arms want."""
    desk, sizes = make_desk(results), set()
    for arm in arms:
        ask = make_ask(arm, 0)
        sampling = ask.method.sampling(ask.config, False)
        if (sampling.size, sampling.mels) not in sizes:
            sizes.add((sampling.size, sampling.mels))
            say(f"{PART}: the sample in {sampling.size} pixels and {sampling.mels} mel bins ...")
            load_splits(ask, desk)


@contextmanager
def results_folder(cache: Path | None) -> Iterator[Path]:
    """A results folder without runs; with a cache the sample stays in it. Real data are left alone."""
    before = os.environ.get("BENCH_DATA")
    with tempfile.TemporaryDirectory(prefix="guard-scores-") as name:
        folder = (cache or Path(name)).resolve()
        shutil.rmtree(folder / "runs", ignore_errors=True)
        empty = Path(name) / "no-data"
        empty.mkdir()
        os.environ["BENCH_DATA"] = str(empty)
        try:
            yield folder
        finally:
            os.environ.pop("BENCH_DATA")
            if before is not None:
                os.environ["BENCH_DATA"] = before


@contextmanager
def small_threads() -> Iterator[None]:
    """Let the libraries of processes that start in the block have one thread each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(THREADS)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def describe_maker() -> dict[str, Any]:
    """What the bits of scores depend on beside the code, and which commit that was."""
    facts = collect_provenance("cpu", THREADS)
    told = {name: facts[name] for name in ("processor", "threads", "torch", "commit", "dirty")}
    return {**told, "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest()}


def read_stored() -> Stored:
    """The stored scores; each row of numbers under the names of its arm's data set."""
    raw = json.loads(STORED.read_text())
    arms = {
        arm: {**told, "seeds": {seed: dict(zip(raw["names"], row, strict=True)) for seed, row in told["seeds"].items()}}
        for arm, told in raw["arms"].items()
    }
    return Stored(raw["makers"], arms)


def write_stored(stored: Stored) -> None:
    """Write the scores, the numbers of a seed on a line."""
    rows = [scores for told in stored.arms.values() for scores in told["seeds"].values()]
    names = list(rows[0])
    assert all(list(row) == names for row in rows), "arms have different scores"
    arms = ",\n".join(_as_json(arm, told, names) for arm, told in stored.arms.items())
    head = f'"names": {json.dumps(names)},\n"makers": {json.dumps(stored.makers, indent=1)}'
    STORED.write_text(f'{{\n{head},\n"arms": {{\n{arms}\n}}\n}}\n')


def _as_json(arm: str, told: dict[str, Any], names: list[str]) -> str:
    seeds = [f'  "{seed}": {json.dumps([row[name] for name in names])}' for seed, row in told["seeds"].items()]
    body = ",\n".join(seeds)
    return f' "{arm}": {{"version": {told["version"]}, "maker": {told["maker"]}, "seeds": {{\n{body}}}}}'


def _told(stored: Stored, arms: list[str], maker: dict[str, Any]) -> str:
    """In which of the facts that decide the bits this machine differs from that of the stored scores."""
    makers = [stored.makers[place] for place in sorted({stored.arms[arm]["maker"] for arm in arms})]
    differ = [
        f"{n} {str(maker[n])[:40]}, stored {str(made[n])[:40]}" for made in makers for n in SAME if made[n] != maker[n]
    ]
    return "; ".join(dict.fromkeys(differ))


def _draw_nothing(*given: Any) -> list[str]:
    return []
