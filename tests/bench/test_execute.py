import json
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from bench.artifacts import read_predictions
from bench.errors import ConfigError, StoreError
from bench.execute import RunEnvironment, RunRequest, execute
from bench.files import sha256
from bench.metrics import score
from bench.mlflow import MlflowStore
from bench.record import RunFolder
from reports.figures.clips import save_run_figures
from studies.plan import RunKeyResolver
from tests.toys import CARD, TOY, TOY_DATA, ToyConfig, number_clips


@pytest.fixture
def environment(results, quiet):
    return RunEnvironment(results, MlflowStore(results), quiet, save_run_figures, threads=1)


def make_request(seed=0, **values):
    return RunRequest("toy", TOY, ToyConfig(**values), "quick", TOY_DATA, seed)


def again(environment, **values):
    return replace(environment, **values)


def test_a_run_leaves_a_record_with_every_file_it_names(environment):
    outcome = execute(make_request(), environment)
    folder = RunFolder(environment.results / "runs" / outcome.record.key)
    assert folder.read_record() == outcome.record
    assert set(outcome.record.files) == {
        "predictions.parquet",
        "curves.json",
        "card.json",
        "config.json",
        "confusion.png",
        "weights.safetensors",
    }
    assert not folder.checkpoints.exists()
    assert {"commit", "dirty", "torch", "device", "threads", "lock"} <= set(outcome.record.provenance)


def test_scores_can_be_recomputed_from_the_stored_predictions(environment):
    record = execute(make_request(), environment).record
    stored = read_predictions(environment.results / "runs" / record.key, CARD)
    assert set(stored) == {"val", "test"}
    for split, predictions in stored.items():
        found = score(predictions, CARD.task)
        assert {f"{split}/{name}": value for name, value in found.items()} == {
            name: value for name, value in record.scores.items() if name.startswith(split)
        }


def test_predictions_name_the_group_of_each_clip_and_older_ones_are_read_without(environment):
    folder = environment.results / "runs" / execute(make_request(), environment).record.key
    found = read_predictions(folder, CARD)["test"]
    clips = number_clips("test", 4).clips
    assert found.groups == tuple(clip.group for clip in clips) and found.keys == tuple(clip.key for clip in clips)
    table = pandas.read_parquet(folder / "predictions.parquet")
    table.drop(columns="group").to_parquet(folder / "predictions.parquet", index=False)
    assert read_predictions(folder, CARD)["test"].groups == ()


