"""The command `predict`: run a trained model on any file; print, plot and write its predictions.

Key: S segments, C classes or targets, H W pixels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.text import Text

from bench.artifacts import check_weights, has_weights, load_predictor
from bench.config import get_or_suggest, propose_name
from bench.errors import ConfigError, MediaError, StoreError
from bench.files import atomic_write, logs_to
from bench.loader import collate
from bench.method import Predictor
from bench.record import RECORD_FILE, Record, RunFolder, find_finished_runs, read_dataset_info, read_record
from bench.tasks import Classification, Regression
from bench.types import MEDIA_STREAMS, DataIssue, DatasetInfo, OpenedClip, Sampling, WordOutcome
from datasets.media_file import open_media_file, read_slot_frames
from datasets.registry import DATASETS
from datasets.streams.text import Recogniser, load_recogniser, transcribe_file
from methods import get_methods
from reports.figures.clips import ClipCurves, format_in_range, save_clip_curves
from reports.formats import make_printable, plural
from reports.formats.plain import FittedTable
from studies.cli.options import EXIT_DONE, EXIT_INCOMPLETE, Interrupted, check_destinations, choose_device
from studies.cli.progress import TerminalReporter, print_line, print_sample_warning, print_table
from studies.requests import explain_mismatch, load_plugins

MAX_KEYS_SHOWN = 5  # run keys listed in an error
BLOCK_CHARS = "▁▂▃▄▅▆▇█"
NAME_WIDTH = 20  # characters of a name to the left of a sparkline; a longer name has a line of its own
CLIP_WIDTH = 36  # characters of a sparkline, or one per segment if there are more
STREAM_NOTE = "streams/"  # of a record: share of the training clips with a stream
SENTIMENT_NAMES = {-1: "negative", 0: "neutral", 1: "positive"}


@dataclass(frozen=True)
class TrainedModel:
    """The model of a finished run, ready to predict."""

    record: Record
    info: DatasetInfo
    predictor: Predictor
    sampling: Sampling
    device: str


def _load_model(results: Path, key: str | None, device: str) -> TrainedModel:
    """Load the model of the run whose key starts with `key`.

    Without a key, load the newest run with weights, preferring runs on real data. Raises ConfigError for an unknown or
    ambiguous key, StoreError where no run can be used.
    """
    folder, record = _find_run(results, key)
    _check_plugin(record)
    method = get_or_suggest(record.spec.method, get_methods(), "method")
    info = read_dataset_info(folder.path) or get_or_suggest(record.spec.dataset, DATASETS, "data set").info
    rebuilt = load_predictor(folder, method, info)
    cast(torch.nn.Module, rebuilt.predictor).to(device)
    return TrainedModel(record, info, rebuilt.predictor, method.sampling(rebuilt.config, False), device)


def _check_plugin(record: Record) -> None:
    """Raise ConfigError if a run was made by a plugin, or a text of it, that is not given."""
    if record.spec.plugin is not None and (reason := explain_mismatch(record)):
        raise ConfigError(f"run {record.key} was {reason}")


def _find_run(results: Path, key: str | None) -> tuple[RunFolder, Record]:
    folders = find_finished_runs(results)
    if not folders:
        hint = "train one with `python bench.py --method mart --dataset ekman6`, or name another folder with --results"
        raise StoreError(f"no finished run in {results / 'runs'}; {hint}")
    newest = sorted(folders, key=lambda folder: (folder.path / RECORD_FILE).stat().st_mtime, reverse=True)
    return _find_by_key(key, newest) if key is not None else _find_newest(newest)


def _find_by_key(key: str, folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    keys = [folder.path.name for folder in folders]
    found = [folder for folder in folders if folder.path.name.startswith(key)]
    if not found:
        near = get_close_matches(key, keys, n=1, cutoff=0.3)
        raise ConfigError(f"--run: unknown run '{key}'; {propose_name(key, near or keys[:MAX_KEYS_SHOWN])}")
    if len(found) > 1:
        matches = ", ".join(folder.path.name for folder in found[:MAX_KEYS_SHOWN])
        raise ConfigError(f"--run: '{key}' matches {len(found)} runs; give more of the key: {matches}")
    return found[0], read_record(found[0].path / RECORD_FILE)


def _find_newest(folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    """Return the newest usable run, on real data if there is one. Unreadable records are skipped unless all are."""
    runs, faults = [], []
    for folder in folders:
        try:
            runs.append((folder, read_record(folder.path / RECORD_FILE)))
        except StoreError as error:
            faults.append(error)
    if not runs:
        raise faults[0]
    current = [run for run in runs if not explain_mismatch(run[1])]
    able = [run for run in current if has_weights(*run)]
    if not able:
        check_weights(*runs[0])
        _check_plugin(runs[0][1])
        raise StoreError(
            f"no run in {folders[0].path.parent} matches the current version of its method; train one again"
        )
    return next((run for run in able if run[1].spec.data == "real"), able[0])


@dataclass(frozen=True)
class VideoPrediction:
    """The prediction for one file. `segments` and `curve` are None for methods without segment scores.

    For a regression, the output and the segments are numbers, one for each target, instead of probabilities.
    """

    output: np.ndarray  # (C,) probabilities
    seconds: float  # duration of the file; later slots repeat a short clip
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in s
    segments: np.ndarray | None  # (S, C) probabilities of each segment
    curve: np.ndarray | None  # (S, C) temporal emotion scores
    present: dict[str, bool]  # by stream
    problems: tuple[DataIssue, ...]
    cues: tuple[WordOutcome, ...]
    stills: tuple[np.ndarray, ...]  # S x (H, W, 3) uint8, or none
    unused: tuple[str, ...] = ()  # streams of the file that the model was trained without

    @property
    def label(self) -> int:
        """Return the index of the predicted class."""
        return int(self.output.argmax())

    @property
    def strongest_slot(self) -> tuple[float, float] | None:
        """Return the slot with the highest score of the predicted class, ignoring repetitions of a short clip."""
        scores = self.curve if self.curve is not None else self.segments
        if scores is None:
            return None
        count = sum(start < self.seconds for start, _ in self.slots)
        start, end = self.slots[int(scores[:count, self.label].argmax())]
        return start, min(end, self.seconds)


FileResult = VideoPrediction | MediaError
"""The prediction for a file, or the error that it cannot be read."""


def predict_videos(
    console: Console,
    videos: list[Path],
    key: str | None,
    transcript: Path | None,
    transcribe: Path | None,
    out: Path | None,
    json_file: Path | None,
    results: Path,
    device: str = "",
    plugin: Sequence[Path] = (),
) -> int:
    """Predict files with the model of a run and return the exit code. Raises MediaError if none can be read."""
    load_plugins(plugin)
    try:
        model, file_results = run_model(console, videos, key, transcript, transcribe, out, json_file, results, device)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the figures of finished files are saved") from None
    if json_file is not None:
        rows = [make_row(model, path, result) for path, result in file_results]
        atomic_write(json_file, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    failed = find_unreadable(file_results)
    print_table(console, _make_table(model, file_results))
    for reason in failed:
        print_line(console, f"not read: {reason}", "red")
    return EXIT_INCOMPLETE if failed else EXIT_DONE


def run_model(
    console: Console,
    videos: list[Path],
    key: str | None,
    transcript: Path | None,
    transcribe: Path | None,
    out: Path | None,
    json_file: Path | None,
    results: Path,
    device: str = "",
) -> tuple[TrainedModel, list[tuple[Path, FileResult]]]:
    """Predict files with the model of a run, print each result and save its figure; return the model and the results.

    Raises ConfigError for an unknown run or transcript, StoreError where no run can be used.
    """
    model = _load_model(results, key, choose_device(device))
    transcripts = _find_transcripts(transcript, videos)
    _check_words(model, transcript, transcribe)
    recogniser = load_recogniser(transcribe, model.info.language) if transcribe is not None else None
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"--out: '{out}' is a file; name a folder for the figures")
    out = out or results / "predictions"
    check_destinations(out, None, json_file)
    with logs_to(results / "log"):
        _print_heading(console, model)
        return model, _predict_files(console, model, transcripts, recogniser, out)


def find_unreadable(file_results: Sequence[tuple[Path, FileResult]]) -> list[str]:
    """Return why files were not read. Raises MediaError if none was read."""
    failed = [str(result) for _, result in file_results if isinstance(result, MediaError)]
    if len(failed) == len(file_results):
        raise MediaError(failed[0] if len(failed) == 1 else f"no file can be read: {', '.join(failed)}")
    return failed


def _predict_files(
    console: Console,
    model: TrainedModel,
    transcripts: Sequence[tuple[Path, Path | None]],
    recogniser: Recogniser | None,
    out: Path,
) -> list[tuple[Path, FileResult]]:
    """Predict files, given with their transcripts, one by one; print each result and save its figure."""
    file_results: list[tuple[Path, FileResult]] = []
    stems: Counter[str] = Counter()
    with TemporaryDirectory(prefix="predict-") as folder, TerminalReporter(console) as screen:
        for done, (path, transcript) in enumerate(transcripts):
            screen.report_progress("files", done, len(transcripts))
            stems[path.stem] += 1
            try:
                if transcript is None and recogniser is not None:
                    transcript = transcribe_file(path, recogniser, Path(folder))
                predicted = predict_file(model, path, transcript, Path(folder))
            except MediaError as error:
                file_results.append((path, error))
                continue
            file_results.append((path, predicted))
            name = f"{path.stem}-{stems[path.stem]}" if stems[path.stem] > 1 else path.stem
            save_clip_curves(out / f"{name}.png", _make_page(model, path, predicted))
            _print_file(console, model.info, path, predicted)
            print_line(console, f"  figure: {out / name}.png")
    return file_results


def _check_words(model: TrainedModel, transcript: Path | None, transcribe: Path | None) -> None:
    """Raise ConfigError if the model cannot use words."""
    option = "--transcript" if transcript is not None else "--transcribe"
    if (transcript or transcribe) and "lexicon" in model.record.spec.weights:
        raise ConfigError(
            f"{option}: run {model.record.key} used a lexicon file, which is not stored with the run; omit "
            f"{option}, words do not change its prediction"
        )


def _find_transcripts(transcript: Path | None, files: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Return each file with its transcript: the given one, or NAME.srt in the given folder; None without one.

    Raises ConfigError if the transcript does not exist, or is a single file for several videos.
    """
    if transcript is None:
        return [(path, None) for path in files]
    if transcript.is_dir():
        named = [(path, transcript / f"{path.stem}.srt") for path in files]
        if not any(found.is_file() for _, found in named):
            raise ConfigError(f"--transcript: '{transcript}' has no {named[0][1].name}; name the files like the videos")
        return [(path, found if found.is_file() else None) for path, found in named]
    if not transcript.is_file():
        raise ConfigError(f"--transcript: '{transcript}' does not exist; name an .srt file, or a folder of them")
    if len(files) > 1:
        raise ConfigError(
            f"--transcript: one file for {plural(len(files), 'video')}; name a folder with an .srt file for each"
        )
    return [(files[0], transcript)]


