"""The option --plugin in every command: runs, records, reports and predictions of methods that a file defines."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from bench.execute import RunRequest
from bench.method import read_plugin
from bench.record import RunFolder, RunSpec, find_finished_runs
from datasets.registry import DATASETS
from methods import METHODS
from reports.runs import Run, find_inconsistencies
from studies.search import Budget, HyperparameterSearch, SearchOptions
from studies.select import read_records, select_current
from studies.storage import Storage, make_storage_url
from tests.conftest import ROOT, lend_sample
from tests.datasets.trees import write_mp3
from tests.documents import read_plugins
from tests.reports.made import make_run
from tests.studies.command_line import bench, one_line, process
from tests.studies.work.commands import commands as commands
from tests.studies.work.commands import wait_for
from tests.toys import TOY as TOY_METHOD
from tests.toys import TOY_DATA

TOY = ("--dataset", "toy", "--threads", "1")
TEXTS = {name: plugin.text for name, plugin in read_plugins().items()}
SHA = hashlib.sha256(TEXTS["loudness.py"].encode()).hexdigest()


@pytest.fixture
def files(tmp_path):
    """Return the folder with the files of the documentation."""
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory, ready_mlflow):
    """Return a folder with the files of the documentation, and results of one of their methods and of the toy."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "results").mkdir()
    shutil.copy(ready_mlflow, folder / "results" / "mlflow.db")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    words = ("--plugin", folder / "loudness.py", "--method", "loudness,toy", "--set", "epochs=1", "--seeds", "2", *TOY)
    done = bench(*words, results=folder / "results")
    assert done.code == 0, done.out + done.err
    return folder


def records_of(results, method):
    found = [folder.read_record() for folder in find_finished_runs(results)]
    return [record for record in found if record is not None and record.spec.method == method]


def test_a_run_is_marked_by_the_hash_of_its_file_and_keeps_its_text(kept):
    results = kept / "results"
    first, second = records_of(results, "loudness")
    assert first.spec.plugin == second.spec.plugin == SHA and first.provenance["plugin"] == "loudness.py"
    stored = results / "runs" / first.key / "plugin.py"
    assert stored.read_text() == TEXTS["loudness.py"] and first.files["plugin.py"] == SHA
    for record in records_of(results, "toy"):
        assert record.spec.plugin is None and "plugin.py" not in record.files and "plugin" not in record.provenance


def test_the_table_of_scores_states_that_the_method_is_not_from_this_commit(kept):
    words = ("--plugin", kept / "loudness.py", "--method", "loudness,toy", "--set", "epochs=1", "--seeds", "2", *TOY)
    shown = " ".join(bench(*words, results=kept / "results").out.split())
    assert (
        f"2 runs were made by a plugin, code that is not from this commit (loudness: loudness.py sha {SHA[:8]})"
        in shown
    )


def test_the_hash_enters_the_key_of_a_run_only_where_there_is_one(kept):
    values = vars(records_of(kept / "results", "toy")[0].spec)
    plain, marked = RunSpec(**values), RunSpec(**{**values, "plugin": SHA})
    edited = RunSpec(**{**values, "plugin": "0" * 64})
    assert len({plain.key, marked.key, edited.key}) == 3
    fields = {name: value for name, value in values.items() if value is not None}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert plain.key == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_a_file_is_read_once_so_that_what_is_checked_is_what_runs(files, results, monkeypatch):
    read = []

    def read_and_edit(path):
        read.append(path)
        plugin = read_plugin(path)
        path.write_text("broken(")
        return plugin

    monkeypatch.setattr("studies.requests.read_plugin", read_and_edit)
    done = bench("--plugin", files / "loudness.py", "--method", "loudness", *TOY, results=results)
    assert done.code == 0 and read == [files / "loudness.py"]


def test_an_edited_file_makes_new_runs_and_an_equal_one_does_not(files, results):
    path = files / "loudness.py"
    words = ("--plugin", path, "--method", "loudness", *TOY)
    assert "already finished" not in bench(*words, results=results).out
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # a byte order mark is no part of the text
    path.rename(files / "renamed.py")
    assert "already finished" in bench("--plugin", files / "renamed.py", *words[2:], results=results).out
    path.write_text(f"{TEXTS['loudness.py']}# edited\n")
    assert "already finished" not in bench(*words, results=results).out
    assert len({record.spec.plugin for record in records_of(results, "loudness")}) == 2


