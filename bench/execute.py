"""Execution of one run: fit a method on a data set with one config and seed, score it, write its record.

Only this module reads the test split. It is scored once, after the fit, and never in a trial of a search.
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
from typing import Any, Literal

import torch

from bench.artifacts import WEIGHTS_FILE, DrawFigures, write_artifacts
from bench.config import Config, hash_config_files
from bench.distributed import fit_distributed
from bench.errors import BenchError, DataError, Diverged, StoreError
from bench.evaluate import measure_cost, predict
from bench.files import logs_to
from bench.method import FitContext, Method, Predictor
from bench.metrics import Predictions, score
from bench.protocol import ClipSubset, SplitView, seal_test, split_view
from bench.record import (
    EvaluationProtocol,
    Failure,
    FailureKind,
    PretrainingData,
    Record,
    RunFolder,
    RunSpec,
    RunStage,
    StageUse,
    StartedRun,
    collect_provenance,
    drop_stale_checkpoints,
)
from bench.requests import StoredRequest, add_requests, name_files
from bench.rng import RngTree
from bench.stages import StageMaker, locate_stage, obtain_stage
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
from bench.types import ClipSet, DataIdentity, DataIssue, Dataset, DatasetInfo, DatasetSplits, SplitRequest

_log = logging.getLogger(__name__)
MIN_FREE_BYTES = 500_000_000  # free disk space needed to start a run, which writes checkpoints

EXPECTED_FAILURES: dict[type[Exception], FailureKind] = {Pruned: "pruned", Diverged: "nan", DataError: "data"}
# substrings of the messages of torch
OUT_OF_MEMORY_MESSAGES = ("CUDA out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class RunRequest:
    """A run to execute: one arm on one data set with one seed, all names resolved."""

    arm: str  # the name that was requested: a method or one of its variants
    method: Method
    config: Config
    preset: str
    dataset: Dataset
    seed: int
    fold: int = 0  # number of the official list, or of the group held out for test
    protocol: EvaluationProtocol = "clean"
    stage: RunStage = "final"
    stop: int | None = None  # protocol refit: epochs of the supervised stage, as selected by clean runs
    limit: int | None = None  # clips of each class in each split, for a try
    pretrain_on: Dataset | None = None  # data set of the pre-training; None = that of the run
    parent: str = ""  # name of the study or search; its MLflow run is the parent of this run's
    pruning_callback: PruningCallback | None = None  # of a trial; may end it by raising Pruned
    requests: tuple[StoredRequest, ...] = ()  # stored next to the record; a trial stores none

    @property
    def extras(self) -> dict[str, str]:
        """Return the options, in addition to config values, that set its run apart: see `RunSpec.extras`."""
        found = {"limit": str(self.limit)} if self.limit is not None else {}
        return found | ({"pretrain_on": self.pretrain_on.info.name} if self.pretrain_on is not None else {})


@dataclass(frozen=True)
class RunEnvironment:
    """Folders, devices and reporters of a run. No field changes a number beyond rounding."""

    results: Path
    store: ExperimentTracker
    reporter: ProgressReporter
    draw_figures: DrawFigures
    data_folder: Path | None = None
    device: str = "cpu"
    threads: int = 2
    loaders: int = 0
    micro_batch: int | None = None
    devices: int = 1  # devices per fit
    fresh: bool = False
    keep_weights: bool = True


@dataclass(frozen=True)
class RunResult:
    """The record of a run. `run_id` is None if it is not published in MLflow yet."""

    record: Record
    already_done: bool  # the record existed before
    run_id: str | None


def execute(request: RunRequest, environment: RunEnvironment) -> RunResult:
    """Execute one run, or return its record if it is finished; resume it from its last checkpoint if it was killed.

    The requests are stored next to the record, also if the record exists or the run fails. An error of the method
    is stored as a failed record. After an out-of-memory error the fit is repeated once with half the micro-batch,
    unless the method is coupled.
    Raises BenchError for mistakes of the user. KeyboardInterrupt passes through; the checkpoints stay.
    """
    fold = f", fold {request.fold}" if request.fold else ""
    protocol = "" if request.protocol == "clean" else f", {request.protocol}"
    environment.reporter.start_run(f"{request.arm} on {request.dataset.info.name}{fold}, seed {request.seed}{protocol}")
    timer = Timer()
    contents = hash_config_files(request.config)  # first, so that a wrong path fails before the data are read
    with timer("prepare"):
        identity = identify_data(request, environment)
        spec = make_spec(request, identity, contents, identify_pretraining(request, environment))
    folder = RunFolder(environment.results / "runs" / spec.key)
    lock = folder.locked(
        lambda: environment.reporter.notify(f"run {spec.key} is running in another process; waiting for it to end")
    )
    with timer.enter("wait", lock):
        record = folder.read_record()
        add_requests(folder, name_files(request.requests, contents))
        if record is not None and environment.fresh:
            folder.set_aside(record)
        elif record is not None:
            environment.reporter.report_data(identity.is_sample, [DataIssue(**issue) for issue in record.problems])
            return publish_record(folder, record, environment, None, found=True)
        _check_free_space(folder.path)
        with logs_to(folder.path / "log"):
            with timer("prepare"):
                splits = load_splits(request, environment, identity)
            facts = _drop_stale_checkpoints(folder, environment, timer)
            folder.write_start(StartedRun(request.arm, request.preset, spec))
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
                facts=facts,
            )
            try:
                record = fit(environment)
                micro_batch = halve_micro_batch(request.config, environment.micro_batch, environment.devices)
                micro_batch = 0 if request.method.coupled else micro_batch
                if record.error is not None and record.error.kind == "out of memory" and micro_batch:
                    release_memory(environment.device)
                    environment.reporter.notify(
                        f"out of memory; retrying with micro-batches of {micro_batch} clips and the same batch size"
                    )
                    record = fit(replace(environment, micro_batch=micro_batch))
                if record.error is None:
                    return publish_record(folder, record, environment, live_run, found=False)
            except KeyboardInterrupt:
                live_run.end("KILLED")
                raise
            except BaseException:
                live_run.end("FAILED")
                raise
            live_run.fail(record)
            if spec.stage == "trial":  # a failed trial is never resumed
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
            return RunResult(record, False, live_run.run_id)


def publish_record(
    folder: RunFolder, record: Record, environment: RunEnvironment, live_run: LiveRun | None, found: bool
) -> RunResult:
    """Publish a finished record unless it is published, and delete the checkpoints."""
    run_id = environment.store.find_run_id(folder) or environment.store.publish(folder, record, live_run)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return RunResult(record, found, run_id)


def publish_waiting(outcomes: list[RunResult], environment: RunEnvironment) -> list[RunResult]:
    """Retry, at the end of a command, to publish the finished records that are not in MLflow yet."""
    results = list(outcomes)
    waiting = [index for index, result in enumerate(results) if result.record.error is None and result.run_id is None]
    if waiting:
        environment.store.retry()
    for index in waiting:
        record = results[index].record
        folder = RunFolder(environment.results / "runs" / record.key)
        with folder.locked(lambda: None):
            results[index] = publish_record(folder, record, environment, None, results[index].already_done)
    return results


def _drop_stale_checkpoints(folder: RunFolder, environment: RunEnvironment, timer: Timer) -> dict[str, Any]:
    """Return the provenance of this process; delete checkpoints that other code, packages or devices wrote.

    If the checkpoints stay, the timer resumes from their seconds.
    """
    facts = collect_provenance(environment.device, environment.threads)
    drop_stale_checkpoints(folder.checkpoints, facts, environment.devices, environment.reporter.notify)
    if (spent := folder.checkpoints / SECONDS_FILE).exists():
        timer.resume_from(json.loads(spent.read_text()))
    return facts


def load_splits(
    request: RunRequest, environment: RunEnvironment, identity: DataIdentity | None = None
) -> DatasetSplits:
    """Load the splits of a run; seal the test split of a trial.

    Raises DataError if the data cannot be loaded, or have changed since they were identified.
    """
    splits = request.dataset.load(make_split_request(request, environment))
    if identity is not None and splits.content_hash != identity.content_hash:
        raise DataError(f"{splits.info.title}: the data changed while they were read; give the same command again")
    environment.reporter.report_data(splits.is_sample, splits.issues)
    return seal_test(splits) if request.stage == "trial" else splits


def make_split_request(
    request: RunRequest, environment: RunEnvironment, only_known: bool = False, pretraining: bool = False
) -> SplitRequest:
    """Return the request for the splits of a run, or for those of its separate pre-training data."""
    sampling = request.method.sampling(request.config, False)
    return SplitRequest(
        folder=None if pretraining else environment.data_folder,
        cache=environment.results,
        size=sampling.video.size,
        mels=sampling.audio.mels,
        seed=request.seed,
        fold=None if pretraining else request.fold,
        limit=request.limit,
        only_known=only_known,
        report_progress=environment.reporter.report_progress,
    )


def identify_data(request: RunRequest, environment: RunEnvironment) -> DataIdentity:
    """Hash the files of a run's data without decoding them. Raises DataError if they are not found."""
    identity = request.dataset.identify_data(make_split_request(request, environment))
    assert identity is not None  # only_known is not set
    return identity


