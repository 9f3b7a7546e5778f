"""What a person gets of predictions: lines of blocks, a table, a picture of each file, and json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.data import Card
from bench.errors import MediaError
from bench.files import write_whole
from reports.clips.curves import Page, draw_page
from studies.command.exits import DONE, INCOMPLETE
from studies.command.model import Model
from studies.command.predict import Answer, Prediction, predict_files

BLOCKS = "▁▂▃▄▅▆▇█"
WIDE = 36  # letters that a clip takes on the screen, or as many as it has segments
SENTIMENTS = {-1: "negative", 0: "neutral", 1: "positive"}


def answer_files(
    console: Console, model: Model, files: Sequence[Path], transcript: Path | None, out: Path, json_file: Path | None
) -> int:
    """Predict files one by one, show each as it is done, then a table; the exit code.

    Raises MediaError where none of them can be read.
    """
    console.print(_heading(model))
    answers: list[Answer] = []
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
            if answer.said is not None:
                picture = _picture_of(out, answers)
                draw_page(picture, _page(model, answer.path, answer.said))
                _show(console, model.card, answer.path, answer.said)
                console.print(Text(f"  picture: {picture}"), soft_wrap=True)
            bars.advance(bar)
    if json_file is not None:
        rows = [_as_row(model, answer) for answer in answers]
        write_whole(json_file, (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode())
    failed = [answer.error for answer in answers if answer.error is not None]
    if len(failed) == len(answers):
        raise MediaError(failed[0] if len(failed) == 1 else f"no file can be read: {'; '.join(failed)}")
    console.print(_table(model, answers))
    for reason in failed:
        console.print(f"not read: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    return INCOMPLETE if failed else DONE


def sparkline(values: np.ndarray, width: int = 1) -> str:
    """(S,) shares between 0 and 1 as a line of blocks, each `width` letters wide."""
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(value * len(BLOCKS)))] * width for value in values)


def _heading(model: Model) -> RenderableType:
    """Which run speaks, how good it is, and, loudly, whether it has ever met real videos."""
    record, accuracy = model.record, model.record.scores.get("val/acc_e")
    known = f", val Acc E {100 * accuracy:.1f} %" if accuracy is not None else ""
    line = Text(
        f"{record.arm} trained on {model.card.title}, seed {record.spec.seed}{known} (run {record.key})", "bold"
    )
    if record.spec.data == "real":
        return line
    warning = (
        "This model was trained on the BUILT-IN SAMPLE: drawn clips, not real videos.\n"
        "What it says of a real video means nothing; it shows that the program works.\n"
        "Train on the real data with --data DIR (README: Your own data)."
    )
    return Group(line, Panel(warning, title="trained on the BUILT-IN SAMPLE", border_style="yellow", style="yellow"))


def _picture_of(out: Path, answers: Sequence[Answer]) -> Path:
    """A name of its own among the files of this command for the picture of the last one."""
    stem = answers[-1].path.stem
    before = sum(answer.path.stem == stem for answer in answers[:-1])
    return out / (f"{stem}-{before + 1}.png" if before else f"{stem}.png")


def _show(console: Console, card: Card, path: Path, said: Prediction) -> None:
    """One file: its classes over time, and what is wrong with it."""
    longest, wide = max(map(len, card.classes)), max(1, WIDE // len(said.slots))
    lines = [Text(path.name, "bold")]
    for label, name in enumerate(card.classes):
        blocks = f"  {sparkline(said.segments[:, label], wide)}" if said.segments is not None else ""
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


def _table(model: Model, answers: Sequence[Answer]) -> Table:
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
        said = answer.said
        if said is not None:
            first, second, *_ = said.probabilities.argsort()[::-1]
            when = "-" if said.strongest is None else f"{said.strongest[0]:.1f}-{said.strongest[1]:.1f} s"
            made_of = "+".join(name for name, there in said.present.items() if there)
            named = [f"{model.card.classes[c]} {100 * said.probabilities[c]:.0f} %" for c in (first, second)]
            cells = [answer.path.name, named[0], _sentiment(model.card, said), named[1], made_of, when]
            table.add_row(*map(Text, cells))
    return table


def _page(model: Model, path: Path, said: Prediction) -> Page:
    record, name = model.record, model.card.classes[said.label]
    title = f"{path.name}: {name} {100 * said.probabilities[said.label]:.0f} %, {_sentiment(model.card, said)}"
    sample = record.spec.data == "sample"
    return Page(
        title=f"{title}   (model trained on the BUILT-IN SAMPLE)" if sample else title,
        note=f"{record.arm} trained on {model.card.title}{' (built-in sample)' if sample else ''}, run {record.key}",
        classes=model.card.classes,
        probabilities=said.probabilities,
        seconds=said.seconds,
        slots=said.slots,
        curve=said.curve,
        segments=said.segments,
        stills=said.stills,
    )


def _as_row(model: Model, answer: Answer) -> dict[str, Any]:
    """An answer as `--json` writes it; what is not known is null."""
    record, said, classes = model.record, answer.said, model.card.classes
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
    told = [None] * len(said.slots) if said.segments is None else [_named(classes, p) for p in said.segments]
    values = (
        classes[said.label],
        _sentiment(model.card, said),
        _named(classes, said.probabilities),
        round(said.seconds, 3),
        [
            {"start": round(start, 3), "end": round(end, 3), "probabilities": shares}
            for (start, end), shares in zip(said.slots, told, strict=True)
        ],
        None if said.curve is None else [_named(classes, scores) for scores in said.curve],
        [vars(cue) for cue in said.cues],
        said.present,
        [vars(problem) for problem in said.problems],
    )
    return {**row, **dict(zip(names, values, strict=True))}


def _named(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(classes, values, strict=True)}


def _sentiment(card: Card, said: Prediction) -> str:
    return SENTIMENTS[card.sentiment[said.label]]
