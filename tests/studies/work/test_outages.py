"""Tests of server outages: work waits and resumes, and is neither lost nor repeated."""

from __future__ import annotations

import json
import os
import time
from collections import Counter

import psycopg
import pytest

from bench.mlflow import MlflowStore
from bench.record import get_process_id
from studies import storage as leases
from studies.storage import Storage
from tests.studies.command_line import bench
from tests.studies.work.commands import (
    TOY,
    check_runs,
    check_search,
    kill,
    records,
    the_search,
    wait_for,
)
from tests.studies.work.commands import commands as commands


@pytest.fixture
def running_postgres(postgres):
    yield postgres
    if postgres._guard is None:
        postgres.start()


def cut(url: str) -> None:
    """Terminate all connections to a database, as in an outage."""
    plain = url.replace("+psycopg", "")
    with psycopg.connect(plain.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(query, (plain.rpartition("/")[2],))


def test_a_locked_call_is_repeated_from_its_start_if_the_lock_is_lost(postgres):
    url = postgres.fresh()
    storage, calls = Storage(url), []

    def call() -> int:
        calls.append(1)
        if len(calls) == 1:
            cut(url)
        storage.check_lock()
        return len(calls)

    assert storage.with_lock(call) == 2


def test_a_trial_whose_reply_was_lost_is_queued_again_with_its_values(tmp_path):
    import optuna

    storage = Storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    study, ranges = storage.open_study("one"), {"lr": optuna.distributions.FloatDistribution(0.1, 1.0)}
    leases.enqueue(study, {"lr": 0.3}, ranges)
    lease = storage.with_lock(lambda: leases.lease_waiting(storage, study))
    leases.requeue_orphans(storage, study)
    assert [trial.state.name for trial in study.trials] == ["RUNNING"], "a trial in progress was queued again"
    lease._stop_heartbeat()  # from now on this process has no lease of the trial
    assert study.trials[0].user_attrs["process"] == get_process_id()
    storage.last_orphan_check.clear()
    leases.requeue_orphans(storage, study)
    assert [(trial.state.name, trial.params) for trial in study.trials] == [
        ("FAIL", {"lr": 0.3}),
        ("WAITING", {"lr": 0.3}),
    ]
    again = storage.with_lock(lambda: leases.lease_waiting(storage, study))
    assert again.params == {"lr": 0.3}
    again.complete(0.5)
    assert len(leases.select_counted(study.trials)) == 1


@pytest.mark.slow
def test_four_workers_wait_for_postgresql_and_resume(commands, results, running_postgres):
    url = running_postgres.fresh()
    words = (*TOY, "--seeds", "2", "--workers", "4", "--trials", "24", "--storage", url)
    command = commands.start(results, *words)
    for abrupt, lost in ((False, False), (True, False), (False, True), (True, True)):
        made = len(list(results.glob("runs/*/record.json")))
        wait_for(lambda made=made: len(list(results.glob("runs/*/record.json"))) > made, command)
        running_postgres.kill() if abrupt else running_postgres.stop()
        if lost:
            kill(command.workers()[0])  # its replacement finds no database
        time.sleep(3)
        running_postgres.start()
    command.ends()
    check_search(results, 24, url)
    check_runs(results, 2, url)


@pytest.mark.slow
def test_workers_end_with_their_command_while_postgresql_is_away(commands, results, running_postgres):
    url = running_postgres.fresh()
    words = (*TOY, "--trials", "6", "--storage", url)
    command = commands.start(results, *words, "--workers", "2")
    wait_for(lambda: list(results.glob("runs/*/record.json")), command)
    running_postgres.stop()
    time.sleep(2)
    command.kill()
    running_postgres.start()
    done = bench(*words, results=results)
    assert done.code == 0, done.out + done.err
    check_search(results, 6, url)
    check_runs(results, 1, url)


@pytest.mark.slow
def test_two_machines_on_one_postgresql_share_the_work(commands, results, tmp_path_factory, postgres):
    url, other = postgres.fresh(), tmp_path_factory.mktemp("other")
    (other / "mlflow.db").write_bytes((results / "mlflow.db").read_bytes())
    words = (*TOY, "--seeds", "4", "--workers", "2", "--trials", "8", "--storage", url)
    both = {folder: commands.start(folder, *words) for folder in (results, other)}
    for folder, command in both.items():
        command.process.wait(280)
        missing = 4 - len(records(folder))
        said = command.ends()
        assert not missing or f"{missing} runs finished on other machines" in said
        check_search(folder, 8, url)
    for stage, count in (("final", 4), ("trial", 8)):
        made = Counter(record["key"] for folder in both for record in records(folder, stage))
        assert len(made) == count and set(made.values()) == {1}


@pytest.mark.slow
def test_an_mlflow_outage_loses_nothing(commands, results, mlflow_server):
    uri = ("--tracking-uri", mlflow_server.url)
    words = (*TOY, "--set", "ema=0.4", "--seeds", "3", "--workers", "2", "--trials", "6", *uri)
    command = commands.start(results, *words)
    wait_for(lambda: list(results.glob("runs/*/record.json")), command)
    mlflow_server.kill()
    try:
        time.sleep(3)
    finally:
        mlflow_server.start()
    command.process.wait(280)
    command.ends(command.process.returncode)
    assert command.process.returncode in (0, 3), command.output()
    check_search(results, 6)
    assert len(records(results)) == 3
    ours = {json.loads(path.read_text())["key"] for path in results.glob("runs/*/record.json")}
    done = bench("sync", *uri, results=results)
    assert done.code == 0, done.out + done.err
    runs = [
        run for run in MlflowStore(results, mlflow_server.url).search_runs("") if run.data.tags.get("bench.key") in ours
    ]
    published = Counter(run.data.tags["bench.key"] for run in runs if "bench.record" in run.data.tags)
    assert set(published) == ours and set(published.values()) == {1}
    assert not [run for run in runs if run.info.status == "RUNNING"]
    assert all(trial.state.name == "COMPLETE" for trial in the_search(results))
    assert os.listdir(results / "searches")
