"""Progress bars and messages in the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.types import CLIP_LOSING_ISSUES, DataIssue
from studies.cli.options import EXIT_INCOMPLETE

LINE_INTERVAL = 60.0  # seconds
MAX_ISSUES_PER_KIND = 3  # problems of a kind named on the screen
MAX_ISSUES_SHOWN = 10  # problems named on the screen; all of them stand in the record


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print one line as it is, however long."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_sample_warning(console: Console, title: str, *lines: str) -> None:
    """Print, in a frame, that what follows comes of the built-in sample."""
    console.print(Panel("\n".join(lines), title=title, border_style="yellow", style="yellow"))


def print_unavailable(console: Console, why: str) -> int:
    """Say that records wait for MLflow; the exit code."""
    later = "nothing is lost: the records are files, `python bench.py sync` brings them in later"
    print_line(console, f"{why}; {later}", "yellow")
    return EXIT_INCOMPLETE


class TerminalReporter(Progress):
    """A rich console with one progress bar for each piece of long work."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._run_bars: dict[str, TaskID] = {}
        self._overall_bars: dict[str, TaskID] = {}
        self._printed: set[str] = set()
        self._started: dict[str, float] = {}
        self._last_line = 0.0

    def start_run(self, title: str) -> None:
        """Announce a run and clear the bars of the one before."""
        for bar in self._run_bars.values():
            self.remove_task(bar)
        self._run_bars.clear()
        print_line(self.console, title, "bold")

    def report_progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`, making it first where needed; where no bar can be seen, a line a minute."""
        if what not in self._run_bars:
            self._run_bars[what] = self.add_task(what, total=total)
            self._started[what] = self._last_line = time.monotonic()
        self.update(self._run_bars[what], completed=done, total=total)
        now = time.monotonic()
        if not self.console.is_terminal and done and now - self._last_line > LINE_INTERVAL:
            left = (now - self._started[what]) / done * (total - done) / LINE_INTERVAL
            self._last_line = now
            self.print_line(f"{what}: {done} of {total}, about {left:.0f} minutes left")

    def update_overall(self, what: str, done: int, total: int) -> None:
        """Move a bar that stays above those of single runs."""
        if what not in self._overall_bars:
            self._overall_bars[what] = self.add_task(what, total=total)
        self.update(self._overall_bars[what], completed=done, total=total)

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Say, once, that the sample stands in for real data, and what is wrong with the data."""
        if corpus_sample and "sample" not in self._printed:
            self._printed.add("sample")
            print_sample_warning(
                self.console,
                "BUILT-IN SAMPLE",
                "No data were found, so this runs on the BUILT-IN SAMPLE: drawn clips, not the real data set.",
                "Its numbers say that the program works; they say nothing about real videos.",
                "Bring the real data with --data DIR (README: Your own data).",
            )
        new = [problem for problem in problems if repr(problem) not in self._printed]
        self._printed |= {repr(problem) for problem in new}
        if new:
            counts = ", ".join(f"{count} {what}" for what, count in sorted(Counter(p.what for p in new).items()))
            self.notify(f"problems with the data: {counts} (all of them stand in the record)")
            shown = _select_issues(new)
            for problem in shown:
                self.print_line(f"  {problem.what}: {problem.where}: {problem.why}")
            if len(new) > len(shown):
                self.print_line(f"  ... and {len(new) - len(shown)} more")

    def notify(self, text: str) -> None:
        """One line that a person should know."""
        print_line(self.console, text, "yellow")

    def print_line(self, text: str) -> None:
        """One line on how the work goes."""
        print_line(self.console, text)


def _select_issues(problems: Sequence[DataIssue]) -> list[DataIssue]:
    """At most ten, a few of each kind, those that cost clips first."""
    seen: Counter[str] = Counter()
    few = []
    for problem in problems:
        seen[problem.what] += 1
        if seen[problem.what] <= MAX_ISSUES_PER_KIND:
            few.append(problem)
    return sorted(few, key=lambda problem: problem.what not in CLIP_LOSING_ISSUES)[:MAX_ISSUES_SHOWN]
