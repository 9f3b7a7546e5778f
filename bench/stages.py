"""Stages of training that are stored once, such as pre-training, and used by every run that asks for the same.

A stage is kept in results/stages/<key>/: weights, curves and a record, which is written last. Its key holds what its
weights depend on, so runs that differ only in later stages share it. A folder may be deleted at any time; a run that
needs the stage trains it again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from bench.artifacts import CURVES_FILE, WEIGHTS_FILE, read_curves
from bench.distributed import train_distributed
from bench.errors import StoreError
from bench.evaluate import save_tensors
from bench.files import atomic_write, is_plain_file, parse_json, sha256
from bench.method import FitContext, Method, Predictor, Stage, Tracker
from bench.protocol import NO_CLIPS
from bench.record import (
    RECORD_FILE,
    ArtifactName,
    Digest,
    FiniteNumber,
    RunKey,
    RunSpec,
    ShortName,
    StageUse,
    StrictInt,
    StrictText,
    drop_stale_checkpoints,
    hash_fields,
    lock_folder,
    validate,
)
from bench.timing import Timer, sum_compute_seconds
from bench.tracker import SECONDS_FILE
from bench.types import ClipSet, DatasetInfo, Explanation

STAGES_FOLDER = "stages"  # in the results folder
STAGE_SCHEMA = 1


@dataclass(frozen=True)
class StageSpec:
    """All that the weights of a stage depend on."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: ShortName
    version: StrictInt
    stage: ShortName
    config: dict[ShortName, Any]  # without the fields of later stages
    weights: dict[ShortName, Digest]  # config field -> sha256 of the file it names
    dataset: ShortName
    clips: Digest  # keys and media of the training clips, and the labels if the stage uses them
    seed: StrictInt
    plugin: Digest | None = None  # sha256 of the text of the plugin that defines the method
    schema: StrictInt = STAGE_SCHEMA

    @property
    def key(self) -> str:
        """Return the key of the stage, 20 hex digits."""
        return hash_fields(asdict(self))[:20]


