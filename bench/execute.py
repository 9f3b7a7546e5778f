"""One run: a method, a config, a data set and a seed go in, one record comes out.

The only place that ever holds a Corpus, and so the only one that can see the test split: it scores it once, after
the fit is done, and not at all for a trial of a search.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.clock import Clock
from bench.config import Config
from bench.data import Card, Corpus, Dataset, Request
from bench.errors import ConfigError, Diverged, StoreError
from bench.failures import failure_of, free_memory, half_of
from bench.files import sha256, write_whole
from bench.live import Live
from bench.logs import logs_to
from bench.memory import peaks, reset_peaks
from bench.method import Context, Method, Predictor
from bench.metrics import Predictions, score
from bench.notebook import SECONDS, Notebook, Screen, Watch
from bench.outputs import Draw, write_outputs
from bench.protocol import View, arrange, seal
from bench.provenance import describe
from bench.record import Protocol, Record, RunFolder, RunSpec, Stage
from bench.requests import StoredRequest, add_requests, name_files
from bench.store import Store, forget_run
from bench.streams import Streams

_log = logging.getLogger(__name__)
FREE_BYTES = 500_000_000  # below this a run is not started: a checkpoint would not fit


@dataclass(frozen=True)
class Ask:
    """One cell of a study for one seed, with every name resolved."""

    arm: str  # the name it was asked for by
    method: Method
    config: Config
    preset: str
    dataset: Dataset
    seed: int
    fold: int = 0  # the official list, or the group left out for test
    protocol: Protocol = "clean"
    stage: Stage = "final"
    stop: int | None = None  # epochs of the stage that val would judge: protocol refit
    parent: str = ""  # name of the study or search whose MLflow run this one's stands under
    watch: Watch | None = None  # of a trial: may give it up
    requests: tuple[StoredRequest, ...] = ()  # why it is run; a trial stores none


@dataclass(frozen=True)
class Desk:
    """Where runs are made: folders, device, screen. Nothing here may change a number beyond rounding."""

    results: Path
    store: Store
    screen: Screen
    draw: Draw
    data: Path | None = None
    device: str = "cpu"
    threads: int = 2
    loaders: int = 0
    micro_batch: int | None = None
    devices: int = 1  # that share each fit
    fresh: bool = False
    keep_weights: bool = True


@dataclass(frozen=True)
class Outcome:
    """A record, and how it came: `found` if it was there already, `run_id` None while MLflow is away."""

    record: Record
    found: bool
    run_id: str | None


def execute(ask: Ask, desk: Desk) -> Outcome:
    """Run what is asked, unless its record is there already; a run that was killed goes on where it was.

    Why it is asked for is stored beside the record, also where that is there already and where the run fails.
    A failure of the method becomes a record with an error. Raises BenchError for the user's mistakes, and lets an
    interruption through with everything needed to go on left in place.
    """
    fold = f", fold {ask.fold}" if ask.fold else ""
    protocol = "" if ask.protocol == "clean" else f", {ask.protocol}"
    desk.screen.start_run(f"{ask.arm} on {ask.dataset.card.name}{fold}, seed {ask.seed}{protocol}")
    clock = Clock()
    contents = contents_of(ask.config)  # a mistake in a name is told before the data are prepared
    with clock("prepare"):
        corpus = load(ask, desk)
    spec = spec_of(ask, corpus, contents)
    folder = RunFolder(desk.results / "runs" / spec.key)
    with folder.held(lambda: desk.screen.notice(f"run {spec.key} is under way in another process; waiting for it")):
        record = folder.record()
        add_requests(folder, name_files(ask.requests, contents))
        if record is not None and desk.fresh:
            folder.set_aside(record)
            forget_run(folder)
        elif record is not None:
            return commit(folder, record, desk, None, found=True)
        _check_space(folder.path)
        with logs_to(folder.path / "log"):
            made_by = _check_checkpoints(folder, desk, clock)
            with clock("open store"):
                live = desk.store.begin(spec, ask.arm, ask.preset, folder, ask.parent)
            try:
                record = _run(ask, desk, corpus, spec, folder, live, clock, made_by)
                half = half_of(ask.config, desk.micro_batch, desk.devices)
                if record.error is not None and record.error.kind == "out of memory" and half:
                    free_memory(desk.device)
                    desk.screen.notice(f"out of memory; the run goes on with {half} clips at once, the same batch")
                    record = _run(ask, replace(desk, micro_batch=half), corpus, spec, folder, live, clock, made_by)
                if record.error is None:
                    return commit(folder, record, desk, live, found=False)
            except KeyboardInterrupt:
                live.end("KILLED")
                raise
            except BaseException:
                live.end("FAILED")
                forget_run(folder)
                raise
            live.fail(record)
            forget_run(folder)
            if spec.stage == "trial":  # its values may be tried again, but not this run
                shutil.rmtree(folder.checkpoints, ignore_errors=True)
            return Outcome(record, False, live.run_id)


def commit(folder: RunFolder, record: Record, desk: Desk, live: Live | None, found: bool) -> Outcome:
    """Publish a finished record where that is still to be done, and free what only going on would have needed."""
    run_id = desk.store.run_id(folder) or desk.store.publish(folder, record, live)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Outcome(record, found, run_id)


def _check_checkpoints(folder: RunFolder, desk: Desk, clock: Clock) -> dict[str, Any]:
    """The facts of this process. Checkpoints of another code, device or lock are dropped: a run is of one making;
    with those of the same making its seconds go on."""
    facts = describe(desk.device, desk.threads)
    making = {name: facts[name] for name in ("source", "lock", "python", "torch", "device", "threads", "processor")}
    making["devices"] = desk.devices
    note, spent = folder.checkpoints / "made-by.json", folder.checkpoints / SECONDS
    if note.exists() and json.loads(note.read_text()) != making:
        desk.screen.notice("the checkpoint was made by other code or on another device; the run starts anew")
        shutil.rmtree(folder.checkpoints)
        forget_run(folder)
    if note.exists() and spent.exists():
        clock.go_on(json.loads(spent.read_text()))
    write_whole(note, json.dumps(making).encode())
    return facts


def load(ask: Ask, desk: Desk) -> Corpus:
    """The splits of a run; a trial's test split is sealed. Raises DataError where they cannot be had."""
    sampling = ask.method.sampling(ask.config, False)
    request = Request(
        desk.data, desk.results, sampling.size, sampling.mels, ask.seed, ask.fold, report=desk.screen.progress
    )
    corpus = ask.dataset.load(request)
    desk.screen.corpus(corpus.sample, corpus.problems)
    return seal(corpus) if ask.stage == "trial" else corpus


