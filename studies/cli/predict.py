"""Predictions of any video by a finished run: the emotion and how it changes over time, as lines, a table, figures and
JSON.

Key: S segments, C classes, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.artifacts import check_weights, has_weights, load_predictor, read_dataset_info
from bench.config import get_or_suggest, propose_name
from bench.errors import ConfigError, MediaError, StoreError
from bench.files import atomic_write, logs_to
from bench.loader import collate
from bench.method import Predictor
from bench.record import RECORD_FILE, Record, RunFolder, find_finished_runs
from bench.types import DataIssue, DatasetInfo, Sampling, WordOutcome
from datasets.media_file import open_media_file, read_slot_frames
from datasets.registry import DATASETS
from methods import METHODS
from reports.figures.clips import ClipCurves, save_clip_curves
from studies.cli.options import EXIT_DONE, EXIT_INCOMPLETE, Interrupted, check_destinations, choose_device

MAX_KEYS_SHOWN = 5  # keys named in a line

BLOCK_CHARS = "▁▂▃▄▅▆▇█"
CLIP_WIDTH = 36  # letters that a clip takes on the screen, or as many as it has segments
SENTIMENT_NAMES = {-1: "negative", 0: "neutral", 1: "positive"}


@dataclass(frozen=True)
class TrainedModel:
    """A finished run made ready to predict."""

    record: Record
    info: DatasetInfo
    predictor: Predictor
    sampling: Sampling
    device: str


def load_model(results: Path, key: str | None, device: str) -> TrainedModel:
    """The model of the run whose key begins so; without a key that of the newest run that kept its weights, of real
    data where there is one. Raises ConfigError or StoreError that says what to do."""
    folder, record = _find_run(results, key)
    method = get_or_suggest(record.spec.method, METHODS, "method")
    info = read_dataset_info(folder.path) or get_or_suggest(record.spec.dataset, DATASETS, "data set").info
    rebuilt = load_predictor(folder, method, info)
    cast(torch.nn.Module, rebuilt.predictor).to(device)
    return TrainedModel(record, info, rebuilt.predictor, method.sampling(rebuilt.config, False), device)


def _find_run(results: Path, key: str | None) -> tuple[RunFolder, Record]:
    folders = find_finished_runs(results)
    if not folders:
        train = "python bench.py --method mart --dataset ekman6"
        raise StoreError(
            f"no finished run under {results / 'runs'}; `{train}` makes one, --results names another place"
        )
    newest = sorted(folders, key=lambda folder: (folder.path / RECORD_FILE).stat().st_mtime, reverse=True)
    return _find_by_key(key, newest) if key is not None else _find_newest(newest)


def _find_by_key(key: str, folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    keys = [folder.path.name for folder in folders]
    found = [folder for folder in folders if folder.path.name.startswith(key)]
    if not found:
        near = get_close_matches(key, keys, n=1, cutoff=0.3)
        raise ConfigError(f"unknown run '{key}'; {propose_name(key, near or keys[:MAX_KEYS_SHOWN])}")
    if len(found) > 1:
        fits = ", ".join(folder.path.name for folder in found[:MAX_KEYS_SHOWN])
        raise ConfigError(f"--run {key} fits {len(found)} runs, give more of its key: {fits}")
    return found[0], _read_record(found[0])


def _find_newest(folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    """A record that cannot be read, or is of an older schema, stands in nobody's way unless it is the only one."""
    runs, faults = [], []
    for folder in folders:
        try:
            runs.append((folder, _read_record(folder)))
        except StoreError as error:
            faults.append(error)
    if not runs:
        raise faults[0]
    able = [(folder, record) for folder, record in runs if _is_current_version(record) and has_weights(folder, record)]
    if not able:
        check_weights(*runs[0])
        raise StoreError(f"no run under {folders[0].path.parent} is of the methods' present versions; train one again")
    return next((run for run in able if run[1].spec.data == "real"), able[0])


