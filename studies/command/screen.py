"""What a person sees while runs go: progress bars, the data in use, what is wrong with them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.data import Problem
from bench.facts import LOSSES

MINUTE = 60.0  # seconds
OF_EACH = 3  # problems of a kind named on the screen
SHOWN = 10  # problems named on the screen; all of them stand in the record


class Terminal:
    """A rich console with one progress bar for each piece of long work."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._overall: dict[str, TaskID] = {}
        self._said: set[str] = set()
        self._began: dict[str, float] = {}
        self._told = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start_run(self, title: str) -> None:
        """Announce a run and clear the bars of the one before."""
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
        self._say(title, style="bold")

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`, making it first where needed; where no bar can be seen, a line a minute."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
            self._began[what] = self._told = time.monotonic()
        self._progress.update(self._tasks[what], completed=done, total=total)
        now = time.monotonic()
        if not self.console.is_terminal and done and now - self._told > MINUTE:
            left = (now - self._began[what]) / done * (total - done) / MINUTE
            self._told = now
            self._say(f"{what}: {done} of {total}, about {left:.0f} minutes left", markup=False)

    def overall(self, what: str, done: int, total: int) -> None:
        """Move a bar that stays above those of single runs."""
        if what not in self._overall:
            self._overall[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._overall[what], completed=done, total=total)

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
        """Say, once, that the sample stands in for real data, and what is wrong with the data."""
        if corpus_sample and "sample" not in self._said:
            self._said.add("sample")
            self._say(
                Panel(
                    "No data were found, so this runs on the BUILT-IN SAMPLE: drawn clips, not the real data set.\n"
                    "Its numbers say that the program works; they say nothing about real videos.\n"
                    "Bring the real data with --data DIR (README: Your own data).",
                    title="BUILT-IN SAMPLE",
                    border_style="yellow",
                    style="yellow",
                )
            )
        new = [problem for problem in problems if repr(problem) not in self._said]
        self._said |= {repr(problem) for problem in new}
        if new:
            counts = ", ".join(f"{count} {what}" for what, count in sorted(Counter(p.what for p in new).items()))
            self._say(f"problems with the data: {counts} (all of them stand in the record)", style="yellow")
            shown = _first_of(new)
            for problem in shown:
                self._say(f"  {problem.what}: {problem.where}: {problem.why}", markup=False)
            if len(new) > len(shown):
                self._say(f"  ... and {len(new) - len(shown)} more")

    def notice(self, text: str) -> None:
        """One line that a person should know."""
        self._say(text, style="yellow", markup=False)

    def tell(self, text: str) -> None:
        """One line on how the work goes."""
        self._say(text, markup=False)

    def _say(self, what: object, style: str | None = None, markup: bool = True) -> None:
        if isinstance(what, str):
            self.console.print(what, style=style, markup=markup, highlight=False, soft_wrap=True)
        else:
            self.console.print(what)


def _first_of(problems: Sequence[Problem]) -> list[Problem]:
    """At most ten, a few of each kind, those that cost clips first."""
    seen: Counter[str] = Counter()
    few = []
    for problem in problems:
        seen[problem.what] += 1
        if seen[problem.what] <= OF_EACH:
            few.append(problem)
    return sorted(few, key=lambda problem: problem.what not in LOSSES)[:SHOWN]
