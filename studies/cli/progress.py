"""Progress bars, log lines, warnings and tables in the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from bench.tasks import ACCURACY, Metric
from bench.types import CLIP_LOSING_ISSUES, DataIssue
from reports.formats import format_epoch
from studies.cli.options import EXIT_INCOMPLETE

LINE_INTERVAL = 60.0  # seconds between two lines on long work where no bar is shown
STEP_INTERVAL = 300.0  # seconds between two lines on the steps of a long epoch
BAR_WIDTH = 20  # characters, or fewer on a narrow terminal
LOSS_WIDTH = 72  # terminal columns below which the bar of a stage leaves out the loss
MAX_ISSUES_PER_KIND = 3  # data issues of a kind that are printed
MAX_ISSUES_SHOWN = 10  # data issues that are printed; the record lists all


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print one line without wrapping, markup or highlighting."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: RenderableType) -> None:
    """Print tables that fit themselves to the terminal; a name longer than the line is printed whole."""
    console.print(table, crop=False)


def print_sample_warning(console: Console, title: str, *lines: str) -> None:
    """Print a framed warning that results come from the built-in sample."""
    console.print(Panel("\n".join(lines), title=title, border_style="yellow", style="yellow"))


def print_unavailable(console: Console, reason: str) -> int:
    """Print that records were not sent to MLflow, and return the exit code."""
    print_line(console, f"{reason}; the records are saved, send them later with `python bench.py sync`", "yellow")
    return EXIT_INCOMPLETE


class TerminalReporter(Progress):
    """Progress on a terminal as bars; in a log file as lines: one per epoch, and one a minute for other long work."""

    def __init__(self, console: Console) -> None:
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        super().__init__(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=None, table_column=Column(max_width=BAR_WIDTH)),
            _StatusColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not self._is_live,
        )
        self._run_bars: dict[str, TaskID] = {}
        self._overall_bars: dict[str, TaskID] = {}
        self._printed: set[str] = set()
        self._started: dict[str, float] = {}
        self._first_epochs: dict[str, int] = {}  # stage -> epochs that were finished when this process started it
        self._first_shares: dict[str, float] = {}  # the same as shares of all epochs
        self._last_line = 0.0
        self._arm = ""

    def start_run(self, title: str) -> None:
        """Print the title of a run, "<arm> on <data set>, ...", and remove the bars of the previous one."""
        for bar in self._run_bars.values():
            self.remove_task(bar)
        self._run_bars.clear()
        self._first_epochs.clear()
        self._first_shares.clear()
        self._arm = title.partition(" on ")[0]
        print_line(self.console, title, "bold")

    def report_progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`. Without bars, print a line a minute; within an epoch, one every five minutes."""
        if total <= 0:
            return
        if what not in self._run_bars:
            self._run_bars[what] = self.add_task(what, total=total, status="")
            self._last_line = time.monotonic()
            if what not in self._first_epochs:
                self._started[what] = self._last_line
        self.update(self._run_bars[what], completed=done, total=total)
        now, is_stage = time.monotonic(), what in self._first_epochs
        if self._is_live or not done or now - self._last_line <= (STEP_INTERVAL if is_stage else LINE_INTERVAL):
            return
        here = max(1.0, done - self._first_shares.get(what, 0.0) * total)
        left = _format_time_left((now - self._started[what]) / here * (total - done))
        self._last_line = now
        stage = f"{self._arm} {what}: step" if is_stage else f"{what}:"
        self.print_line(f"{stage} {done} of {total}{left}")

    def report_epoch(
        self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Metric = ACCURACY
    ) -> None:
        """Show epoch, loss and val score next to the bar of a stage; without bars, print them as one line."""
        now = self._last_line = time.monotonic()
        if not values:  # the stage starts
            self._first_epochs[stage], self._first_shares[stage] = epoch, epoch / max(1, epochs)
            self._started[stage] = now
            if 0 < epoch < epochs and not self._is_live:
                self.print_line(f"{self._arm} {stage}: resuming after epoch {epoch}/{epochs}")
            return
        parts = format_epoch(stage, epoch, epochs, values, metric)
        is_narrow = self._is_live and self.console.width < LOSS_WIDTH
        status = ", ".join(part for part in parts if not (is_narrow and part.startswith("loss ")))
        if self._is_live:
            if stage in self._run_bars:
                self.update(self._run_bars[stage], status=status)
            return
        done = epoch - self._first_epochs.get(stage, 0)
        spent = now - self._started.get(stage, now)
        self.print_line(f"{self._arm} {stage}: {status}{_format_time_left(spent / max(1, done) * (epochs - epoch))}")

    def update_overall(self, what: str, done: int, total: int) -> None:
        """Move a bar that stays above those of single runs."""
        if total <= 0:
            return
        if what not in self._overall_bars:
            self._overall_bars[what] = self.add_task(what, total=total, status="")
        self.update(self._overall_bars[what], completed=done, total=total)

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Print, once each, that the built-in sample is used and what is wrong with the data."""
        if corpus_sample and "sample" not in self._printed:
            self._printed.add("sample")
            print_sample_warning(
                self.console,
                "BUILT-IN SAMPLE",
                "No data set was found: this run uses the BUILT-IN SAMPLE of synthetic clips.",
                "Its scores show that the program works. They do not measure a method on real videos.",
                "To use real data: --data DIR (README: Custom data).",
            )
        new = [problem for problem in problems if repr(problem) not in self._printed]
        self._printed |= {repr(problem) for problem in new}
        if new:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(p.what for p in new).items()))
            self.notify(f"data issues: {counts} (the record lists all)")
            shown = _select_issues(new)
            for problem in shown:
                self.print_line(f"  {problem.what}: {problem.where}: {problem.why}")
            if len(new) > len(shown):
                self.print_line(f"  ... and {len(new) - len(shown)} more")

    def notify(self, text: str) -> None:
        """Print a notice."""
        print_line(self.console, text, "yellow")

    def print_line(self, text: str) -> None:
        """Print a line of progress."""
        print_line(self.console, text)


class _StatusColumn(TextColumn):
    """The epoch, loss and score of a training stage, or how many pieces of other work are done."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return the status of a task."""
        return Text(
            task.fields.get("status") or f"{task.completed:.0f}/{task.total or 0:.0f}", style="progress.download"
        )


def _format_time_left(seconds: float) -> str:
    """Return ", about 7 min left" for an estimate, or nothing for one of a few seconds."""
    if seconds < 15:
        return ""
    if seconds < 55:
        return f", about {10 * round(seconds / 10)} s left"
    return f", about {round(seconds / 60)} min left" if seconds < 5400 else f", about {seconds / 3600:.1f} h left"


def _select_issues(problems: Sequence[DataIssue]) -> list[DataIssue]:
    """Return at most MAX_ISSUES_SHOWN issues, a few of each kind, those that lose clips first."""
    seen: Counter[str] = Counter()
    few = []
    for problem in problems:
        seen[problem.what] += 1
        if seen[problem.what] <= MAX_ISSUES_PER_KIND:
            few.append(problem)
    return sorted(few, key=lambda problem: problem.what not in CLIP_LOSING_ISSUES)[:MAX_ISSUES_SHOWN]
