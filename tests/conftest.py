"""Fixtures shared by all test folders."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Set before torch is imported, also for the processes of tests: waiting OpenMP threads sleep, since they would
# otherwise spin and slow down the other test workers. `make speed` imports this module without pytest and measures
# the defaults.
if "pytest" in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that some hundred processes share compiled modules
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; commands inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook

from bench.types import DataIssue, DatasetInfo, Explanation, SplitRequest

pytest_plugins = ["tests.servers", "tests.postgres"]  # fixtures that start real servers
install_import_hook("methods", "beartype.beartype")  # check tensor shapes in signatures in every test

ROOT = Path(__file__).resolve().parents[1]
LONGEST = (
    "tests/studies/work/test_survival.py",
    "tests/test_docs.py",
    "tests/test_readme.py",
    "tests/studies/command/test_kill.py",
    "tests/studies/work/test_outages.py",
    "tests/studies/command/test_paper.py",
    "tests/studies/work/test_cluster.py",
    "tests/studies/test_api.py",
    "tests/test_notebook.py",
    "tests/bench/test_database.py",
    "tests/bench/test_hostile_records.py",
    "tests/studies/command/test_data_commands.py",
    "tests/bench/test_parallel.py",
    "tests/test_contracts.py",
    "tests/test_real_input.py",
)
"""Slowest test files. They start first, so that all workers end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the slowest files to the front; the order within a file stays."""
    rank = {ROOT / name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


@dataclass
class Quiet:
    """A Tracker and ProgressReporter that only stores what it receives."""

    epochs: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    explanations: dict[str, dict[str, Explanation]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problems: list[DataIssue] = field(default_factory=list)

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        self.epochs.append((stage, epoch, values))

    def start_run(self, title: str) -> None:
        pass

    def before_checkpoint(self) -> None:
        pass

    def report_progress(self, stage: str, done: int, total: int) -> None:
        pass

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Any = None) -> None:
        pass

    def notify(self, text: str) -> None:
        self.notices.append(text)

    def log_selected_epoch(self, epochs: int) -> None:
        self.chosen = epochs

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        self.explanations[stage] = explanations

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        self.problems.extend(problems)


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real clips next to the checkout; skip the test if it does not exist."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real clips at ../shared/data")
    return folder


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that creates a folder by name once for all test workers; others wait until it is complete.

    Tests must not change the folder; they change a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def find(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / f"once-{name}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "whole").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "whole").touch()
        return folder

    return find


def draw_sample(results: Path, card: DatasetInfo, clips: int, training: int) -> None:
    """Generate `clips` clips per class of the built-in sample in a results folder, prepared for the quick preset."""
    from datasets.registry import DATASETS
    from datasets.sample import ensure_sample

    ensure_sample(card, results, lambda *_: None, clips=clips, training=training)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        patch.setattr("datasets.paths.PROJECT_ROOT", results)
        DATASETS[card.name].load(SplitRequest(None, results, 24, 32, 0))


@pytest.fixture(scope="session")
def few_drawn(once: Once) -> Path:
    """Return a results folder with six prepared clips per class of Ekman-6's sample, five of them for training.

    `lend_sample` links it into another results folder.
    """
    from datasets.catalog.ekman6 import INFO

    def draw(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            work_here(patch)
            draw_sample(folder, INFO, 6, 5)

    return once("few-drawn", draw)


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Generate and prepare clips in the test process: for a few clips, starting a pool takes longer."""
    patch.setattr("bench.processes.MIN_POOL_PIECES", 10**6)


def lend_sample(drawn: Path, results: Path) -> Path:
    """Link a generated and prepared sample into a results folder; return the folder."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "sample").symlink_to(drawn / "sample")

    def link(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)

    shutil.copytree(drawn / "prepared", results / "prepared", copy_function=link)
    return results


@pytest.fixture
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generate and prepare clips in the test process."""
    work_here(monkeypatch)


@pytest.fixture(scope="session")
def ready_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty MLflow database to copy, since creating one takes 2 s."""
    from bench.mlflow import MlflowStore

    folder = tmp_path_factory.mktemp("mlflow")
    MlflowStore(folder).open()
    return folder / "mlflow.db"


@pytest.fixture
def results(tmp_path: Path, ready_mlflow: Path) -> Path:
    """Return a results folder with an empty MLflow database."""
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    return tmp_path