@dataclass(frozen=True)
class StageRecord:
    """Record of a finished stage; `files` maps its weights and curves to their sha256."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: RunKey
    spec: StageSpec
    seconds: dict[StrictText, FiniteNumber]  # by activity
    provenance: dict[ShortName, StrictText | StrictInt | bool]
    files: dict[ArtifactName, Digest]


@dataclass(frozen=True)
class StageMaker:
    """Where and how a run makes the stages that do not exist yet."""

    results: Path
    provenance: Mapping[str, Any]
    devices: int = 1
    fresh: bool = False  # train it again even if it exists


def obtain_stage(stage: Stage, method: Method, spec: RunSpec, ctx: FitContext, maker: StageMaker) -> StageUse:
    """Train a stage of a run, or resume it, unless it is stored; then log its epochs as those of the run.

    A process that needs a stage which another one is training waits for it. `ctx` has the training clips of the stage.
    """
    stage_spec = make_stage_spec(stage, spec, ctx)
    folder = locate_stage(maker.results, stage_spec.key)
    with ExitStack() as stack:
        with ctx.timer("wait"):
            busy = f"{stage.name} (stage {stage_spec.key}) is running in another process; waiting for it to end"
            stack.enter_context(lock_folder(folder, lambda: ctx.tracker.notify(busy)))
        record = None if maker.fresh else _read_stage(folder, ctx)
        reused = record is not None
        if record is None:
            record = _train_stage(stage, method, stage_spec, folder, ctx, maker)
        else:
            ctx.tracker.notify(f"{stage.name}: reused from an earlier run (stage {stage_spec.key})")
            for name, epoch, values in read_curves(folder):
                ctx.tracker.log_epoch(name, epoch, values)
    return StageUse(record.key, record.files[WEIGHTS_FILE], sum_compute_seconds(record.seconds), reused)


def fit_alone(method: Method, ctx: FitContext) -> Predictor:
    """Train the stages of a method in the folder of `ctx`, without storing them for other runs, and fit it."""
    files = {stage.name: ctx.folder / f"{stage.name}.safetensors" for stage in method.stages}
    for stage in method.stages:
        module = stage.train(replace(ctx, val=NO_CLIPS, stop=None))
        if ctx.replica.rank == 0:
            save_tensors(files[stage.name], module.state_dict())
    ctx.replica.broadcast({})  # the files are complete
    return method.fit(replace(ctx, stage_files=files))


def locate_stage(results: Path, key: str) -> Path:
    """Return the folder of a stage."""
    return results / STAGES_FOLDER / key


def make_stage_spec(stage: Stage, spec: RunSpec, ctx: FitContext) -> StageSpec:
    """Return the spec of a stage of a run."""
    unused = set(stage.ignores)
    return StageSpec(
        method=spec.method,
        version=spec.version,
        stage=stage.name,
        config={name: value for name, value in spec.config.items() if name not in unused},
        weights={name: digest for name, digest in spec.weights.items() if name not in unused},
        dataset=ctx.info.name,
        clips=hash_training_clips(ctx.train, ctx.info, stage.uses_labels),
        seed=spec.seed,
        plugin=spec.plugin,
    )


def hash_training_clips(clips: ClipSet, info: DatasetInfo, labels: bool) -> str:
    """Return the sha256 of the keys and media of clips; with `labels`, also of their labels and the classes' facts."""
    rows = [f"{clip.key}\t{content}" for clip, content in zip(clips.clips, clips.contents, strict=True)]
    if labels:
        named = [info.task.describe_target(clip.target) for clip in clips.clips]
        rows = [f"{row}\t{name}" for row, name in zip(rows, named, strict=True)]
        rows += info.task.list_facts()
        rows += [f"{name}\t{' '.join(sorted(info.emotions.get(name, ())))}" for name in info.classes]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _read_stage(folder: Path, ctx: FitContext) -> StageRecord | None:
    """Read the record of a finished stage; None, with a notice if there is one, if it or its files are unusable."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        if not is_plain_file(path):
            raise ValueError("a link or not a file")
        record = validate(StageRecord, parse_json(path.read_text()))
        if record.key != record.spec.key or record.key != folder.name:
            raise ValueError("not the record of this stage")
        for name in (WEIGHTS_FILE, CURVES_FILE):
            if not is_plain_file(folder / name) or record.files.get(name) != sha256(folder / name):
                raise ValueError(f"{name} has changed")
        return record
    except (OSError, ValueError, StoreError) as error:
        reason = ascii(str(error).splitlines()[0])[1:-1][:100]
        ctx.tracker.notify(f"stage {folder.name} cannot be used ({reason}); it is trained again")
        return None


def _train_stage(
    stage: Stage, method: Method, spec: StageSpec, folder: Path, ctx: FitContext, maker: StageMaker
) -> StageRecord:
    """Train a stage, or resume it from its last checkpoint, and write its files and its record."""
    (folder / RECORD_FILE).unlink(missing_ok=True)
    checkpoints, timer = folder / "checkpoints", Timer()
    drop_stale_checkpoints(checkpoints, maker.provenance, maker.devices, ctx.tracker.notify)
    if (checkpoints / SECONDS_FILE).exists():
        timer.resume_from(json.loads((checkpoints / SECONDS_FILE).read_text()))
    tracker = StageTracker(ctx.tracker, checkpoints, timer)
    given = replace(ctx, val=NO_CLIPS, tracker=tracker, folder=checkpoints, timer=timer, stop=None)
    with timer("method"):
        tensors = train_distributed(method, stage.train, given, maker.devices)
    save_tensors(folder / WEIGHTS_FILE, tensors)
    atomic_write(folder / CURVES_FILE, json.dumps(tracker.list_curves()).encode())
    files = {name: sha256(folder / name) for name in (WEIGHTS_FILE, CURVES_FILE)}
    record = StageRecord(spec.key, spec, timer.get_seconds(), dict(maker.provenance), files)
    text = json.dumps(asdict(record), indent=1, sort_keys=True, allow_nan=False)
    atomic_write(folder / RECORD_FILE, f"{text}\n".encode())
    shutil.rmtree(checkpoints, ignore_errors=True)
    return record


@dataclass
class StageTracker:
    """Tracker of a stage: forwards to the tracker of the run that trains it, and keeps the curves."""

    tracker: Tracker
    checkpoints: Path
    timer: Timer
    curves: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Log the metrics of an epoch."""
        self.curves[stage, epoch] = values
        self.tracker.log_epoch(stage, epoch, values)

    def before_checkpoint(self) -> None:
        """Write the seconds spent so far, so that a resumed stage's timer matches its checkpoint."""
        atomic_write(self.checkpoints / SECONDS_FILE, json.dumps(self.timer.get_seconds()).encode())

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Show the progress of the stage."""
        self.tracker.report_progress(stage, done, total)

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Show the numbers of a finished epoch."""
        self.tracker.report_epoch(stage, epoch, epochs, values)

    def notify(self, text: str) -> None:
        """Show a one-line message to the user."""
        self.tracker.notify(text)

    def log_selected_epoch(self, epochs: int) -> None:
        """Ignore the epoch: no stage selects on val."""

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Ignore the explanations: those of a run are logged by its fit."""

    def list_curves(self) -> list[dict[str, Any]]:
        """Return the curves in the form of a run's file, without values that are not finite."""
        return [
            {"stage": stage, "epoch": epoch, "values": {k: v for k, v in values.items() if abs(v) < float("inf")}}
            for (stage, epoch), values in self.curves.items()
        ]