def identify_pretraining(request: RunRequest, environment: RunEnvironment) -> DataIdentity | None:
    """Hash the files of a run's separate pre-training data; None if it has none."""
    if request.pretrain_on is None:
        return None
    return request.pretrain_on.identify_data(make_split_request(request, environment, pretraining=True))


def make_spec(
    request: RunRequest, identity: DataIdentity, contents: dict[str, str], pretraining: DataIdentity | None = None
) -> RunSpec:
    """Return the spec of a run; `contents` is `hash_config_files` of its config.

    Raises DataError if only one of its data set and that of its pre-training is the built-in sample.
    """
    other = None
    if request.pretrain_on is not None and pretraining is not None:
        info, kind = request.pretrain_on.info, _name_data(pretraining)
        if pretraining.is_sample != identity.is_sample:
            missing = info if pretraining.is_sample else request.dataset.info
            raise DataError(
                f"--pretrain-on: {missing.title} was not found, and the built-in sample is not mixed with real data; "
                f"copy it to data/{missing.name} or set BENCH_DATA"
            )
        other = PretrainingData(info.name, kind, pretraining.fingerprint, pretraining.content_hash, info.folds[0])
    return RunSpec(
        method=request.method.name,
        version=request.method.version,
        config={**request.config.model_dump(mode="json"), **dict.fromkeys(contents, "file")},
        weights=contents,
        dataset=request.dataset.info.name,
        data=_name_data(identity),
        split=identity.fingerprint,
        content=identity.content_hash,
        fold=request.fold,
        seed=request.seed,
        protocol=request.protocol,
        stage=request.stage,
        stop=request.stop,
        limit=request.limit,
        pretrain_on=other,
        plugin=request.method.plugin_sha256,
    )


