"""Tests of untrusted records: no file outside the run folder is read, moved, uploaded or written."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_metric_name

from bench.artifacts import PREDICTIONS_FILE
from bench.errors import StoreError
from bench.execute import execute
from bench.files import sha256
from bench.mlflow import REMOTE_SCHEMES, MlflowStore, clean_metric_name, sync
from bench.record import DATASET_INFO_FILE, RECORD_FILE, Record, RunFolder, is_artifact_name, read_dataset_info
from studies.cli.main import main
from studies.search import Budget
from studies.select import read_records
from tests.bench.mutations import change, mutated, sha
from tests.bench.test_execute import make_request
from tests.bench.test_store import UNREACHABLE, make_environment
from tests.conftest import Quiet
from tests.reports.made import make_run
from tests.studies.search.test_search import make_search, run_out

MUTATIONS = 1000
ESCAPES = (
    "../../../home/x",
    "../../secret",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    ".hidden",
    "x\n",
    "é",
    "x" * 101,
)
RESERVED = ("record.json", "RECORD.json", "mlflow.json", "log", "checkpoints", "failed-1.json", "superseded-2")
SECRET = b"a private key"


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


@pytest.fixture
def secret(tmp_path):
    """Write a file next to the runs of the results folder `b`, which no record may access."""
    path = tmp_path / "b" / "secret"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    return execute(make_request(epochs=1), make_environment(folder, Quiet(), UNREACHABLE)).record, folder


@pytest.fixture
def made(tmp_path, once):
    """Return a record of another machine and its folder there."""
    record, folder = once
    shutil.copytree(folder, tmp_path / "a")
    return record, tmp_path / "a" / "runs" / record.key


def with_files(record: Record, names: dict[str, str]) -> str:
    """Return the text of the record with additional files."""
    return replace(record, files={**record.files, **names}).to_json()


def publish(uri: str, text: str | bytes, folder: Path | None = None, key: str | None = None) -> None:
    """Publish any text as a record, with the files of a folder, as a hostile machine could."""
    from mlflow import MlflowClient

    data = text.encode() if isinstance(text, str) else text
    client = MlflowClient(uri)
    tags = {"bench.key": key or json.loads(data)["key"], "bench.record": sha(data.decode(errors="surrogateescape"))}
    run = client.create_run("0", tags=tags)
    if folder is not None:
        for path in folder.iterdir():
            if path.is_file() and path.name != RECORD_FILE:
                client.log_artifact(run.info.run_id, str(path))
    client.log_text(run.info.run_id, data.decode(), RECORD_FILE)
    client.set_terminated(run.info.run_id)


def plant(results: Path, text: str, key: str, folder: Path) -> RunFolder:
    """Write a record's text and the files of a run into a results folder, as an older version may have pulled them."""
    target = results / "runs" / key
    shutil.copytree(folder, target)
    (target / RECORD_FILE).write_text(text)
    (target / "mlflow.json").unlink(missing_ok=True)
    return RunFolder(target)


