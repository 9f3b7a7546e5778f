"""The Python interface makes the runs of the command line, returns tables, and works without a script."""

import inspect
import json
import os
import subprocess
import sys
import warnings
from dataclasses import fields

import pytest

from bench.errors import BenchError, ConfigError, DataError, StoreError
from bench.record import RunFolder
from bench.requests import read_requests
from studies import api
from studies.api import predict, records, report, run, study
from studies.cli.main import app
from studies.cli.options import RunOptions
from studies.studies import STUDIES, Study
from tests.conftest import ROOT
from tests.datasets.trees import write_media, write_mp3
from tests.documents import read_plugins
from tests.reports.made import make_run
from tests.studies.command_line import as_command, bench

TOY = {"method": "toy", "dataset": "toy", "settings": {"epochs": 2}, "threads": 1}
WORDS = ("--method", "toy", "--dataset", "toy", "--set", "epochs=2", "--threads", "1")
QUESTION = Study("question", "Is it so?", arms=("toy", "majority"), datasets=("toy",), tuning="none")


@pytest.fixture
def toys(results):
    """Register the toys, with an empty results folder as the default."""
    with as_command(results):
        yield results


@pytest.fixture
def elsewhere(tmp_path, ready_mlflow):
    """Return a second results folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(ready_mlflow.read_bytes())
    return folder


def read_scores(folder):
    """Return key -> scores of every record in a results folder."""
    found = [RunFolder(path.parent).read_record() for path in (folder / "runs").glob("*/record.json")]
    return {record.key: record.scores for record in found}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("--seeds", "2", "--protocol", "best-on-test"), {"seeds": 2, "protocol": "best-on-test"}),
        (("--seed", "3", "--set", "lr=0.01", "--set", "drop=0"), {"seeds": [3], "settings": {"lr": 1e-2, "drop": 0}}),
        pytest.param(("--protocol", "refit"), {"protocol": "refit"}, marks=pytest.mark.slow),
        pytest.param(("--trials", "2", "--sampler", "gp"), {"trials": 2, "sampler": "gp"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_call_makes_the_runs_of_the_command_with_the_same_options(toys, elsewhere, words, given):
    assert bench(*WORDS, *words, "--results", elsewhere).code == 0
    given = {**TOY, **given, "settings": {**TOY["settings"], **given.get("settings", {})}}
    frame = run(**given)
    finished = read_scores(elsewhere)
    assert read_scores(toys) == finished and finished
    assert set(frame.key) <= finished.keys() and len(frame) == len(set(frame.key))
    assert not bench(*WORDS, *words).out.count("s (run")  # the command finds these runs finished
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        assert {name: row[name] for name in finished[row["key"]]} == finished[row["key"]]


def test_a_study_makes_the_runs_of_the_command(toys, elsewhere, monkeypatch):
    monkeypatch.setitem(STUDIES, "question", (QUESTION,))
    words = ("study", "question", "--seeds", "2", "--set", "epochs=2", "--threads", "1", "--results", elsewhere)
    assert bench(*words).code == 0
    frame = study("question", seeds=2, settings={"epochs": 2}, threads=1)
    assert read_scores(toys) == read_scores(elsewhere) and len(frame) == 4
    assert sorted(zip(frame.arm, frame.seed, strict=True)) == [(m, s) for m in ("majority", "toy") for s in (0, 1)]
    assert set(frame.study) == {"question"} and not list(toys.rglob("weights.safetensors"))
    assert study("question", seeds=2, settings={"epochs": 2}, threads=1).equals(frame)


def test_every_option_of_the_command_is_a_keyword(toys):
    explicit = {*inspect.signature(run).parameters, *inspect.signature(study).parameters}
    named = {field.name for field in fields(RunOptions)} - api.COMMAND_ONLY
    callbacks = [app.registered_callback.callback, *(item.callback for item in app.registered_commands)]
    for callback in (one for one in callbacks if one.__name__ in ("run", "study")):
        options = {*inspect.signature(callback).parameters} - {"context", "show_version"}
        assert options - api.COMMAND_ONLY <= explicit | named
    assert all(name in run.__doc__ + study.__doc__ for name in named - explicit)


def test_every_option_of_report_and_predict_is_a_keyword():
    names = {"key": "run"}
    callbacks = {item.callback.__name__: item.callback for item in app.registered_commands}
    for function in (report, predict):
        options = {*inspect.signature(callbacks[function.__name__]).parameters}
        keywords = {*inspect.signature(function).parameters}
        assert {names.get(name, name) for name in options - {"json_file", "check"}} <= keywords
        assert keywords - {names.get(name, name) for name in options} <= {"quiet"}


@pytest.mark.parametrize("several", [False, True])
def test_a_method_of_a_file_runs_and_is_reported_and_predicts(toys, several):
    file = toys / "loudness.py"
    file.write_text(read_plugins()["loudness.py"].text)
    plugin = [file] if several else str(file)
    frame = run("loudness", "toy", seeds=2, plugin=plugin, threads=1)
    (request,) = read_requests(RunFolder(toys / "runs" / frame.key[0]))[0]
    call = "run(method='loudness', dataset='toy', seeds=[0, 1], protocol='clean', "
    assert request.command == f"{call}plugin=['{file}'], threads=1)"
    assert set(records().plugin) == {"loudness.py"} and records().limit.isna().all()
    limited = run("loudness", "toy", limit=1, plugin=plugin)
    assert records().set_index("key").limit[limited.key[0]] == limited.limit[0] == 1
    run("majority", "toy")  # without the file: its methods are no longer registered
    with pytest.raises(BenchError, match=r"loudness\.py"):
        report(runs="arm=loudness", out=toys / "page")
    assert report(runs="arm=loudness", out=toys / "page", plugin=plugin).exists()
    run("majority", "toy")
    sound = write_mp3(toys / "sound.mp3")
    with pytest.raises(BenchError, match=r"loudness\.py"):
        predict(sound, run=frame.key[0])
    assert predict(sound, run=frame.key[0], plugin=plugin).method[0] == "loudness"
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        predict(sound, device="gpu")


def test_one_line_a_run_is_printed_or_what_the_command_prints(toys, capsys):
    run(**TOY, seeds=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"toy on toy, seed {n}: done in") for n, line in enumerate(lines))
    run(**TOY, seeds=2, quiet=False)
    shown = capsys.readouterr().out
    assert "already finished" in shown and "Acc E" in shown and "records:" in shown


def test_records_are_the_rows_of_all_calls_and_failures_are_among_them(toys):
    made = run(**TOY, seeds=2)
    failed = run(**{**TOY, "settings": {"epochs": 2, "fail": "nan"}})
    assert failed.error[0].startswith("nan: ") and failed.test.isna().all()
    frame = records()
    assert list(frame.key) == sorted([*made.key, *failed.key])
    assert frame[frame.error.isna()].test.tolist() == frame[frame.error.isna()]["test/acc_e"].tolist()
    assert set(frame.metric) == {"acc_e"} and set(frame["config/epochs"]) == {2} and frame.seconds.gt(0).all()
    assert list(frame.columns[: len(api.FIRST_COLUMNS)]) == list(api.FIRST_COLUMNS)
    assert set(frame.data) == {"real"} and set(frame.protocol) == {"clean"} and frame.commit.notna().all()


@pytest.mark.slow
def test_trials_have_no_row_and_a_record_that_cannot_be_read_is_a_warning(toys):
    key = run(**TOY, trials=2).key[0]
    assert len(read_scores(toys)) == 3 and list(records().key) == [key]
    (toys / "runs" / key / "record.json").write_text("{}")
    with pytest.warns(UserWarning, match="not a record"):
        assert records().empty
    with pytest.raises(StoreError, match="no such folder"):
        records(toys / "nowhere")


def test_records_of_numbers_have_their_own_metric(tmp_path):
    make_run(tmp_path, "mbt", clips=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = records(tmp_path)
    assert list(frame.metric) == ["acc_e"] and frame.test[0] == frame["test/acc_e"][0]


MISTAKES = {
    "method": ({"method": "tooy"}, "unknown method 'tooy'; did you mean 'toy'"),
    "data set": ({"dataset": "toi"}, "unknown data set 'toi'"),
    "field": ({"settings": {"epoch": 2}}, "unknown config field 'epoch'"),
    "value": ({"settings": {"epochs": "many"}}, "--set epochs"),
    "keyword": ({"worker": 2}, "unknown keyword 'worker'; did you mean 'workers'"),
    "of a study": ({"shard": "1/2"}, "shard: only possible with a study"),
    "of the command": ({"json_file": "a.json"}, "unknown keyword 'json_file'"),
    "minimum": ({"workers": 0}, "workers: expected a number of at least 1, got 0"),
    "type": ({"trials": "3"}, "trials: expected a number"),
    "no seeds": ({"seeds": 0}, "seeds: expected"),
    "seeds": ({"seeds": [0, -1]}, "seeds: expected"),
    "two starts": ({"seeds": [1, 2], "seed": 3}, "seed: counts from it only"),
    "preset": ({"preset": "quik"}, "unknown preset"),
    "protocol": ({"protocol": "cleen"}, "unknown protocol"),
    "fresh": ({"trials": 2, "fresh": True}, "--fresh: not possible"),
    "launcher": ({"launcher": "slurm"}, "unknown launcher"),
    "storage": ({"storage": "mongo://x"}, "--storage 'mongo://x'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_a_config_error_of_one_line(toys, name):
    given, message = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        run(**{**TOY, **given})
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (toys / "runs").exists()


def test_other_functions_raise_errors_too(toys):
    with pytest.raises(ConfigError, match="unknown study 'ablatoin'"):
        study("ablatoin")
    with pytest.raises(ConfigError, match="unknown study"):
        report("ablatoin")
    with pytest.raises(ConfigError, match="no study given"):
        report()
    with pytest.raises(StoreError, match="no finished run"):
        predict("clip.mp4")
    with pytest.raises(ConfigError, match="no file given"):
        predict([])
    with pytest.raises(DataError, match="no such folder"):
        run("majority", "ekman6", data=toys / "nowhere")


def test_a_run_whose_data_cannot_be_listed_is_a_row_of_a_study(toys):
    (toys / "other").mkdir()
    (toys / "other" / "notes.txt").write_text("no clips")
    frame = run("majority", "ekman6", data=toys / "other", protocol="refit", seeds=1)
    assert len(frame) == 2 and frame.key.isna().all() and set(frame.arm) == {"majority"}
    assert frame.error[0].startswith("data: ") and "a clean run" in frame.error[1]


@pytest.mark.parametrize("more", [{}, {"protocol": "refit"}, {"trials": 2}, {"workers": 2}], ids=str)
def test_inputs_are_checked_before_anything_is_executed(toys, tmp_path, monkeypatch, more):
    monkeypatch.setattr("studies.api.execute_methods", lambda *given: pytest.fail("executed"))
    monkeypatch.setattr("studies.api.execute_study", lambda *given: pytest.fail("executed"))
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    settings = {"weights_video": tmp_path / "weights.safetensors"}
    for given, error, message in (
        ({"data": tmp_path / "nowhere"}, DataError, "no such folder"),
        ({"settings": settings}, ConfigError, "not a safetensors file"),
        ({"tracking_uri": "elsewhere"}, ConfigError, "not a server or database"),
        ({"device": "gpu"}, ConfigError, "unknown device 'gpu'"),
        ({"plugin": tmp_path / "mine.py"}, ConfigError, "--plugin"),
    ):
        with pytest.raises(error, match=message):
            run("mart", "ekman6", **given, **more)
        with pytest.raises(error, match=message):
            study("ablation", **given)


def test_an_interrupted_call_resumes(toys, elsewhere, monkeypatch):
    whole = run(**TOY, results=elsewhere)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("studies.cli.progress.TerminalReporter.report_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(**TOY)
    resumed = run(**TOY)
    assert read_scores(toys) == read_scores(elsewhere) and list(resumed.key) == list(whole.key)


def test_the_call_is_stored_with_its_runs_without_passwords(toys):
    frame = run(**TOY, seeds=[0, 2], tracking_uri="sqlite:///" + str(toys / "mlflow.db"))
    (request,) = read_requests(RunFolder(toys / "runs" / frame.key[0]))[0]
    assert request.command.startswith("run(method='toy', dataset='toy', seeds=[0, 2], protocol='clean', ")
    assert "settings={'epochs': '2'}" in request.command and "threads=1" in request.command
    frame = run(**{**TOY, "settings": None}, weights=False)
    (request,) = read_requests(RunFolder(toys / "runs" / frame.key[0]))[0]
    assert request.command == "run(method='toy', dataset='toy', seeds=[0], protocol='clean', threads=1, weights=False)"
    text = api.format_call("run", {"storage": "postgresql://me:secret@host/db", "target": 0.5})
    assert text == "run(storage='postgresql://***@host/db', target=0.5)"


@pytest.mark.slow
def test_a_report_and_a_prediction_are_those_of_the_command(toys):
    for number in range(12):
        name = ("calm", "glad")[number % 2]
        write_media(toys / "clips" / name / f"{name}{number}.avi", 0.4, rate=16000, size=(32, 24), shade=number)
    frame = run("probe", toys / "clips", settings={})
    page = report(runs="dataset=own-clips", out=toys / "page")
    assert page == toys / "page" / "index.html" and frame.key[0] in page.read_text()
    (toys / "broken.avi").write_bytes(b"no video")
    files = [toys / "clips" / "calm" / "calm0.avi", toys / "broken.avi"]
    found = predict(files, run=frame.key[0][:8])
    assert bench("predict", *files, "--json", toys / "o.json").code == 3
    rows = json.loads((toys / "o.json").read_text())
    assert found.emotion[0] == rows[0]["emotion"] and found.error[1] == rows[1]["error"] is not None
    assert {label: found[f"probability/{label}"][0] for label in ("calm", "glad")} == rows[0]["probabilities"]
    with pytest.raises(DataError, match=r"broken\.avi"):
        predict(files[1])


SCRIPT = """
from studies.api import records, run

