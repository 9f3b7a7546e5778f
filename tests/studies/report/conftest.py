"""Garbage collection settings of tests/reports, since these tests also apply Holm's correction often."""

from __future__ import annotations

from tests.reports.conftest import frozen_by_module, short_collections

__all__ = ["frozen_by_module", "short_collections"]
