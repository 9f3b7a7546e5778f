import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.exchange import sync
from bench.execute import Desk, execute
from bench.record import Record, RunFolder
from bench.store import Store
from reports.figures import draw_confusion
from tests.bench.test_execute import ask

AWAY = "http://127.0.0.1:9"  # nobody listens there


def desk_at(path, quiet, uri=None):
    return Desk(path, Store(path, uri), quiet, draw_confusion)


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_mlflow_being_away_loses_nothing_and_sync_brings_it_in(results, quiet):
    desk = desk_at(results, quiet, AWAY)
    outcome = execute(ask(), desk)
    assert outcome.record.error is None and outcome.run_id is None
    assert desk.store.away is not None and "cannot be reached" in desk.store.away
    store = Store(results)
    assert (sync(store).pushed, sync(store).pushed) == (1, 0)
    run_id = store.run_id(RunFolder(results / "runs" / outcome.record.key))
    client = store.connect()
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run_id, "warm/loss")] == list(range(6))


def test_publishing_twice_makes_one_run(results, quiet):
    desk = desk_at(results, quiet)
    outcome = execute(ask(), desk)
    folder = RunFolder(results / "runs" / outcome.record.key)
    assert desk.store.publish(folder, outcome.record) == outcome.run_id
    assert len(desk.store.runs_of(outcome.record.key)) == 1


def test_a_publication_cut_off_before_its_last_tag_is_finished_by_the_next(results, quiet):
    desk = desk_at(results, quiet)
    outcome = execute(ask(), desk)
    client = desk.store.connect()
    client.delete_tag(outcome.run_id, "bench.record")
    client.update_run(outcome.run_id, status="RUNNING")
    sync(Store(results))
    run = client.get_run(outcome.run_id)
    assert run.info.status == "FINISHED" and "bench.record" in run.data.tags
    assert len(desk.store.runs_of(outcome.record.key)) == 1
    assert len(client.get_metric_history(outcome.run_id, "warm/loss")) == 6


def test_records_travel_to_another_machine_through_mlflow(tmp_path, quiet, uri):
    here = execute(ask(), desk_at(tmp_path / "a", quiet, uri))
    there = Store(tmp_path / "b", uri)
    assert (sync(there).pulled, sync(there).pulled) == (1, 0)
    assert list((tmp_path / "artifacts").glob("*/artifacts/record.json"))  # beside the database, not where one stands
    found = execute(ask(), desk_at(tmp_path / "b", quiet, uri))
    assert found.found and found.record == here.record and found.run_id == here.run_id


def test_a_changed_artifact_is_not_pulled(tmp_path, quiet, uri):
    outcome = execute(ask(), desk_at(tmp_path / "a", quiet, uri))
    store = Store(tmp_path / "b", uri)
    place = store.connect().get_run(outcome.run_id).info.artifact_uri.removeprefix("file://")
    (Path(place) / "curves.json").write_text("[]")
    assert "was changed" in sync(store).skipped[0]
    assert not list((tmp_path / "b" / "runs").glob("*/record.json"))


def test_a_record_that_names_files_outside_its_folder_is_not_pulled(tmp_path, quiet, uri):
    outcome = execute(ask(), desk_at(tmp_path / "a", quiet, uri))
    folder = RunFolder(tmp_path / "a" / "runs" / outcome.record.key)
    evil = replace(outcome.record, files={"../../evil": "0" * 64})
    store = Store(tmp_path / "a", uri)
    client = store.connect()
    (folder.path / "record.json").write_text(evil.as_json())
    client.log_artifact(outcome.run_id, str(folder.path / "record.json"))
    client.set_tag(outcome.run_id, "bench.record", folder.sha())
    other = Store(tmp_path / "b", uri)
    assert "outside its folder" in sync(other).skipped[0]


def test_two_records_of_one_run_are_told_apart(tmp_path, quiet, uri):
    outcome = execute(ask(), desk_at(tmp_path / "a", quiet, uri))
    shutil.copytree(tmp_path / "a" / "runs", tmp_path / "b" / "runs")
    path = tmp_path / "b" / "runs" / outcome.record.key / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": {"method": 1.0}}))
    exchange = sync(Store(tmp_path / "b", uri))
    assert exchange.conflicts == {outcome.record.key} and exchange.pushed == 0


def test_a_dead_process_leaves_no_run_running(results, quiet):
    store = Store(results)
    record = execute(ask(), desk_at(results, quiet)).record
    live = store.begin(replace(record.spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    client = store.connect()
    client.set_tag(live.run_id, "bench.process", "999999:0.00")
    assert store.reap() == 1
    assert client.get_run(live.run_id).info.status == "KILLED"


def test_another_machines_run_is_never_reaped(results, quiet):
    store = Store(results)
    record = execute(ask(), desk_at(results, quiet)).record
    live = store.begin(replace(record.spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    store.connect().set_tag(live.run_id, "bench.host", "elsewhere")
    assert store.reap() == 0


def test_a_record_of_another_schema_is_named():
    from bench.errors import StoreError

    with pytest.raises(StoreError, match="schema 99"):
        Record.from_json('{"spec": {"schema": 99}}', "runs/x")