def _list_seen_streams(record: Record) -> set[str] | None:
    """Return the streams that the training clips of a run had; None for a run of version 0.1, which stored none."""
    shares = {name: share for name, share in record.notes.items() if name.startswith(STREAM_NOTE)}
    return {name.removeprefix(STREAM_NOTE) for name, share in shares.items() if share > 0} if shares else None


def _keep_seen_streams(model: TrainedModel, path: Path, clip: OpenedClip) -> tuple[OpenedClip, tuple[str, ...]]:
    """Return the clip with the streams that training saw, and the names of the others that it has.

    Raises MediaError if no stream is left.
    """
    seen = _list_seen_streams(model.record)
    if seen is None:
        return clip.keep_streams(model.sampling.reads), ()
    if not any(here for name, here in clip.present.items() if name in seen):
        wanted = ", ".join(sorted(seen)) or "no stream"
        raise MediaError(f"{path.name} has none of what run {model.record.key} was trained on ({wanted})")
    return clip.keep_streams(seen), tuple(name for name, here in clip.present.items() if here and name not in seen)


def predict_file(model: TrainedModel, path: Path, transcript: Path | None, folder: Path) -> VideoPrediction:
    """Predict a file; `folder` is for temporary files. Raises MediaError if the file cannot be read."""
    opened = open_media_file(path, transcript, replace(model.sampling, reads=MEDIA_STREAMS), folder)
    clip, unused = _keep_seen_streams(model, path, opened.clip)
    inputs = collate([clip]).to(torch.device(model.device))
    with torch.inference_mode():
        scores, (explanation,) = model.predictor(inputs), model.predictor.explain(inputs)

    def read(output: torch.Tensor) -> np.ndarray:
        values = output.float() if isinstance(model.info.task, Regression) else output.float().softmax(-1)
        return np.asarray(values.cpu().numpy())

    return VideoPrediction(
        output=read(scores.output[0]),
        seconds=opened.seconds,
        slots=opened.slots,
        segments=None if scores.segments is None else read(scores.segments[0]),
        curve=None if explanation.curve is None else explanation.curve.float().cpu().numpy(),
        present=dict(clip.present),
        unused=unused,
        problems=opened.issues,
        cues=explanation.verdicts,
        stills=tuple(read_slot_frames(path, opened)),
    )


