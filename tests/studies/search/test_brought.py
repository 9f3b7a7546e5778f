"""The end of a search can be copied from another machine."""

import shutil
from dataclasses import replace

import pytest

from bench.errors import StoreError
from studies.search.publish import bring_summary, publish_search
from studies.search.search import Budget
from tests.studies.search.test_search import desk, make_search, run_out

__all__ = ["desk"]


def test_a_search_whose_summary_was_copied_here_is_not_made_again(desk, tmp_path, monkeypatch):
    monkeypatch.setattr("studies.search.publish.draw_search", lambda *told: [])
    there = make_search(desk, Budget(trials=3))
    run_out(there, desk)
    publish_search(there, desk.store)
    elsewhere = replace(desk, results=tmp_path / "b")
    shutil.copytree(desk.results / "searches", elsewhere.results / "searches")
    here = make_search(elsewhere, Budget(trials=3))
    assert not here.is_over()
    bring_summary(here, elsewhere.results)
    assert here.is_over() and here.claim() is None
    assert here.winner() == there.winner() and here.tried() == there.tried()
    more = make_search(elsewhere, Budget(trials=4))
    bring_summary(more, elsewhere.results)
    assert not more.is_over()  # more is asked than was found


def test_a_summary_that_is_none_is_said(desk):
    search = make_search(desk, Budget(trials=3))
    path = desk.results / "searches" / search.digest / "search.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(StoreError, match="is no summary of a search"):
        bring_summary(search, desk.results)
