"""One run: a method, a config, a data set and a seed go in, one record comes out.

The only place that ever holds a Corpus, and so the only one that can see the test split: it scores it once, after
the fit is done.
"""

from __future__ import annotations

import json
import logging
import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from bench.clock import Clock
from bench.config import Config
from bench.data import Card, Corpus, Dataset, Explanation, Problem, Request
from bench.errors import BenchError, ConfigError, StoreError
from bench.files import sha256, whole, write_whole
from bench.method import Context, Method, Predictor
from bench.metrics import Predictions, score
from bench.provenance import describe
from bench.record import Failure, Record, RunFolder, RunSpec
from bench.store import WEIGHTS, Live, Store
from bench.streams import Streams
from bench.truth import judge

FREE_BYTES = 500_000_000  # below this a run is not started: a checkpoint would not fit


class Screen(Protocol):
    """Where a run tells a person what happens."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of some long work."""
        ...

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
        """What data are used, and what is wrong with them."""
        ...

    def notice(self, text: str) -> None:
        """One line that a person should know."""
        ...


@dataclass(frozen=True)
class Ask:
    """One cell of a study for one seed, with every name resolved."""

    arm: str  # the name it was asked for by
    method: Method
    config: Config
    preset: str
    dataset: Dataset
    seed: int