def everything(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, except locks."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def uploaded(uri: str) -> list[bytes]:
    """Return the contents of all files in the artifact folder of a database."""
    folder = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def is_one_line(skipped: list[str]) -> bool:
    return len(skipped) == 1 and skipped[0].isprintable() and len(skipped[0]) < 500


@pytest.mark.parametrize("name", [*ESCAPES, *RESERVED], ids=ascii)
def test_a_record_may_only_list_files_of_its_own_folder(made, name):
    record, _ = made
    assert not is_artifact_name(name)
    with pytest.raises(StoreError) as raised:
        Record.from_json(with_files(record, {name: "0" * 64}), "here")
    assert str(raised.value).isprintable()


def test_every_file_that_a_run_writes_may_be_listed(made):
    record, folder = made
    assert all(is_artifact_name(name) for name in record.files)
    assert RunFolder(folder).read_record() == record


def test_pulling_a_record_that_names_files_elsewhere_brings_nothing(tmp_path, made, uri, secret):
    record, folder = made
    publish(uri, with_files(record, {"../../secret": sha256(secret)}), folder)
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pulled == 0 and is_one_line(done.skipped)
    assert everything(tmp_path / "b" / "runs") == {}
    assert secret.read_bytes() == SECRET


def test_pushing_a_record_that_names_files_elsewhere_uploads_nothing(tmp_path, made, uri, secret):
    record, folder = made
    plant(tmp_path / "b", with_files(record, {"../../secret": sha256(secret)}), record.key, folder)
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pushed == 0 and is_one_line(done.skipped)
    assert SECRET not in uploaded(uri) and secret.read_bytes() == SECRET


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_whose_record_names_files_elsewhere_publishes_and_moves_nothing(
    tmp_path, made, uri, secret, quiet, fresh
):
    record, folder = made
    plant(tmp_path / "b", with_files(record, {"../../secret": sha256(secret)}), record.key, folder)
    before = everything(tmp_path / "b" / "runs")
    with pytest.raises(StoreError, match="move it away") as raised:
        execute(make_request(epochs=1), replace(make_environment(tmp_path / "b", quiet, uri), fresh=fresh))
    assert str(raised.value).isprintable() and secret.read_bytes() == SECRET
    assert everything(tmp_path / "b" / "runs") == before and not uploaded(uri)


def test_a_file_that_is_not_the_one_of_its_record_is_not_pushed(tmp_path, made, uri):
    record, folder = made
    target = plant(tmp_path / "b", record.to_json(), record.key, folder).path
    (target / PREDICTIONS_FILE).write_bytes(SECRET)
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pushed == 0 and is_one_line(done.skipped) and PREDICTIONS_FILE in done.skipped[0]
    assert SECRET not in uploaded(uri)


def test_links_are_not_followed(tmp_path, made, uri, secret):
    record, folder = made
    target = plant(tmp_path / "b", with_files(record, {PREDICTIONS_FILE: sha256(secret)}), record.key, folder).path
    (target / PREDICTIONS_FILE).unlink()
    (target / PREDICTIONS_FILE).symlink_to(secret)
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pushed == 0 and is_one_line(done.skipped) and SECRET not in uploaded(uri)
    (target / PREDICTIONS_FILE).unlink()
    (target / RECORD_FILE).replace(tmp_path / "elsewhere")
    (target / RECORD_FILE).symlink_to(tmp_path / "elsewhere")
    assert "link" in sync(MlflowStore(tmp_path / "b", uri)).skipped[0]
    shutil.move(target, tmp_path / "moved")
    target.symlink_to(tmp_path / "moved")
    assert "link" in sync(MlflowStore(tmp_path / "b", uri)).skipped[0]


def test_one_hostile_record_does_not_block_the_others(tmp_path, made, uri, quiet):
    record, folder = made
    publish(uri, with_files(record, {"../x": "0" * 64}), folder)
    execute(make_request(epochs=1, seed=1), make_environment(tmp_path / "a", quiet, uri))
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert done.pulled == 1 and is_one_line(done.skipped)


def test_a_file_that_the_server_does_not_have_is_one_line(tmp_path, made, uri):
    record, folder = made
    (folder / PREDICTIONS_FILE).rename(tmp_path / "gone")
    publish(uri, record.to_json(), folder)
    store = MlflowStore(tmp_path / "b", uri)
    done = sync(store)
    assert done.pulled == 0 and is_one_line(done.skipped) and store.unavailable_reason is None


def test_a_folder_of_this_machine_that_a_server_names_is_neither_read_nor_written(tmp_path, made, monkeypatch):
    class Answer:
        def __init__(self, uri: str) -> None:
            self.artifact_uri, self.info = uri, self

    class Client:
        def get_run(self, run_id: str) -> Answer:
            return Answer(run_id)

    store = MlflowStore(tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr(store, "connect", Client)
    for location in (str(tmp_path), f"file://{tmp_path}", f"file:{tmp_path}", "models:/x", "runs:/x", "", "~", "C:/x"):
        with pytest.raises(StoreError, match="which other machines cannot reach"):
            store.check_location(location)
    for scheme in REMOTE_SCHEMES:
        store.check_location(f"{scheme}:/0/x/artifacts")


def test_every_name_of_a_number_becomes_one_that_mlflow_takes():
    dice = random.Random(0)
    signs = "ab/.. -:_\\\n%é中{}<>\x00\ud800"
    for _ in range(2000):
        _validate_metric_name(clean_metric_name("final/" + "".join(dice.choices(signs, k=dice.randint(0, 300)))))
    assert clean_metric_name("final/test/recall/joy") == "final/test/recall/joy"


def texts(record: Record, seed: int, count: int) -> list[str]:
    dice = random.Random(seed)
    return [mutated(record.to_json(), dice) for _ in range(count)]


def key_in(text: str) -> str | None:
    """Return the key of a record's text if it can be a folder name, else None."""
    try:
        key = json.loads(text)["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return key if isinstance(key, str) and key.isalnum() and key.isascii() and len(key) < 100 else None


def test_a_thousand_mutations_of_a_record_are_read_or_refused_in_one_line(tmp_path):
    record = make_run(tmp_path, "mart", clips=12)
    outcomes = Counter()
    for text in texts(record, 0, MUTATIONS):
        try:
            read = Record.from_json(text, "here")
        except StoreError as error:
            assert str(error).isprintable() and len(str(error)) < 400
            outcomes["refused"] += 1
        else:
            assert all(is_artifact_name(name) for name in read.files) and read.key == read.spec.key
            outcomes["read"] += 1
    assert outcomes["refused"] > MUTATIONS / 3 and outcomes["read"] > MUTATIONS / 50


@pytest.mark.slow
def test_a_thousand_mutations_of_a_record_stop_no_report_no_list_and_no_sync(
    tmp_path, ready_mlflow, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(ready_mlflow, tmp_path / "mlflow.db")
    good = [make_run(tmp_path, arm, clips=12, seed=seed) for arm in ("mart", "mbt") for seed in (0, 1)]
    used = set()
    for number, text in enumerate(texts(good[0], 1, MUTATIONS)):
        key = key_in(text) or f"{number:020x}"
        target = tmp_path / "runs" / (key if key not in used and key != good[0].key else f"{number:020x}")
        target.mkdir(exist_ok=True)
        used.add(target.name)
        (target / ("failed-1.json" if number % 10 == 0 else RECORD_FILE)).write_text(text, errors="surrogatepass")
    found, passed = read_records(tmp_path)
    trials = MUTATIONS + len(good) - len(found) - len(passed)
    assert len(found) >= len(good) and 0 <= trials <= MUTATIONS / 20  # reports do not list trials of a search
    assert all(line.isprintable() and len(line) < 500 for line in passed)
    assert main(["list", "--results", str(tmp_path)]) == 0
    assert main(["report", "comparison", "--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    done = sync(MlflowStore(tmp_path))
    whole = [one.record for one in found if one.record.error is None and not one.record.files]  # a record without files
    assert done.pushed == len(good) + len(whole) and all(line.isprintable() for line in done.skipped)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_run_meets_a_thousand_mutations_of_its_record_without_a_traceback(tmp_path, made, quiet):
    record, folder = made
    target = plant(tmp_path / "b", record.to_json(), record.key, folder).path
    environment = make_environment(tmp_path / "b", quiet, UNREACHABLE)
    outcomes = Counter()
    for text in texts(record, 2, MUTATIONS):
        (target / RECORD_FILE).write_text(text, errors="surrogatepass")
        try:
            outcomes["found"] += execute(make_request(epochs=1), environment).already_done
        except StoreError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
    assert sum(outcomes.values()) == MUTATIONS and outcomes["found"] > 0 and outcomes["refused"] > MUTATIONS / 3


def test_mutations_of_a_record_that_a_server_sends_are_pulled_or_skipped_in_one_line(tmp_path, made, uri):
    record, _ = made
    sent = Counter()
    for number, text in enumerate(texts(record, 3, 60)):
        key = key_in(text) or f"{number:020x}"
        sent[key] += 1
        publish(uri, text.encode(errors="surrogatepass").decode(errors="replace"), None, key)
    store = MlflowStore(tmp_path / "b", uri)
    done = sync(store)
    assert store.unavailable_reason is None and all(line.isprintable() and len(line) < 500 for line in done.skipped)
    assert done.pulled + len(done.skipped) >= len(sent) - 5
    assert not (tmp_path / "b").joinpath("secret").exists()


def test_a_shared_database_of_a_search_can_only_name_folders_of_runs(results, quiet):
    search = make_search(make_environment(results, quiet), Budget(trials=1))
    run_out(search, make_environment(results, quiet))
    (key,) = search.find_best_trial().keys
    named = json.dumps(["../../x", 3, key, f"{key}/.."])
    with closing(sqlite3.connect(results / "optuna.db")) as database:
        database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'keys'", (named,))
        database.commit()
    again = make_search(make_environment(results, quiet), Budget(trials=1))
    assert again.find_best_trial().keys == [key]


@pytest.mark.slow
def test_mutations_of_a_card_are_read_or_refused_in_one_line_and_stop_no_report(tmp_path, capsys):
    dice, read = random.Random(4), 0
    for seed in range(30):
        folder = tmp_path / "runs" / make_run(tmp_path, "mart", clips=12, seed=seed).key
        for _ in range(10):
            raw = json.loads((folder / DATASET_INFO_FILE).read_text())
            change(raw, dice)
            (tmp_path / DATASET_INFO_FILE).write_text(json.dumps(raw))
            try:
                read += read_dataset_info(tmp_path) is not None
            except StoreError as error:
                assert str(error).isprintable() and len(str(error)) < 400
        if seed > 1:
            (tmp_path / DATASET_INFO_FILE).replace(folder / DATASET_INFO_FILE)
    assert 30 < read < 270
    assert main(["report", "comparison", "--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "Traceback" not in "".join(capsys.readouterr())
