"""What lines of one report are called, so that no two are mistaken for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.protocol import flag
from reports.results.run import Run, Values

CALLED: dict[Values, str] = {"own": "untuned", "frozen": "frozen", "re-tuned": "re-tuned"}


def told_apart(runs: Sequence[Run], by_hand: bool) -> list[Run]:
    """The runs with what tells their lines apart: whose values, where arms that could be searched have different ones;
    which preset; what was set by hand, if asked for; which protocol."""
    kinds = {run.values for run in runs if run.searched or run.values != "own"}
    presets = {run.record.preset for run in runs}
    found = []
    for run in runs:
        told = [CALLED[run.values] if len(kinds) > 1 and (run.searched or run.values != "own") else ""]
        told += [run.record.preset if len(presets) > 1 else "", run.settings if by_hand else "", flag(run.record.spec)]
        found.append(replace(run, apart="; ".join(text for text in told if text)))
    return found


def values_in_words(runs: Sequence[Run], preset: str, settings: str, full: str, by_hand: bool) -> str:
    """A sentence for every caption: which preset, what was set by hand, and how which arms came by their values."""
    head = f"Preset {preset}{f' with {settings}' if settings else ''}"
    if by_hand:
        head += "; values that were set by hand stand in the names of lines"
    tuned = [run for run in runs if run.values != "own"]
    if not tuned:
        return f"{head}; values as the preset has them."
    most = max(run.tried for run in tuned)
    how: dict[str, list[Run]] = {
        f"re-tuned (searched on val for the arm itself, up to {most} configurations)": _of(runs, "re-tuned"),
        f"frozen (as searched for {full})": _of(runs, "frozen"),
        "untuned (as the preset has them)": [run for run in _of(runs, "own") if run.searched],
    }
    told = [f"{text}: {', '.join(dict.fromkeys(run.arm for run in group))}" for text, group in how.items() if group]
    return f"{head}; values {'; '.join(told)}."


def _of(runs: Sequence[Run], values: Values) -> list[Run]:
    return [run for run in runs if run.values == values]
