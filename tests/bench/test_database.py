"""Tests of creating databases: an interrupted creation leaves a complete database or none."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import optuna
import pytest

from bench.databases import open_database
from bench.execute import execute
from bench.mlflow import MlflowStore
from studies.storage import Storage, make_storage_url
from tests.bench.test_execute import make_request
from tests.bench.test_store import make_environment
from tests.conftest import ROOT


def alter(path, *statements):
    """Execute statements that leave a database as a killed migration does."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def toy_connect(url):
    """Open a database of two tables; raise ValueError if it has other tables."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if names and names != {"trials", "more"}:
            raise ValueError("out of date")
        connection.execute("CREATE TABLE IF NOT EXISTS trials (id)")
        connection.execute("CREATE TABLE IF NOT EXISTS more (id)")
        return url


@pytest.mark.slow
def test_a_first_start_killed_at_fifty_moments_leaves_databases_that_the_next_one_opens():
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.first_starts", "50"], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == [], done.stderr
    assert 0 < found["made"] < found["kills"] and found["kills"] >= 50  # kills before and after the database existed


def test_a_database_whose_creation_fails_does_not_exist(tmp_path):
    def fail(url):
        toy_connect(url)
        raise ValueError("killed")

    with pytest.raises(ValueError, match="killed"):
        open_database(tmp_path / "new.db", fail, "trials")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_an_empty_file_is_filled(tmp_path):
    (tmp_path / ".new.db.abc").mkdir()
    (tmp_path / ".new.db.abc" / "new.db").write_bytes(b"half")
    (tmp_path / ".new.db.def").write_bytes(b"half")
    (tmp_path / "new.db").touch()
    (tmp_path / "new.db-journal").write_bytes(b"an old journal that must not be applied")
    open_database(tmp_path / "new.db", toy_connect, "trials")
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]


def test_an_incomplete_database_is_backed_up_and_one_with_rows_or_of_another_program_is_not(tmp_path):
    cases = {
        "half": ("CREATE TABLE trials (id)",),
        "rows": ("CREATE TABLE trials (id)", "INSERT INTO trials VALUES (1)"),
        "other": ("CREATE TABLE bookmarks (id)",),
        "mixed": ("CREATE TABLE bookmarks (id)", "CREATE TABLE trials (id)"),
    }
    for name, statements in cases.items():
        path = tmp_path / name / "one.db"
        path.parent.mkdir()
        alter(path, *statements)
        before = path.read_bytes()
        if name == "half":
            assert open_database(path, toy_connect, "trials")
            with closing(sqlite3.connect(f"{path}.broken-1")) as backup:
                assert [row[0] for row in backup.execute("SELECT name FROM sqlite_master")] == ["trials"]
            assert sorted(found.name for found in path.parent.iterdir()) == ["one.db", "one.db.broken-1"]
        else:
            with pytest.raises(ValueError, match="out of date"):
                open_database(path, toy_connect, "trials")
            assert path.read_bytes() == before and [found.name for found in path.parent.iterdir()] == ["one.db"]
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_database(text, toy_connect, "trials")
    assert text.read_text() == "no database " * 100


def test_an_incomplete_mlflow_database_is_replaced_and_one_with_runs_is_left_alone(results, quiet):
    alter(results / "mlflow.db", "DELETE FROM alembic_version", "DROP TABLE latest_metrics")
    store = MlflowStore(results)
    store.open()
    assert store.unavailable_reason is None and (results / "mlflow.db.broken-1").exists()
    assert execute(make_request(epochs=1), make_environment(results, quiet)).run_id is not None
    other = results / "other"  # MLflow checks the schema of each path once per process
    other.mkdir()
    shutil.copy(results / "mlflow.db", other)
    alter(other / "mlflow.db", "DELETE FROM alembic_version", "DROP TABLE latest_metrics")
    store = MlflowStore(other)
    store.open()
    assert store.unavailable_reason is not None and not list(other.glob("*broken*"))


@pytest.mark.parametrize("missing", ["alembic_version", "version_info", "trials"])
def test_an_incomplete_optuna_database_is_completed(tmp_path, missing):
    url = make_storage_url(tmp_path, None)
    Storage(url).open()
    alter(tmp_path / "optuna.db", f"DROP TABLE {missing}")
    study = Storage(url).open_study("one")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert Storage(url).open_study("one").best_value == 1.0
