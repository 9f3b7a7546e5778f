"""Tests of remote MLflow stores that do not answer, and of results folders with unusual names."""

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

import bench.mlflow
from bench.execute import execute, publish_waiting
from bench.mlflow import MlflowStore, call_within, log_curves, sync
from bench.record import RunFolder
from tests.bench.test_execute import make_request
from tests.bench.test_store import UNREACHABLE, make_environment
from tests.conftest import ROOT
from tests.servers import free_port

LIMIT = 1.0  # seconds, instead of the default


@contextlib.contextmanager
def listening(drips):
    """Listen on a port; send each client nothing, or an answer byte by byte."""
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
    """Yield the address of a store that cannot be reached in one of several ways."""
    if kind in ("closed http", "closed postgresql"):
        scheme = "http" if kind == "closed http" else "postgresql+psycopg"
        yield f"{scheme}://127.0.0.1:{free_port()}" + ("/x" if scheme != "http" else "")
        return
    with listening("dripping" in kind) as port:
        yield f"postgresql+psycopg://u@127.0.0.1:{port}/x" if "postgresql" in kind else f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["closed http", "silent http", "dripping http", "closed postgresql", "silent postgresql"]
)
def test_a_remote_store_that_does_not_answer_costs_its_limit_twice_and_loses_nothing(
    tmp_path, quiet, monkeypatch, kind
):
    MlflowStore(tmp_path / "warm").open()  # so that imports are not timed
    monkeypatch.setattr(bench.mlflow, "TIMEOUT", LIMIT)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")  # MLflow holds a lock of this process while it waits for PostgreSQL
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with server_at(kind) as uri:
        environment = make_environment(tmp_path, quiet, uri)
        start = time.monotonic()
        environment.store.end_orphaned_runs()
        first = time.monotonic() - start
        start = time.monotonic()
        outcomes = [execute(make_request(seed, epochs=1), environment) for seed in (0, 1)]
        environment.store.start_parent_run("toy", "real", "a study", {})
        while_unavailable = time.monotonic() - start - sum(sum(o.record.seconds.values()) for o in outcomes)
        start = time.monotonic()
        outcomes = publish_waiting(outcomes, environment)
        last = time.monotonic() - start
    assert first < LIMIT + 1 and last < LIMIT + 1 and while_unavailable < 1
    assert [(one.record.error, one.run_id) for one in outcomes] == [(None, None)] * 2
    assert "cannot be reached" in environment.store.unavailable_reason
    assert sync(MlflowStore(tmp_path)).pushed == 2


def test_a_store_that_comes_back_has_every_record_at_the_end_of_the_command(tmp_path, quiet):
    environment = make_environment(tmp_path, quiet, f"http://127.0.0.1:{free_port()}")
    outcomes = [execute(make_request(seed, epochs=1), environment) for seed in (0, 1)]
    environment.store.__dict__.update(MlflowStore(tmp_path).__dict__)  # the server is available again
    outcomes = publish_waiting(outcomes, environment)
    assert all(one.run_id for one in outcomes) and environment.store.unavailable_reason is None


def test_a_call_left_behind_does_not_keep_its_caller():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        call_within(0.1, lambda: time.sleep(30))
    assert time.monotonic() - start < 5
    assert call_within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        call_within(5, lambda: 1 / 0)


@pytest.mark.parametrize(
    "name", ["a%2Fb", *(pytest.param(name, marks=pytest.mark.slow) for name in ("a%20b", "a?b", "a#b", "a b", "ä;&=+"))]
)
def test_results_may_lie_in_a_folder_of_any_name(tmp_path, quiet, name):
    results = tmp_path / name
    outcome = execute(make_request(epochs=1), make_environment(results, quiet))
    assert outcome.run_id is not None
    assert (results / "mlflow.db").stat().st_size > 0
    assert list((results / "artifacts").rglob("record.json"))
    assert {path.name for path in tmp_path.iterdir()} == {name}
    there = MlflowStore(tmp_path / "b", MlflowStore(results).uri)
    assert sync(there).pulled == 1
    assert RunFolder(tmp_path / "b" / "runs" / outcome.record.key).read_record() == outcome.record


class DrippingFiles(http.server.BaseHTTPRequestHandler):
    """A proxy that forwards each request to a real server but sends files byte by byte."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, kind, length):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        if self.command == "GET" and "/mlflow-artifacts/artifacts/" in self.path:
            self.answer(200, "application/octet-stream", 99999)
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.1)
        kind = self.headers.get("Content-Type", "application/json")
        request = urllib.request.Request(
            self.server.target + self.path, body, {"Content-Type": kind}, method=self.command
        )
        try:
            with urllib.request.urlopen(request) as found:
                code, data = found.status, found.read()
        except urllib.error.HTTPError as error:
            code, data = error.code, error.read()
        self.answer(code, "application/json", len(data))
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward


@pytest.fixture
def dripping_files(mlflow_server):
    """Yield the address of an MLflow server that answers at once but whose files never arrive."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), DrippingFiles) as server:
        server.target, server.daemon_threads, server.block_on_close = mlflow_server.url, True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.slow
