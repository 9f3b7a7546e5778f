"""Tests of stored requests: they survive kills and invalid files, and are synced with the run."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import bench.requests
from bench.execute import execute
from bench.mlflow import MlflowStore, sync
from bench.record import RunFolder, is_artifact_name
from bench.requests import (
    REQUESTS,
    RequestedPlan,
    StoredRequest,
    add_requests,
    format_command,
    hash_requests,
    name_files,
    parse_requests,
    read_requests,
)
from tests.bench.mutations import mutated
from tests.bench.test_execute import make_request
from tests.bench.test_store import UNREACHABLE, folder_of, make_environment

PLAN = RequestedPlan({"toy": (0,)}, (0, 1), ("clean",))
BY_HAND = StoredRequest("", "toy", "quick", PLAN, settings={"epochs": "1"}, command="python bench.py --seeds 2")
BY_STUDY = replace(BY_HAND, study="ablation", tuning="shared", tuned_by="mart", search="0123456789ab", tried=20)
SECRET = "a private key"


@pytest.fixture
def folder(tmp_path):
    run_folder = RunFolder(tmp_path / "runs" / ("0" * 20))
    run_folder.path.mkdir(parents=True)
    return run_folder


@pytest.fixture
def uri(tmp_path, ready_mlflow):
    shutil.copy(ready_mlflow, tmp_path / "shared.db")
    return f"sqlite:///{tmp_path / 'shared.db'}"


def stored(folder):
    """Return the requests of a folder without their times; assert that no line is skipped."""
    found, warnings = read_requests(folder)
    assert warnings == [] and all(one.time for one in found)
    return [replace(one, time="") for one in found]


def requested_by(*requests, **values):
    return replace(make_request(**{"epochs": 1, **values}), requests=requests)


def test_requests_are_appended_and_an_equal_one_is_not(folder):
    add_requests(folder, [BY_HAND])
    add_requests(folder, [replace(BY_HAND, command="another"), BY_STUDY, BY_STUDY])
    assert stored(folder) == [BY_HAND, BY_STUDY]
    add_requests(folder, [replace(BY_STUDY, tried=30)])
    assert [one.tried for one in stored(folder)] == [1, 20, 30]
    lines = (folder.path / REQUESTS).read_text().splitlines()
    assert [json.loads(line)["study"] for line in lines] == ["", "ablation", "ablation"]


@pytest.mark.parametrize("how", ["finished", "found", "fresh", "failed"])
def test_a_run_stores_its_requests_however_it_ends(results, quiet, how):
    environment = make_environment(results, quiet, UNREACHABLE)
    values = {"fail": "error"} if how == "failed" else {}
    if how in ("found", "fresh"):
        assert stored(folder_of(results, execute(requested_by(), environment))) == []
    outcome = execute(requested_by(BY_HAND, **values), replace(environment, fresh=how == "fresh"))
    assert (outcome.record.error is not None) == (how == "failed") and outcome.already_done == (how == "found")
    assert stored(folder_of(results, outcome)) == [BY_HAND]
    execute(requested_by(BY_STUDY, **values), replace(environment, fresh=True))
    assert stored(folder_of(results, outcome)) == [BY_HAND, BY_STUDY]
    assert REQUESTS not in outcome.record.files and not is_artifact_name(REQUESTS)


def test_no_request_changes_a_record(tmp_path, quiet):
    bare = execute(requested_by(), make_environment(tmp_path / "a", quiet, UNREACHABLE)).record
    with_requests = execute(
        requested_by(BY_HAND, BY_STUDY), make_environment(tmp_path / "b", quiet, UNREACHABLE)
    ).record
    assert all(getattr(bare, name) == getattr(with_requests, name) for name in ("key", "scores", "files"))


def test_a_kill_at_any_byte_of_an_append_loses_the_last_request_at_most(folder):
    add_requests(folder, [BY_HAND, BY_STUDY])
    path = folder.path / REQUESTS
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    more = replace(BY_STUDY, study="comparison")
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = [BY_HAND, BY_STUDY][: (length >= first) + (length == len(whole))]
        assert stored(folder) == complete
        add_requests(folder, [more])
        assert stored(folder) == [*complete, more]


def test_a_broken_line_is_reported_in_one_line_and_hides_no_other(folder):
    add_requests(folder, [BY_HAND, BY_STUDY])
    path = folder.path / REQUESTS
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b'{"study": \x1b[31m\n' + b"\xff\n" + second)
    found, (warning,) = read_requests(folder)
    assert [replace(one, time="") for one in found] == [BY_HAND, BY_STUDY]
    assert "skipped 2 of 4 lines" in warning and str(path) in warning and warning.isprintable()
    add_requests(folder, [replace(BY_HAND, arm="other")])
    assert [one.arm for one in read_requests(folder)[0]] == ["toy", "toy", "other"]


WRONG = {
    "arm": ["", "a/b", "x" * 251, "a\nb", 3, None],
    "study": ["a/b", "x\x1b", 3, None],
    "tuning": ["frozen", "", None],
    "search": ["0" * 11, "../../x", "0" * 12 + "\n", 3],
    "tried": [-1, 1.5, "3", True, 2**63, float("nan")],
    "settings": [[], {"lr": 0.1}, {"../x": "1"}, {"": "1"}],
    "plan": [{}, None, {"datasets": {"a/b": [0]}, "seeds": [], "protocols": []}],
    "command": [3, None, ["python"]],
    "time": ["yesterday", "2026-01-01", "2026-01-01T00:00:00Z\n"],
    "schema": [0, 2, "1", True],
    "more": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_line_with_a_value_of_the_wrong_kind_is_no_request(name, value):
    line = json.dumps({**json.loads(BY_STUDY.to_line()), name: value}).encode() + b"\n"
    found, (warning,) = parse_requests(line, "here")
    assert found == [] and warning.isprintable() and len(warning) < 400


def test_a_thousand_mutations_of_a_file_are_read_or_reported_in_one_line(folder):
    dice, read = random.Random(0), 0
    text = replace(BY_STUDY, time="2026-01-01T00:00:00Z").to_line().decode()
    for _ in range(1000):
        content = mutated(text, dice).replace("\n", " ").encode(errors="surrogatepass") + b"\n"
        (folder.path / REQUESTS).write_bytes(content)
        found, warnings = read_requests(folder)
        assert len(found) + len(warnings) == 1
        assert all(line.isprintable() and len(line) < 500 for line in warnings)
        read += len(found)
    assert 20 < read < 800


def test_what_is_read_of_a_file_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(bench.requests, "MAX_LINES", 3)
    add_requests(folder, [replace(BY_HAND, arm=f"arm{number}") for number in range(3)])
    add_requests(folder, [replace(BY_HAND, arm="one too many")])
    assert [one.arm for one in stored(folder)] == ["arm0", "arm1", "arm2"]
    path = folder.path / REQUESTS
    path.write_bytes(path.read_bytes() * 2)
    found, (warning,) = read_requests(folder)
    assert len(found) == 3 and "3 of 6 lines" in warning
    long = replace(BY_HAND, settings={"lexicon": "x" * bench.requests.MAX_LINE_BYTES})
    path.unlink()
    add_requests(folder, [long, BY_STUDY])
    assert stored(folder) == [BY_STUDY]
    assert "longer than" in parse_requests(long.to_line(), "here")[1][0]


def test_a_link_is_not_followed(tmp_path, folder):
    (tmp_path / "secret").write_text(SECRET)
    (folder.path / REQUESTS).symlink_to(tmp_path / "secret")
    assert read_requests(folder) == ([], [])
    add_requests(folder, [BY_HAND])
    assert stored(folder) == [BY_HAND] and (tmp_path / "secret").read_text() == SECRET


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        ("postgresql://me:pass@host/db", "'postgresql://***@host/db'"),
        ("--tracking-uri=https://me:p@ss/w@host:5000", "'--tracking-uri=https://***@host:5000'"),
        ("postgresql://host/db?user=me&password=pass&x=1", "'postgresql://host/db?user=me&password=***&x=1'"),
        ("https://host/?api_token=pass", "'https://host/?api_token=***'"),
        ("~/data set", "'~/data set'"),
        ("lr=0.1", "lr=0.1"),
    ],
)
def test_a_command_is_stored_as_it_was_typed_without_passwords(arg, expected):
    assert format_command(["study", "ablation", arg]) == f"python bench.py study ablation {expected}"


def test_a_command_that_is_no_proper_text_or_very_long_is_stored_once(folder):
    unusual = replace(BY_HAND, command=format_command(["\udce9.mp4", "x" * 1_000_000]))
    add_requests(folder, [unusual])
    add_requests(folder, [unusual])
    (one,) = stored(folder)
    assert "udce9" in one.command and len(one.command) < 20_000


def test_a_file_set_by_hand_is_named_by_its_content():
    (one,) = name_files([replace(BY_HAND, settings={"lexicon": "/home/me/words", "lr": "0.1"})], {"lexicon": "a" * 64})
    assert one.settings == {"lexicon": "a" * 64, "lr": "0.1"}


def published(store, run_id):
    """Return the content of the requests file in MLflow."""
    artifacts = store.connect().get_run(run_id).info.artifact_uri.removeprefix("file://")
    path = Path(artifacts) / REQUESTS
    return path.read_bytes() if path.exists() else b""


def test_requests_travel_both_ways_and_end_up_the_same(tmp_path, quiet, uri):
    outcome = execute(requested_by(BY_HAND), make_environment(tmp_path / "a", quiet, uri))
    here, there = MlflowStore(tmp_path / "a", uri), MlflowStore(tmp_path / "b", uri)
    assert BY_HAND.arm in published(here, outcome.run_id).decode()
    assert sync(there).pulled == 1
    a, b = folder_of(tmp_path / "a", outcome), folder_of(tmp_path / "b", outcome)
    assert stored(b) == [BY_HAND]
    execute(requested_by(BY_STUDY), make_environment(tmp_path / "b", quiet, uri))
    more = replace(BY_STUDY, study="comparison")
    execute(requested_by(more), make_environment(tmp_path / "a", quiet, uri))
    assert stored(b) == [BY_HAND, BY_STUDY] and stored(a) == [BY_HAND, more]
    for store in (there, here, there):
        done = sync(store)
        assert (done.pushed, done.pulled, done.skipped) == (0, 0, [])
    assert (
        sorted(one.study for one in stored(a))
        == sorted(one.study for one in stored(b))
        == [
            "",
            "ablation",
            "comparison",
        ]
    )
    assert hash_requests(read_requests(a)[0]) == hash_requests(read_requests(b)[0])
    before = published(here, outcome.run_id)
    assert before.count(b"\n") == 3
    sync(here), sync(there)
    assert published(here, outcome.run_id) == before


def test_a_run_of_version_0_1_has_no_requests_to_exchange(tmp_path, quiet, uri):
    outcome = execute(requested_by(), make_environment(tmp_path / "a", quiet, uri))
    assert published(MlflowStore(tmp_path / "a", uri), outcome.run_id) == b""
    assert sync(MlflowStore(tmp_path / "b", uri)).pulled == 1
    assert not (folder_of(tmp_path / "b", outcome).path / REQUESTS).exists()
    execute(requested_by(BY_HAND), make_environment(tmp_path / "b", quiet, uri))  # again, with a stored request
    sync(MlflowStore(tmp_path / "b", uri)), sync(MlflowStore(tmp_path / "a", uri))
    assert stored(folder_of(tmp_path / "a", outcome)) == [BY_HAND]


@pytest.mark.parametrize(
    "content", [b"\xff" * 100, b"{}\n", b"[" * 100_000 + b"\n", b'{"arm": "../../x"}\n'], ids=range(4)
)
def test_hostile_requests_of_a_server_are_ignored_and_block_no_run(tmp_path, quiet, uri, content):
    outcome = execute(requested_by(BY_HAND), make_environment(tmp_path / "a", quiet, uri))
    client = MlflowStore(tmp_path / "a", uri).connect()
    artifacts = Path(client.get_run(outcome.run_id).info.artifact_uri.removeprefix("file://"))
    (artifacts / REQUESTS).write_bytes(content)
    client.set_tag(outcome.run_id, "bench.requested_by", bench.requests.hashlib.sha256(content).hexdigest())
    done = sync(MlflowStore(tmp_path / "b", uri))
    assert (done.pulled, done.skipped) == (1, [])
    assert stored(folder_of(tmp_path / "b", outcome)) == []
    assert sync(MlflowStore(tmp_path / "a", uri)).skipped == [] and stored(folder_of(tmp_path / "a", outcome)) == [
        BY_HAND
    ]
