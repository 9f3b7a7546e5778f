"""Execution of one run: a method, a config, a data set and a seed become one record.

No other module reads the test split: it is scored once, after the fit, and never for a trial of a search.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import shutil
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.artifacts import DrawFigures, write_artifacts
from bench.config import Config, hash_config_files
from bench.distributed import fit_distributed
from bench.errors import BenchError, DataError, Diverged, StoreError
from bench.evaluate import measure_cost, predict
from bench.files import atomic_write, logs_to
from bench.method import FitContext, Method, Predictor
from bench.metrics import Predictions, score
from bench.protocol import SplitView, seal_test, split_view
from bench.record import (
    EvaluationProtocol,
    Failure,
    FailureKind,
    Record,
    RunFolder,
    RunSpec,
    RunStage,
    collect_provenance,
)
from bench.requests import StoredRequest, add_requests, name_files
from bench.rng import RngTree
from bench.timing import Timer, read_peak_memory, reset_peak_memory
from bench.tracker import (
    SECONDS_FILE,
    ExperimentTracker,
    LiveRun,
    ProgressReporter,
    Pruned,
    PruningCallback,
    RunTracker,
)
from bench.types import Dataset, DatasetSplits, SplitRequest

_log = logging.getLogger(__name__)
MIN_FREE_BYTES = 500_000_000  # below this a run is not started: a checkpoint would not fit

EXPECTED_FAILURES: dict[type[Exception], FailureKind] = {Pruned: "pruned", Diverged: "nan", DataError: "data"}
# as torch words it
OUT_OF_MEMORY_MESSAGES = ("CUDA out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class RunRequest:
    """One cell of a study for one seed, with every name resolved."""

    arm: str  # the name it was asked for by
    method: Method
    config: Config
    preset: str
    dataset: Dataset
    seed: int
    fold: int = 0  # the official list, or the group left out for test
    protocol: EvaluationProtocol = "clean"
    stage: RunStage = "final"
    stop: int | None = None  # epochs of the stage that val would judge: protocol refit
    parent: str = ""  # name of the study or search whose MLflow run this one's stands under
    pruning_callback: PruningCallback | None = None  # of a trial: may give it up
    requests: tuple[StoredRequest, ...] = ()  # why it is run; a trial stores none


@dataclass(frozen=True)
class RunEnvironment:
    """Where runs are made: folders, device, screen. Nothing here may change a number beyond rounding."""

    results: Path
    store: ExperimentTracker
    reporter: ProgressReporter
    draw_figures: DrawFigures
    data_folder: Path | None = None
    device: str = "cpu"
    threads: int = 2
    loaders: int = 0
    micro_batch: int | None = None
    devices: int = 1  # that share each fit
    fresh: bool = False
    keep_weights: bool = True


@dataclass(frozen=True)
class RunResult:
    """A record, and whether it was there already; `run_id` is None while MLflow is away."""

    record: Record
    already_done: bool
    run_id: str | None


def execute(request: RunRequest, environment: RunEnvironment) -> RunResult:
    """Run what is asked, unless its record is there already; a run that was killed goes on where it was.

    Why it is asked for is stored beside the record, also where that is there already and where the run fails.
    A failure of the method becomes a record with an error. Raises BenchError for the user's mistakes, and lets an
    interruption through with everything needed to go on left in place.
    """
    fold = f", fold {request.fold}" if request.fold else ""
    protocol = "" if request.protocol == "clean" else f", {request.protocol}"
    environment.reporter.start_run(f"{request.arm} on {request.dataset.info.name}{fold}, seed {request.seed}{protocol}")
    timer = Timer()
    contents = hash_config_files(request.config)  # a mistake in a name is told before the data are prepared
    with timer("prepare"):
        splits = load_splits(request, environment)
    spec = make_spec(request, splits, contents)
    folder = RunFolder(environment.results / "runs" / spec.key)
    with folder.locked(
        lambda: environment.reporter.notify(f"run {spec.key} is under way in another process; waiting for it")
    ):
        record = folder.read_record()
        add_requests(folder, name_files(request.requests, contents))
        if record is not None and environment.fresh:
            folder.set_aside(record)
        elif record is not None:
            return publish_record(folder, record, environment, None, found=True)
        _check_free_space(folder.path)
        with logs_to(folder.path / "log"):
            made_by = _drop_stale_checkpoints(folder, environment, timer)
            with timer("open store"):
                live_run = environment.store.start_run(spec, request.arm, request.preset, folder, request.parent)
            fit = partial(
                _fit_and_record,
                request,
                splits=splits,
                spec=spec,
                folder=folder,
                live_run=live_run,
                timer=timer,
                facts=made_by,
            )
            try:
                record = fit(environment)
                half = halve_micro_batch(request.config, environment.micro_batch, environment.devices)
                if record.error is not None and record.error.kind == "out of memory" and half:
                    release_memory(environment.device)
                    environment.reporter.notify(
                        f"out of memory; the run goes on with {half} clips at once, the same batch"
                    )
                    record = fit(replace(environment, micro_batch=half))
                if record.error is None:
                    return publish_record(folder, record, environment, live_run, found=False)
            except KeyboardInterrupt:
                live_run.end("KILLED")
                raise
            except BaseException:
                live_run.end("FAILED")
                raise
            live_run.fail(record)
            if spec.stage == "trial":  # its values may be tried again, but not this run
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
            return RunResult(record, False, live_run.run_id)


def publish_record(
    folder: RunFolder, record: Record, environment: RunEnvironment, live_run: LiveRun | None, found: bool
) -> RunResult:
    """Publish a finished record where that is still to be done, and free what only going on would have needed."""
    run_id = environment.store.find_run_id(folder) or environment.store.publish(folder, record, live_run)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return RunResult(record, found, run_id)


def publish_waiting(outcomes: list[RunResult], environment: RunEnvironment) -> list[RunResult]:
    """Try once more, at the end of a command, to publish the records that the tracker did not take."""
    found = list(outcomes)
    waiting = [place for place, one in enumerate(outcomes) if one.record.error is None and one.run_id is None]
    if waiting:
        environment.store.retry()
    for place in waiting:
        record = found[place].record
        folder = RunFolder(environment.results / "runs" / record.key)
        with folder.locked(lambda: None):
            found[place] = publish_record(folder, record, environment, None, found[place].already_done)
    return found


def _drop_stale_checkpoints(folder: RunFolder, environment: RunEnvironment, timer: Timer) -> dict[str, Any]:
    """The facts of this process. Checkpoints of another code, device or lock are dropped: a run is of one making;
    with those of the same making its seconds go on."""
    facts = collect_provenance(environment.device, environment.threads)
    making = {name: facts[name] for name in ("source", "lock", "python", "torch", "device", "threads", "processor")}
    making["devices"] = environment.devices
    note, spent = folder.checkpoints / "made-by.json", folder.checkpoints / SECONDS_FILE
    if note.exists() and json.loads(note.read_text()) != making:
        environment.reporter.notify("the checkpoint was made by other code or on another device; the run starts anew")
        shutil.rmtree(folder.checkpoints)
    if note.exists() and spent.exists():
        timer.resume_from(json.loads(spent.read_text()))
    atomic_write(note, json.dumps(making).encode())
    return facts


def load_splits(request: RunRequest, environment: RunEnvironment) -> DatasetSplits:
    """The splits of a run; a trial's test split is sealed. Raises DataError where they cannot be had."""
    sampling = request.method.sampling(request.config, False)
    splits = request.dataset.load(
        SplitRequest(
            environment.data_folder,
            environment.results,
            sampling.size,
            sampling.mels,
            request.seed,
            request.fold,
            environment.reporter.report_progress,
        )
    )
    environment.reporter.report_data(splits.is_sample, splits.issues)
    return seal_test(splits) if request.stage == "trial" else splits


