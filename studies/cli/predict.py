"""Predictions of any video by a finished run, as lines, a table, figures and JSON.

Key: S segments, C classes, H W pixels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.artifacts import check_weights, has_weights, load_predictor, read_dataset_info
from bench.config import get_or_suggest, propose_name
from bench.errors import ConfigError, MediaError, StoreError
from bench.files import atomic_write, logs_to
from bench.loader import collate
from bench.method import Predictor
from bench.record import RECORD_FILE, Record, RunFolder, find_finished_runs, read_record
from bench.types import DataIssue, DatasetInfo, Sampling, WordOutcome
from datasets.media_file import open_media_file, read_slot_frames
from datasets.registry import DATASETS
from methods import METHODS
from reports.figures.clips import ClipCurves, save_clip_curves
from studies.cli.options import EXIT_DONE, EXIT_INCOMPLETE, Interrupted, check_destinations, choose_device
from studies.cli.progress import TerminalReporter, print_line, print_sample_warning

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


def _load_model(results: Path, key: str | None, device: str) -> TrainedModel:
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
        hint = "`python bench.py --method mart --dataset ekman6` makes one, --results names another place"
        raise StoreError(f"no finished run under {results / 'runs'}; {hint}")
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
    return found[0], read_record(found[0].path / RECORD_FILE)


def _find_newest(folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    """A record that cannot be read, or is of an older schema, stands in nobody's way unless it is the only one."""
    runs, faults = [], []
    for folder in folders:
        try:
            runs.append((folder, read_record(folder.path / RECORD_FILE)))
        except StoreError as error:
            faults.append(error)
    if not runs:
        raise faults[0]
    versions = {name: method.version for name, method in METHODS.items()}
    current = [run for run in runs if versions.get(run[1].spec.method) == run[1].spec.version]
    able = [run for run in current if has_weights(*run)]
    if not able:
        check_weights(*runs[0])
        raise StoreError(f"no run under {folders[0].path.parent} is of the methods' present versions; train one again")
    return next((run for run in able if run[1].spec.data == "real"), able[0])


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


Answer = VideoPrediction | MediaError
"""What is said of a file, or why it cannot be read."""


