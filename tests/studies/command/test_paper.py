"""From nothing to a printed report: a small study on the built-in sample, as `make paper-demo` makes a larger one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SHORT = ("--set", "epochs=1", "--set", "pretrain_epochs=1")


def bench(*words, results, folder):
    """The real command line, away from any real data."""
    env = {**os.environ, "BENCH_RESULTS": str(results), "BENCH_DATA": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "bench.py", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_study_on_the_sample_becomes_a_report_that_holds_and_prints(tmp_path):
    results, out, none = tmp_path / "results", tmp_path / "report", tmp_path / "no-data"
    none.mkdir()
    said = bench("study", "verification", "--seeds", "2", "--workers", "2", *SHORT, results=results, folder=none)
    assert "python bench.py report verification" in said
    said = bench("report", "verification", "--out", str(out), "--pdf", results=results, folder=none)
    assert "BUILT-IN SAMPLE" in said and "8 runs" in said
    assert "every number follows" in bench("report", "--check", "--out", str(out), results=results, folder=none)
    table = (out / "tables" / "verification_verification_ekman6.tex").read_text()
    assert "BUILT-IN SAMPLE" in table and table.count("% verification") > 4 * 8
    pictures = {path.stem for path in (out / "figures").glob("*.pdf")}
    wanted = {"results", "differences", "confusion_ekman6", "radar", "reliability"}
    assert {f"verification_{name}" for name in wanted} <= pictures
    assert {"clips_emotions", "clips_maskings", "clips_words", "clips_features"} <= pictures
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    assert len(cells["verification_scores/mart/ekman6/acc_e"]["runs"]) == 2
    if shutil.which("pdflatex") and shutil.which("pdftotext"):
        printed = subprocess.run(
            ["pdftotext", out / "paper.pdf", "-"], capture_output=True, text=True, check=True
        ).stdout
        assert "BUILT-IN SAMPLE" in printed and "mart-sentiment-only" in printed and "Implementation details" in printed