def _name_data(identity: DataIdentity) -> Literal["real", "sample"]:
    return "sample" if identity.is_sample else "real"


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
    """Fit, score and write all files of the run; write and return its record, also if the method fails."""
    torch.set_num_threads(environment.threads)
    if ":" in environment.device:
        torch.cuda.set_device(environment.device)  # for tensors and kernels that name no GPU
    view = split_view(splits, spec.protocol, spec.stage)
    metric, callback = splits.info.task.primary, request.pruning_callback
    tracker = RunTracker(live_run, environment.reporter, folder, timer, view.selection_name, callback, metric)
    ctx = FitContext(
        request.config,
        splits.info,
        view.train,
        view.selection,
        RngTree(request.seed),
        tracker,
        folder.checkpoints,
        environment.device,
        environment.threads,
        environment.micro_batch,
        environment.loaders,
        timer,
        spec.stop,
        metric=metric,
        coupled=request.method.coupled,
        explains=spec.stage == "final",
    )
    known: dict[str, Any] = {
        "key": spec.key,
        "spec": spec,
        "arm": request.arm,
        "preset": request.preset,
        "attempt": folder.count_attempts() + 1,
        "provenance": {
            **facts,
            "micro_batch": environment.micro_batch or 0,
            "devices": environment.devices,
            **describe_plugin(request.method),
        },
        "problems": [vars(problem) for problem in splits.issues],
        "clips": splits.fingerprint,
    }
    if request.preset == "paper" and request.method.is_from_scratch(spec.config, spec.weights):
        tracker.notify(
            "trained from scratch, without published weights; see docs/weights.md for the options that load them"
        )
    review, figures = request.method.load_review(), request.method.load_figures() if spec.stage == "final" else {}
    reset_peak_memory(environment.device)
    try:
        ctx, known["stages"] = _obtain_stages(request, environment, splits, spec, ctx, facts)
        with timer("method"):
            predictor = fit_distributed(request.method, ctx, environment.devices)
        scores, predictions = _score_splits(request, view, predictor, ctx)
        notes = _measure_costs(request, predictor, ctx) if spec.stage == "final" else {}
        notes |= _list_streams(request, splits)
        with timer("write"):
            saved = predictor if environment.keep_weights and spec.stage == "final" else None
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
                saved,
                request.method.plugin,
            )
        known["chosen"] = tracker.selected_epoch
        known["provenance"] |= read_peak_memory(environment.device)
        notes |= tracker.make_notes(view.reportable, review)
        record = Record(**known, scores=scores, notes=notes, seconds=timer.get_seconds(), files=files)
        folder.write_record(record)
        return record
    except Exception as error:  # any error of a method is stored with its traceback as a failed record
        failure = classify_failure(error)
        if failure.kind == "out of memory" and request.method.coupled:
            failure = replace(failure, message=f"{failure.message}; {_explain_whole_batch(request.config)}")
    known["provenance"] |= read_peak_memory(environment.device)
    record = Record(**known, scores={}, notes={}, seconds=timer.get_seconds(), error=failure)
    folder.write_record(record)
    return record


