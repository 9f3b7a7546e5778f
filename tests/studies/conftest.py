"""Fixtures for tests of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.storage import Storage, make_storage_url


@pytest.fixture(scope="session")
def ready_optuna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an empty Optuna database; copying it into a results folder is faster than creating one."""
    folder = tmp_path_factory.mktemp("optuna")
    Storage(make_storage_url(folder, None)).open()
    return folder / "optuna.db"