@dataclass(frozen=True)
class Desk:
    """Where runs are made: folders, device, screen. Nothing here may change a number beyond rounding."""

    results: Path
    store: Store
    screen: Screen
    draw: Callable[[Path, Card, Predictions, bool], None]  # pictures of test predictions (of the sample?) into a folder
    data: Path | None = None
    device: str = "cpu"
    threads: int = 2
    loaders: int = 0
    micro_batch: int | None = None
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

    A failure of the method becomes a record with an error. Raises BenchError for the user's mistakes, and lets an
    interruption through with everything needed to go on left in place.
    """
    clock = Clock()
    files = {name: _content_of(name, path) for name, path in ask.config.files().items()}
    with clock("prepare"):
        corpus = _load(ask, desk)
    spec = _spec(ask, corpus, files)
    folder = RunFolder(desk.results / "runs" / spec.key)
    with _locked(folder, desk.screen):
        record = None if desk.fresh else folder.record()
        if record is not None:
            return Outcome(record, True, desk.store.run_id(folder) or desk.store.publish(folder, record))
        if desk.fresh:
            folder.set_aside()
        _check_space(folder.path)
        with _logs_to(folder.path / "log"), clock("open store"):
            live = desk.store.begin(spec, ask.arm, ask.preset)
            live.log_params(_flat(spec.config))
        record = _run(ask, desk, corpus, spec, folder, live, clock)
        if record.error is not None:
            live.end("FAILED")
            return Outcome(record, False, live.run_id)
        with _logs_to(folder.path / "log"):
            run_id = desk.store.publish(folder, record, live)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        return Outcome(record, False, run_id)


def _load(ask: Ask, desk: Desk) -> Corpus:
    sampling = ask.method.sampling(ask.config, False)
    corpus = ask.dataset.load(
        Request(desk.data, desk.results, sampling.size, sampling.mels, ask.seed, report=desk.screen.progress)
    )
    desk.screen.corpus(corpus.sample, corpus.problems)
    return corpus


def _spec(ask: Ask, corpus: Corpus, files: dict[str, str]) -> RunSpec:
    return RunSpec(
        method=ask.method.name,
        version=ask.method.version,
        config={**ask.config.model_dump(mode="json"), **dict.fromkeys(files, "file")},
        weights=files,
        dataset=corpus.card.name,
        data="sample" if corpus.sample else "real",
        split=corpus.fingerprint,
        content=corpus.content,
        fold=0,
        seed=ask.seed,
    )


def _content_of(field: str, path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise ConfigError(
            f"config field '{field}': '{path}' is no name it knows and no file ({error.strerror})"
        ) from None


def _run(ask: Ask, desk: Desk, corpus: Corpus, spec: RunSpec, folder: RunFolder, live: Live, clock: Clock) -> Record:
    """Fit, score, write; the record is in place when this returns."""
    import torch

    torch.set_num_threads(desk.threads)
    notebook = Notebook(live, desk.screen)
    ctx = Context(notebook, folder.checkpoints, desk.device, desk.threads, desk.micro_batch, desk.loaders, clock)
    attempt = folder.attempts() + 1
    facts: dict[str, Any] = {
        "key": spec.key,
        "spec": spec,
        "arm": ask.arm,
        "preset": ask.preset,
        "attempt": attempt,
        "provenance": describe(desk.device, desk.threads),
        "problems": [vars(problem) for problem in corpus.problems],
    }
    try:
        with _logs_to(folder.path / "log"):
            streams = Streams(ask.seed)
            with clock("method"):
                predictor = ask.method.fit(ask.config, corpus.card, corpus.train, corpus.val, streams, ctx)
            scores, predictions = _score(ask, corpus, predictor, streams, ctx)
            with clock("write"):
                _write_files(folder, desk, corpus, predictor, predictions, notebook, spec)
    except KeyboardInterrupt:
        live.end("KILLED")
        raise
    except BenchError as error:
        if type(error).__name__ != "Diverged":
            live.end("FAILED")
            raise
        failure = Failure("nan", str(error), "")
    except Exception as error:  # a method that breaks is a failed run, told with its traceback, not a lost one
        failure = Failure(
            type(error).__name__, str(error).splitlines()[0] if str(error) else "", traceback.format_exc()
        )
    else:
        record = Record(
            **facts,
            scores=scores,
            notes=notebook.notes(corpus),
            seconds=clock.seconds(),
            files={path.name: sha256(path) for path in sorted(folder.path.iterdir()) if _belongs(path)},
        )
        folder.write(record)
        return record
    record = Record(**facts, scores={}, notes={}, seconds=clock.seconds(), error=failure)
    folder.write(record)
    return record


def _score(
    ask: Ask, corpus: Corpus, predictor: Predictor, streams: Streams, ctx: Context
) -> tuple[dict[str, float | None], dict[str, Predictions]]:
    """Val and, once, test."""
    from bench.predict import predict

    sampling = ask.method.sampling(ask.config, False)
    predictions = {
        split: predict(predictor, clips, sampling, streams, ctx)
        for split, clips in (("val", corpus.val), ("test", corpus.test))
    }
    scores = {
        f"{split}/{name}": value
        for split, found in predictions.items()
        for name, value in score(found, corpus.card).items()
    }
    return scores, predictions


def _write_files(
    folder: RunFolder,
    desk: Desk,
    corpus: Corpus,
    predictor: Predictor,
    predictions: dict[str, Predictions],
    notebook: Notebook,
    spec: RunSpec,
) -> None:
    """All that stands beside the record."""
    write_whole(folder.path / "config.json", json.dumps(spec.config, indent=1, sort_keys=True).encode())
    write_whole(folder.path / "curves.json", json.dumps(notebook.curves()).encode())
    with whole(folder.path / "predictions.parquet") as temporary:
        _table(predictions, corpus.card).to_parquet(temporary, index=False)
    desk.draw(folder.path, corpus.card, predictions["test"], corpus.sample)
    if desk.keep_weights:
        from safetensors.torch import save_file

        with whole(folder.path / WEIGHTS) as temporary:
            save_file({name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}, temporary)


def _table(predictions: dict[str, Predictions], card: Card) -> Any:
    """One row a clip: split, clip, label, predicted, and the score of every class."""
    import pandas

    frames = []
    for split, found in predictions.items():
        columns: dict[str, Any] = {
            "split": split,
            "clip": list(found.keys),
            "label": [card.classes[index] for index in found.label],
            "predicted": [card.classes[index] for index in found.predicted],
        }
        columns |= {f"score/{name}": found.scores[:, index] for index, name in enumerate(card.classes)}
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)


class Notebook:
    """What a fit tells while it runs (the Tracker of its context): curves, progress, explanations."""

    def __init__(self, live: Live, screen: Screen) -> None:
        self._live, self._screen = live, screen
        self._curves: dict[tuple[str, int], dict[str, float]] = {}
        self._told: dict[str, dict[str, Explanation]] = {}

    def epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Keep the numbers of an epoch once, and publish them."""
        self._curves[stage, epoch] = values
        self._live.log_epoch(stage, epoch, values)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        self._screen.progress(stage, done, total)

    def notice(self, text: str) -> None:
        """One line for the person who waits."""
        self._screen.notice(text)

    def explain(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Keep what the model of a finished stage tells about the clips."""
        self._told[stage] = explanations

    def curves(self) -> list[dict[str, Any]]:
        """The curves, epoch by epoch."""
        return [{"stage": stage, "epoch": epoch, "values": v} for (stage, epoch), v in self._curves.items()]

    def notes(self, corpus: Corpus) -> dict[str, float]:
        """The last epoch's numbers that are no scores, and verification held against the sample's truth."""
        last = {stage: values for (stage, _), values in self._curves.items()}
        notes = {name: v for values in last.values() for name, v in values.items() if not name.startswith("val/")}
        for stage, told in self._told.items():
            for split, clips in (("train", corpus.train), ("val", corpus.val)):
                judged = judge(corpus.truth, told, [clip.key for clip in clips.clips])
                notes |= {f"{stage}/verify/{split}/{name}": value for name, value in judged.items()}
        return notes


def _belongs(path: Path) -> bool:
    """Whether a file of a run's folder is part of its record."""
    return (
        path.is_file()
        and path.suffix != ".lock"
        and not path.name.startswith((".", "record.json", "failed-", "superseded-", "mlflow.json", "log"))
    )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {f"config.{name}": value for name, value in config.items()}


def _check_space(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path.parent}: {error.strerror}; choose another place with --results") from None
    free = shutil.disk_usage(path).free
    if free < FREE_BYTES:
        raise StoreError(
            f"only {free / 1e6:.0f} MB free under {path.parent}, a run wants {FREE_BYTES / 1e6:.0f}; "
            "free some or choose another place with --results"
        )


@contextmanager
def _locked(folder: RunFolder, screen: Screen) -> Iterator[None]:
    """Hold the lock of a run's key; wait, saying so, while another process runs it."""
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            screen.notice(f"run {folder.path.name} is under way in another process; waiting for its record")
            lock.acquire()
    except OSError as error:
        raise StoreError(
            f"cannot write {folder.path.parent}: {error.strerror}; choose another place with --results"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _logs_to(path: Path) -> Iterator[None]:
    """Send what libraries log and warn to a file, so that the screen stays clean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root, handler = logging.getLogger(), logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    kept, root.handlers = root.handlers, [handler]
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.handlers = kept
            handler.close()