def work():
    frame = run("majority,probe", "{clips}", workers={workers}, results="{results}", loaders=1)
    assert frame.error.isna().all() and len(frame) == len(records("{results}")) == 2, frame
    print("finished")
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script") / "clips"
    for number in range(12):
        name = ("calm", "glad")[number % 2]
        write_media(folder / name / f"{name}{number}.avi", 0.3, rate=16000, size=(32, 24), shade=number)
    return folder


def run_python(*words, text=None):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], input=text, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "command"])  # a kernel has no file either: tests/test_notebook.py
def test_processes_are_started_from_a_script_or_a_command(clips, tmp_path, way):
    code = SCRIPT.format(clips=clips, results=tmp_path / "results", workers=2)
    script = tmp_path / "study.py"
    script.write_text(f"{code}\nif __name__ == '__main__':\n    work()\n")
    done = {
        "script": lambda: run_python(str(script)),
        "command": lambda: run_python("-c", f"{code}\nwork()"),
    }[way]()
    assert "finished" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout.count(": done") == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_script_without_a_main_guard_ends_with_one_clear_error(clips, tmp_path, workers):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT.format(clips=clips, results=tmp_path / "results", workers=workers) + "\nwork()\n")
    done = run_python(str(script))
    assert done.returncode == 1 and "finished" not in done.stdout and not (tmp_path / "results").exists()
    assert done.stderr.count("ConfigError: a script that starts runs must call them under `if __name__ ==") == 1
    assert issubclass(ConfigError, BenchError)
