"""A table as LaTeX for a paper, there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby

from reports.foreign import printable
from reports.formats.places import Written, letters, marks, name_of, text_of
from reports.formats.signs import spelt
from reports.tables.grid import Cell, Column, Grid, Line

PACKAGES = ("booktabs", "graphicx", "amssymb")
NARROW = 50  # letters of \small type that one of two columns, 3.25 inches, holds
GAP = 3  # letters that the space between two columns takes
COMMENT = re.compile(r"(?<!\\)(?:\\\\)*%")  # a percent sign that no backslash takes the meaning of
OPTION = re.compile(r"^ *[\[*]")  # in front: what `\\` and `\midrule` would take for theirs
MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # a hyphen that is one
OWN = re.compile(r"\s*(.*):((?: [\w.-]+)*)\s*")  # what a cell's comment says: name, keys
ROOM = r"\ifdim\wd8>\linewidth\linewidth\else\wd8\fi"  # never wider than it is: type would grow
NOTES = rf"\ifdim\wd8<.75\linewidth.75\linewidth\else{ROOM}\fi"  # as wide as the table, but no narrow tower of text


def latex(grid: Grid) -> str:
    r"""A whole table environment for `\input`; it needs the packages that its first line names, and any engine.

    Its caption is the title, after the warnings; how the table is to be read stands below it, with the footnotes. One
    of more than `NARROW` letters goes over both columns (`table*`; the same as `table` in a one-column paper), and one
    that is still too wide is shrunk. Each cell stands on a line of its own, with its name and the keys of its runs in
    a comment.
    """
    return text_of(written(grid))


def written(grid: Grid) -> list[Written]:
    """The lines of `latex`, with the cells on them."""
    known = letters(grid)
    kind = "table*" if _width(grid) > NARROW else "table"
    wanted = ", ".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    opening = [
        f"% Needs {wanted}.",
        rf"\begin{{{kind}}}[t]",
        r"\centering",
        r"\setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_caption(grid)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9_.-]', '-', grid.name)}}}",
        r"\small\renewcommand{\arraystretch}{1.1}",
        r"\sbox8{%",
        rf"\begin{{tabular}}{{{_columns(grid, known)}}}",
        r"\toprule",
        *_head(grid),
        *([r"\midrule"] if grid.lines else []),
    ]
    return [
        *map(Written, opening),
        *(part for at, line in enumerate(grid.lines) for part in _line(grid, line, at, known)),
        *map(Written, [r"\bottomrule", r"\end{tabular}}", rf"\resizebox{{{ROOM}}}{{!}}{{\usebox8}}"]),
        *map(Written, [*_foot(grid, known, kind), rf"\end{{{kind}}}"]),
    ]


def escape(text: str) -> str:
    r"""Text of any origin as LaTeX source on one line: nothing in it is a command, a comment or an option of `\\`.

    Letters beyond Latin ones with accents are themselves under XeTeX and LuaTeX, whose fonts may have them, and
    `[U+4E2D]` under pdflatex; what cannot be printed (line ends, changes of direction) is so everywhere. ✓ needs
    amssymb.
    """
    return OPTION.sub(r"{\g<0>}", spelt(text), count=1)


def read_latex(text: str) -> list[tuple[str, str]]:
    """Name and LaTeX source of every body cell, in the order of the file; names of lines as `<table>/<line>`."""
    found = []
    body = text.partition("\n\\midrule\n")[2].partition("\n\\bottomrule\n")[0]
    for line in body.split("\n"):
        comment = COMMENT.search(line)
        own = OWN.fullmatch(line[comment.end() :]) if comment else None
        if comment and own:
            found.append((own[1], line[: comment.end() - 1].strip().removeprefix("&").strip()))
    return found


def _width(grid: Grid) -> int:
    """Letters of the longest cell of each column, and the gaps between."""
    texts = [[column.title, *(line.cells[at].text for line in grid.lines)] for at, column in enumerate(grid.columns)]
    return sum(max(len(text) for text in column) + GAP for column in texts)


def _right(grid: Grid, at: int) -> bool:
    return at > 0 and grid.columns[at].numeric


def _columns(grid: Grid, known: Mapping[str, str]) -> str:
    """How columns are set. More than one letter of footnotes at a number would run into the column behind."""
    told = []
    for at in range(len(grid.columns)):
        longest = max((len(marks(line.cells[at], known)) for line in grid.lines), default=0)
        last = at + 1 == len(grid.columns)
        room = rf"@{{\hspace{{{'' if last else '2'}\tabcolsep}}\hspace{{{0.35 * longest:.2f}em}}}}"
        told.append(("r" if _right(grid, at) else "l") + (room if _right(grid, at) and longest > 1 else ""))
    return "".join(told)


def _caption(grid: Grid) -> str:
    title = escape(grid.title.rstrip(" ."))
    told = [*(rf"\textbf{{{escape(warning)}}}" for warning in grid.warnings), f"{title}." if title else ""]
    return " ".join(part for part in told if part)


def _head(grid: Grid) -> list[str]:
    """Headings of groups with a rule under each, then those of columns."""
    titles = [_title(grid, at, column) for at, column in enumerate(grid.columns)]
    lower = " & ".join(titles) + r" \\"
    if not any(column.group for column in grid.columns):
        return [lower]
    upper, rules, at = [], [], 0
    for group, members in groupby(grid.columns, key=lambda column: column.group):
        many = len(list(members))
        if group:
            upper.append(rf"\multicolumn{{{many}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{at + 1}-{at + many}}}")
        else:
            upper.extend([""] * many)
        at += many
    return [" & ".join(upper).lstrip() + r" \\", " ".join(rules), lower]


def _title(grid: Grid, at: int, column: Column) -> str:
    said = escape(column.title.strip(" "))
    return rf"\multicolumn{{1}}{{c}}{{{said}}}" if _right(grid, at) else said


def _line(grid: Grid, line: Line, at: int, known: Mapping[str, str]) -> list[Written]:
    """A line of the table; a rule above the first would double that of the head."""
    cells = []
    for place, cell in enumerate(line.cells):
        name = name_of(grid, line, place)
        said = f"  & {_cell(cell, known, _right(grid, place))}" if place else f"  {_cell(cell, known, False)}"
        keys = "".join(f" {re.sub(r'[^A-Za-z0-9_.-]', '-', key)}" for key in cell.keys)
        cells.append(Written(f"{said.rstrip()} % {printable(name)}:{keys}", (name,)))
    rule = [Written(r"\midrule")] if line.rule and at else []
    return [*rule, *cells, Written(r"  \\")]


def _cell(cell: Cell, known: Mapping[str, str], right: bool) -> str:
    """Letters of footnotes take no width in columns of numbers, whose digits stay below each other."""
    text = MINUS.sub("−", cell.text) if right else cell.text
    said, letter = escape(text.strip(" ")), marks(cell, known)
    if said and cell.mark:
        said = rf"\textbf{{{said}}}" if cell.mark == "best" else rf"\underline{{{said}}}"
    if not letter:
        return said
    return rf"{said}\rlap{{\textsuperscript{{{letter}}}}}" if right else rf"{said}\textsuperscript{{{letter}}}"


def _foot(grid: Grid, known: Mapping[str, str], kind: str) -> list[str]:
    """How the table is to be read, footnotes and notes: as wide as the column of text, or as a wide table and no less
    than three quarters of the page."""
    told = [rf"{escape(grid.caption)}\par"] if grid.caption else []
    told += [rf"\textsuperscript{{{known[note]}}}\,{escape(note)}\par" for note in grid.footnotes]
    told += [rf"{escape(note)}\par" for note in grid.notes]
    if not told:
        return []
    width = NOTES if kind == "table*" else r"\linewidth"
    return [r"\par\vspace{4pt}", rf"\begin{{minipage}}{{{width}}}\footnotesize\raggedright", *told, r"\end{minipage}"]
