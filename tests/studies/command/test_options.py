"""Options of the command line: repeated ones, devices, config files, hints for mistakes, and checks that come first."""

from __future__ import annotations

import re
import sys

import pytest
import torch
import typer
from safetensors.torch import save_file

from bench.errors import ConfigError
from bench.record import RECORD_FILE, RunFolder
from bench.requests import read_requests
from methods import METHODS
from studies.cli.main import app
from studies.cli.options import RunOptions, choose_device, choose_seeds, read_config_file
from studies.cli.run_study import _make_resources
from tests.studies.command_line import bench, one_line

TOY = ("--dataset", "toy", "--threads", "1")


@pytest.fixture
def no_runs(monkeypatch):
    """Make it an error to import the modules that run anything, which also import PyTorch."""
    monkeypatch.setitem(sys.modules, "studies.cli.run_study", None)
    monkeypatch.setitem(sys.modules, "studies.cli.predict", None)


@pytest.fixture
def requested(monkeypatch):
    """Return the arguments of the calls that would have run methods or a study."""
    calls = []
    monkeypatch.setattr("studies.cli.run_study.run_methods", lambda *given: calls.append(given) or 0)
    monkeypatch.setattr("studies.cli.run_study.run_named_study", lambda *given: calls.append(given) or 0)
    return calls


# seeds and repeated options


@pytest.mark.parametrize(
    ("named", "count", "default", "seeds"),
    [
        ([], None, 1, (0,)),
        ([], None, 5, (0, 1, 2, 3, 4)),
        (["3"], None, 5, (3, 4, 5, 6, 7)),
        (["3"], 2, 5, (3, 4)),
        (["3", "5"], None, 5, (3, 5)),
        (["0,3"], None, 1, (0, 3)),
        (["5", "0, 3", "5"], None, 1, (5, 0, 3)),
        (["3,3"], 2, 1, (3, 4)),
    ],
)
def test_seeds_are_those_named_or_so_many_from_the_named_one(named, count, default, seeds):
    assert choose_seeds(named, count, default) == seeds


@pytest.mark.parametrize(
    ("named", "count", "part"),
    [
        (["1", "2"], 2, "omit --seeds"),
        (["-1"], None, "'-1'"),
        (["1,x"], None, "'x'"),
        ([","], None, "''"),
        (["²"], 1, "²"),
    ],
)
def test_invalid_seeds_are_refused(named, count, part):
    with pytest.raises(ConfigError, match=re.escape(part)):
        choose_seeds(named, count, 1)


def test_repeated_options_add_up_with_comma_lists(requested, results):
    words = ("--method", "toy", "--method", "majority,probe", "--dataset", "toy", "--dataset", "ekman6", "--seed", "3")
    assert bench(*words, "--seed", "5", results=results).code == 0
    ((methods, datasets, _, _, seeds, *_),) = requested
    assert (methods, datasets, seeds) == ("toy,majority,probe", "toy,ekman6", (3, 5))


def test_repeated_options_of_a_study_add_up(requested, results):
    words = ("study", "optimism", "--datasets", "ekman6", "--datasets", "iemocap", "--seed", "7")
    assert bench(*words, results=results).code == 0
    ((name, datasets, seeds, *_),) = requested
    assert (name, datasets, seeds) == ("optimism", "ekman6,iemocap", (7, 8, 9, 10, 11))


def test_seeds_that_are_named_run_and_are_stored_as_requested(results):
    done = bench("--method", "toy", *TOY, "--set", "epochs=1", "--seed", "3", "--seed", "5", results=results)
    folders = [RunFolder(path.parent) for path in results.glob(f"runs/*/{RECORD_FILE}")]
    assert done.code == 0 and {folder.read_record().spec.seed for folder in folders} == {3, 5}
    assert {request.plan.seeds for folder in folders for request in read_requests(folder)[0]} == {(3, 5)}


def test_check_takes_one_data_set():
    assert one_line(bench("check", "--dataset", "ekman6", "--dataset", "iemocap"), "expects one data set")


