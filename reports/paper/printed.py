"""The LaTeX document of a report as a PDF, where a LaTeX is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.errors import StoreError
from bench.files import write_whole

SOURCE, PRINTED = "paper.tex", "paper.pdf"
PATIENCE = 300  # seconds
COMMANDS = {
    "pdflatex": ("-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-output-directory"),
    "tectonic": ("--untrusted", "--outdir"),
}
TWICE = ("pdflatex",)  # labels are known in the second pass


def find_latex() -> str | None:
    """The LaTeX that is installed: pdflatex, or else tectonic; None without either."""
    return next((name for name in COMMANDS if shutil.which(name)), None)


def print_paper(out: Path, latex: str) -> None:
    """Compile a report's document, beside it, with everything but the PDF left elsewhere.

    Raises StoreError with LaTeX's own complaint where it cannot be compiled.
    """
    with tempfile.TemporaryDirectory() as name:
        words = [latex, *COMMANDS[latex], name, SOURCE]
        for _ in range(2 if latex in TWICE else 1):
            try:
                done = subprocess.run(words, cwd=out, capture_output=True, timeout=PATIENCE, check=False)
            except subprocess.TimeoutExpired:
                raise StoreError(
                    f"{latex} took more than {PATIENCE} s over {out / SOURCE}; compile it by hand"
                ) from None
            if done.returncode:
                raise StoreError(f"{latex} cannot compile {out / SOURCE}: {_complaint(done.stdout + done.stderr)}")
        write_whole(out / PRINTED, (Path(name) / PRINTED).read_bytes())


def _complaint(said: bytes) -> str:
    """The first line in which LaTeX says what is wrong."""
    lines = said.decode(errors="replace").splitlines()
    wrong = [line for line in lines if line.startswith(("!", "error:"))]
    return (wrong or [line for line in lines if line.strip()][-1:] or ["it said nothing"])[0]
