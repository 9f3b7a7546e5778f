"""Benchmark of a large plan: seconds until the first of 10 missing runs starts, with 9,990 finished."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.execute import RunEnvironment, execute
from bench.mlflow import MlflowStore
from bench.record import RECORD_FILE, RunFolder
from studies.plan import RunKeyResolver, resolve_requests
from tests.conftest import Quiet

ROOT = Path(__file__).resolve().parents[2]
CELLS, LEFT = 10_000, 10
COMMAND = ("bench.py", "--method", "majority", "--dataset", "ekman6", "--seeds", str(CELLS))


def make_records(results: Path) -> None:
    """Write records of all but the last seeds: copies of one real run under each seed's key."""
    environment = RunEnvironment(results, MlflowStore(results), Quiet(), lambda *given: [])
    requests = resolve_requests("majority", "ekman6", "quick", [], range(CELLS - LEFT))
    record, known = execute(requests[0], environment).record, RunKeyResolver(environment)
    for request in requests[1:]:
        spec = known.make_spec(request)
        folder = RunFolder(results / "runs" / spec.key)
        folder.path.mkdir()
        (folder.path / RECORD_FILE).write_text(replace(record, key=spec.key, spec=spec).to_json())


def seconds_until_first_run(results: Path) -> float:
    """Return the seconds from the command to the line that announces the first missing run."""
    words = [sys.executable, *COMMAND, "--results", str(results), "--storage", f"sqlite:///{results / 'optuna.db'}"]
    since = time.perf_counter()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(f"majority on ekman6, seed {CELLS - LEFT}"):
            found = time.perf_counter() - since
            process.kill()
            process.wait()
            return found
    raise SystemExit("no run started:\n" + "".join(lines[-20:]))


def main() -> None:
    """Print the figure on a line."""
    with tempfile.TemporaryDirectory() as name:
        make_records(Path(name))
        found = seconds_until_first_run(Path(name))
        print(f"10,000 runs, 9,990 done: first run  {found:5.1f} s   (target: under 5)")


if __name__ == "__main__":
    main()
