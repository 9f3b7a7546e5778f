"""A data set made ready: checked in seconds, or prepared to the last clip with a page about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.config import Config
from bench.data import Problem
from bench.facts import Facts
from bench.files import write_whole
from datasets.index.source import Source
from datasets.store.prepared import Form
from datasets.survey import find, read_stills, survey
from datasets.transcribing import transcribe
from methods.mart.survey import survey_cues
from methods.registry import METHODS
from reports.data.counts import doubts
from reports.data.page import PROBLEMS, page
from reports.data.tables import counts, problems, verdict, write_problems
from studies.command.exits import DONE, MISTAKE
from studies.command.screen import Terminal

METHOD = "mart"  # whose presets say at which size clips are prepared


def check_data(console: Console, source: Source, data: Path | None, fold: int) -> int:
    """Say what a data set lists and holds, and whether it is fit to run; no clip is decoded. The exit code."""
    found = find(source, data, fold)
    facts = found.facts()
    console.print(counts(facts))
    console.print(problems(facts, None))
    if not _judge(console, facts):
        return MISTAKE
    console.print(
        "fit to run; `python bench.py prepare` with the same words decodes every clip", style="green", soft_wrap=True
    )
    return DONE


def prepare_data(
    console: Console,
    source: Source,
    data: Path | None,
    fold: int,
    presets: Sequence[str],
    results: Path,
    model: Path | None,
) -> int:
    """Decode every clip into the store of each preset, tell what is wrong, and write the page and the list of problems.

    Sources are looked at anew: a clip that changed is prepared again. With the folder of a recogniser's model, clips
    without a transcript are given one first. The exit code.
    """
    with Terminal(console) as screen:
        found = find(source, data, fold)
        screen.notice(f"{source.card.title}: {len(found.index.clips)} clips of {found.folder}")
        heard: list[Problem] = []
        if model is not None:
            heard = transcribe(found.index.clips, found.root, model, source.card.language, screen.progress)
            found = find(source, data, fold)
        for preset in presets:
            surveyed = survey(found, form_of(preset), results, screen.progress)
        facts = replace(
            surveyed.facts,
            problems=(*heard, *surveyed.facts.problems),
            stills=read_stills(surveyed, screen.progress),
            sections=(survey_cues(source.card, surveyed.words()),),
        )
    place = results / "datasets" / source.card.name
    write_problems(facts.problems, place / PROBLEMS)
    write_whole(place / "index.html", page(facts).encode())
    console.print(counts(facts))
    console.print(problems(facts, place / PROBLEMS))
    fit = _judge(console, facts)
    console.print(f"page: {place / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
    return DONE if fit else MISTAKE


def _judge(console: Console, facts: Facts) -> bool:
    """Say what forbids a run, and what makes its scores worth less; whether it can be run."""
    unfit = verdict(facts)
    for line in unfit:
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    for line in doubts(facts):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return not unfit


def form_of(preset: str) -> Form:
    """The size at which a preset opens clips."""
    config: Config = METHODS[METHOD].config.preset(preset)
    sampling = METHODS[METHOD].sampling(config, True)
    return Form.of(sampling.size, sampling.mels)
