"""Collections of garbage as in the tests of reports: those of studies' reports adjust by Holm as often."""

from __future__ import annotations

from tests.reports.conftest import frozen_by_module, short_collections

__all__ = ["frozen_by_module", "short_collections"]
