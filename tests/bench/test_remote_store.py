"""What a remote MLflow that does not answer costs, and results folders with any name."""

import contextlib
import socket
import threading
import time

import pytest

import bench.mlflow
from bench.execute import execute, publish_waiting
from bench.mlflow import MlflowStore, call_within, sync
from bench.record import RunFolder
from tests.bench.test_execute import ask
from tests.bench.test_store import desk_at
from tests.servers import free_port

LIMIT = 1.0  # seconds, in place of the product's


@contextlib.contextmanager
def listening(drips):
    """Listen on a port; send nothing, or a byte of an answer at a time, to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if drips:
                    threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection):
            with contextlib.suppress(OSError):
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n"
                )
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()


@contextlib.contextmanager
def server_at(kind):
    """Give the address of a store that is not reached in one way or another."""
    if kind in ("closed http", "closed postgresql"):
        scheme = "http" if kind == "closed http" else "postgresql+psycopg"
        yield f"{scheme}://127.0.0.1:{free_port()}" + ("/x" if scheme != "http" else "")
        return
    with listening("dripping" in kind) as port:
        yield f"postgresql+psycopg://u@127.0.0.1:{port}/x" if "postgresql" in kind else f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "kind", ["closed http", "silent http", "dripping http", "closed postgresql", "silent postgresql"]
)
def test_a_remote_store_that_does_not_answer_costs_its_limit_twice_and_loses_nothing(
    tmp_path, quiet, monkeypatch, kind
):
    MlflowStore(tmp_path / "warm").open()  # imports are not what is timed
    monkeypatch.setattr(bench.mlflow, "TIMEOUT", LIMIT)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")  # MLflow holds a lock of this process while it waits for PostgreSQL
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with server_at(kind) as uri:
        desk = desk_at(tmp_path, quiet, uri)
        start = time.monotonic()
        desk.store.end_orphaned_runs()
        first = time.monotonic() - start
        start = time.monotonic()
        outcomes = [execute(ask(seed, epochs=1), desk) for seed in (0, 1)]
        desk.store.start_parent_run("toy", "real", "a study", {})
        while_away = time.monotonic() - start - sum(sum(o.record.seconds.values()) for o in outcomes)
        start = time.monotonic()
        outcomes = publish_waiting(outcomes, desk)
        last = time.monotonic() - start
    assert first < LIMIT + 1 and last < LIMIT + 1 and while_away < 1
    assert [(one.record.error, one.run_id) for one in outcomes] == [(None, None)] * 2
    assert "cannot be reached" in desk.store.unavailable_reason
    assert sync(MlflowStore(tmp_path)).pushed == 2


def test_a_store_that_comes_back_has_every_record_at_the_end_of_the_command(tmp_path, quiet):
    desk = desk_at(tmp_path, quiet, f"http://127.0.0.1:{free_port()}")
    outcomes = [execute(ask(seed, epochs=1), desk) for seed in (0, 1)]
    desk.store.__dict__.update(MlflowStore(tmp_path).__dict__)  # the server is there again
    outcomes = publish_waiting(outcomes, desk)
    assert all(one.run_id for one in outcomes) and desk.store.unavailable_reason is None


def test_a_call_left_behind_does_not_keep_its_caller():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        call_within(0.1, lambda: time.sleep(30))
    assert time.monotonic() - start < 5
    assert call_within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        call_within(5, lambda: 1 / 0)


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a?b", "a#b", "a b", "ä;&=+"])
def test_results_may_lie_in_a_folder_of_any_name(tmp_path, quiet, name):
    results = tmp_path / name
    outcome = execute(ask(epochs=1), desk_at(results, quiet))
    assert outcome.run_id is not None
    assert (results / "mlflow.db").stat().st_size > 0
    assert list((results / "artifacts").rglob("record.json"))
    assert {path.name for path in tmp_path.iterdir()} == {name}
    there = MlflowStore(tmp_path / "b", MlflowStore(results).uri)
    assert sync(there).pulled == 1
    assert RunFolder(tmp_path / "b" / "runs" / outcome.record.key).read_record() == outcome.record
