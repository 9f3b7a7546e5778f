"""A page of many runs stays small, is made in seconds, and opens at once."""

import time

import pytest

from reports.page.page import Drawn, page
from tests.chromium import chromium, needs_chromium
from tests.reports.page.made import ARMS, TITLES, many, report

pytestmark = pytest.mark.slow
MB = 1_000_000


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """16 methods on 5 data sets with 8 seeds, and the seconds that their page took a processor."""
    folder = tmp_path_factory.mktemp("big")
    arms = (*ARMS, *(f"{arm}-2" for arm in ARMS))
    runs = many(folder / "runs", arms, tuple(TITLES), 8, 500, epochs=100)
    started = time.process_time()
    content = page(report(runs), {"curve": Drawn("image/png", b"png")})
    path = folder / "page.html"
    path.write_text(content)
    return len(runs), path, time.process_time() - started


def test_640_runs_make_less_than_5_mb_in_less_than_10_s(big):
    many, path, seconds = big
    assert many == 640 and path.stat().st_size < 5 * MB and seconds < 10


@needs_chromium
def test_640_runs_open_at_once(big):
    with chromium() as browser:
        started = time.perf_counter()
        browser.open(big[1])
        assert time.perf_counter() - started < 5
        assert browser.evaluate("document.querySelector('#list .count').textContent") == "640 runs"
        assert browser.exceptions == [] and browser.console == []
