"""What is printed while runs go, where no bar can be seen, and which problems come first."""

import io

from rich.console import Console

from bench.types import DataIssue
from studies.cli import progress as screen
from studies.cli.progress import TerminalReporter


def terminal():
    return TerminalReporter(Console(file=io.StringIO(), width=100))


def said(shown):
    return shown.console.file.getvalue()


def test_without_a_terminal_long_work_says_once_a_minute_how_far_it_is(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    shown = terminal()
    for done in range(0, 301):
        shown.report_progress("prepare", done, 1000)
        now[0] += 0.5
    assert said(shown).splitlines() == [
        "prepare: 121 of 1000, about 7 minutes left",
        "prepare: 242 of 1000, about 6 minutes left",
    ]


def test_what_costs_clips_comes_first_and_no_kind_crowds_the_others_out():
    shown = terminal()
    problems = [DataIssue("link", f"joy/{n}", "a link") for n in range(20)] + [
        DataIssue("unreadable", "joy/x", "no video")
    ]
    shown.report_data(False, problems)
    lines = said(shown).splitlines()
    assert "20 link, 1 unreadable" in lines[0] and lines[1].startswith("  unreadable: joy/x")
    assert sum("link: joy" in line for line in lines) == 3 and lines[-1] == "  ... and 17 more"