def _obtain_stages(
    request: RunRequest,
    environment: RunEnvironment,
    splits: DatasetSplits,
    spec: RunSpec,
    ctx: FitContext,
    facts: dict[str, Any],
) -> tuple[FitContext, dict[str, StageUse]]:
    """Return the context with the stored stages of the method, and the part of the record that names them."""
    given, info = ctx, None
    if request.pretrain_on is not None:
        with ctx.timer("prepare"):
            info, clips = load_pretraining_clips(request, environment, splits)
        given = replace(ctx, info=info, train=clips, metric=info.task.primary)
    maker = StageMaker(environment.results, facts, environment.devices, environment.fresh)
    used = {stage.name: obtain_stage(stage, request.method, spec, given, maker) for stage in request.method.stages}
    files = {name: locate_stage(environment.results, use.key) / WEIGHTS_FILE for name, use in used.items()}
    return replace(ctx, stage_files=files, pretrained_on=info), used


def load_pretraining_clips(
    request: RunRequest, environment: RunEnvironment, splits: DatasetSplits
) -> tuple[DatasetInfo, ClipSet]:
    """Load the training clips of another data set, without those whose content is in val or test of the run's own."""
    assert request.pretrain_on is not None
    other = request.pretrain_on.load(make_split_request(request, environment, pretraining=True))
    trained = {clip.key for clip in splits.train.clips}
    held_out = set().union(*(marks for key, marks in splits.marks.items() if key not in trained))
    rows = [row for row, clip in enumerate(other.train.clips) if not held_out & other.marks.get(clip.key, frozenset())]
    if left_out := len(other.train.clips) - len(rows):
        environment.reporter.notify(
            f"{other.info.title}: {left_out} clips are left out of pre-training; val or test of {splits.info.title} "
            "has the same content"
        )
    return other.info, ClipSubset(other.train, tuple(rows))


