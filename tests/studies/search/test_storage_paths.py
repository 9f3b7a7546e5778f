"""The Optuna database works in a results folder of any name."""

import pytest

from studies.storage import Storage, make_storage_url


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a?b", "a#b", "a b", "ä;&=+"])
def test_a_search_is_stored_inside_a_results_folder_of_any_name(tmp_path, name):
    results = tmp_path / name
    for _ in range(2):
        study = Storage(make_storage_url(results, None)).open_study("s")
        study.tell(study.ask(), 1.0)
    assert (results / "optuna.db").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert len(Storage(make_storage_url(results, None)).open_study("s").trials) == 2
