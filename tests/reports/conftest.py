"""Fixtures of all tests of reports: garbage collections that only look at objects of the test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def short_collections(frozen_by_module: None) -> None:
    """Freeze all existing objects before a test: statsmodels collects garbage at each Holm adjustment.

    That would take a quarter of a second for the objects of pytest, torch and MLflow.
    """
    gc.freeze()


@pytest.fixture(scope="module")
def frozen_by_module() -> Iterator[None]:
    """Unfreeze all objects at the end of a test module."""
    yield
    gc.unfreeze()
