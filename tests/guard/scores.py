"""Guard of scores: each arm on the built-in sample, one epoch of each stage, three seeds, against stored scores.

Scores are stored unrounded with the processor, threads and packages that produced them. On the same ones they must be
equal to the last bit; elsewhere rounding differs, and they must be within the tolerances below. A method whose
`version` was raised has new numbers on purpose, and its scores must be stored again.

`mart-target-clip` is left out, as it needs the file of a teacher.
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
DATASET, SEEDS, THREADS = "ekman6", 3, 1  # one thread: rounding then does not depend on the number of cores
LEFT_OUT = {"mart-target-clip": "it needs the file of a teacher", "probe-features": "the sample has no arrays"}
SHORT = {"epochs": "1", "pretrain_epochs": "1"}
OWN = {"mart-mask-tube": {"patch": "12", "audio_patch": "16"}}  # the preset has one patch per frame, so one tube
SAME = ("processor", "threads", "lock", "torch")  # if these are equal, scores are equal to the last bit
LOSS = 1e-3  # tolerance of a loss on another machine
CLIPS = 2  # tolerance on another machine: clips of the split (for recall: of the class) with another prediction

Scores = dict[str, dict[int, dict[str, float | None]]]
"""Arm -> seed -> name -> score."""


class Unpublished(MlflowStore):
    """MLflow store that publishes nothing."""

    def connect(self) -> Any:
        """Raise StoreError at once."""
        raise StoreError("these runs are not published")


@dataclass(frozen=True)
class Stored:
    """Stored scores of each arm, with its version and the environment (maker) that produced them."""

    makers: list[dict[str, Any]]
    arms: dict[str, dict[str, Any]]  # arm -> version, maker (index into `makers`), seeds

    def version(self, arm: str) -> int:
        """Return the method version of the arm's stored scores."""
        return int(self.arms[arm]["version"])


def check_scores(cache: Path | None, workers: int) -> list[Check]:
    """Run every arm and compare its scores with the stored ones."""
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
        check.expected = "tolerance" if other else "same bits"
        if other:
            check.notes.append(
                f"the machine differs: {_describe_differences(stored, other, maker)}; compared within the tolerance"
            )
        check.notes.append(
            f"{seconds:.0f} s with {workers} processes of {THREADS} thread, without generating the sample"
        )
    return [*checks, check]


def check_names(stored: Stored) -> Check:
    """Check that the stored arms and their versions are those of the registry."""
    with timed(PART, "arms of the registry") as check:
        expected = arms_to_run()
        check.found, check.expected = f"{len(stored.arms)} stored", f"{len(expected)} arms"
        store = "`python -m tests.guard scores --store`"
        check.faults += [f"{arm} has no stored scores; {store} adds them" for arm in expected if arm not in stored.arms]
        gone = [arm for arm in stored.arms if arm not in expected]
        check.faults += [f"{arm} is stored but not in the registry; {store} removes it" for arm in gone]
        for arm in expected:
            if arm in stored.arms and stored.version(arm) != version_of(arm):
                versions = f"version {version_of(arm)}, its stored scores are of version {stored.version(arm)}"
                check.faults.append(f"{arm} has {versions}; {store} stores the new ones")
        check.notes += [f"{arm} is left out: {why}" for arm, why in LEFT_OUT.items()]
    return check


def differences(
    arm: str, found: dict[int, dict[str, float | None]], expected: dict[str, dict[str, float | None]], exact: bool
) -> Iterator[str]:
    """Yield the differences between the scores of an arm and the stored ones, one line per seed."""
    for seed, scores in found.items():
        stored = expected[str(seed)]
        lines = [
            f"{name} is {scores.get(name)!r}, not {stored.get(name)!r}"
            for name in sorted(scores.keys() | stored.keys())
            if not is_met(name, scores, stored, exact)
        ]
        if lines:
            rest = f" and {len(lines) - 1} more scores" if len(lines) > 1 else ""
            yield f"{arm}, seed {seed}: {lines[0]}{rest}"


def is_met(name: str, found: dict[str, float | None], expected: dict[str, float | None], exact: bool) -> bool:
    """Return whether a score equals the stored one, to the last bit or within the tolerance."""
    if name not in found or name not in expected:
        return False
    score, stored = found[name], expected[name]
    if exact or score is None or stored is None:
        return score == stored
    split, _, kind = name.partition("/")
    clips, classes = expected[f"{split}/n"] or 1.0, sum(key.startswith(f"{split}/recall/") for key in expected)
    tolerance = {"loss": LOSS, "n": 0.0}.get(kind, CLIPS / clips)
    if kind.startswith("recall/"):
        tolerance = CLIPS * classes / clips
    if kind.startswith("f1"):
        tolerance = 2 * CLIPS / clips  # a changed prediction affects two classes
    return abs(score - stored) <= tolerance + 1e-12