def test_predictions_that_cannot_be_read_are_named_in_a_line(tmp_path):
    with pytest.raises(StoreError, match=r"predictions\.parquet: not valid predictions"):
        read_predictions(tmp_path, CARD)
    (tmp_path / "predictions.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"predictions\.parquet: not valid predictions"):
        read_predictions(tmp_path, CARD)


def test_a_record_has_the_cost_of_its_predictor_and_the_number_of_training_clips(environment):
    notes = execute(make_request(), environment).record.notes
    assert notes["cost/parameters"] == 3 * 3 + 3 and notes["clips/train"] == 24
    assert notes["cost/flops"] == 2 * 3 * 3


def test_a_finished_run_is_found_and_not_repeated(environment):
    first, second = execute(make_request(), environment), execute(make_request(), environment)
    assert second.already_done and second.record == first.record and second.run_id == first.run_id


def test_the_same_request_gives_the_same_scores_and_fresh_repeats_it(environment):
    first = execute(make_request(), environment)
    fresh = execute(make_request(), again(environment, fresh=True))
    assert not fresh.already_done and fresh.record.scores == first.record.scores
    assert fresh.record.attempt == 2
    assert fresh.run_id != first.run_id
    old = environment.store.connect().get_run(first.run_id).data.tags
    assert old["bench.superseded"] == RunFolder(environment.results / "runs" / fresh.record.key).hash_record()


def test_another_seed_or_config_is_another_run(environment):
    keys = {execute(a, environment).record.key for a in (make_request(), make_request(seed=1), make_request(lr=0.1))}
    assert len(keys) == 3


class FileConfig(ToyConfig):
    lexicon: str = ""

    def get_files(self):
        return {"lexicon": Path(self.lexicon)}


def test_a_file_that_the_config_names_counts_by_its_content_not_by_its_path(environment, tmp_path):
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    asks = [replace(make_request(), config=FileConfig(lexicon=str(tmp_path / name))) for name in "abc"]
    first, same, other = (execute(a, environment).record for a in asks)
    assert first.key == same.key != other.key
    assert first.spec.config["lexicon"] == "file" and str(tmp_path) not in first.to_json()
    with pytest.raises(ConfigError, match=r"lexicon: no such file or folder: 'nowhere'"):
        execute(replace(make_request(), config=FileConfig(lexicon="nowhere")), environment)


def never(request):
    raise AssertionError("the data were loaded")


def test_a_missing_file_is_reported_before_the_data_are_prepared(environment):
    wrong = replace(make_request(), config=FileConfig(lexicon="nowhere"), dataset=replace(TOY_DATA, load=never))
    with pytest.raises(ConfigError, match=r"lexicon: no such file or folder: 'nowhere'"):
        execute(wrong, environment)
    with pytest.raises(ConfigError, match=r"lexicon: no such file or folder: 'nowhere'"):
        RunKeyResolver(environment).make_spec(wrong)


def test_the_keys_of_many_runs_read_each_file_once(environment, tmp_path, monkeypatch):
    (tmp_path / "words").write_text("joy")
    one = replace(make_request(), config=FileConfig(lexicon=str(tmp_path / "words")))
    made, read = execute(one, environment).record.key, []
    monkeypatch.setattr("bench.config.sha256", lambda path: read.append(path) or sha256(path))
    known = RunKeyResolver(environment)
    keys = [known.make_spec(replace(one, seed=seed)).key for seed in (0, 1, 2)]
    assert keys[0] == made and len(set(keys)) == 3 and len(read) == 1


@pytest.mark.slow
def test_loader_processes_change_no_number(environment, tmp_path):
    """Slow, since ten processes import torch. The contract tests check the same for one method in a few seconds."""
    other = again(environment, results=tmp_path / "b", store=MlflowStore(tmp_path), loaders=2)
    assert (
        execute(make_request(epochs=2), environment).record.scores
        == execute(make_request(epochs=2), other).record.scores
    )


@pytest.mark.parametrize(("fail", "kind"), [("error", "other"), ("nan", "nan")])
def test_a_run_that_breaks_is_a_record_with_its_reason_and_no_scores(environment, fail, kind):
    outcome = execute(make_request(fail=fail), environment)
    assert outcome.record.error is not None and outcome.record.error.kind == kind
    assert outcome.record.scores == {}
    folder = environment.results / "runs" / outcome.record.key
    assert not (folder / "record.json").exists() and (folder / "failed-1.json").exists()
    run = environment.store.connect().get_run(outcome.run_id)
    assert run.info.status == "FAILED"
    assert execute(make_request(fail=fail), environment).record.attempt == 2


def test_mlflow_holds_parameters_curves_scores_and_files(environment):
    outcome = execute(make_request(), environment)
    client = environment.store.connect()
    run = client.get_run(outcome.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["config.lr"] == "0.05"
    assert run.data.metrics["final/test/acc_e"] == outcome.record.scores["test/acc_e"]
    points = client.get_metric_history(outcome.run_id, "finetune/val/acc_e")
    assert [point.step for point in points] == list(range(6))
    assert {file.path for file in client.list_artifacts(outcome.run_id)} == {
        "predictions.parquet",
        "curves.json",
        "card.json",
        "config.json",
        "confusion.png",
        "record.json",
    }
    assert run.inputs.dataset_inputs[0].dataset.name == "toy"
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    assert run.data.tags["bench.record"] == RunFolder(environment.results / "runs" / outcome.record.key).hash_record()


def test_record_json_holds_no_path_of_the_machine(environment):
    outcome = execute(make_request(), environment)
    text = (environment.results / "runs" / outcome.record.key / "record.json").read_text()
    assert str(environment.results) not in text and json.loads(text)["error"] is None


def test_an_interrupted_run_resumes_and_ends_the_same(environment, tmp_path, quiet):
    expected = execute(
        make_request(), again(environment, results=tmp_path / "b", store=MlflowStore(tmp_path))
    ).record.scores
    original = quiet.report_progress
    calls = []

    def interrupt(stage, done, total):
        calls.append(stage)
        if len(calls) == 50:
            raise KeyboardInterrupt

    quiet.report_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        execute(make_request(), environment)
    quiet.report_progress = original
    client = environment.store.connect()
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    runs = [run for run in runs if run.info.status != "FINISHED"]  # without the uninterrupted run
    assert [run.info.status for run in runs] == ["KILLED"]
    outcome = execute(make_request(), environment)
    assert outcome.record.scores == expected
    points = client.get_metric_history(outcome.run_id, "warm/loss")
    assert sorted(point.step for point in points) == list(range(6))


def test_a_fresh_run_has_its_own_files_and_leaves_the_old_ones_complete(environment):
    from bench.files import sha256

    first = execute(make_request(), environment).record
    fresh = execute(make_request(), again(environment, fresh=True, keep_weights=False)).record
    folder = environment.results / "runs" / first.key
    assert "weights.safetensors" in first.files and "weights.safetensors" not in fresh.files
    assert {name: sha256(folder / "superseded-1" / name) for name in first.files} == first.files
    assert {name: sha256(folder / name) for name in fresh.files} == fresh.files


def interrupted(environment, quiet, at, request=None):
    """Run until `at` steps are reported, then stop with KeyboardInterrupt, as Ctrl-C does."""
    calls = []

    def interrupt(stage, done, total):
        calls.append(stage)
        if len(calls) == at:
            raise KeyboardInterrupt

    quiet.report_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        execute(request or make_request(), environment)
    del quiet.report_progress


def test_an_interrupted_fresh_run_resumes_when_requested_again(environment, quiet):
    execute(make_request(), environment)
    fresh = again(environment, fresh=True)
    interrupted(fresh, quiet, 50)
    logged = len(quiet.epochs)
    outcome = execute(make_request(), fresh)
    assert outcome.record.attempt == 2 and logged == len(quiet.epochs)
    assert len(list((environment.results / "runs" / outcome.record.key).glob("superseded-*"))) == 1


@pytest.mark.parametrize("share", [1.0, 1e-9], ids=["a checkpoint per epoch", "a checkpoint per stage"])
def test_the_seconds_of_a_resumed_run_are_those_of_all_its_parts(environment, quiet, monkeypatch, share):
    monkeypatch.setattr("bench.timing.MAX_COST_SHARE", share)
    slow = make_request(pause=0.02, epochs=2)
    interrupted(environment, quiet, 20, slow)
    steps = execute(slow, environment).record.seconds["step"]
    assert steps >= 24 * 0.02  # of every step taken, including those repeated after the resume


def test_checkpoints_of_other_code_are_not_resumed(environment, quiet, monkeypatch):
    import bench.record

    interrupted(environment, quiet, 50)
    monkeypatch.setattr(bench.record, "hash_source", lambda: "other")
    outcome = execute(make_request(), environment)
    assert "starts from scratch" in quiet.notices[-1] and outcome.record.provenance["source"] == "other"
    points = environment.store.connect().get_metric_history(outcome.run_id, "warm/loss")
    assert [point.step for point in points] == list(range(6))


def test_checkpoints_are_deleted_even_if_publication_was_interrupted(environment):
    outcome = execute(make_request(), environment)
    folder = RunFolder(environment.results / "runs" / outcome.record.key)
    folder.checkpoints.mkdir()
    assert execute(make_request(), environment).already_done and not folder.checkpoints.exists()


def test_scores_that_are_not_finite_are_a_failed_run(environment):
    outcome = execute(make_request(fail="scores"), environment)
    assert outcome.record.error is not None and outcome.record.error.kind == "nan"
    assert environment.store.connect().get_run(outcome.run_id).info.status == "FAILED"


def test_a_note_that_is_not_finite_is_left_out(environment):
    record = execute(make_request(fail="note"), environment).record
    assert record.error is None and "warm/odd" not in record.notes


def test_an_infinite_value_is_out_of_bounds():
    with pytest.raises(ConfigError, match=r"^lr: "):
        ToyConfig().override({"lr": "inf"})
