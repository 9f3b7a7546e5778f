"""The result of a search can be imported from another machine."""

import shutil
from dataclasses import replace

import pytest

from bench.errors import StoreError
from studies.search import Budget
from studies.search_results import import_summary, publish_search
from tests.studies.search.test_search import environment, make_search, run_out

__all__ = ["environment"]


def test_a_search_whose_summary_was_copied_here_is_not_repeated(environment, tmp_path, monkeypatch):
    monkeypatch.setattr("studies.search_results.draw_search", lambda *args: [])
    there = make_search(environment, Budget(trials=3))
    run_out(there, environment)
    half = environment.results / "searches" / there.digest / ".slices.png.abcd_123"
    half.parent.mkdir(parents=True)
    half.touch()  # left by a kill
    publish_search(there, environment.store)
    assert not half.exists()
    elsewhere = replace(environment, results=tmp_path / "b")
    shutil.copytree(environment.results / "searches", elsewhere.results / "searches")
    here = make_search(elsewhere, Budget(trials=3))
    assert not here.is_over()
    import_summary(here, elsewhere.results)
    assert here.is_over() and here.lease_next() is None
    assert here.find_best_trial() == there.find_best_trial() and here.count_trials() == there.count_trials()
    more = make_search(elsewhere, Budget(trials=4))
    import_summary(more, elsewhere.results)
    assert not more.is_over()  # the budget is larger than the imported search


def test_an_invalid_summary_is_reported(environment):
    search = make_search(environment, Budget(trials=3))
    path = environment.results / "searches" / search.digest / "search.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(StoreError, match="not a valid search summary"):
        import_summary(search, environment.results)
