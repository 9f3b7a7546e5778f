"""A page of many runs stays small and opens whole; how fast it is made, `python -m tests.speed report` tells."""

import pytest

from reports.page.page import Drawn, page
from tests.chromium import chromium, needs_chromium
from tests.reports.page.made import ARMS, TITLES, many, report

pytestmark = pytest.mark.slow
MB = 1_000_000


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """The page of 16 methods on 5 data sets with 8 seeds: 640 runs."""
    folder = tmp_path_factory.mktemp("big")
    arms = (*ARMS, *(f"{arm}-2" for arm in ARMS))
    runs = many(folder / "runs", arms, tuple(TITLES), 8, 500, epochs=100)
    assert len(runs) == 640
    path = folder / "page.html"
    path.write_text(page(report(runs), {"curve": Drawn("image/png", b"png")}))
    return path


def test_640_runs_make_less_than_5_mb(big):
    assert big.stat().st_size < 5 * MB


@needs_chromium
def test_640_runs_open_and_nothing_complains(big):
    with chromium() as browser:
        browser.open(big)
        assert browser.evaluate("document.querySelector('#list .count').textContent") == "640 runs"
        assert browser.exceptions == [] and browser.console == []
