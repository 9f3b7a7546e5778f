"""Tests of the test servers."""

import subprocess
import sys
import time

import psutil
import psycopg
import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT
from tests.postgres import need_binaries
from tests.servers import free_port


def plain(url):
    return url.replace("+psycopg", "")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_row_survives_a_restart_of_postgresql(postgres, end):
    url = plain(postgres.fresh())
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (7)")
    getattr(postgres, end)()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_postgresql_skips_a_test_and_fails_the_ci(monkeypatch, ci, outcome):
    monkeypatch.setattr("tests.postgres.find_binaries", lambda: None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install postgresql"):
        need_binaries()


def test_a_fresh_database_is_empty(postgres):
    for _ in range(2):
        with psycopg.connect(plain(postgres.fresh())) as connection:
            tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
            assert connection.execute(tables).fetchone() == (0,)
            connection.execute("CREATE TABLE left_behind (n integer)")


def test_optuna_keeps_a_study_in_postgresql(postgres):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = postgres.fresh()
    study = optuna.create_study(storage=url, study_name="bowl", sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=5)
    again = optuna.load_study(storage=url, study_name="bowl")
    assert [trial.values for trial in again.trials] == [trial.values for trial in study.trials]
    assert len(again.trials) == 5


@pytest.mark.slow
def test_an_mlflow_run_survives_a_restart_of_its_server(mlflow_server):
    client = MlflowClient(mlflow_server.url)
    run = client.create_run(client.create_experiment("kept")).info.run_id
    client.log_metric(run, "accuracy", 0.5)
    mlflow_server.stop()
    mlflow_server.start()
    assert client.get_run(run).data.metrics == {"accuracy": 0.5}


def test_a_server_ends_with_tests_that_are_killed(tmp_path):
    port = free_port()
    code = f"""
import pathlib, socket, sys, time
from tests.servers import Server
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
def ready():
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", {port}))
Server(command, pathlib.Path({str(tmp_path / "log")!r}), ready).start()
print("up", flush=True)
time.sleep(60)
"""
    tests = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert tests.stdout.readline() == "up\n"
    guard, server = psutil.Process(tests.pid).children(recursive=True)
    tests.kill()
    tests.communicate()
    end = time.monotonic() + 10
    while guard.is_running() or server.is_running():
        assert time.monotonic() < end, "left behind"
        time.sleep(0.02)