def store_scores(cache: Path | None, workers: int, everything: bool) -> list[Check]:
    """Run all arms, or those that are new or have a raised version, and store their scores."""
    with timed(PART, "store scores") as check:
        stored = read_stored() if STORED.exists() and not everything else Stored([], {})
        expected = arms_to_run()
        new = [arm for arm in expected if arm not in stored.arms or stored.version(arm) != version_of(arm)]
        found, _ = run(new, cache, workers)
        arms = {arm: entry for arm, entry in stored.arms.items() if arm in expected}
        makers, maker = list(stored.makers), describe_maker()
        if maker not in makers:
            makers.append(maker)
        for arm in new:
            arms[arm] = {"version": version_of(arm), "maker": makers.index(maker), "seeds": found[arm]}
        write_stored(Stored(makers, {arm: arms[arm] for arm in expected}))
        check.found, check.expected = f"{len(new)} stored", "-"
    return [check]


def arms_to_run() -> list[str]:
    """Return the methods and variants that need no external file."""
    return [name for name in get_arms() if name not in LEFT_OUT]


def version_of(arm: str) -> int:
    """Return the present version of an arm's method."""
    return METHODS[find_arm(arm).method.name].version


def run(arms: list[str], cache: Path | None, workers: int) -> tuple[Scores, float]:
    """Run arms with each seed; return their scores, and the seconds without generating the sample."""
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
    """Run an arm with a seed and return its scores; raise RuntimeError if the run failed."""
    arm, seed = work
    result = execute(make_request(arm, seed), make_environment(results))
    error = result.record.error
    if error is not None:
        raise RuntimeError(f"{arm}, seed {seed}, failed: {error.kind}: {error.message}")
    return arm, seed, dict(result.record.scores)


def make_request(arm: str, seed: int) -> RunRequest:
    """Make the request of an arm's quick preset with one epoch per stage."""
    fields = find_arm(arm).method.config.model_fields
    values = {**{name: value for name, value in SHORT.items() if name in fields}, **OWN.get(arm, {})}
    (request,) = resolve_requests(
        arm, DATASET, "quick", [f"{name}={value}" for name, value in values.items()], range(seed, seed + 1)
    )
    return request


def make_environment(results: Path) -> RunEnvironment:
    """Make an environment for runs without figures, publishing and stored weights."""
    return RunEnvironment(
        results, Unpublished(results), LogReporter(), _draw_nothing, threads=THREADS, keep_weights=False
    )


def prepare(arms: list[str], results: Path) -> None:
    """Generate the sample and prepare it in every size that the arms need."""
    environment, sizes = make_environment(results), set()
    for arm in arms:
        request = make_request(arm, 0)
        sampling = request.method.sampling(request.config, False)
        if (sampling.video.size, sampling.audio.mels) not in sizes:
            sizes.add((sampling.video.size, sampling.audio.mels))
            say(f"{PART}: the sample in {sampling.video.size} pixels and {sampling.audio.mels} mel bins ...")
            load_splits(request, environment)


@contextmanager
def results_folder(cache: Path | None) -> Iterator[Path]:
    """Yield a results folder without runs; with `cache` the sample stays in it. Real data are not used."""
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
    """Limit the libraries of processes started in the block to one thread."""
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
    """Return the commit, and the facts other than code that rounding depends on."""
    facts = collect_provenance("cpu", THREADS)
    chosen = {name: facts[name] for name in ("processor", "threads", "torch", "commit", "dirty")}
    return {**chosen, "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest()}


def read_stored() -> Stored:
    """Read the stored scores, with the score names added to each row of numbers."""
    raw = json.loads(STORED.read_text())
    arms = {
        arm: {
            **entry,
            "seeds": {seed: dict(zip(raw["names"], row, strict=True)) for seed, row in entry["seeds"].items()},
        }
        for arm, entry in raw["arms"].items()
    }
    return Stored(raw["makers"], arms)


def write_stored(stored: Stored) -> None:
    """Write the scores, the numbers of each seed on one line."""
    rows = [scores for entry in stored.arms.values() for scores in entry["seeds"].values()]
    names = list(rows[0])
    assert all(list(row) == names for row in rows), "arms have different scores"
    arms = ",\n".join(_as_json(arm, entry, names) for arm, entry in stored.arms.items())
    head = f'"names": {json.dumps(names)},\n"makers": {json.dumps(stored.makers, indent=1)}'
    STORED.write_text(f'{{\n{head},\n"arms": {{\n{arms}\n}}\n}}\n')


def _as_json(arm: str, entry: dict[str, Any], names: list[str]) -> str:
    seeds = [f'  "{seed}": {json.dumps([row[name] for name in names])}' for seed, row in entry["seeds"].items()]
    body = ",\n".join(seeds)
    return f' "{arm}": {{"version": {entry["version"]}, "maker": {entry["maker"]}, "seeds": {{\n{body}}}}}'


def _describe_differences(stored: Stored, arms: list[str], maker: dict[str, Any]) -> str:
    """Describe in which facts that affect rounding this machine differs from that of the stored scores."""
    makers = [stored.makers[index] for index in sorted({stored.arms[arm]["maker"] for arm in arms})]
    differ = [
        f"{n} {str(maker[n])[:40]}, stored {str(made[n])[:40]}" for made in makers for n in SAME if made[n] != maker[n]
    ]
    return "; ".join(dict.fromkeys(differ))


def _draw_nothing(*given: Any) -> list[str]:
    return []