def _read_record(folder: RunFolder) -> Record:
    record = folder.read_record()
    assert record is not None  # it was found by its record
    return record


def _is_current_version(record: Record) -> bool:
    spec = record.spec
    return spec.method in METHODS and METHODS[spec.method].version == spec.version


@dataclass(frozen=True)
class VideoPrediction:
    """What a model says of one file. `segments` and `curve` are None where a method tells nothing of segments."""

    probabilities: np.ndarray  # (C,)
    seconds: float  # of the file; slots beyond it are looped copies of a short one
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in s
    segments: np.ndarray | None  # (S, C) each segment's own probabilities
    curve: np.ndarray | None  # (S, C) temporal emotion scores
    present: dict[str, bool]  # video, audio, words
    problems: tuple[DataIssue, ...]
    cues: tuple[WordOutcome, ...]
    stills: tuple[np.ndarray, ...]  # S x (H, W, 3) uint8, or none

    @property
    def label(self) -> int:
        """The class it is given."""
        return int(self.probabilities.argmax())

    @property
    def strongest_slot(self) -> tuple[float, float] | None:
        """The slot that carries most of that class, in the clip itself rather than in a looped copy."""
        told = self.curve if self.curve is not None else self.segments
        if told is None:
            return None
        own = sum(start < self.seconds for start, _ in self.slots)
        start, end = self.slots[int(told[:own, self.label].argmax())]
        return start, min(end, self.seconds)


@dataclass(frozen=True)
class FilePrediction:
    """A file, and what is said of it or why nothing is."""

    path: Path
    prediction: VideoPrediction | None
    error: str | None = None


def check_transcript(model: TrainedModel, transcript: Path | None, files: Sequence[Path]) -> None:
    """Raise ConfigError for a transcript that cannot be used."""
    if transcript is None:
        return
    if len(files) > 1:
        raise ConfigError(f"--transcript belongs to one video, {len(files)} are given; predict them one by one")
    if not transcript.is_file():
        raise ConfigError(f"--transcript {transcript} is no file")
    if "lexicon" in model.record.spec.weights:
        raise ConfigError(
            f"run {model.record.key} judged words by a lexicon file, which a record does not keep; leave --transcript "
            "out, words do not change what it predicts"
        )


def predict_files(
    model: TrainedModel, files: Sequence[Path], transcript: Path | None, begin: Callable[[Path], None]
) -> Iterator[FilePrediction]:
    """An answer for each file, one after the other; `begin` is told of each before. Nothing is written beside them."""
    with TemporaryDirectory(prefix="predict-") as folder:
        for path in files:
            begin(path)
            try:
                yield FilePrediction(path, _predict_file(model, path, transcript, Path(folder)))
            except MediaError as error:
                yield FilePrediction(path, None, str(error))


def _predict_file(model: TrainedModel, path: Path, transcript: Path | None, folder: Path) -> VideoPrediction:
    opened = open_media_file(path, transcript, model.sampling, folder)
    inputs = collate([opened.clip]).to(torch.device(model.device))
    with torch.inference_mode():
        scores, (told,) = model.predictor(inputs), model.predictor.explain(inputs)
    return VideoPrediction(
        probabilities=scores.output[0].float().softmax(-1).cpu().numpy(),
        seconds=opened.seconds,
        slots=opened.slots,
        segments=None if scores.segments is None else scores.segments[0].float().softmax(-1).cpu().numpy(),
        curve=None if told.curve is None else told.curve.float().cpu().numpy(),
        present=dict(zip(("video", "audio", "words"), opened.clip.present.tolist(), strict=True)),
        problems=opened.issues,
        cues=told.verdicts,
        stills=tuple(read_slot_frames(path, opened)),
    )


