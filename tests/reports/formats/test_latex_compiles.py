from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.formats.latex import escape_latex, render_latex
from tests.reports.formats.grids import GRIDS, NASTY, paper

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed"),
]


def compiled(folder: Path, body: str, packages: list[str], options: str = "") -> str:
    """Compile a body and return the text of its pages; fails where pdflatex does."""
    wanted = "".join(rf"\usepackage{{{package}}}" for package in packages)
    source = rf"\documentclass[{options}]{{article}}{wanted}\begin{{document}}{body}\end{{document}}"
    (folder / "document.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    if shutil.which("pdftotext") is None:
        return ""
    told = subprocess.run(["pdftotext", "-layout", "document.pdf", "-"], cwd=folder, capture_output=True, check=True)
    return told.stdout.decode()


PACKAGES = ["amssymb", "booktabs", "graphicx"]


def tables(folder: Path) -> str:
    """Return LaTeX that inputs every table from its file."""
    for name, grid in GRIDS.items():
        (folder / f"{name}.tex").write_text(render_latex(grid), encoding="utf-8")
    return "".join(rf"\input{{{name}.tex}}" for name in GRIDS) + r"See \ref{tab:comparison}."


def letters() -> str:
    """Return LaTeX of characters of every script, plain, bold and next to each other."""
    numbers = [*range(0x0, 0x530), *range(0x2000, 0x2C00), *range(0x530, 0x2000, 16), *range(0x2C00, 0x30000, 128)]
    signs = [escape_latex(chr(number)) for number in numbers]
    both = [rf"{sign}\textbf{{{sign}}}" for sign in signs]
    runs = [escape_latex("".join(map(chr, numbers[at : at + 7]))) for at in range(0, len(numbers), 7)]
    return "\n\n".join([*both, *runs, *map(escape_latex, NASTY)])


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """Return document options -> text of the pages; the slow letters are compiled in one column only."""
    found = {}
    for options in ("", "twocolumn"):
        folder = tmp_path_factory.mktemp("latex")
        body = tables(folder) + (rf"\clearpage {letters()}" if not options else "")
        found[options] = compiled(folder, body, PACKAGES, options)
    return found


def test_tables_need_only_these_packages():
    wanted = [re.findall(r"\\usepackage\{(\w+)\}", render_latex(grid).split("\n")[0]) for grid in GRIDS.values()]
    assert {package for found in wanted for package in found} == set(PACKAGES)


@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_every_table_compiles_in_one_and_two_columns_with_the_packages_that_it_needs(printed, options):
    if text := printed[options]:
        for number in ("52.7 ± 1.2", "49.0 ± 1.0", "−1.2", "0.031", "BUILT-IN SAMPLE: synthetic clips", "1 of 5 runs"):
            assert number in text
        assert "[U+4E2D]" in text and r"\input{secret}" in text and "=1+1" in text


def test_a_table_that_does_not_compile_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="Undefined control sequence"):
        compiled(tmp_path, render_latex(paper()).replace(r"\textbf", r"\nothing"), PACKAGES)


def test_letters_of_every_script_compile(printed):
    text = printed[""]
    assert not text or ("[U+1F600]" in text and "[U+0530]" in text)
