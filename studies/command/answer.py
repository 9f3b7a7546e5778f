"""What a command answers when its runs are done: tables, the records as json, and an exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.execute import Ask, Desk, Outcome
from bench.files import write_whole
from bench.record import Record
from reports.screen.terminal import show
from studies.ask import find_from_scratch
from studies.command.exits import DONE, INCOMPLETE


def answer(console: Console, asks: list[Ask], outcomes: list[Outcome], desk: Desk, json_file: Path | None) -> int:
    """Print the tables, and write the records where they were asked for; the exit code."""
    titles = {ask.dataset.card.name: ask.dataset.card.title for ask in asks}
    done = list(zip(outcomes, asks, strict=False))  # a mistake may have ended them early
    records = [_as_asked(outcome, ask) for outcome, ask in done]
    console.print(show(records, titles, find_from_scratch(records)))
    console.print(f"records: {desk.results / 'runs'}", highlight=False, soft_wrap=True)
    console.print("curves, pictures and parameters: python bench.py ui", highlight=False)
    if json_file is not None:
        rows = [as_row(outcome, ask.arm, ask.preset) for outcome, ask in done]
        write_whole(json_file, (json.dumps(rows, indent=1) + "\n").encode())
    failed = [outcome for outcome in outcomes if outcome.record.error is not None]
    for outcome in failed:
        error = outcome.record.error
        assert error is not None
        console.print(
            f"failed: {outcome.record.arm} seed {outcome.record.spec.seed}: {error.kind}: {error.message}; "
            f"traceback in {desk.results / 'runs' / outcome.record.key}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if any(outcome.record.error is None and outcome.run_id is None for outcome in outcomes):
        return say_away(console, desk.store.away or "MLflow did not take a record")
    return INCOMPLETE if failed else DONE


def told(outcome: Outcome) -> str:
    """A run that is done, in one line."""
    if outcome.found:
        return f"finished before, nothing to do (run {outcome.record.key}; --fresh repeats it)"
    if outcome.record.error is not None:
        return f"failed: {outcome.record.error.kind}: {outcome.record.error.message}"
    return f"done in {sum(outcome.record.seconds.values()):.0f} s (run {outcome.record.key})"


def say_away(console: Console, why: str) -> int:
    """Say that records wait for MLflow; the exit code."""
    console.print(
        f"{why}; nothing is lost: the records are files, `python bench.py sync` brings them in later",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
    return INCOMPLETE


def _as_asked(outcome: Outcome, ask: Ask) -> Record:
    """The record under the names it was asked for by: a pinned name or a preset is only a label."""
    return replace(outcome.record, arm=ask.arm, preset=ask.preset)


def as_row(outcome: Outcome, arm: str, preset: str) -> dict[str, Any]:
    """A record as `--json` writes it."""
    record, spec = outcome.record, outcome.record.spec
    return {
        "key": record.key,
        "run_id": outcome.run_id,
        "spec": {
            "method": arm,
            "dataset": spec.dataset,
            "fold": spec.fold,
            "seed": spec.seed,
            "preset": preset,
            "protocol": spec.protocol,
            "data": spec.data,
            "config": spec.config,
        },
        "scores": record.scores,
        "notes": record.notes,
        "seconds": record.seconds,
        "problems": record.problems,
        "error": vars(record.error) if record.error else None,
    }
