"""The end of a search can be copied from another machine."""

import shutil
from dataclasses import replace

import pytest

from bench.errors import StoreError
from studies.search import Budget
from studies.search_results import import_summary, publish_search
from tests.studies.search.test_search import desk, make_search, run_out

__all__ = ["desk"]


def test_a_search_whose_summary_was_copied_here_is_not_made_again(desk, tmp_path, monkeypatch):
    monkeypatch.setattr("studies.search_results.draw_search", lambda *told: [])
    there = make_search(desk, Budget(trials=3))
    run_out(there, desk)
    half = desk.results / "searches" / there.digest / ".slices.png.abcd_123"
    half.parent.mkdir(parents=True)
    half.touch()  # as a kill leaves it
    publish_search(there, desk.store)
    assert not half.exists()
    elsewhere = replace(desk, results=tmp_path / "b")
    shutil.copytree(desk.results / "searches", elsewhere.results / "searches")
    here = make_search(elsewhere, Budget(trials=3))
    assert not here.is_over()
    import_summary(here, elsewhere.results)
    assert here.is_over() and here.lease_next() is None
    assert here.find_best_trial() == there.find_best_trial() and here.count_trials() == there.count_trials()
    more = make_search(elsewhere, Budget(trials=4))
    import_summary(more, elsewhere.results)
    assert not more.is_over()  # more is asked than was found


def test_a_summary_that_is_none_is_said(desk):
    search = make_search(desk, Budget(trials=3))
    path = desk.results / "searches" / search.digest / "search.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(StoreError, match="not a valid search summary"):
        import_summary(search, desk.results)
