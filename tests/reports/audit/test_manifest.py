"""Tests that the manifest lists the runs of every number and describes every run and file."""

from __future__ import annotations

import json

import pytest

from bench.artifacts import PREDICTIONS_FILE
from bench.errors import StoreError
from reports.write import (
    MANIFEST_FILE,
    REQUEST_FIELDS,
    TABLE_RENDERERS,
    describe_run,
    list_tables,
    make_manifest,
    make_unfinished_manifest,
    read_manifest,
)
from tests.reports.audit.written import composed, results_of
from tests.reports.made import make_run

WORDS = {"name": "comparison", "runs": "arm=*", "preset": "quick", "settings": ["epochs=3"]}
FILES = {"macros.tex": "a" * 64, "index.html": "b" * 64}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    results = results_of(tmp_path_factory.mktemp("results"), "majority", "probe")
    make_run(results, "probe", seed=2, error="out of memory 中文")
    return composed(results)


@pytest.fixture(scope="module")
def raw(built):
    return json.loads(make_manifest(built.report, WORDS, FILES))


def test_a_manifest_reads_back_as_it_was_made(built, raw, tmp_path):
    (tmp_path / MANIFEST_FILE).write_text(make_manifest(built.report, WORDS, FILES))
    found = read_manifest(tmp_path)
    assert found.finished and found.asked == WORDS and found.files == FILES
    assert (found.runs, found.cells) == (raw["runs"], raw["cells"])
    assert found.runs == {run.record.key: describe_run(run) for run in built.report.runs}


def test_every_cell_is_there_with_its_text_and_its_runs_where_it_has_some(built, raw):
    wanted = {
        "/".join([grid.name, line.id, *([grid.columns[at].id] if at else [])]): (cell.text, list(cell.run_keys))
        for grid in list_tables(built.report)
        for line in grid.rows
        for at, cell in enumerate(line.cells)
    }
    assert {name: (cell["text"], cell.get("runs", [])) for name, cell in raw["cells"].items()} == wanted
    assert {key for _, keys in wanted.values() for key in keys} <= set(raw["runs"])
    assert all(cell.get("runs", True) for cell in raw["cells"].values()) and len(wanted) > 10


def test_every_run_is_described_with_its_files(built, raw):
    for run in built.report.runs:
        described, spec = raw["runs"][run.record.key], run.record.spec
        assert described["record"] == run.record_sha256 and len(described["record"]) == 64
        assert described["predictions"] == run.record.files.get(PREDICTIONS_FILE)
        assert described["failed"] == (run.record.error is not None)
        for name in ("method", "version", "dataset", "data", "fold", "seed", "protocol", "split", "content", "weights"):
            assert described[name] == getattr(spec, name), name
        assert (described["commit"], described["dirty"]) == (run.record.provenance["commit"], False)
        assert described["preset"] == "quick" and len(described["config"]) == 64
    assert len({described["config"] for described in raw["runs"].values()}) == 2  # one per arm


def test_every_table_is_there_in_every_format(built, raw):
    assert raw["tables"] == {
        grid.name: [f"tables/{grid.name}.{kind}" for kind in TABLE_RENDERERS] for grid in list_tables(built.report)
    }


def test_provenance_and_warnings_are_listed(built, raw):
    assert raw["warnings"] == list(built.report.warnings) and set(raw["made_by"]) == {"commit", "dirty", "source"}


def test_an_unfinished_manifest_lists_old_and_new_files_without_hashes(built, tmp_path):
    (tmp_path / MANIFEST_FILE).write_text(make_manifest(built.report, WORDS, FILES))
    old = read_manifest(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(make_unfinished_manifest(WORDS, old, ["macros.tex", "new.md"]))
    found = read_manifest(tmp_path)
    assert not found.finished and not found.cells and not found.runs and found.asked == WORDS
    assert found.files == {"macros.tex": "", "index.html": "", "new.md": ""}


def test_a_folder_without_a_manifest_holds_no_report(tmp_path):
    assert read_manifest(tmp_path) is None and read_manifest(tmp_path / "nowhere") is None


GOOD = {"schema": 4, "finished": True, "asked": WORDS, "runs": {}, "cells": {}, "files": {}}
BROKEN = {
    "cut off": '{"schema": 4, "fin',
    "empty": "",
    "null": "null",
    "a list": "[]",
    "another schema": json.dumps({**GOOD, "schema": 99}),
    "files are a list": json.dumps({**GOOD, "files": ["macros.tex"]}),
    "runs are a list": json.dumps({**GOOD, "runs": ["0"]}),
    "a run is a word": json.dumps({**GOOD, "runs": {"0": "x"}}),
    "a cell is a word": json.dumps({**GOOD, "cells": {"t/l/c": "12.3"}}),
    "the schema before": json.dumps({**GOOD, "schema": 2}),
    "a cell without text": json.dumps({**GOOD, "cells": {"t/l/c": {"runs": []}}}),
    **{f"no {name}": json.dumps({n: v for n, v in GOOD.items() if n != name}) for name in GOOD},
    **{
        f"no argument: {name}": json.dumps({**GOOD, "asked": {n: v for n, v in WORDS.items() if n != name}})
        for name in REQUEST_FIELDS
    },
}


@pytest.mark.parametrize("content", [*BROKEN.values(), b"\xff\xfe\x80"], ids=[*BROKEN, "no text"])
def test_a_broken_manifest_gives_one_line_with_the_next_step(tmp_path, content):
    (tmp_path / MANIFEST_FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError) as raised:
        read_manifest(tmp_path)
    assert str(tmp_path / MANIFEST_FILE) in str(raised.value) and "\n" not in str(raised.value)
    assert "move that folder away" in str(raised.value)


def test_a_valid_manifest_is_read(tmp_path):
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(GOOD))
    assert read_manifest(tmp_path).asked == WORDS