def predict_videos(
    console: Console,
    videos: list[Path],
    key: str | None,
    transcript: Path | None,
    out: Path | None,
    json_file: Path | None,
    results: Path,
) -> int:
    """Predict files with a finished run's model and return the exit code. Raises MediaError where none can be read."""
    try:
        model = _load_model(results, key, choose_device())
        _check_transcript(model, transcript, videos)
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder for the pictures")
        out = out or results / "predictions"
        check_destinations(out, None, json_file)
        with logs_to(results / "log"):
            _print_heading(console, model)
            answers = _predict_files(console, model, videos, transcript, out)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; pictures of the files that were done are kept") from None
    if json_file is not None:
        rows = [_to_json(model, path, answer) for path, answer in answers]
        atomic_write(json_file, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    failed = [str(answer) for _, answer in answers if isinstance(answer, MediaError)]
    if len(failed) == len(answers):
        raise MediaError(failed[0] if len(failed) == 1 else f"no file can be read: {'; '.join(failed)}")
    console.print(_make_table(model, answers))
    for reason in failed:
        print_line(console, f"not read: {reason}", "red")
    return EXIT_INCOMPLETE if failed else EXIT_DONE


def _predict_files(
    console: Console, model: TrainedModel, files: Sequence[Path], transcript: Path | None, out: Path
) -> list[tuple[Path, Answer]]:
    """Predict files one by one, show each as it is done, and draw its picture."""
    answers: list[tuple[Path, Answer]] = []
    stems: Counter[str] = Counter()
    with TemporaryDirectory(prefix="predict-") as folder, TerminalReporter(console) as screen:
        for done, path in enumerate(files):
            screen.report_progress("files", done, len(files))
            stems[path.stem] += 1
            try:
                said = predict_file(model, path, transcript, Path(folder))
            except MediaError as error:
                answers.append((path, error))
                continue
            answers.append((path, said))
            name = f"{path.stem}-{stems[path.stem]}" if stems[path.stem] > 1 else path.stem
            save_clip_curves(out / f"{name}.png", _make_page(model, path, said))
            _print_file(console, model.info, path, said)
            print_line(console, f"  picture: {out / name}.png")
    return answers


def _check_transcript(model: TrainedModel, transcript: Path | None, files: Sequence[Path]) -> None:
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


def predict_file(model: TrainedModel, path: Path, transcript: Path | None, folder: Path) -> VideoPrediction:
    """Predict a file; `folder` is for what is made on the way. Raises MediaError where it cannot be read."""
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


def make_sparkline(values: np.ndarray, width: int = 1) -> str:
    """(S,) shares between 0 and 1 as a line of blocks, each `width` letters wide."""
    return "".join(BLOCK_CHARS[min(len(BLOCK_CHARS) - 1, int(value * len(BLOCK_CHARS)))] * width for value in values)


def _print_heading(console: Console, model: TrainedModel) -> None:
    """Which run speaks, how good it is, and, loudly, whether it has ever met real videos."""
    record, accuracy = model.record, model.record.scores.get("val/acc_e")
    known = f", val Acc E {100 * accuracy:.1f} %" if accuracy is not None else ""
    line = f"{record.arm} trained on {model.info.title}, seed {record.spec.seed}{known} (run {record.key})"
    console.print(Text(line, "bold"))
    if record.spec.data != "real":
        print_sample_warning(
            console,
            "trained on the BUILT-IN SAMPLE",
            "This model was trained on the BUILT-IN SAMPLE: drawn clips, not real videos.",
            "What it says of a real video means nothing; it shows that the program works.",
            "Train on the real data with --data DIR (README: Your own data).",
        )


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
    console.print(Text("\n").join(lines), soft_wrap=True)


def _make_table(model: TrainedModel, answers: Sequence[tuple[Path, Answer]]) -> Table:
    sample = model.record.spec.data == "sample"
    table = Table(
        title=f"predicted by {model.record.arm}{', trained on the BUILT-IN SAMPLE' if sample else ''}",
        title_style="yellow" if sample else "bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("file", overflow="fold")
    for name in ("emotion", "sentiment", "runner-up", "made of", "strongest"):
        table.add_column(name, no_wrap=True)
    for path, said in answers:
        if isinstance(said, MediaError):
            continue
        slot, made_of = said.strongest_slot, "+".join(name for name, there in said.present.items() if there)
        first, second = (
            f"{model.info.classes[label]} {100 * said.probabilities[label]:.0f} %"
            for label in said.probabilities.argsort()[:-3:-1]
        )
        when = "-" if slot is None else f"{slot[0]:.1f}-{slot[1]:.1f} s"
        table.add_row(*map(Text, (path.name, first, _get_sentiment(model.info, said), second, made_of, when)))
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


def _to_json(model: TrainedModel, path: Path, said: Answer) -> dict[str, Any]:
    """An answer as `--json` writes it; what is not known is null."""
    record, classes = model.record, model.info.classes
    row: dict[str, Any] = {
        "file": str(path),
        "run": record.key,
        "method": record.arm,
        "dataset": record.spec.dataset,
        "data": record.spec.data,
        "error": str(said) if isinstance(said, MediaError) else None,
    }
    if isinstance(said, MediaError):
        names = ("emotion", "sentiment", "probabilities", "seconds", "segments", "curve", "cues", "present", "problems")
        return row | dict.fromkeys(names)
    shares = [None] * len(said.slots) if said.segments is None else [_map_to_classes(classes, p) for p in said.segments]
    return row | {
        "emotion": classes[said.label],
        "sentiment": _get_sentiment(model.info, said),
        "probabilities": _map_to_classes(classes, said.probabilities),
        "seconds": round(said.seconds, 3),
        "segments": [
            {"start": round(start, 3), "end": round(end, 3), "probabilities": share}
            for (start, end), share in zip(said.slots, shares, strict=True)
        ],
        "curve": None if said.curve is None else [_map_to_classes(classes, scores) for scores in said.curve],
        "cues": [vars(cue) for cue in said.cues],
        "present": said.present,
        "problems": [vars(problem) for problem in said.problems],
    }


def _map_to_classes(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(classes, values, strict=True)}


def _get_sentiment(info: DatasetInfo, said: VideoPrediction) -> str:
    return SENTIMENT_NAMES[info.sentiment[said.label]]