def test_a_method_is_known_only_to_the_command_that_gives_its_file(files):
    path = files / "loudness.py"
    assert "nearest mean loudness" in bench("list", "methods", "--plugin", path).out
    assert "nearest mean loudness" not in bench("list", "methods").out
    assert "width of the state" in bench("list", "fields", "--plugin", files / "recurrent.py").out
    assert one_line(bench("--method", "loudness", *TOY), "unknown method 'loudness'")


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "majority", "--dataset", "ekman6"),
        ("study", "ablation"),
        ("list",),
        ("check", "--method", "majority"),
        ("report", "ablation"),
        ("report", "ablation", "--check"),
        ("predict", "x.mp4"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line_in_every_command(words, tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\nraise ValueError('no good')\n")
    done = bench(*words, "--plugin", tmp_path / "bad.py", results=tmp_path)
    assert one_line(done, "--plugin bad.py, line 2: ValueError: no good")
    assert one_line(bench(*words, "--plugin", tmp_path / "missing.py", results=tmp_path), "missing.py", "No such file")


def test_a_file_given_twice_is_one(files):
    assert bench("list", "methods", *("--plugin", files / "loudness.py") * 2).code == 0


@pytest.mark.slow
def test_a_search_of_an_edited_file_is_another_one(files, results):
    path = files / "recurrent.py"
    words = ("--plugin", path, "--method", "recurrent", "--set", "epochs=1", "--trials", "1", *TOY)
    for edit in ("", "# edited\n"):
        path.write_text(f"{TEXTS['recurrent.py']}{edit}")
        done = bench(*words, results=results)
        assert done.code == 0, done.out + done.err
    assert len(list(results.glob("searches/*/search.json"))) == 2


def test_a_search_is_named_by_the_text_of_its_method(tmp_path):
    request = RunRequest("toy", TOY_METHOD, TOY_METHOD.config(), "quick", TOY_DATA, 0)
    spec = RunSpec("toy", 1, {}, "toy", "real", "f" * 64, "c" * 64, 0, 0)
    storage = Storage(make_storage_url(tmp_path, None))

    def name(plugin):
        marked = replace(spec, plugin=plugin)
        return HyperparameterSearch(request, marked, (), SearchOptions("tpe", "none", 1), Budget(1), storage).name

    assert len({name(None), name("0" * 64), name("1" * 64)}) == 3


def test_runs_of_plugins_that_are_not_given_are_left_out_and_named(results):
    of_plugin = {"provenance": {"plugin": "mine.py"}, "plugin": SHA}
    made = [make_run(results, "probe", clips=12, seed=seed, method="mine", **of_plugin) for seed in (0, 1)]
    make_run(results, "probe", clips=12, **of_plugin)
    package = {"plugin": "mine.methods", "plugin_package": "mine 1.5"}
    make_run(results, "probe", clips=12, method="other", plugin=SHA, provenance=package)
    plain = make_run(results, "probe", clips=12)
    stored = read_records(results)[0]
    current, notes = select_current(stored)
    assert [found.record.key for found in current] == [plain.key]
    version = plain.spec.version
    assert {note.partition(" left out: ")[::2] for note in notes} == {
        (
            f"2 runs of mine version {version}",
            f"made by the plugin mine.py (sha {SHA[:8]}); give it with --plugin mine.py",
        ),
        (
            f"1 run of probe version {version}",
            f"made by another text of the plugin mine.py (sha {SHA[:8]}); give that text with --plugin, it is stored "
            "as plugin.py in the run's folder",
        ),
        (
            f"1 run of other version {version}",
            f"made by mine.methods of the installed package mine 1.5 (sha {SHA[:8]}); install this version",
        ),
    }
    runs = [Run(record, results, DATASETS["ekman6"].info, "mine", METHODS["probe"]) for record in (*made, plain)]
    warning = f"2 runs were made by a plugin, code that is not from this commit (mine: mine.py sha {SHA[:8]})."
    assert warning in find_inconsistencies(runs)
    assert not any("plugin" in line for line in find_inconsistencies(runs[2:]))


def report(kept, *words):
    return bench("report", *words, "--runs", "dataset=toy", "--out", kept / "report", results=kept / "results")


@pytest.mark.slow
def test_a_report_without_the_file_names_it_and_with_it_prints_a_warning(kept):
    done = report(kept)
    line = f"2 runs of loudness version 1 left out: made by the plugin loudness.py (sha {SHA[:8]})"
    assert done.code == 0 and f"{line}; give it with --plugin loudness.py" in done.out
    (kept / "edited").mkdir(exist_ok=True)
    (kept / "edited" / "loudness.py").write_text(f"{TEXTS['loudness.py']}# edited\n")
    done = report(kept, "--plugin", kept / "edited" / "loudness.py")
    assert done.code == 0 and f"made by another text of the plugin loudness.py (sha {SHA[:8]})" in done.out
    done = report(kept, "--plugin", kept / "loudness.py")
    assert done.code == 0 and "left out" not in done.out and "4 runs" in done.out
    warning = f"2 runs were made by a plugin, code that is not from this commit (loudness: loudness.py sha {SHA[:8]})."
    assert warning in done.out and f"--plugin {kept / 'loudness.py'}" in done.out
    assert warning in (kept / "report" / "report.md").read_text()
    assert report(kept, "--check", "--plugin", kept / "loudness.py").code == 0
    done = report(kept, "--check")
    assert done.code == 3 and line in done.out


@pytest.mark.slow
def test_the_stored_text_of_a_run_can_be_given(kept):
    stored = kept / "results" / "runs" / records_of(kept / "results", "loudness")[0].key / "plugin.py"
    done = report(kept, "--plugin", stored)
    assert done.code == 0 and "left out" not in done.out


def test_a_prediction_needs_the_file_and_never_executes_the_stored_text(kept, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(kept / "results", results)
    key = records_of(results, "loudness")[0].key
    sound = write_mp3(tmp_path / "clip.mp3", 1.0)
    done = bench("predict", sound, "--run", key, results=results)
    reason = f"run {key} was made by the plugin loudness.py (sha {SHA[:8]}); give it with --plugin loudness.py"
    assert one_line(done, reason)
    done = bench("predict", sound, "--run", key, "--plugin", kept / "loudness.py", results=results)
    assert done.code == 0, done.err
    assert "loudness trained on Toy clips" in done.out
    edited = tmp_path / "loudness.py"
    edited.write_text(f"{TEXTS['loudness.py']}# edited\n")
    assert one_line(bench("predict", sound, "--run", key, "--plugin", edited, results=results), "another text")
    for folder in find_finished_runs(results):
        if folder.path.name != key:
            shutil.rmtree(folder.path)
    assert one_line(bench("predict", sound, results=results), reason)


def test_a_failed_run_names_the_line_of_the_file(files, results):
    path = files / "loudness.py"
    path.write_text(TEXTS["loudness.py"].replace("    target = torch", "    1 / 0\n    target = torch"))
    assert bench("--plugin", path, "--method", "loudness", *TOY, results=results).code == 3
    (folder,) = (RunFolder(path) for path in results.glob("runs/*/"))
    record = folder.read_failed_record()
    assert 'loudness.py", line' in record.error.traceback and "    1 / 0\n" in record.error.traceback


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("--workers", "2", "--seeds", "2"), ("--devices", "2", "--set", "batch=4"), ("--loaders", "1")],
    ids=["workers", "devices", "loaders"],
)
def test_other_processes_load_the_text_that_was_read(words, files, results, commands):
    path = files / "recurrent.py"
    words = ("--plugin", str(path), "--method", "recurrent", "--set", "epochs=2", *TOY, *words)
    command = commands.start(results, *words)
    wait_for(lambda: "recurrent" in command.output(), command)
    path.write_text("raise SystemExit('read again')\n")
    output = command.ends()
    assert "read again" not in output
    runs = records_of(results, "recurrent")
    assert runs and all(record.error is None for record in runs)
    assert {record.spec.plugin for record in runs} == {hashlib.sha256(TEXTS["recurrent.py"].encode()).hexdigest()}


@pytest.mark.slow
def test_the_commands_of_the_documentation_run_in_the_folder_of_the_files(files, results, few_drawn):
    lend_sample(few_drawn, results)
    for words, part in (
        (("--plugin", "loudness.py", "--method", "loudness", "--dataset", "ekman6"), "BUILT-IN SAMPLE"),
        (
            ("check", "--method", "recurrent,loudness", "--plugin", "recurrent.py", "--plugin", "loudness.py"),
            "11 of 11",
        ),
        (("list", "fields", "--plugin", "recurrent.py"), "width of the state"),
    ):
        done = process(ROOT / "bench.py", *words, "--results", results.relative_to(files), cwd=files)
        assert done.code == 0 and done.err == "" and part in done.out, done.out + done.err


@pytest.mark.slow
def test_a_check_of_a_wrong_method_prints_the_fault_and_exits_with_3(files, results):
    path = files / "loudness.py"
    path.write_text(TEXTS["loudness.py"].replace("loudness[:, None] -", "loudness[:, None] / loudness.sum() -"))
    done = bench("check", "--method", "loudness", "--plugin", path, results=results)
    assert done.code == 3 and "failed  the scores of a clip do not depend on its batch: " in done.out
    assert not list((results / "contract").glob("tmp*"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("--dataset", "--method")),
        (("--method", "majority", "--dataset", "ekman6"), ("either",)),
        (("--method", "majority", "--fold", "1"), ("--fold", "omit")),
        (("--dataset", "ekman6", "--set", "epochs=1"), ("--set", "omit")),
        (("--method", "nothing"), ("unknown method 'nothing'",)),
        (("--method", "mbt", "--set", "epoch=1"), ("epoch", "epochs")),
    ],
)
def test_a_check_without_a_subject_or_with_options_of_the_other_is_one_line(words, parts, tmp_path):
    assert one_line(bench("check", *words, results=tmp_path), *parts)
