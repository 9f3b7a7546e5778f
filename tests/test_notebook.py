"""The tour notebook runs in a Jupyter kernel, and the code of docs/api.md without one; no path of a machine is stored.

`python -m tests.test_notebook` executes the notebook and stores its outputs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT, lend_sample

NOTEBOOK = ROOT / "docs" / "tour.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


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


def execute(folder):
    """Execute the notebook in a kernel of this environment, with its files in `folder`, and return it with outputs."""
    (folder / "none").mkdir()
    changed = {"BENCH_RESULTS": str(folder / "results"), "BENCH_DATA": str(folder / "none"), "PYTHONPATH": str(ROOT)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        book = nbformat.read(NOTEBOOK, as_version=4)
        place = {"metadata": {"path": NOTEBOOK.parent}}
        client = NotebookClient(book, timeout=900, kernel_name="python3", resources=place, coalesce_streams=True)
        client.execute()  # raises the error of a cell
    return book


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel_with_worker_processes(tmp_path, few_drawn):
    lend_sample(few_drawn, tmp_path / "results")
    cells = [cell for cell in execute(tmp_path).cells if cell.cell_type == "code"]
    printed = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs), printed
    (study,) = (text for text in printed if "optimism: 4 runs" in text)
    done = [f"{arm} on ekman6 seed 0{name}: done" for arm in ("mart", "mbt") for name in (" best-on-test", "")]
    assert sorted(line for line in study.splitlines() if line.endswith("done")) == sorted(done)
    assert len(list(tmp_path.glob("results/runs/*/record.json"))) == 8


def run_code(code, tmp_path):
    """Run code from standard input: as in a notebook, no file can be imported by other processes."""
    (tmp_path / "none").mkdir()
    env = {**os.environ, "BENCH_RESULTS": str(tmp_path / "results"), "BENCH_DATA": str(tmp_path / "none")}
    env |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, "-"], input=code, env=env, cwd=ROOT, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_the_code_of_the_page_on_the_interface_runs(tmp_path, few_drawn):
    lend_sample(few_drawn, tmp_path / "results")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    done = run_code(code, tmp_path)
    assert done.returncode == 0 and "probe" in done.stdout, done.stderr[-2000:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(Path(folder))
    for cell in executed.cells:
        cell.metadata.clear()  # times of execution
    nbformat.write(executed, NOTEBOOK)