def print_predictions(
    console: Console,
    model: TrainedModel,
    files: Sequence[Path],
    transcript: Path | None,
    out: Path,
    json_file: Path | None,
) -> int:
    """Predict files one by one, show each as it is done, then a table; the exit code.

    Raises MediaError where none of them can be read.
    """
    console.print(_make_heading(model))
    answers: list[FilePrediction] = []
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bars:
        bar = bars.add_task("", total=len(files))
        for answer in predict_files(model, files, transcript, lambda path: bars.update(bar, description=path.name)):
            answers.append(answer)
            if answer.prediction is not None:
                picture = _choose_figure_path(out, answers)
                save_clip_curves(picture, _make_page(model, answer.path, answer.prediction))
                _print_file(console, model.info, answer.path, answer.prediction)
                console.print(Text(f"  picture: {picture}"), soft_wrap=True)
            bars.advance(bar)
    if json_file is not None:
        rows = [_to_json(model, answer) for answer in answers]
        atomic_write(json_file, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    failed = [answer.error for answer in answers if answer.error is not None]
    if len(failed) == len(answers):
        raise MediaError(failed[0] if len(failed) == 1 else f"no file can be read: {'; '.join(failed)}")
    console.print(_make_table(model, answers))
    for reason in failed:
        console.print(f"not read: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    return EXIT_INCOMPLETE if failed else EXIT_DONE


def make_sparkline(values: np.ndarray, width: int = 1) -> str:
    """(S,) shares between 0 and 1 as a line of blocks, each `width` letters wide."""
    return "".join(BLOCK_CHARS[min(len(BLOCK_CHARS) - 1, int(value * len(BLOCK_CHARS)))] * width for value in values)


def _make_heading(model: TrainedModel) -> RenderableType:
    """Which run speaks, how good it is, and, loudly, whether it has ever met real videos."""
    record, accuracy = model.record, model.record.scores.get("val/acc_e")
    known = f", val Acc E {100 * accuracy:.1f} %" if accuracy is not None else ""
    line = Text(
        f"{record.arm} trained on {model.info.title}, seed {record.spec.seed}{known} (run {record.key})", "bold"
    )
    if record.spec.data == "real":
        return line
    warning = (
        "This model was trained on the BUILT-IN SAMPLE: drawn clips, not real videos.\n"
        "What it says of a real video means nothing; it shows that the program works.\n"
        "Train on the real data with --data DIR (README: Your own data)."
    )
    return Group(line, Panel(warning, title="trained on the BUILT-IN SAMPLE", border_style="yellow", style="yellow"))


def _choose_figure_path(out: Path, answers: Sequence[FilePrediction]) -> Path:
    """A name of its own among the files of this command for the picture of the last one."""
    stem = answers[-1].path.stem
    before = sum(answer.path.stem == stem for answer in answers[:-1])
    return out / (f"{stem}-{before + 1}.png" if before else f"{stem}.png")


def _print_file(console: Console, info: DatasetInfo, path: Path, said: VideoPrediction) -> None:
    """One file: its classes over time, and what is wrong with it."""
    longest, wide = max(map(len, info.classes)), max(1, CLIP_WIDTH // len(said.slots))
    lines = [Text(path.name, "bold")]
    for label, name in enumerate(info.classes):
        blocks = f"  {make_sparkline(said.segments[:, label], wide)}" if said.segments is not None else ""
        text = f"  {name:<{longest}}{blocks} {100 * said.probabilities[label]:4.0f} %"
        lines.append(Text(text, "bold" if label == said.label else ""))
    if said.segments is not None:
        end = f"{said.slots[-1][1]:.1f} s"
        lines.append(Text(f"  {'':<{longest}}  0 s{end:>{wide * len(said.slots) - 3}}", "dim"))
    if said.slots[-1][1] > said.seconds + 0.05:
        lines.append(Text(f"  a short clip: after its {said.seconds:.1f} s it is looped", "dim"))
    lines += [Text(f"  {problem.what}: {problem.why}", "yellow") for problem in said.problems]
    for line in lines:
        console.print(line, soft_wrap=True)


def _make_table(model: TrainedModel, answers: Sequence[FilePrediction]) -> Table:
    sample = model.record.spec.data == "sample"
    title = f"predicted by {model.record.arm}"
    table = Table(
        title=f"{title}, trained on the BUILT-IN SAMPLE" if sample else title,
        title_style="yellow" if sample else "bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("file", overflow="fold")
    for name in ("emotion", "sentiment", "runner-up", "made of", "strongest"):
        table.add_column(name, no_wrap=True)
    for answer in answers:
        said = answer.prediction
        if said is not None:
            first, second, *_ = said.probabilities.argsort()[::-1]
            when = (
                "-" if said.strongest_slot is None else f"{said.strongest_slot[0]:.1f}-{said.strongest_slot[1]:.1f} s"
            )
            made_of = "+".join(name for name, there in said.present.items() if there)
            named = [f"{model.info.classes[c]} {100 * said.probabilities[c]:.0f} %" for c in (first, second)]
            runs = [answer.path.name, named[0], _get_sentiment(model.info, said), named[1], made_of, when]
            table.add_row(*map(Text, runs))
    return table


def _make_page(model: TrainedModel, path: Path, said: VideoPrediction) -> ClipCurves:
    record, name = model.record, model.info.classes[said.label]
    title = f"{path.name}: {name} {100 * said.probabilities[said.label]:.0f} %, {_get_sentiment(model.info, said)}"
    sample = record.spec.data == "sample"
    return ClipCurves(
        title=f"{title}   (model trained on the BUILT-IN SAMPLE)" if sample else title,
        note=f"{record.arm} trained on {model.info.title}{' (built-in sample)' if sample else ''}, run {record.key}",
        classes=model.info.classes,
        probabilities=said.probabilities,
        duration=said.seconds,
        segment_spans=said.slots,
        emotion_scores=said.curve,
        segment_probabilities=said.segments,
        thumbnails=said.stills,
    )


def _to_json(model: TrainedModel, answer: FilePrediction) -> dict[str, Any]:
    """An answer as `--json` writes it; what is not known is null."""
    record, said, classes = model.record, answer.prediction, model.info.classes
    row: dict[str, Any] = {
        "file": str(answer.path),
        "run": record.key,
        "method": record.arm,
        "dataset": record.spec.dataset,
        "data": record.spec.data,
        "error": answer.error,
    }
    names = ("emotion", "sentiment", "probabilities", "seconds", "segments", "curve", "cues", "present", "problems")
    if said is None:
        return {**row, **dict.fromkeys(names)}
    told = [None] * len(said.slots) if said.segments is None else [_map_to_classes(classes, p) for p in said.segments]
    values = (
        classes[said.label],
        _get_sentiment(model.info, said),
        _map_to_classes(classes, said.probabilities),
        round(said.seconds, 3),
        [
            {"start": round(start, 3), "end": round(end, 3), "probabilities": shares}
            for (start, end), shares in zip(said.slots, told, strict=True)
        ],
        None if said.curve is None else [_map_to_classes(classes, scores) for scores in said.curve],
        [vars(cue) for cue in said.cues],
        said.present,
        [vars(problem) for problem in said.problems],
    )
    return {**row, **dict(zip(names, values, strict=True))}


def _map_to_classes(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(classes, values, strict=True)}


def _get_sentiment(info: DatasetInfo, said: VideoPrediction) -> str:
    return SENTIMENT_NAMES[info.sentiment[said.label]]


def predict_videos(
    console: Console,
    videos: list[Path],
    key: str | None,
    transcript: Path | None,
    out: Path | None,
    json_file: Path | None,
    results: Path,
) -> int:
    """Predict files with a finished run's model and return the exit code."""
    try:
        model = load_model(results, key, choose_device())
        check_transcript(model, transcript, videos)
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder for the pictures")
        place = out or results / "predictions"
        check_destinations(place, None, json_file)
        with logs_to(results / "log"):
            code = print_predictions(console, model, videos, transcript, place, json_file)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; pictures of the files that were done are kept") from None
    return code