# --device


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that sets how many GPUs PyTorch finds."""

    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (0, "", "cpu"),
        (2, "", "cuda"),
        (2, "cpu", "cpu"),
        (1, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
        (0, "cpu", "cpu"),
    ],
)
def test_the_named_device_is_chosen_by_default_a_gpu(gpus, count, name, device):
    gpus(count)
    assert choose_device(name) == device


@pytest.mark.parametrize(
    ("count", "name", "part"),
    [
        (0, "cuda", "finds no GPU"),
        (0, "cuda:0", "finds no GPU"),
        (1, "cuda:1", "only cuda:0"),
        (4, "cuda:4", "to cuda:3"),
    ],
)
def test_a_gpu_that_does_not_exist_is_one_line(gpus, count, name, part, results):
    gpus(count)
    done = bench("--method", "toy", *TOY, "--device", name, results=results)
    assert one_line(done, f"--device {name}", part)
    assert one_line(bench("study", "optimism", "--device", name, results=results), f"--device {name}", part)
    assert one_line(bench("predict", "x.mp4", "--device", name, results=results), f"--device {name}", part)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "1", "mps", "cuda:-1"])
def test_a_misspelt_device_is_found_first(no_runs, name, results):
    for words in (("--method", "toy", *TOY), ("study", "optimism"), ("predict", "x.mp4")):
        assert one_line(bench(*words, "--device", name, results=results), f"unknown device '{name}'", "cuda")


def test_a_numbered_gpu_is_refused_with_several_devices_and_with_ray(no_runs, results):
    words = ("--method", "toy", *TOY, "--device", "cuda:0")
    assert one_line(bench(*words, "--devices", "2", results=results), "--devices 2", "--device cuda")
    assert one_line(bench(*words, "--launcher", "ray", results=results), "Ray", "--device cuda")


@pytest.mark.parametrize(("name", "device", "is_chosen"), [("", "cuda", False), ("cpu", "cpu", True)])
def test_workers_get_the_device_that_was_named(gpus, name, device, is_chosen):
    gpus(1)
    resources = _make_resources(RunOptions(device=name, workers=2))
    assert (resources.device, resources.is_device_chosen) == (device, is_chosen)


def test_ray_is_told_a_device_that_this_machine_need_not_have(gpus):
    gpus(0)
    assert _make_resources(RunOptions(device="cuda", launcher="ray")).device == "cuda"


# --config


def test_a_config_file_says_what_set_would_say_and_set_overrides_it(requested, results):
    file = results / "my.toml"
    file.write_text('epochs = 3\nlr = 1e-3  # small\ncompile = true\nweights_video = ""\nmodalities = "audio"\n')
    words = ("--config", file, "--set", "lr=0.01")
    assert bench("--method", "mbt", "--dataset", "ekman6", *words, results=results).code == 0
    assert bench("study", "optimism", *words, results=results).code == 0
    for given in requested:
        settings = dict(text.split("=", 1) for text in given[-1].settings)
        values = {"epochs": "3", "lr": "0.01", "compile": "true", "weights_video": "", "modalities": "audio"}
        assert settings == values
        assert [text for text in given[-1].settings if text.startswith("lr=")][-1] == "lr=0.01"


def test_a_run_with_a_config_file_is_the_run_with_the_same_settings(results):
    (results / "my.toml").write_text("epochs = 1\nlr = 0.1\n")
    assert bench("--method", "toy", *TOY, "--config", results / "my.toml", results=results).code == 0
    done = bench("--method", "toy", *TOY, "--set", "epochs=1", "--set", "lr=0.1", results=results)
    assert "already finished" in done.out


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lrr = 1", ["unknown config field 'lrr'", "did you mean 'lr'"]),
        ("learning_rate = 1", ["unknown config field 'learning_rate'", "did you mean 'lr'"]),
        ("lr = -1", ["lr: must be greater than 0", "'-1'"]),
        ("lr = inf", ["lr: "]),
        ("lr 0.1", ["not a TOML file", "line 1"]),
        ("[mart]\nlr = 1", ["'mart' is a table", "lr = 0.001"]),
        ("lr = [1, 2]", ["'lr' is a list"]),
        ("lr = 2020-01-01", ["'lr' is a date"]),
        ('weights_video = "x.pt"', ["weights_video: no such file", "'x.pt'"]),
    ],
)
def test_a_mistake_in_a_config_file_is_found_first(no_runs, results, text, parts):
    (results / "my.toml").write_text(text)
    for words in (("--method", "mart", "--dataset", "ekman6"), ("study", "optimism")):
        done = bench(*words, "--config", results / "my.toml", results=results)
        assert one_line(done, *parts) and ("my.toml" in done.err or "x.pt" in done.err)


def test_a_config_file_that_cannot_be_read_is_one_line(no_runs, results):
    words = ("--method", "toy", *TOY, "--config")
    assert one_line(bench(*words, results / "no.toml", results=results), "--config", "no.toml: no such file")
    assert one_line(bench(*words, results, results=results), "--config", "cannot be read")
    (results / "bytes.toml").write_bytes(b"\xff\xfe")
    assert one_line(bench(*words, results / "bytes.toml", results=results), "not a TOML file")


def test_values_of_a_config_file_keep_their_text(tmp_path):
    (tmp_path / "a.toml").write_text('a = "x = y"\nb = false\nc = 5\nd = 0.5\n', encoding="utf-8-sig")
    assert read_config_file(tmp_path / "a.toml") == {"a": "x = y", "b": "false", "c": "5", "d": "0.5"}


# what is checked before anything slow


@pytest.mark.parametrize(
    "command",
    [
        ("--method", "mart", "--dataset", "ekman6"),
        ("--method", "mart,probe", "--dataset", "ekman6,iemocap", "--trials", "3"),
        ("--method", "mart", "--dataset", "ekman6", "--workers", "2"),
        ("study", "optimism"),
        ("study", "ablation", "--trials", "3"),
    ],
    ids=lambda command: " ".join(command),
)
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--data", "/nowhere"], ["--data", "/nowhere"]),
        (["--set", "weights_video=missing.pt"], ["weights_video", "'missing.pt'", "docs/weights.md"]),
        (["--set", "weights_audio=README.md"], ["weights_audio: 'README.md' is not a PyTorch"]),
        (["--set", "lr=-1"], ["--set lr: must be greater than 0"]),
        (["--preset", "quik"], ["'quik'", "'quick'"]),
        (["--tracking-uri", "localhost:5000"], ["--tracking-uri"]),
        (["--json", "/"], ["--json"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_wrong_file_folder_or_value_is_found_before_anything_slow(no_runs, results, command, words, parts):
    assert one_line(bench(*command, *words, results=results), *parts)
    assert not (results / "runs").exists() and not (results / "sample").exists()


def test_files_of_weights_are_recognised_by_how_they_begin(requested, results):
    torch.save({"a": torch.zeros(1)}, results / "zip.pt")
    torch.save({"a": torch.zeros(1)}, results / "pickle.pth", _use_new_zipfile_serialization=False)
    save_file({"a": torch.zeros(1)}, results / "a.safetensors")
    for name in ("zip.pt", "pickle.pth", "a.safetensors"):
        words = ("--method", "mbt", "--dataset", "ekman6", "--set", f"weights_video={results / name}")
        assert bench(*words, results=results).code == 0
    (results / "b.safetensors").write_bytes((results / "zip.pt").read_bytes())
    words = ("--method", "mbt", "--dataset", "ekman6", "--set", f"weights_video={results / 'b.safetensors'}")
    assert one_line(bench(*words, results=results), "is not a safetensors file")


def test_a_path_of_custom_data_that_does_not_exist_is_found_first(no_runs, results):
    assert one_line(bench("--method", "mbt", "--dataset", "./no.csv", results=results), "no.csv")
    assert one_line(bench("study", "optimism", "--datasets", "./no", results=results), "no such file or folder: no")
    words = ("--method", "mbt", "--dataset", "./docs", "--data", "docs")
    assert one_line(bench(*words, results=results), "--data", "omit --data")


# help and version


COMMANDS = [[], *([item.name or item.callback.__name__] for item in app.registered_commands)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "run")
def test_every_command_has_short_and_long_help_with_an_example(command):
    short, long = bench(*command, "-h"), bench(*command, "--help")
    assert short.code == long.code == 0 and short.out == long.out
    assert " ".join(["Example: python bench.py", *command]) in short.out


def test_the_version_names_what_a_bug_report_needs():
    done = bench("--version")
    assert done.code == 0 and done.out.count("\n") == 1
    assert re.match(r"mart-bench \d+\.\d+\S*, commit \w+.*, Python 3\.\d+\.\d+, torch \d+\.\d+", done.out)


# hints


RUN = ("--method", "mart", "--dataset", "ekman6")
HINTS = [
    ((*RUN, "--epochs", "5"), "--epochs: no such option; write --set epochs=5"),
    ((*RUN, "--epochs=5"), "write --set epochs=5"),
    ((*RUN, "--lr", "0.1"), "write --set lr=0.1"),
    ((*RUN, "-lr", "0.1"), "-lr: no such option; write --set lr=0.1"),
    ((*RUN, "--batch-size", "8"), "write --set batch=8"),
    ((*RUN, "--batch_size", "8"), "write --set batch=8"),
    ((*RUN, "--batch", "8"), "write --set batch=8"),
    ((*RUN, "--compile"), "write --set compile=true"),
    ((*RUN, "--gpu"), "write --device cuda"),
    ((*RUN, "--gpus", "2"), "--devices 2"),
    ((*RUN, "--cuda"), "write --device cuda"),
    ((*RUN, "--num_workers", "4"), "write --loaders 4"),
    ((*RUN, "--dry_run"), "write --dry-run"),
    ((*RUN, "--resume"), "resumes by itself"),
    (("--model", "mart", "--dataset", "ekman6"), "write --method mart"),
    (("-m", "mart"), "write --method mart"),
    (("--method", "mart", "--data-set", "ekman6"), "write --dataset ekman6"),
    (("--method", "mart", "--datasets", "ekman6"), "write --dataset ekman6"),
    (("study", "ablation", "--dataset", "ekman6"), "write --datasets ekman6"),
    (("study", "ablation", "--epochs", "3"), "write --set epochs=3"),
    (("study", "ablation", "--method", "mart"), "studies name their own"),
    (("predict", "clip.mp4", "--model", "1a2b"), "write --run 1a2b"),
    (("predict", "clip.mp4", "--gpu"), "write --device cuda"),
    ((*RUN, "--set", "lr", "0.1"), "write --set lr=0.1"),
    ((*RUN, "--set=lr", "0.1"), "write --set lr=0.1"),
    (("study", "ablation", "--set", "lr", "0.1"), "write --set lr=0.1"),
    ((*RUN, "--set", "lr=0.1", "epochs=5"), "write --set lr=0.1 --set epochs=5"),
    ((*RUN, "--set", "lr"), "--set lr=0.001"),
    ((*RUN, "--set", "learning_rate=0.1"), "did you mean 'lr'?"),
    (("clip.mp4",), "write `python bench.py predict clip.mp4`"),
    (("./clips",), "write --dataset ./clips --method NAME"),
    (("--method", "mart", "./clips"), "write --dataset ./clips"),
    (("docs",), "write --dataset ./docs --method NAME"),
    (("check", "docs"), "write --dataset ./docs"),
    (("mart",), "write --method mart --dataset NAME"),
    (("mart", "ekman6"), "write --method mart --dataset ekman6"),
    (("ekman6",), "write --dataset ekman6 --method NAME"),
    (("ablation",), "write `python bench.py study ablation`"),
    (("train",), "write `python bench.py --method NAME --dataset NAME`"),
    (("models",), "write `python bench.py list methods`"),
    (("--method", "mart", "mbt", "--dataset", "ekman6"), "write --method mart,mbt"),
    (("--method", "mart", "--dataset", "ekman6", "iemocap"), "write --dataset ekman6,iemocap"),
    ((*RUN, "--seed", "0", "1", "2"), "write --seed 0,1,2"),
    ((*RUN, "--seeds", "0,1"), "write --seed 0,1"),
]


@pytest.mark.parametrize(
    ("words", "part"), HINTS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_common_mistake_is_one_line_with_what_to_write(no_runs, results, words, part):
    assert one_line(bench(*words, results=results), part)


@pytest.mark.parametrize("words", [(*RUN, "--foo"), ("xyz",), ("study", "ablation", "mart"), ("--",)])
def test_other_mistakes_name_the_help_or_what_is_missing(no_runs, results, words):
    assert one_line(bench(*words, results=results), "--")


def test_hints_do_not_interpret_what_was_typed(results):
    done = bench("--method", "mart", "--output", r"a\1[b]", results=results)
    assert one_line(done, r"write --results a\1[b]")


def test_options_of_config_fields_are_hinted_for_every_method(no_runs):
    taken = {option for item in bench_options() for option in item.opts}
    names = {name for method in METHODS.values() for name in method.config.model_fields}
    for name in sorted(names):
        if f"--{name.replace('_', '-')}" not in taken:
            assert one_line(bench("--method", "mart", f"--{name}", "7"), f"write --set {name}=7")


def bench_options():
    """Return the options of the command without a name."""
    return typer.main.get_command(app).params