def test_a_file_that_never_arrives_is_named_and_blocks_neither_other_runs_nor_the_end(
    tmp_path, quiet, mlflow_server, dripping_files
):
    for seed in (20, 21):
        execute(make_request(seed, epochs=1), make_environment(tmp_path / "a", quiet, mlflow_server.url))
    keys = {path.name for path in (tmp_path / "a" / "runs").iterdir() if path.is_dir()}
    code = f"""
import pathlib
import bench.mlflow
bench.mlflow.FILE_TIMEOUT = 1.0
store = bench.mlflow.MlflowStore(pathlib.Path({str(tmp_path / "b")!r}), {dripping_files!r})
done = bench.mlflow.sync(store, keys={keys!r})
print(done.pulled, len(done.skipped), store.unavailable_reason)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "0 2 None"


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_record_that_a_remote_store_does_not_accept_blocks_no_other(tmp_path, quiet, monkeypatch, request, kind):
    from mlflow.exceptions import MlflowException

    outcomes = [
        execute(make_request(seed, epochs=1), make_environment(tmp_path, quiet, UNREACHABLE)) for seed in (30, 31, 32)
    ]
    first, upload = min(one.record.key for one in outcomes), bench.mlflow._upload_record

    def refuse_first(client, run_id, folder, record, logged):
        if record.key == first:
            raise MlflowException("too many 500 error responses")
        upload(client, run_id, folder, record, logged)

    monkeypatch.setattr(bench.mlflow, "_upload_record", refuse_first)
    monkeypatch.setattr(bench.mlflow, "TIMEOUT", 120.0)  # MLflow creates the tables of an empty PostgreSQL
    fixture = request.getfixturevalue("mlflow_server" if kind == "http" else "postgres")
    store = MlflowStore(tmp_path, fixture.url if kind == "http" else fixture.fresh())
    done = sync(store, keys=())
    assert (done.pushed, len(done.skipped), store.unavailable_reason) == (2, 1, None)


def test_a_server_that_stops_answering_in_a_sync_is_called_once(tmp_path, quiet, mlflow_server, monkeypatch):
    key = execute(make_request(40, epochs=1), make_environment(tmp_path / "a", quiet, mlflow_server.url)).record.key
    monkeypatch.setattr(bench.mlflow, "TIMEOUT", LIMIT)
    store, calls = MlflowStore(tmp_path / "b", mlflow_server.url), []
    published = bench.mlflow.find_published_records(store)

    def fall_silent(*args, **kwargs):
        calls.append(args)
        time.sleep(30)

    monkeypatch.setattr(bench.mlflow, "find_published_records", lambda store: published)
    for name in ("get_run", "search_experiments"):
        monkeypatch.setattr(store.connect()._client, name, fall_silent)
    start = time.monotonic()
    done = sync(store, keys={key})
    assert time.monotonic() - start < 2 * LIMIT and len(calls) == 1
    assert done.pulled == 0 and "no answer" in store.unavailable_reason


def test_no_password_is_in_the_skipped_lines_of_a_sync(tmp_path, quiet, monkeypatch):
    execute(make_request(epochs=1), make_environment(tmp_path / "a", quiet, UNREACHABLE))

    def refuse(*_: object) -> None:
        raise OSError("403 Forbidden for url: http://ann:secret@host/artifacts")

    monkeypatch.setattr(bench.mlflow, "_upload_record", refuse)
    (line,) = sync(MlflowStore(tmp_path / "a")).skipped
    assert "403 Forbidden" in line and "secret" not in line and "ann" not in line


def test_each_call_of_long_curves_has_its_own_limit():
    sizes = []

    class Client:
        def log_batch(self, run_id, metrics):
            sizes.append(len(metrics))

    points = [("finetune", epoch, {"loss": 1.0, "val/acc_e": 0.5}) for epoch in range(600)]
    log_curves(Client(), "run", points)
    assert sizes == [500, 500, 200]


def test_a_traceback_is_uploaded_although_its_run_s_tags_are_refused(results, quiet, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("500")

    environment = make_environment(results, quiet)
    environment.store.open()
    monkeypatch.setattr(bench.mlflow, "log_batch", refuse)
    done = execute(make_request(fail="error"), environment)
    assert done.record.error is not None
    (run,) = environment.store.find_runs(done.record.key)
    assert [file.path for file in environment.store.connect().list_artifacts(run.info.run_id)] == ["traceback.txt"]
