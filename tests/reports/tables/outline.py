"""Numbers and structure of a table as text, without its sentences, whose wording may change."""

from __future__ import annotations

import re

from reports.formats import assign_footnote_letters
from reports.types import Cell, Table
from tests.reports.tables.by_hand import LABELS

WORD = re.compile(r"[^\W\d_]{2,}")  # a single letter is part of a number: 1e-05
FLAG = re.compile(r"[A-Z]{2,}[A-Z -]*[A-Z](?= |:|$)")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def outline(grid: Table) -> str:
    """Return a line for each column, warning, footnote and note, and for each cell with content.

    The line of a cell has its name, the numbers in its text, its mark, value, footnotes and runs.
    """
    known = assign_footnote_letters(grid)
    lines = [f"column\t{column.id}\t{_numbers(column.group)}".strip() for column in grid.columns]
    lines += [f"warning\t{' '.join(FLAG.findall(text)[:1])}\t{_numbers(text)}".rstrip() for text in grid.warnings]
    lines += [f"footnote\t{known[text]}" for text in grid.footnotes]
    lines += [f"note\t{' '.join(sorted(one for one in NUMBER.findall(text) if '.' in one))}" for text in grid.notes]
    for line in grid.rows:
        name = f"{grid.name}/{line.id}"
        lines.append(
            "\t".join([f"line{' below a rule' * line.rule_above}", name, *_cell(line.cells[0], known)[3:4]]).strip()
        )
        for column, cell in zip(grid.columns[1:], line.cells[1:], strict=True):
            told = _cell(cell, known)
            if any(told[1:]) or told[0] not in ("", "–"):
                lines.append("\t".join(["cell", f"{line.id}/{column.id}", *told]).rstrip())
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, known: dict[str, str]) -> list[str]:
    figures = " ".join(WORD.sub(" ", cell.text).split())
    value = "" if cell.value is None else f"{cell.value:.6g}"
    return [figures, cell.mark, value, " ".join(known[note] for note in cell.footnotes), _runs(cell.run_keys)]


def _runs(keys: tuple[str, ...]) -> str:
    """Return runs by label, fold and seed: keys depend on the schema of records."""
    found: dict[str, list[str]] = {}
    for key in keys:
        line, place = LABELS[key]
        found.setdefault(line, []).append(place)
    return "; ".join(f"{line}: {' '.join(places)}" for line, places in found.items())


def _numbers(text: str) -> str:
    return " ".join(NUMBER.findall(text))
