"""Progress without a terminal (lines) and with one (bars), and which data issues are printed."""

import io
import logging
import re

import pytest
from rich.console import Console

from bench.types import DataIssue
from studies.cli import progress as screen
from studies.cli.progress import TerminalReporter
from studies.worker import LogReporter
from tests.studies.command_line import bench

EPOCH = re.compile(r"toy (warm|finetune): epoch (\d+)/(\d+), loss \d+\.\d{3}(, val Acc E \d+\.\d %)?(, about .* left)?")


def log_file():
    return TerminalReporter(Console(file=io.StringIO(), width=100))


def live(width=80):
    return TerminalReporter(Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None))


def printed(reporter):
    return reporter.console.file.getvalue()


def bars(reporter):
    """Return the bars as they are drawn now."""
    console = Console(width=reporter.console.width, file=io.StringIO())
    console.print(reporter.get_renderable())
    return console.file.getvalue()


@pytest.fixture
def now(monkeypatch):
    """Replace the clock by the number of seconds in a list."""
    found = [100.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: found[0])
    return found


def test_without_a_terminal_long_work_prints_one_line_a_minute(now):
    reporter = log_file()
    for done in range(0, 301):
        reporter.report_progress("prepare", done, 1000)
        now[0] += 0.5
    assert printed(reporter).splitlines() == [
        "prepare: 121 of 1000, about 7 min left",
        "prepare: 242 of 1000, about 6 min left",
    ]


def test_without_a_terminal_training_prints_one_line_an_epoch(now):
    reporter = log_file()
    reporter.start_run("mart on ekman6, seed 0")
    reporter.report_epoch("pretrain", 0, 2, {})
    for step in range(200):
        now[0] += 1
        reporter.report_progress("pretrain", step + 1, 200)
        if step in (99, 199):
            reporter.report_epoch("pretrain", (step + 1) // 100, 2, {"pretrain/loss": 1.23449})
    reporter.report_epoch("train", 6, 40, {})
    now[0] += 2
    reporter.report_epoch("train", 7, 40, {"train/loss": 0.812, "val/acc_e": 0.6123, "val/loss": 0.9})
    assert printed(reporter).splitlines() == [
        "mart on ekman6, seed 0",
        "mart pretrain: epoch 1/2, loss 1.234, about 2 min left",
        "mart pretrain: epoch 2/2, loss 1.234",
        "mart train: resuming after epoch 6/40",
        "mart train: epoch 7/40, loss 0.812, val Acc E 61.2 %, about 1 min left",
    ]


def test_without_a_terminal_a_long_epoch_prints_a_line_every_five_minutes(now):
    reporter = log_file()
    reporter.start_run("mart on ekman6, seed 0")
    reporter.report_epoch("train", 3, 6, {})
    for step in range(600, 801):
        now[0] += 5
        reporter.report_progress("train", step, 1200)
        if step == 800:
            reporter.report_epoch("train", 4, 6, {"train/loss": 1.0})
    assert printed(reporter).splitlines()[1:] == [
        "mart train: resuming after epoch 3/6",
        "mart train: step 661 of 1200, about 46 min left",
        "mart train: step 722 of 1200, about 40 min left",
        "mart train: step 783 of 1200, about 35 min left",
        "mart train: epoch 4/6, loss 1.000, about 34 min left",
    ]


def test_a_worker_logs_each_epoch(caplog):
    caplog.set_level(logging.INFO, "bench")
    reporter = LogReporter()
    reporter.start_run("mart on ekman6, seed 0")
    reporter.report_epoch("finetune", 0, 40, {})
    reporter.report_epoch("finetune", 7, 40, {"finetune/loss": 0.812, "val/acc_e": 0.6123})
    assert caplog.messages == [
        "mart on ekman6, seed 0",
        "finetune: epoch 7/40, loss 0.812, val Acc E 61.2 %",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9, ""),
        (22, ", about 20 s left"),
        (58, ", about 1 min left"),
        (1800, ", about 30 min left"),
        (7200, ", about 2.0 h left"),
    ],
)
def test_the_time_left_has_a_fitting_unit(seconds, text):
    assert screen._format_time_left(seconds) == text


def test_on_a_terminal_the_bar_of_a_stage_shows_epoch_loss_and_score_in_one_line_of_80_columns():
    reporter = live()
    reporter.start_run("mart on ekman6, seed 0")
    reporter.report_epoch("finetune", 0, 40, {})
    reporter.report_progress("finetune", 70, 400)
    assert "70/400" in bars(reporter)
    reporter.report_epoch("finetune", 7, 40, {"finetune/loss": 0.812, "val/acc_e": 0.612})
    (line,) = bars(reporter).splitlines()
    assert "finetune" in line and "epoch 7/40, loss 0.812, val Acc E 61.2 %" in line and len(line) <= 80
    assert printed(reporter).splitlines() == ["mart on ekman6, seed 0"]


@pytest.mark.parametrize("width", [40, 60, 71])
def test_a_narrow_terminal_leaves_out_the_loss_and_keeps_the_score(width):
    reporter = live(width)
    reporter.report_epoch("finetune", 0, 40, {})
    reporter.report_progress("finetune", 70, 400)
    reporter.report_epoch("finetune", 7, 40, {"finetune/loss": 0.812, "val/acc_e": 0.612})
    (line,) = bars(reporter).splitlines()
    assert "loss" not in line and ("epoch 7/40, val Acc E 61.2 %" in line or width == 40) and len(line) <= width


def test_work_of_nothing_has_no_bar():
    reporter = live()
    reporter.report_progress("prepare", 0, 0)
    reporter.update_overall("runs", 0, 0)
    assert bars(reporter).strip() == ""


def test_a_log_file_holds_no_control_characters_and_one_line_per_epoch(results):
    done = bench("--method", "toy", "--dataset", "toy", "--set", "epochs=3", results=results)
    found = [EPOCH.fullmatch(line) for line in done.out.splitlines() if " epoch " in line]
    assert all(found) and [(one[1], one[2], one[3]) for one in found] == [
        (stage, str(epoch), "3") for stage in ("warm", "finetune") for epoch in (1, 2, 3)
    ]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.out) and "━━━ " not in done.out
    assert done.out.count("val Acc E") == 4  # of the epochs and of the table


def test_issues_that_lose_clips_come_first_and_no_kind_displaces_the_others():
    reporter = log_file()
    problems = [DataIssue("link", f"joy/{n}", "a link") for n in range(20)] + [
        DataIssue("unreadable", "joy/x", "no video")
    ]
    reporter.report_data(False, problems)
    lines = printed(reporter).splitlines()
    assert "20 link, 1 unreadable" in lines[0] and lines[1].startswith("  unreadable: joy/x")
    assert sum("link: joy" in line for line in lines) == 3 and lines[-1] == "  ... and 17 more"
