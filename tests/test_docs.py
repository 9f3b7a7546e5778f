"""The documentation: its commands parse, its links resolve, and what it shows on small data runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import typer

from studies.cli.main import app
from tests.conftest import ROOT
from tests.documents import PAGES, SOURCE_PATH, find_missing_target, read_commands, read_links
from tests.reports.made import make_run

CODE_FOLDERS = ("bench", "methods", "datasets", "studies", "reports", "tests")
RUN_PAGES = ("tour", "studies", "reports", "predict", "troubleshooting")  # in the order of their commands
SKIPPED = {
    "python bench.py --method mart,mbt --dataset ekman6 --trials 20 --seeds 5",
    "python bench.py --method mart --dataset ekman6 --trials 10 --search lr,weight_decay,dropout",
    "python bench.py --method mart --dataset ekman6 --data DIR --pretrain-on perr",
    "python bench.py study ablation --seeds 10 --trials 20 --workers 2",
    "python bench.py runs KEY",
    "python bench.py report comparison --out paper --pdf",
    "python bench.py predict FILE --run KEY --transcript FILE.srt",
    "python bench.py predict clips/*/*.mp4 --transcript FOLDER",
}
"""Commands of RUN_PAGES that need data or hours; a new one has to be added on purpose."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def parse(words):
    """Parse a command line without running it; typer raises for an unknown command, option or value."""
    group = typer.main.get_command(app)
    context = group.make_context("bench.py", list(words))
    rest = [*getattr(context, "_protected_args", []), *context.args]
    if rest:
        name, command, rest = group.resolve_command(context, rest)
        command.make_context(name, rest, parent=context)


@each_page
def test_every_command_in_the_documentation_parses(page):
    for command in read_commands(page, inline=True):
        try:
            parse(command.words)
        except typer.Exit:
            continue  # --help
        except typer.TyperException as error:
            if type(error).__name__ == "MissingParameter" and len(command.words) == 1:
                continue  # a command that is only named
            pytest.fail(f"{page.name}: {command.text}: {error.format_message()}")


def test_the_parser_of_this_test_refuses_an_unknown_option():
    with pytest.raises(typer.TyperException):
        parse(["report", "ablation", "--no-such-option"])


@each_page
def test_every_relative_link_and_anchor_resolves(page):
    assert [fault for target in read_links(page) if (fault := find_missing_target(page, target))] == []


@each_page
def test_every_source_file_that_is_named_exists(page):
    named = set(SOURCE_PATH.findall(page.read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_page_that_a_message_names_exists_with_its_heading():
    files = [file for folder in CODE_FOLDERS for file in (ROOT / folder).rglob("*.py")]
    named = {
        found
        for file in files
        for found in re.findall(r"(?:docs/[\w/-]+|\b[A-Z_]{4,})\.md(?:#[\w-]+)?", file.read_text())
    }
    assert named and [fault for name in sorted(named) if (fault := find_missing_target(ROOT / "x.md", name))] == []


def test_every_page_is_linked_from_another():
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in read_links(page)}
    assert [page.name for page in PAGES if page.parent.name == "docs" and page not in linked] == []


def test_no_command_of_the_tested_pages_is_skipped_unnoticed():
    commands = [command for name in RUN_PAGES for command in read_commands(ROOT / "docs" / f"{name}.md")]
    assert {command.text for command in commands if not command.runs_anywhere} == SKIPPED


def run_in_order(commands, folder, env):
    """Run commands one after the other and return what differs from the documentation."""
    program = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'bench.py'))}"
    faults = []
    for command in commands:
        line = command.text.replace("python bench.py", program, 1)  # for a shell: some have patterns of file names
        done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        code, message = command.expected_exit
        printed = done.stdout + done.stderr
        if done.returncode != code or message not in printed:
            faults.append(f"{command.page}: {command.text}: exit {done.returncode}: {printed[-400:]}")
    return faults


@pytest.mark.slow
def test_the_commands_of_the_documentation_run_in_their_order(tmp_path):
    env = {**os.environ, "BENCH_RESULTS": str(tmp_path / "results"), "COLUMNS": "200"}
    env.pop("BENCH_DATA", None)
    tour = (ROOT / "docs/tour.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", tour, re.DOTALL)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, timeout=60)
    pages = {
        name: [each for each in read_commands(ROOT / "docs" / f"{name}.md") if each.runs_anywhere] for name in RUN_PAGES
    }
    faults = run_in_order(pages["tour"] + pages["studies"], tmp_path, env)
    # the other pages need only what these two made; the commands of troubleshooting do not need each other
    rest = [pages["reports"], pages["predict"], *([command] for command in pages["troubleshooting"])]
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda commands: run_in_order(commands, tmp_path, env), rest):
            faults += found
    assert faults == []
    made = [path for path in re.findall(r"`(results/[\w/.-]+)`", tour) if not (tmp_path / path).exists()]
    assert made == []


def test_the_python_code_of_the_page_on_results_lists_every_run(tmp_path, monkeypatch, capsys):
    records = [make_run(tmp_path / "results", arm, seed=seed) for arm in ("mbt", "mart") for seed in (0, 1)]
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "results.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(records) and any(" mart ekman6 " in line and " 1 " in line for line in lines)
