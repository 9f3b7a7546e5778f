"""What all tests of reports share: collections of garbage that look at what a test made, and at nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def short_collections(frozen_by_module: None) -> None:
    """Let a collection pass over all that is there before a test: statsmodels asks for one at each adjustment by Holm,
    which takes a quarter of a second of what pytest, torch and MLflow hold."""
    gc.freeze()


@pytest.fixture(scope="module")
def frozen_by_module() -> Iterator[None]:
    """Give back what was frozen when a file of tests ends."""
    yield
    gc.unfreeze()