def contents_of(config: Config) -> dict[str, str]:
    """Field name -> sha256 of the file that it names. Raises ConfigError for one that cannot be read."""
    return {name: _content_of(name, path) for name, path in config.files().items()}


def spec_of(ask: Ask, corpus: Corpus, contents: dict[str, str]) -> RunSpec:
    """What the run is; `contents` are those of its config."""
    return RunSpec(
        method=ask.method.name,
        version=ask.method.version,
        config={**ask.config.model_dump(mode="json"), **dict.fromkeys(contents, "file")},
        weights=contents,
        dataset=corpus.card.name,
        data="sample" if corpus.sample else "real",
        split=corpus.fingerprint,
        content=corpus.content,
        fold=ask.fold,
        seed=ask.seed,
        protocol=ask.protocol,
        stage=ask.stage,
        stop=ask.stop,
    )


def _content_of(field: str, path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise ConfigError(
            f"config field '{field}': '{path}' is no name it knows, no file and no folder ({error.strerror})"
        ) from None


def _run(
    ask: Ask,
    desk: Desk,
    corpus: Corpus,
    spec: RunSpec,
    folder: RunFolder,
    live: Live,
    clock: Clock,
    facts: dict[str, Any],
) -> Record:
    """Fit, score, write; the record, of success or failure, is in place when this returns."""
    import torch

    torch.set_num_threads(desk.threads)
    view = arrange(corpus, spec.protocol, spec.stage)
    notebook = Notebook(live, desk.screen, folder, clock, view.curve, ask.watch)
    ctx = Context(
        notebook, folder.checkpoints, desk.device, desk.threads, desk.micro_batch, desk.loaders, clock, spec.stop
    )
    known: dict[str, Any] = {
        "key": spec.key,
        "spec": spec,
        "arm": ask.arm,
        "preset": ask.preset,
        "attempt": folder.attempts() + 1,
        "provenance": {**facts, "micro_batch": desk.micro_batch or 0, "devices": desk.devices},
        "problems": [vars(problem) for problem in corpus.problems],
    }
    if ask.preset == "paper" and ask.method.is_from_scratch(spec.config, spec.weights):
        notebook.notice("trained from scratch, without published weights; docs/weights.md says how to name them")
    review, figures = ask.method.load_review(), ask.method.load_figures() if spec.stage == "final" else {}
    reset_peaks(desk.device)
    try:
        streams = Streams(ask.seed)
        with clock("method"):
            predictor = _fit(ask, corpus.card, view, streams, ctx, desk.devices)
        scores, predictions = _score(ask, view, predictor, streams, ctx)
        notes = _counts(ask, view, predictor, desk.device) if spec.stage == "final" else {}
        with clock("write"):
            kept = predictor if desk.keep_weights and spec.stage == "final" else None
            curves, told = notebook.curves(), notebook.told if spec.stage == "final" else {}
            given = view.told, predictions, curves, told
            files = write_outputs(folder.path, spec, ask.arm, *given, desk.draw, figures, kept)
        known["chosen"] = notebook.chosen
        known["provenance"] |= peaks(desk.device)
        notes |= notebook.notes(view.told, review)
        record = Record(**known, scores=scores, notes=notes, seconds=clock.seconds(), files=files)
        folder.write(record)
        return record
    except Exception as error:  # a method that breaks is a failed run, told with its traceback, not a lost one
        failure = failure_of(error)
    known["provenance"] |= peaks(desk.device)
    record = Record(**known, scores={}, notes={}, seconds=clock.seconds(), error=failure)
    folder.write(record)
    return record


def _fit(ask: Ask, card: Card, view: View, streams: Streams, ctx: Context, devices: int) -> Predictor:
    """Fit here, or in a process for each of several devices."""
    if devices == 1:
        return ask.method.fit(ask.config, card, view.train, view.choose, streams, ctx)
    from bench.parallel import fit_together

    return fit_together(ask.method, ask.config, card, view.train, view.choose, streams, ctx, devices)


def _score(
    ask: Ask, view: View, predictor: Predictor, streams: Streams, ctx: Context
) -> tuple[dict[str, float | None], dict[str, Predictions]]:
    """Val and, once, test, as the protocol has it; what it does not score is None."""
    from bench.predict import predict

    sampling = ask.method.sampling(ask.config, False)
    predictions = {split: predict(predictor, clips, sampling, streams, ctx) for split, clips in view.scored.items()}
    found = {split: score(said, view.told.card) for split, said in predictions.items()}
    names = next(iter(found.values()))
    scores = {f"{split}/{name}": found.get(split, {}).get(name) for split in ("val", "test") for name in names}
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}: the finished model's scores are no numbers")
    return scores, predictions


def _counts(ask: Ask, view: View, predictor: Predictor, device: str) -> dict[str, float]:
    """What a table of costs needs, and how many clips were trained on: for the statistics of folds that overlap."""
    from bench.cost import cost

    clips = {"clips/train": float(len(view.train.clips))}
    try:
        return {**cost(predictor, ask.method.sampling(ask.config, False), device), **clips}
    except Exception:  # a method that cannot be counted on a blank clip is no failed run
        _log.warning("the predictor's cost could not be counted", exc_info=True)
        return clips


def _check_space(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < FREE_BYTES:
        raise StoreError(
            f"only {free / 1e6:.0f} MB free under {path.parent}, a run wants {FREE_BYTES / 1e6:.0f}; "
            "free some or choose another place with --results"
        )
