"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Before torch is imported, and for every process that a test starts: threads that wait for each other sleep. As many
# test workers as cores would otherwise spin away most of each other's time. `make speed`, which borrows from here,
# measures what users have.
if "pytest" in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of some hundred processes compiles our modules anew

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook

from bench.types import DataIssue, DatasetInfo, Explanation, SplitRequest

pytest_plugins = ["tests.servers", "tests.postgres"]  # real servers, for the tests that ask for one
install_import_hook("methods", "beartype.beartype")  # the shapes in signatures are checked in every test

ROOT = Path(__file__).resolve().parents[1]
LONGEST = (
    "tests/studies/work/test_survival.py",
    "tests/test_docs.py",
    "tests/test_readme.py",
    "tests/studies/command/test_kill.py",
    "tests/studies/work/test_outages.py",
    "tests/studies/command/test_paper.py",
    "tests/studies/work/test_cluster.py",
    "tests/bench/test_database.py",
    "tests/bench/test_hostile_records.py",
    "tests/studies/command/test_data_commands.py",
    "tests/bench/test_parallel.py",
    "tests/test_contracts.py",
    "tests/test_real_input.py",
)
"""Files that take longest, which start first, so that both workers end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the tests of a file keep their order."""
    rank = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


@dataclass
class Quiet:
    """A tracker and screen that only remember."""

    epochs: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    told: dict[str, dict[str, Explanation]] = field(default_factory=dict)
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

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        pass

    def notify(self, text: str) -> None:
        self.notices.append(text)

    def log_selected_epoch(self, epochs: int) -> None:
        self.chosen = epochs

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        self.told[stage] = explanations

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        self.problems.extend(problems)


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and lists beside the checkout; tests that want it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real clips (../shared/data) beside the checkout")
    return folder


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder by name, once for all test workers: the first that asks fills it, the others wait and find it.

    Whoever would change what is in it changes a copy.
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
    """Draw `clips` clips a class of the built-in sample into a results folder, and prepare them as `quick` has it."""
    from datasets.registry import DATASETS
    from datasets.sample import ensure_sample

    ensure_sample(card, results, lambda *_: None, clips=clips, training=training)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BENCH_DATA", raising=False)
        patch.setattr("datasets.paths.PROJECT_ROOT", results)
        DATASETS[card.name].load(SplitRequest(None, results, 24, 32, 0))


@pytest.fixture(scope="session")
def few_drawn(once: Once) -> Path:
    """A results folder with the first six clips of each class of Ekman-6's sample, five of them for training, drawn and
    prepared for the quick preset. `lend_sample` gives it to another results folder."""
    from datasets.catalog.ekman6 import INFO

    def draw(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            work_here(patch)
            draw_sample(folder, INFO, 6, 5)

    return once("few-drawn", draw)


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Let clips be drawn and prepared in the test's own process: to start a pool takes longer than a few of them do."""
    patch.setattr("bench.processes.MIN_POOL_PIECES", 10**6)


def lend_sample(drawn: Path, results: Path) -> Path:
    """The results folder with a drawn sample in it, as if it had been drawn and prepared there; its clips are links."""
    results.mkdir(parents=True, exist_ok=True)
    (results / "sample").symlink_to(drawn / "sample")

    def link(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)

    shutil.copytree(drawn / "prepared", results / "prepared", copy_function=link)
    return results


@pytest.fixture
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are drawn and prepared in the test's own process."""
    work_here(monkeypatch)


@pytest.fixture(scope="session")
def ready_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: a fresh one costs 2 s, a copy next to nothing."""
    from bench.mlflow import MlflowStore

    folder = tmp_path_factory.mktemp("mlflow")
    MlflowStore(folder).open()
    return folder / "mlflow.db"


@pytest.fixture
def results(tmp_path: Path, ready_mlflow: Path) -> Path:
    """A results folder with an MLflow database ready."""
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    return tmp_path
