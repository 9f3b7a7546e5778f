"""The tour notebook and the code of docs/api.md run, and the notebook is whole and holds no path of a machine."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tour.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def read_sources(kind):
    return ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == kind]


def test_the_notebook_is_a_whole_one_with_stored_outputs():
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code[1:]) and NOTEBOOK.stat().st_size < 200_000
    kinds = {kind for cell in code for output in cell["outputs"] for kind in output.get("data", ())}
    assert {"image/png", "text/html", "text/plain"} <= kinds


def test_stored_outputs_hold_no_path_and_no_error():
    text = json.dumps([cell.get("outputs") for cell in CELLS if cell["cell_type"] == "code"])
    assert not re.search(r"/(home|root|tmp|work|Users)/", text) and "Traceback" not in text


def run_code(code, tmp_path):
    """Run code from standard input: as in a notebook, no file can be imported by other processes."""
    (tmp_path / "none").mkdir()
    env = {**os.environ, "BENCH_RESULTS": str(tmp_path / "results"), "BENCH_DATA": str(tmp_path / "none")}
    env |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, "-"], input=code, env=env, cwd=ROOT, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_the_cells_of_the_notebook_run_in_their_order(tmp_path):
    done = run_code("\n".join(read_sources("code")) + "\nprint('finished', len(rows), page.exists())\n", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "finished 4 True"


@pytest.mark.slow
def test_the_code_of_the_page_on_the_interface_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    done = run_code(code, tmp_path)
    assert done.returncode == 0 and "probe" in done.stdout, done.stderr[-2000:]
