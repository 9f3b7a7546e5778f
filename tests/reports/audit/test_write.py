"""Tests that a report is written completely or marked as unfinished, and replaces only files of an older report."""

from __future__ import annotations

import json

import pytest

from bench.errors import ConfigError, StoreError
from bench.files import sha256
from reports import write as writing
from reports.write import MANIFEST_FILE, check_folder, read_manifest, report_lock
from tests.reports.audit.written import check, composed, copied, results_of, write
from tests.reports.made import make_run


class Killed(BaseException):
    """Exception that stops the writing between two files."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("results"), "majority", "probe", seeds=1)


@pytest.fixture(scope="module")
def built(plain):
    return composed(plain)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """Compose a report with a table and figures that the other does not have."""
    results = results_of(tmp_path_factory.mktemp("larger"), "majority", "probe", seeds=1)
    make_run(results, "probe", "iemocap", fold=1, clips=30)
    return composed(results, figures=("comparison_results", "comparison_learning"))


@pytest.fixture(scope="module")
def large(larger, tmp_path_factory):
    """Write the larger report; tests that change its folder take a copy."""
    out = tmp_path_factory.mktemp("large") / "out"
    write(larger, out)
    return out


def killed_after(files, monkeypatch):
    """Stop the writing after this number of files."""
    done = []

    def count(path, content):
        if len(done) == files:
            raise Killed
        done.append(path)
        real(path, content)

    real = writing.atomic_write
    monkeypatch.setattr(writing, "atomic_write", count)


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_a_written_report_has_the_files_that_its_manifest_names_and_no_other(built, large, tmp_path):
    write(built, tmp_path / "small")
    for out in (tmp_path / "small", large):
        manifest = read_manifest(out)
        assert manifest.finished and files_in(out) == {MANIFEST_FILE, *manifest.files}
        for path, sha in manifest.files.items():
            assert sha256(out / path) == sha


def test_the_same_report_has_the_same_files(built, larger, large, tmp_path):
    write(built, tmp_path / "first")
    for one, first in ((built, tmp_path / "first"), (larger, large)):
        write(one, tmp_path / "second")
        for path in files_in(first):
            assert (first / path).read_bytes() == (tmp_path / "second" / path).read_bytes(), path


def test_a_report_that_replaces_another_removes_only_files_of_that_report(built, large, tmp_path):
    out = copied(large, tmp_path / "out")
    before = files_in(out)
    (out / "notes.txt").write_text("private")
    (out / "tables" / "mine.tex").write_text("private")
    write(built, out)
    manifest = read_manifest(out)
    assert before - set(manifest.files) - {MANIFEST_FILE}
    assert files_in(out) == {MANIFEST_FILE, *manifest.files, "notes.txt", "tables/mine.tex"}
    assert check(built, out) == []


@pytest.mark.parametrize("files", [1, 2, 5, 9, -2, -1])
def test_a_killed_write_is_reported_and_writing_again_repairs_it(built, tmp_path, monkeypatch, files):
    write(built, tmp_path / "count")
    out, whole = tmp_path / "out", len(files_in(tmp_path / "count"))
    with monkeypatch.context() as patch:
        killed_after(files if files > 0 else whole + 1 + files, patch)  # the manifest is written twice
        with pytest.raises(Killed):
            write(built, out)
    manifest = read_manifest(out)
    assert not manifest.finished and manifest.asked["name"] == "comparison"
    assert set(manifest.files.values()) == {""} and not manifest.cells
    write(built, out)
    assert files_in(out) == files_in(tmp_path / "count") and check(built, out) == []


def test_a_write_that_is_killed_before_its_first_file_leaves_the_old_report(built, larger, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(built, out)
    with monkeypatch.context() as patch:
        killed_after(0, patch)
        with pytest.raises(Killed):
            write(larger, out)
    assert check(built, out) == []


@pytest.mark.parametrize("files", [1, 4, 12])
def test_a_killed_write_over_an_old_report_forgets_none_of_its_files(built, large, tmp_path, monkeypatch, files):
    out = copied(large, tmp_path / "out")
    (out / "notes.txt").write_text("private")
    for _ in range(2):  # a user may interrupt it twice
        with monkeypatch.context() as patch:
            killed_after(files, patch)
            with pytest.raises(Killed):
                write(built, out)
    assert not read_manifest(out).finished
    write(built, out)
    assert files_in(out) == {MANIFEST_FILE, *read_manifest(out).files, "notes.txt"}
    assert check(built, out) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_write_that_is_killed_among_its_figures_leaves_none_behind(built, larger, tmp_path, place):
    out = tmp_path / "out"

    def stop(stage, done, total):
        if stage == "figures" and done == place:
            raise Killed

    with pytest.raises(Killed):
        write(larger, out, stop)
    assert not read_manifest(out).finished
    assert len([path for path in files_in(out) if path.endswith(".png")]) == place
    write(built, out)
    assert files_in(out) == {MANIFEST_FILE, *read_manifest(out).files}


def test_a_write_that_is_killed_before_old_files_are_deleted_leaves_none_behind(built, large, tmp_path, monkeypatch):
    def stop(folder, path):
        raise Killed

    out = copied(large, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_delete_file", stop)
        with pytest.raises(Killed):
            write(built, out)
    write(built, out)
    assert files_in(out) == {MANIFEST_FILE, *read_manifest(out).files}


@pytest.mark.parametrize("path", ["../secret", "tables/../../secret", "{absolute}", "link", ".", "", "tables", ".."])
def test_what_an_old_manifest_names_outside_its_folder_or_a_folder_is_never_deleted(built, larger, tmp_path, path):
    out, secret = tmp_path / "out", tmp_path / "secret"
    write(built, out)
    secret.write_text("private")
    path = path.replace("{absolute}", str(secret))
    if path == "link":
        (out / "link").symlink_to(secret)
    manifest = json.loads((out / MANIFEST_FILE).read_text())
    manifest["files"][path] = "0" * 64
    (out / MANIFEST_FILE).write_text(json.dumps(manifest))
    write(built, out)
    assert secret.read_text() == "private" and (out / "tables").is_dir()
    assert check(built, out) == []


def test_progress_reports_every_figure(larger, tmp_path):
    calls = []
    write(larger, tmp_path, lambda *call: calls.append(call))
    assert calls == [("figures", place, 2) for place in range(3)]


def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(built, tmp_path):
    (tmp_path / "notes.txt").write_text("private")
    with pytest.raises(ConfigError, match="holds files that are not a report"):
        write(built, tmp_path)
    assert files_in(tmp_path) == {"notes.txt"}


def test_a_file_is_refused(built, tmp_path):
    (tmp_path / "out").write_text("private")
    with pytest.raises(ConfigError, match="is a file"):
        write(built, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "private"


def test_new_and_empty_folders_and_those_of_reports_are_taken(built, tmp_path):
    check_folder(tmp_path / "a" / "b")
    check_folder(tmp_path)
    write(built, tmp_path / "out")
    check_folder(tmp_path / "out")
    assert not (tmp_path / "a").exists()


def test_the_page_shows_the_figures_that_are_drawn(large):
    page = (large / "index.html").read_text()
    assert page.count("<img") + page.count("data:image") >= 2


def test_two_commands_do_not_write_one_report_at_once(tmp_path):
    with (
        report_lock(tmp_path / "out"),
        pytest.raises(StoreError, match="another command is writing the report"),
        report_lock(tmp_path / "out"),
    ):
        raise AssertionError("both commands hold the lock")
    with report_lock(tmp_path / "out"), report_lock(tmp_path / "other"):
        pass


def test_an_older_printed_paper_goes_with_the_report_that_replaces_it(built, tmp_path):
    write(built, tmp_path / "out")
    (tmp_path / "out" / "paper.pdf").write_bytes(b"an older report")
    assert [one.message for one in check(built, tmp_path / "out")] == [
        "paper.pdf is not in manifest.json; write the report again"
    ]
    write(built, tmp_path / "out")
    assert not (tmp_path / "out" / "paper.pdf").exists() and check(built, tmp_path / "out") == []


def test_temporary_files_of_a_killed_command_are_deleted_by_the_next_write(built, tmp_path):
    write(built, tmp_path / "out")
    left, mine = tmp_path / "out" / "tables" / ".comparison_scores.md.ab12", tmp_path / "out" / "tables" / ".mine"
    left.write_text("half")
    mine.write_text("private")
    write(built, tmp_path / "out")
    assert not left.exists() and mine.exists()