def make_sparkline(values: np.ndarray, width: int = 1) -> str:
    """Return (S,) values between 0 and 1 as a line of block characters, `width` of them per value; others are cut."""
    last = len(BLOCK_CHARS) - 1
    return "".join(BLOCK_CHARS[max(0, min(last, int(value * len(BLOCK_CHARS))))] * width for value in values)


def _print_heading(console: Console, model: TrainedModel) -> None:
    """Print the run and its val score, and a warning if it was trained on the built-in sample."""
    record, metric = model.record, model.info.task.primary
    score = record.scores.get(f"val/{metric.name}")
    known = f", val {metric.format_named(score)}" if score is not None else ""
    extras = "".join(f", {name}={value}" for name, value in record.spec.extras.items())
    line = f"{record.arm} trained on {model.info.title}{extras}, seed {record.spec.seed}{known} (run {record.key})"
    console.print(Text(line, "bold"))
    if record.spec.data != "real":
        print_sample_warning(
            console,
            "trained on the BUILT-IN SAMPLE",
            "This model was trained on the BUILT-IN SAMPLE of synthetic clips.",
            "Its predictions on real videos are meaningless; they show that the program works.",
            "To train on real data: --data DIR (README: Custom data).",
        )


def _print_file(console: Console, info: DatasetInfo, path: Path, predicted: VideoPrediction) -> None:
    """Print the class probabilities or the scores of a file, over time if the method has them, and its data issues."""
    names, task = [make_printable(name) for name in info.task.output_names], info.task
    longest = max((len(name) for name in names if len(name) <= NAME_WIDTH), default=0)
    wide = max(1, CLIP_WIDTH // len(predicted.slots))
    lines = [Text(path.name, "bold")]
    for place, name in enumerate(names):
        if len(name) > NAME_WIDTH:
            lines.append(Text(f"  {name}"))
            name = ""
        low, high = task.bounds[place] if isinstance(task, Regression) else (0.0, 1.0)
        blocks = ""
        if predicted.segments is not None:
            blocks = f"  {make_sparkline((predicted.segments[:, place] - low) / (high - low), wide)}"
        if isinstance(task, Regression):
            value = format_in_range(predicted.output[place], low, high)
            lines.append(Text(f"  {name:<{longest}}{blocks} {value:>6}  ({low:g} to {high:g})"))
        else:
            text = f"  {name:<{longest}}{blocks} {100 * predicted.output[place]:4.0f} %"
            lines.append(Text(text, "bold" if place == predicted.label else ""))
    if predicted.segments is not None:
        end = f"{predicted.slots[-1][1]:.1f} s"
        lines.append(Text(f"  {'':<{longest}}  0 s{end:>{wide * len(predicted.slots) - 3}}", "dim"))
    if predicted.slots[-1][1] > predicted.seconds + 0.05:
        lines.append(Text(f"  short clip: repeated after its {predicted.seconds:.1f} s", "dim"))
    lines += [Text(f"  {name}: not used, the model was trained without it", "yellow") for name in predicted.unused]
    lines += [Text(f"  {problem.what}: {problem.why}", "yellow") for problem in predicted.problems]
    console.print(Text("\n").join(lines), soft_wrap=True)


def _make_table(model: TrainedModel, file_results: Sequence[tuple[Path, FileResult]]) -> FittedTable:
    sample = model.record.spec.data == "sample"
    table = FittedTable(
        title=f"predicted by {model.record.arm}{', trained on the BUILT-IN SAMPLE' if sample else ''}",
        title_style="yellow" if sample else "bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.drop_first, table.hint = ("input", "strongest"), "see --json"
    table.add_column("file", overflow="fold")
    columns = ("emotion", "sentiment", "runner-up", "input", "strongest")
    for name in columns if model.info.classes else (*model.info.task.output_names, "input"):
        table.add_column(Text(make_printable(name)), no_wrap=True)
    for path, predicted in file_results:
        if isinstance(predicted, MediaError):
            continue
        inputs = "+".join(name for name, is_in in predicted.present.items() if is_in)
        if isinstance(model.info.task, Regression):
            table.add_row(*map(Text, (path.name, *_format_scores(model.info.task, predicted), inputs)))
            continue
        slot = predicted.strongest_slot
        first, second = (
            f"{model.info.classes[label]} {100 * predicted.output[label]:.0f} %"
            for label in predicted.output.argsort()[:-3:-1]
        )
        when = "-" if slot is None else f"{slot[0]:.1f}-{slot[1]:.1f} s"
        table.add_row(*map(Text, (path.name, first, _get_sentiment(model.info, predicted), second, inputs, when)))
    return table


def _format_scores(task: Regression, predicted: VideoPrediction) -> list[str]:
    """Return the predicted number of each target, with the digits of its range."""
    return [format_in_range(value, *ends) for value, ends in zip(predicted.output, task.bounds, strict=True)]


def _make_page(model: TrainedModel, path: Path, predicted: VideoPrediction) -> ClipCurves:
    record, task = model.record, model.info.task
    if isinstance(task, Regression):
        values = zip(task.output_names, _format_scores(task, predicted), strict=True)
        found = ", ".join(f"{name} {value}" for name, value in values)
    else:
        percent, sentiment = 100 * predicted.output[predicted.label], _get_sentiment(model.info, predicted)
        found = f"{task.classes[predicted.label]} {percent:.0f} %{sentiment and f', {sentiment}'}"
    title = f"{path.name}: {found}"
    sample = record.spec.data == "sample"
    return ClipCurves(
        title=f"{title}   (model trained on the BUILT-IN SAMPLE)" if sample else title,
        note=f"{record.arm} trained on {model.info.title}{' (built-in sample)' if sample else ''}, run {record.key}",
        classes=task.output_names,
        probabilities=predicted.output,
        duration=predicted.seconds,
        segment_spans=predicted.slots,
        emotion_scores=predicted.curve,
        segment_probabilities=predicted.segments,
        thumbnails=predicted.stills,
        ranges=task.bounds if isinstance(task, Regression) else (),
    )


def make_row(model: TrainedModel, path: Path, predicted: FileResult) -> dict[str, Any]:
    """Return the result of a file in the form that `--json` writes; unknown values are null.

    A regression has "scores" of its targets in place of emotion, sentiment and probabilities.
    """
    record, names = model.record, model.info.task.output_names
    what = "probabilities" if model.info.classes else "scores"
    row: dict[str, Any] = {
        "file": str(path),
        "run": record.key,
        "method": record.arm,
        "dataset": record.spec.dataset,
        "data": record.spec.data,
        "error": str(predicted) if isinstance(predicted, MediaError) else None,
    }
    if isinstance(predicted, MediaError):
        labels = ("emotion", "sentiment") if model.info.classes else ()
        return row | dict.fromkeys(
            (*labels, what, "seconds", "segments", "curve", "cues", "present", "unused", "problems")
        )
    shares = (
        [None] * len(predicted.slots)
        if predicted.segments is None
        else [_map_to_names(names, p) for p in predicted.segments]
    )
    if model.info.classes:
        row |= {"emotion": names[predicted.label], "sentiment": _get_sentiment(model.info, predicted) or None}
    return row | {
        what: _map_to_names(names, predicted.output),
        "seconds": round(predicted.seconds, 3),
        "segments": [
            {"start": round(start, 3), "end": round(end, 3), what: share}
            for (start, end), share in zip(predicted.slots, shares, strict=True)
        ],
        "curve": None if predicted.curve is None else [_map_to_names(names, scores) for scores in predicted.curve],
        "cues": [vars(cue) for cue in predicted.cues],
        "present": predicted.present,
        "unused": list(predicted.unused),
        "problems": [vars(problem) for problem in predicted.problems],
    }


def _map_to_names(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}


def _get_sentiment(info: DatasetInfo, predicted: VideoPrediction) -> str:
    """Return the polarity of the predicted class; empty if the polarities of the classes are unknown."""
    known = isinstance(info.task, Classification) and info.task.sentiment is not None
    return SENTIMENT_NAMES[info.sentiment[predicted.label]] if known else ""
