"""From an empty folder to a printed report: a study on a few sample clips (`make paper-demo` runs a larger one)."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.conftest import lend_sample
from tests.studies.command_line import bench, process

SHORT = ("--set", "epochs=1", "--set", "pretrain_epochs=1")


@pytest.mark.slow
def test_a_study_on_the_sample_becomes_a_report_that_holds_and_prints(tmp_path, few_drawn, ready_mlflow):
    results, out, none = lend_sample(few_drawn, tmp_path / "results"), tmp_path / "report", tmp_path / "no-data"
    shutil.copy(ready_mlflow, results / "mlflow.db")
    none.mkdir()
    words = ("study", "verification", "--seeds", "2", "--workers", "2", *SHORT, "--results", results)
    done = process("bench.py", *words, data=none)
    assert done.code == 0 and "python bench.py report verification" in done.out, done.out + done.err
    done = bench("report", "verification", "--out", out, "--pdf", results=results, data=none)
    assert done.code == 0 and "BUILT-IN SAMPLE" in done.out and "8 runs" in done.out, done.out + done.err
    done = bench("report", "--check", "--out", out, results=results, data=none)
    assert done.code == 0 and "every score was recomputed" in done.out
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
