"""Benchmark of `sync --pull` into an empty results folder, from an MLflow server with 1,000 records."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.artifacts import CURVES_FILE
from bench.files import atomic_write, sha256
from bench.mlflow import MlflowStore
from bench.record import RECORD_FILE, Record, RunFolder, RunSpec, collect_provenance
from bench.types import DatasetInfo
from methods import METHODS

RUNS = 1_000
EPOCHS = 20
CURVE = ("loss", "label", "lr", "val/acc_e", "val/f1_e", "val/acc_s")
TABLES = {"runs": "run_uuid", "latest_metrics": "run_uuid", "metrics": "run_uuid", "params": "run_uuid"}


def one_record(seed: int, card: DatasetInfo) -> Record:
    """Make a record of realistic size: MART's config and the scores of all classes of a data set."""
    names = [f"{split}/{kind}" for split in ("val", "test") for kind in ("acc_e", "f1_e", "bal_e", "acc_s", "f1_s")]
    names += [f"{split}/recall/{name}" for split in ("val", "test") for name in card.classes]
    spec = RunSpec(
        "mart", 1, METHODS["mart"].config().model_dump(mode="json"), card.name, "real", "5" * 64, "c" * 64, 0, seed
    )
    notes = {f"pretrain/verify/train/{name}": 0.5 + seed / 1e6 for name in "abcdefghijklmnop"}
    scores: dict[str, float | None] = {name: 0.123456789 + seed / 1e6 for name in names}
    seconds = {
        name: 1.23456 + seed for name in ("prepare", "open store", "read", "step", "predict", "explain", "write")
    }
    return Record(spec.key, spec, "mart", "paper", 1, scores, notes, seconds, collect_provenance("cpu", 2), [])


def one_run(folder: Path, store: MlflowStore, card: DatasetInfo) -> str:
    """Publish the run from which the others are copied, and return its MLflow id."""
    record = one_record(0, card)
    run = RunFolder(folder / "runs" / record.key)
    curves = [{"stage": "finetune", "epoch": e, "values": dict.fromkeys(CURVE, 0.5)} for e in range(EPOCHS)]
    atomic_write(run.path / CURVES_FILE, json.dumps(curves).encode())
    record = replace(record, files={CURVES_FILE: sha256(run.path / CURVES_FILE)})
    run.write_record(record)
    run_id = store.publish(run, record)
    assert run_id is not None, store.unavailable_reason
    return run_id


def copy_runs(database: Path, artifacts: Path, template: str, card: DatasetInfo) -> None:
    """Copy the template's database rows and artifacts for the other runs, each with its own seed, key and record."""
    with sqlite3.connect(database) as connection:
        tables = {t: connection.execute(f"SELECT * FROM {t} WHERE {c} = ?", (template,)) for t, c in TABLES.items()}
        rows = {t: ([column[0] for column in found.description], found.fetchall()) for t, found in tables.items()}
        tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (template,)).fetchall())
        curves = sha256(artifacts / template / "artifacts" / CURVES_FILE)
        for seed in range(1, RUNS):
            run_id = uuid.uuid4().hex
            for table, (columns, found) in rows.items():
                at = columns.index(TABLES[table])
                marks = ", ".join("?" * len(columns))
                named = [(*row[:at], run_id, *row[at + 1 :]) for row in found]
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", named)
            record = replace(one_record(seed, card), files={CURVES_FILE: curves})
            text = record.to_json().encode()
            shutil.copytree(artifacts / template, artifacts / run_id)
            (artifacts / run_id / "artifacts" / RECORD_FILE).write_bytes(text)
            sha = hashlib.sha256(text).hexdigest()
            own = {**tags, "bench.key": record.key, "bench.seed": str(seed), "bench.record": sha}
            connection.executemany(
                "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(k, v, run_id) for k, v in own.items()]
            )
        # the server's form of artifact locations: local folders are refused
        connection.execute("UPDATE runs SET artifact_uri = 'mlflow-artifacts:/' || run_uuid || '/artifacts'")
    connection.close()


@contextmanager
def served(store: MlflowStore) -> Iterator[str]:
    """Serve a store with MLflow; yield the server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "mlflow", "server", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--artifacts-destination", str(store.artifact_location)]
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def timed(*words: Any) -> tuple[float, str]:
    """Return the wall seconds and the output of a command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "bench.py", *map(str, words)], capture_output=True, text=True, check=False)
    return time.perf_counter() - start, (done.stdout + done.stderr).strip()


def main() -> None:
    """Print each figure on a line."""
    from datasets.registry import DATASETS

    card = DATASETS["ekman6"].info
    with tempfile.TemporaryDirectory() as name:
        folder, empty = Path(name) / "full", Path(name) / "empty"
        store = MlflowStore(folder)
        template = one_run(folder, store, card)
        uri = store.connect().get_run(template).info.artifact_uri
        copy_runs(folder / "mlflow.db", Path(uri.removeprefix("file://")).parents[1], template, card)
        with served(store) as address:
            for state in ("empty folder", "complete folder"):
                wall, output = timed("sync", "--pull", "--results", empty, "--tracking-uri", address)
                print(f"sync --pull of {RUNS:,}, {state:<21} {wall:6.1f} s   {output.splitlines()[0]}", flush=True)
