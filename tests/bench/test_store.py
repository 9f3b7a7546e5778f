import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.execute import RunEnvironment, execute
from bench.mlflow import MlflowStore, sync
from bench.record import Record, RunFolder
from reports.figures.clips import save_run_figures
from tests.bench.test_execute import make_request

UNREACHABLE = "http://127.0.0.1:9"  # no server listens on this port


def make_environment(path, quiet, uri=None):
    return RunEnvironment(path, MlflowStore(path, uri), quiet, save_run_figures, threads=1)


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_an_unavailable_mlflow_loses_nothing_and_sync_publishes_it(results, quiet):
    environment = make_environment(results, quiet, UNREACHABLE)
    outcome = execute(make_request(), environment)
    assert outcome.record.error is None and outcome.run_id is None
    reason = environment.store.unavailable_reason
    assert reason is not None and "cannot be reached" in reason
    store = MlflowStore(results)
    assert (sync(store).pushed, sync(store).pushed) == (1, 0)
    run_id = store.find_run_id(RunFolder(results / "runs" / outcome.record.key))
    client = store.connect()
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run_id, "warm/loss")] == list(range(6))


def test_publishing_twice_makes_one_run(results, quiet):
    environment = make_environment(results, quiet)
    outcome = execute(make_request(), environment)
    folder = RunFolder(results / "runs" / outcome.record.key)
    assert environment.store.publish(folder, outcome.record) == outcome.run_id
    assert len(environment.store.find_runs(outcome.record.key)) == 1


def test_a_publication_cut_off_before_its_last_tag_is_finished_by_the_next(results, quiet):
    environment = make_environment(results, quiet)
    outcome = execute(make_request(), environment)
    client = environment.store.connect()
    client.delete_tag(outcome.run_id, "bench.record")
    client.update_run(outcome.run_id, status="RUNNING")
    sync(MlflowStore(results))
    (run,) = environment.store.find_runs(outcome.record.key)
    assert run.info.status == "FINISHED" and "bench.record" in run.data.tags
    assert len(client.get_metric_history(run.info.run_id, "warm/loss")) == 6


def test_records_travel_to_another_machine_through_mlflow(tmp_path, quiet, uri):
    here = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    there = MlflowStore(tmp_path / "b", uri)
    assert (sync(there).pulled, sync(there).pulled) == (1, 0)
    # artifacts are next to the database, not in the working directory
    assert list((tmp_path / "artifacts").glob("*/artifacts/record.json"))
    found = execute(make_request(), make_environment(tmp_path / "b", quiet, uri))
    assert found.already_done and found.record == here.record and found.run_id == here.run_id


def test_a_changed_artifact_is_not_pulled(tmp_path, quiet, uri):
    outcome = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    store = MlflowStore(tmp_path / "b", uri)
    artifacts = store.connect().get_run(outcome.run_id).info.artifact_uri.removeprefix("file://")
    (Path(artifacts) / "curves.json").write_text("[]")
    assert "was changed" in sync(store).skipped[0]
    assert not list((tmp_path / "b" / "runs").glob("*/record.json"))


def test_a_record_that_names_files_outside_its_folder_is_not_pulled(tmp_path, quiet, uri):
    outcome = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    folder = RunFolder(tmp_path / "a" / "runs" / outcome.record.key)
    evil = replace(outcome.record, files={"../../evil": "0" * 64})
    store = MlflowStore(tmp_path / "a", uri)
    client = store.connect()
    (folder.path / "record.json").write_text(evil.to_json())
    client.log_artifact(outcome.run_id, str(folder.path / "record.json"))
    client.set_tag(outcome.run_id, "bench.record", folder.hash_record())
    other = MlflowStore(tmp_path / "b", uri)
    assert "invalid file name" in sync(other).skipped[0]


