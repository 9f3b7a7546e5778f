"""Tests that results of version 0.1 can still be listed, reported, checked and used for prediction.

`python -m tests.guard results` checks more of them and takes longer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.guard.results import (
    NUMBERS,
    check_list,
    check_predict,
    check_records,
    check_report,
    check_trials,
    recompute_report,
    unpack,
)
from tests.guard.table import Check

pytestmark = pytest.mark.slow  # a report takes seconds


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(NUMBERS.read_text())
    return numbers


def holds(check: Check) -> None:
    assert check.ok, "; ".join(check.faults)


def test_records_are_read_with_their_scores(results, expected):
    holds(check_records(results, expected))


def test_old_results_are_listed(results):
    holds(check_list(results))


def test_a_study_is_reported_with_the_same_numbers_and_they_hold(results, expected):
    holds(check_report(results, "study", expected))
    holds(recompute_report(results, "study"))


def test_a_failed_run_is_reported_as_failed(results, expected):
    holds(check_report(results, "named data", expected))


def test_a_model_predicts_the_same_scores_for_a_clip(results, expected):
    holds(check_predict(results, expected))


def test_the_trials_of_a_search_are_read(results, expected):
    holds(check_trials(results, expected))