def describe_plugin(method: Method) -> dict[str, str]:
    """Return the provenance of a method that is not in this repository: its file or module, and its package."""
    if method.plugin is None:
        return {}
    package = {"plugin_package": method.plugin.distribution} if method.plugin.distribution else {}
    return {"plugin": method.plugin.name, **package}


def _score_splits(
    request: RunRequest, view: SplitView, predictor: Predictor, ctx: FitContext
) -> tuple[dict[str, float | None], dict[str, Predictions]]:
    """Score the splits of the protocol; scores of other splits are None. Raises Diverged if a score is not finite."""
    sampling = request.method.sampling(request.config, False)
    predictions = {split: predict(predictor, clips, sampling, ctx) for split, clips in view.scored.items()}
    metrics = {split: score(predicted, view.reportable.info.task) for split, predicted in predictions.items()}
    names = next(iter(metrics.values()))
    scores = {f"{split}/{name}": metrics.get(split, {}).get(name) for split in ("val", "test") for name in names}
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}: the trained model outputs NaN or infinity; lower lr or clip_norm")
    return scores, predictions


def _list_streams(request: RunRequest, splits: DatasetSplits) -> dict[str, float]:
    """Return the share of training clips that have each stream, of the streams that the method reads."""
    sampling = request.method.sampling(request.config, True)
    return {f"streams/{name}": share for name, share in splits.streams.items() if sampling.reads_stream(name)}


def _measure_costs(request: RunRequest, predictor: Predictor, ctx: FitContext) -> dict[str, float]:
    """Return parameters and FLOPs, and the number of training clips, which the tests over overlapping folds need."""
    clips = {"clips/train": float(len(ctx.train.clips))}
    try:
        clip = ctx.train.read(0, request.method.sampling(request.config, False), ctx.rng, 0)
        return {**measure_cost(predictor, clip, ctx.device), **clips}
    except Exception:  # the scores are valid even if the FLOP counter fails
        _log.warning("parameters and FLOPs of the predictor could not be counted", exc_info=True)
        return clips


def _check_free_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_BYTES:
        raise StoreError(
            f"{path.parent}: {free / 1e6:.0f} MB free, a run needs {MIN_FREE_BYTES / 1e6:.0f} MB; "
            "free some space or choose another folder with --results"
        )


def classify_failure(error: Exception) -> Failure:
    """Return the kind, message and traceback of an error; re-raise a BenchError, which is a mistake of the user."""
    for cause, expected in EXPECTED_FAILURES.items():
        if isinstance(error, cause):
            return Failure(expected, str(error), "")
    if isinstance(error, BenchError):
        raise error
    first = str(error).splitlines()[0] if str(error) else ""
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    out_of_memory = out_of_memory or any(text in first for text in OUT_OF_MEMORY_MESSAGES)
    kind: FailureKind = "out of memory" if out_of_memory else "other"
    failure = Failure(kind, f"{type(error).__name__}: {first}", traceback.format_exc())
    traceback.clear_frames(error.__traceback__)  # the frames hold tensors, and a retry needs their memory
    return failure


def _explain_whole_batch(config: Config) -> str:
    """Return why a coupled method is not repeated with half the micro-batch, and what to do."""
    half = getattr(config, "batch", 0) // 2
    return "the loss of a clip depends on its whole batch, which is not divided to save memory; " + (
        f"use a smaller one, e.g. --set batch={half}" if half else "use a smaller model"
    )


def halve_micro_batch(config: Config, micro_batch: int | None, devices: int = 1) -> int:
    """Halve the per-device micro-batch after an out-of-memory error; return 0 if it cannot be halved."""
    replica: int = -(-getattr(config, "batch", 1) // devices)
    return (replica if micro_batch is None else min(micro_batch, replica)) // 2


def release_memory(device: str) -> None:
    """Collect garbage and empty the CUDA cache after an out-of-memory error."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
