"""Fixtures that every test folder shares."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from bench.data import Explanation, Problem

pytest_plugins = ["tests.servers", "tests.postgres"]  # real servers, for the tests that ask for one
install_import_hook("methods", "beartype.beartype")  # the shapes in signatures are checked in every test

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Quiet:
    """A tracker and screen that only remember."""

    epochs: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    told: dict[str, dict[str, Explanation]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        self.epochs.append((stage, epoch, values))

    def start_run(self, title: str) -> None:
        pass

    def keep(self) -> None:
        pass

    def progress(self, stage: str, done: int, total: int) -> None:
        pass

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def chose(self, epochs: int) -> None:
        self.chosen = epochs

    def explain(self, stage: str, explanations: dict[str, Explanation]) -> None:
        self.told[stage] = explanations

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
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


@pytest.fixture(scope="session")
def ready_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: a fresh one costs 2 s, a copy next to nothing."""
    from bench.store import Store

    folder = tmp_path_factory.mktemp("mlflow")
    Store(folder).open()
    return folder / "mlflow.db"


@pytest.fixture
def results(tmp_path: Path, ready_mlflow: Path) -> Path:
    """A results folder with an MLflow database ready."""
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    return tmp_path