def make_spec(request: RunRequest, splits: DatasetSplits, contents: dict[str, str]) -> RunSpec:
    """What the run is; `contents` are those of its config."""
    return RunSpec(
        method=request.method.name,
        version=request.method.version,
        config={**request.config.model_dump(mode="json"), **dict.fromkeys(contents, "file")},
        weights=contents,
        dataset=splits.info.name,
        data="sample" if splits.is_sample else "real",
        split=splits.fingerprint,
        content=splits.content_hash,
        fold=request.fold,
        seed=request.seed,
        protocol=request.protocol,
        stage=request.stage,
        stop=request.stop,
    )


def _fit_and_record(
    request: RunRequest,
    environment: RunEnvironment,
    splits: DatasetSplits,
    spec: RunSpec,
    folder: RunFolder,
    live_run: LiveRun,
    timer: Timer,
    facts: dict[str, Any],
) -> Record:
    """Fit, score, write; the record, of success or failure, is in place when this returns."""
    torch.set_num_threads(environment.threads)
    view = split_view(splits, spec.protocol, spec.stage)
    tracker = RunTracker(live_run, environment.reporter, folder, timer, view.selection_name, request.pruning_callback)
    ctx = FitContext(
        tracker,
        folder.checkpoints,
        environment.device,
        environment.threads,
        environment.micro_batch,
        environment.loaders,
        timer,
        spec.stop,
    )
    known: dict[str, Any] = {
        "key": spec.key,
        "spec": spec,
        "arm": request.arm,
        "preset": request.preset,
        "attempt": folder.count_attempts() + 1,
        "provenance": {**facts, "micro_batch": environment.micro_batch or 0, "devices": environment.devices},
        "problems": [vars(problem) for problem in splits.issues],
    }
    if request.preset == "paper" and request.method.is_from_scratch(spec.config, spec.weights):
        tracker.notify("trained from scratch, without published weights; docs/weights.md says how to name them")
    review, figures = request.method.load_review(), request.method.load_figures() if spec.stage == "final" else {}
    reset_peak_memory(environment.device)
    try:
        rng = RngTree(request.seed)
        with timer("method"):
            predictor = fit_distributed(
                request.method,
                request.config,
                splits.info,
                view.train,
                view.selection,
                rng,
                ctx,
                environment.devices,
            )
        scores, predictions = _score_splits(request, view, predictor, rng, ctx)
        notes = _measure_costs(request, view, predictor, environment.device) if spec.stage == "final" else {}
        with timer("write"):
            kept = predictor if environment.keep_weights and spec.stage == "final" else None
            files = write_artifacts(
                folder.path,
                spec,
                request.arm,
                view.reportable,
                predictions,
                tracker.list_curves(),
                tracker.explanations if spec.stage == "final" else {},
                environment.draw_figures,
                figures,
                kept,
            )
        known["chosen"] = tracker.selected_epoch
        known["provenance"] |= read_peak_memory(environment.device)
        notes |= tracker.make_notes(view.reportable, review)
        record = Record(**known, scores=scores, notes=notes, seconds=timer.get_seconds(), files=files)
        folder.write_record(record)
        return record
    except Exception as error:  # a method that breaks is a failed run, told with its traceback, not a lost one
        failure = classify_failure(error)
    known["provenance"] |= read_peak_memory(environment.device)
    record = Record(**known, scores={}, notes={}, seconds=timer.get_seconds(), error=failure)
    folder.write_record(record)
    return record