def test_two_records_of_one_run_are_a_conflict(tmp_path, quiet, uri):
    outcome = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    shutil.copytree(tmp_path / "a" / "runs", tmp_path / "b" / "runs")
    path = tmp_path / "b" / "runs" / outcome.record.key / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": {"method": 1.0}}))
    exchange = sync(MlflowStore(tmp_path / "b", uri))
    assert exchange.conflicts == {outcome.record.key} and exchange.pushed == 0


def test_a_dead_process_leaves_no_run_running(results, quiet):
    store = MlflowStore(results)
    record = execute(make_request(), make_environment(results, quiet)).record
    live = store.start_run(replace(record.spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    client = store.connect()
    client.set_tag(live.run_id, "bench.process", "999999:0.00")
    assert store.end_orphaned_runs() == 1
    assert client.get_run(live.run_id).info.status == "KILLED"


def test_a_run_of_another_machine_is_never_ended(results, quiet):
    store = MlflowStore(results)
    record = execute(make_request(), make_environment(results, quiet)).record
    live = store.start_run(replace(record.spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    store.connect().set_tag(live.run_id, "bench.host", "elsewhere")
    assert store.end_orphaned_runs() == 0


def test_a_record_of_another_schema_is_named():
    from bench.errors import StoreError

    with pytest.raises(StoreError, match="schema 99"):
        Record.from_json('{"spec": {"schema": 99}}', "runs/x")


def folder_of(results, outcome):
    return RunFolder(results / "runs" / outcome.record.key)


def test_a_fresh_record_made_while_mlflow_was_unavailable_replaces_the_old_one_at_the_next_sync(tmp_path, quiet, uri):
    first = execute(make_request(), make_environment(tmp_path, quiet, uri))
    fresh = execute(make_request(), replace(make_environment(tmp_path, quiet, UNREACHABLE), fresh=True))
    assert fresh.run_id is None
    store = MlflowStore(tmp_path, uri)
    assert store.find_run_id(folder_of(tmp_path, fresh)) is None  # the old run's id is not the new record's
    done = sync(store)
    assert (done.pushed, done.conflicts, done.skipped) == (1, set(), [])
    new = folder_of(tmp_path, fresh)
    assert store.find_run_id(new) not in (None, first.run_id)
    assert store.connect().get_run(first.run_id).data.tags["bench.superseded"] == new.hash_record()


def test_a_replaced_record_is_marked_even_where_the_mark_was_cut_off(results, quiet):
    environment = make_environment(results, quiet)
    first = execute(make_request(), environment)
    fresh = execute(make_request(), replace(environment, fresh=True))
    client = environment.store.connect()
    client.delete_tag(first.run_id, "bench.superseded")
    (folder_of(results, fresh).path / "mlflow.json").unlink()
    assert environment.store.publish(folder_of(results, fresh), fresh.record) == fresh.run_id
    assert "bench.superseded" in client.get_run(first.run_id).data.tags


def test_what_a_run_could_not_log_is_logged_when_it_is_published(results, quiet, monkeypatch):
    import bench.mlflow

    real, calls = bench.mlflow.log_curves, []

    def hiccup(*args):
        calls.append(args)
        if len(calls) == 1:
            raise OSError("database is locked")
        real(*args)

    monkeypatch.setattr(bench.mlflow, "log_curves", hiccup)
    outcome = execute(make_request(), make_environment(results, quiet))
    client = MlflowStore(results).connect()
    for name in ("warm/loss", "finetune/val/acc_e"):
        assert sorted(point.step for point in client.get_metric_history(outcome.run_id, name)) == list(range(6))


def test_a_run_published_later_has_its_parameters(results, quiet):
    execute(make_request(), make_environment(results, quiet, UNREACHABLE))
    store = MlflowStore(results)
    sync(store)
    (run,) = store.search_runs("tags.`bench.record` != ''")
    assert run.data.params["config.lr"] == "0.05" and run.data.tags["bench.source"]


def test_a_run_that_is_alive_is_never_ended(results, quiet):
    """Check that host and process are set at creation, and that a run without them is left alone."""
    store = MlflowStore(results)
    record = execute(make_request(), make_environment(results, quiet)).record
    live = store.start_run(replace(record.spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"))
    client = store.connect()
    bare = client.create_run(client.search_experiments()[0].experiment_id, tags={"bench.key": "y"}).info.run_id
    assert store.end_orphaned_runs() == 0
    assert {client.get_run(run_id).info.status for run_id in (live.run_id, bare)} == {"RUNNING"}


def test_a_second_attempt_has_an_mlflow_run_of_its_own(results, quiet):
    environment = make_environment(results, quiet)
    failed = execute(make_request(fail="error"), environment)
    again = execute(make_request(fail="error"), environment)
    assert failed.run_id != again.run_id
    assert {environment.store.connect().get_run(run_id).info.status for run_id in (failed.run_id, again.run_id)} == {
        "FAILED"
    }


def test_different_records_of_one_run_are_reported_and_the_first_is_pulled(tmp_path, quiet, uri):
    a = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    execute(make_request(), make_environment(tmp_path / "b", quiet, uri))
    assert sync(MlflowStore(tmp_path / "a", uri)).conflicts == {a.record.key}
    third = sync(MlflowStore(tmp_path / "c", uri))
    assert (third.pulled, third.conflicts) == (1, {a.record.key})
    assert folder_of(tmp_path / "c", a).hash_record() == folder_of(tmp_path / "a", a).hash_record()


def test_one_record_that_cannot_be_synced_does_not_block_the_others(tmp_path, quiet, uri):
    bad, good = (execute(make_request(seed), make_environment(tmp_path / "a", quiet, uri)) for seed in (0, 1))
    store = MlflowStore(tmp_path / "b", uri)
    artifacts = store.connect().get_run(bad.run_id).info.artifact_uri.removeprefix("file://")
    (Path(artifacts) / "curves.json").write_text("[]")
    old = tmp_path / "b" / "runs" / "0" / "record.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"spec": {"schema": 99}}')
    done = sync(store)
    assert done.pulled == 1 and folder_of(tmp_path / "b", good).read_record() == good.record
    assert len(done.skipped) == 2 and store.unavailable_reason is None


def test_a_run_that_another_process_holds_is_left_alone(tmp_path, quiet, uri):
    outcome = execute(make_request(), make_environment(tmp_path / "a", quiet, uri))
    folder = folder_of(tmp_path / "b", outcome)
    with folder.locked(lambda: None):
        done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pulled == 0 and "running in another process" in done.skipped[0] and folder.read_record() is None


def test_a_replaced_record_is_not_pulled_back(tmp_path, quiet, uri):
    outcome = execute(make_request(), make_environment(tmp_path, quiet, uri))
    folder = folder_of(tmp_path, outcome)
    folder.set_aside(outcome.record)
    assert sync(MlflowStore(tmp_path, uri)).pulled == 0 and folder.read_record() is None


def test_a_password_in_an_address_is_not_shown(tmp_path):
    store = MlflowStore(tmp_path, "http://bob:secret@127.0.0.1:9")
    store.open()
    assert store.unavailable_reason and "secret" not in store.unavailable_reason


def test_parameters_lost_at_the_start_are_there_in_the_end(results, quiet, monkeypatch):
    import bench.mlflow

    real, lost = bench.mlflow.log_batch, []

    def hiccup(client, run_id, metrics=None, params=None, tags=None):
        if params and not lost:
            lost.append(run_id)
            raise OSError("database is locked")
        real(client, run_id, metrics, params, tags)

    monkeypatch.setattr(bench.mlflow, "log_batch", hiccup)
    outcome = execute(make_request(), make_environment(results, quiet))
    assert lost == [outcome.run_id]
    assert MlflowStore(results).connect().get_run(outcome.run_id).data.params["config.lr"] == "0.05"
