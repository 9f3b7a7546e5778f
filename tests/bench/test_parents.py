import json
import multiprocessing
from dataclasses import replace
from functools import partial

import pytest

from bench.execute import execute
from bench.mlflow import MlflowStore, find_parent_run, sync
from bench.record import RunFolder
from bench.tracker import Pruned
from tests.bench.test_execute import make_request
from tests.bench.test_store import UNREACHABLE, make_environment

NAME = "what does 'masking' \"bring\"?"


def parent_of(store, run_id):
    client = store.connect()
    return client.get_run(client.get_run(run_id).data.tags["mlflow.parentRunId"])


def test_runs_are_children_of_the_run_of_their_study(results, quiet):
    environment = make_environment(results, quiet)
    parent = environment.store.start_parent_run("toy", "real", NAME, {"trials": 2})
    runs = [execute(replace(make_request(seed, epochs=1), parent=NAME), environment).run_id for seed in (0, 1)]
    assert {parent_of(environment.store, run).info.run_id for run in runs} == {parent}
    plot = results / "history.png"
    plot.write_bytes(b"png")
    for _ in range(2):
        environment.store.finish_parent_run("toy", "real", NAME, "FINISHED", {"best": 0.5}, [plot], {"bench.note": "x"})
    client = environment.store.connect()
    run = client.get_run(parent)
    assert (run.info.status, run.data.metrics["best"], run.data.params["trials"]) == ("FINISHED", 0.5, "2")
    assert run.data.tags["bench.parent"] == NAME and [f.path for f in client.list_artifacts(parent)] == ["history.png"]
    assert environment.store.start_parent_run("toy", "real", NAME, {"trials": 3}) == parent
    assert client.get_run(parent).info.status == "RUNNING"


def _find(uri, folder, answers):
    store = MlflowStore(folder, uri)
    answers.put(find_parent_run(store, store.get_experiment_id("toy", "real"), NAME))


@pytest.mark.slow
def test_processes_at_once_make_one_parent(results):
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    workers = [spawn.Process(target=_find, args=(MlflowStore(results).uri, results, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = {answers.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1


def test_of_parents_made_at_once_on_two_machines_the_earliest_stays(results, monkeypatch):
    store = MlflowStore(results)
    experiment, client = store.get_experiment_id("toy", "real"), store.connect()
    first = find_parent_run(store, experiment, NAME)
    seen, real = [], client.search_runs

    def blind_once(*args, **kwargs):
        seen.append(args)
        return [] if len(seen) == 1 else real(*args, **kwargs)

    monkeypatch.setattr(client, "search_runs", blind_once)
    assert find_parent_run(store, experiment, NAME) == first
    assert len(real([experiment])) == 1


def test_a_record_published_later_finds_its_parent(results, quiet):
    outcome = execute(replace(make_request(epochs=1), parent=NAME), make_environment(results, quiet, UNREACHABLE))
    store = MlflowStore(results)
    assert sync(store).pushed == 1
    parent = parent_of(store, store.find_run_id(RunFolder(results / "runs" / outcome.record.key)))
    assert parent.data.tags["bench.parent"] == NAME and parent.info.status == "FINISHED"


def test_a_parent_left_by_a_dead_process_is_ended_unless_its_runs_are_running(results, quiet):
    store = MlflowStore(results)
    spec = execute(make_request(epochs=1), make_environment(results, quiet)).record.spec
    live = store.start_run(replace(spec, seed=9), "toy", "quick", RunFolder(results / "runs" / "x"), NAME)
    client, parent = store.connect(), parent_of(store, live.run_id).info.run_id
    client.set_tag(parent, "bench.process", "999999:0.00")
    assert store.end_orphaned_runs() == 0
    live.end("KILLED")
    assert store.end_orphaned_runs() == 1 and client.get_run(parent).info.status == "KILLED"
    live = store.start_run(replace(spec, seed=10), "toy", "quick", RunFolder(results / "runs" / "y"), NAME)
    assert client.get_run(parent).info.status == "RUNNING" and store.end_orphaned_runs() == 0
    live.end("KILLED")


def test_a_winner_is_tagged(results, quiet):
    environment = make_environment(results, quiet)
    outcome = execute(make_request(epochs=1), environment)
    environment.store.tag_run(RunFolder(results / "runs" / outcome.record.key), {"bench.winner": "true"})
    assert environment.store.connect().get_run(outcome.run_id).data.tags["bench.winner"] == "true"


def test_an_unavailable_mlflow_does_not_fail_a_study(tmp_path):
    store = MlflowStore(tmp_path, UNREACHABLE)
    assert store.start_parent_run("toy", "real", NAME, {}) is None
    store.finish_parent_run("toy", "real", NAME, "FAILED", {}, [], {})
    store.tag_run(RunFolder(tmp_path / "runs" / "x"), {"bench.winner": "true"})
    assert store.unavailable_reason is not None


def prune(epoch, value):
    raise Pruned("worse than the others")


@pytest.mark.parametrize(
    ("values", "status", "kind"), [({"fail": "error"}, "FAILED", "other"), ({}, "KILLED", "pruned")]
)
def test_a_run_without_scores_has_the_reason_in_mlflow(results, quiet, values, status, kind):
    environment = make_environment(results, quiet)
    callback = prune if kind == "pruned" else None
    outcome = execute(replace(make_request(epochs=1, **values), stage="trial", pruning_callback=callback), environment)
    client = environment.store.connect()
    run = client.get_run(outcome.run_id)
    assert (run.info.status, run.data.tags["bench.error"]) == (status, kind)
    assert run.data.params["config.lr"] and run.data.metrics["final/peak_memory_mb"] > 0
    assert run.data.tags["bench.device"] == "cpu" and run.info.end_time >= run.info.start_time
    traces = [file.path for file in client.list_artifacts(outcome.run_id)]
    assert traces == (["traceback.txt"] if kind == "other" else [])


def test_a_resumed_run_is_running_and_then_finished(results, quiet):
    environment, seen = make_environment(results, quiet), []

    def interrupt(stage, done, total):
        raise KeyboardInterrupt

    quiet.report_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        execute(make_request(epochs=1), environment)
    client = environment.store.connect()
    (run,) = client.search_runs([environment.store.get_experiment_id("toy", "real")])
    find = partial(client.search_runs, [run.info.experiment_id])
    quiet.report_progress = lambda *args: seen.extend(one.info.status for one in find())
    assert run.info.status == "KILLED"
    outcome = execute(make_request(epochs=1), environment)
    assert set(seen) == {"RUNNING"}
    assert [(one.info.run_id, one.info.status) for one in find()] == [(outcome.run_id, "FINISHED")]
    assert json.loads((results / "runs" / outcome.record.key / "mlflow.json").read_text())