def _score_splits(
    request: RunRequest, view: SplitView, predictor: Predictor, rng: RngTree, ctx: FitContext
) -> tuple[dict[str, float | None], dict[str, Predictions]]:
    """Val and, once, test, as the protocol has it; what it does not score is None."""
    sampling = request.method.sampling(request.config, False)
    predictions = {split: predict(predictor, clips, sampling, rng, ctx) for split, clips in view.scored.items()}
    found = {split: score(said, view.reportable.info) for split, said in predictions.items()}
    names = next(iter(found.values()))
    scores = {f"{split}/{name}": found.get(split, {}).get(name) for split in ("val", "test") for name in names}
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}: the finished model's scores are no numbers")
    return scores, predictions


def _measure_costs(request: RunRequest, view: SplitView, predictor: Predictor, device: str) -> dict[str, float]:
    """What a table of costs needs, and how many clips were trained on: for the statistics of folds that overlap."""
    clips = {"clips/train": float(len(view.train.clips))}
    try:
        return {**measure_cost(predictor, request.method.sampling(request.config, False), device), **clips}
    except Exception:  # a method that cannot be counted on a blank clip is no failed run
        _log.warning("the predictor's cost could not be counted", exc_info=True)
        return clips


def _check_free_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_BYTES:
        raise StoreError(
            f"only {free / 1e6:.0f} MB free under {path.parent}, a run wants {MIN_FREE_BYTES / 1e6:.0f}; "
            "free some or choose another place with --results"
        )


def classify_failure(error: Exception) -> Failure:
    """Class, message and traceback of what broke; a user's mistake is no failure of the run and is raised again."""
    for cause, expected in EXPECTED_FAILURES.items():
        if isinstance(error, cause):
            return Failure(expected, str(error), "")
    if isinstance(error, BenchError):
        raise error
    first = str(error).splitlines()[0] if str(error) else ""
    has_no_room = isinstance(error, MemoryError | torch.OutOfMemoryError)
    has_no_room = has_no_room or any(text in first for text in OUT_OF_MEMORY_MESSAGES)
    kind: FailureKind = "out of memory" if has_no_room else "other"
    failure = Failure(kind, f"{type(error).__name__}: {first}", traceback.format_exc())
    traceback.clear_frames(error.__traceback__)  # they hold the tensors that the next try wants room for
    return failure


def halve_micro_batch(config: Config, micro_batch: int | None, devices: int = 1) -> int:
    """Half as many clips at once as each device of a run without room had; 0 where that cannot be."""
    replica: int = -(-getattr(config, "batch", 1) // devices)
    return (replica if micro_batch is None else min(micro_batch, replica)) // 2


def release_memory(device: str) -> None:
    """Give back what a try that had no room still holds."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
