"""Tests of stored stages: made once, resumed, shared by runs that differ in later stages only, checked when read."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.artifacts import read_curves
from bench.errors import ConfigError, DataError
from bench.execute import RunEnvironment, RunRequest, execute
from bench.method import FitContext, Stage
from bench.mlflow import MlflowStore
from bench.record import RunFolder
from bench.training import Losses, TrainConfig, train_stage
from bench.types import Dataset, DatasetSplits
from tests.conftest import Quiet
from tests.toys import CARD, TOY, ToyConfig, build, make_context, number_clips, sampling

TRAINED: list[str] = []  # stages trained in this process


class Warm(nn.Module):
    """A linear layer that is trained before the fit."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, batch):
        output = self.layer(batch.inputs.audio.mean((1, 2)))
        return Losses({"label": nn.functional.cross_entropy(output, batch.target, reduction="none")}, {})


def warm_up(ctx: FitContext) -> nn.Module:
    TRAINED.append(ctx.info.name)
    assert ctx.val.clips == () and ctx.stop is None
    torch.manual_seed(ctx.rng.derive_seed("weights", "warm"))
    objective = Warm()
    train_stage(objective, sampling(ctx.config, True), TrainConfig("warm", 3, 4, ctx.config.lr), ctx)
    if ctx.config.pause:
        time.sleep(ctx.config.pause)
    return objective


def fit(ctx: FitContext):
    predictor = build(ctx.config, ctx.info)
    if ctx.pretrained_on is None:
        predictor.load_state_dict(ctx.load_stage("warm"))
    torch.nn.init.constant_(predictor.layer.bias, ctx.config.ema)
    ctx.tracker.log_epoch("finetune", 0, {"val/acc_e": 0.5, "val/loss": 1.0})
    return predictor


STAGED = replace(TOY, name="staged", fit=fit, stages=(Stage("warm", warm_up, ignores=("ema", "drop")),))


def load(request) -> DatasetSplits:
    sets = {split: number_clips(split, count) for split, count in (("train", 8), ("val", 3), ("test", 4))}
    sets["val"] = number_clips(f"val{request.seed % 5}", 3)
    return DatasetSplits(CARD, **sets, fingerprint="f" * 64, content_hash="c" * 64)


DATA = Dataset(CARD, load)


@pytest.fixture(autouse=True)
def forget():
    TRAINED.clear()


@pytest.fixture
def environment(results, quiet):
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *_: [], threads=1)


def make_request(seed=0, dataset=DATA, method=STAGED, **values):
    given = {name: values.pop(name) for name in ("protocol", "stage", "pretrain_on", "stop") if name in values}
    return RunRequest(method.name, method, ToyConfig(**values), "quick", dataset, seed, **given)


def run(environment, **values):
    record = execute(make_request(**values), environment).record
    assert record.error is None, record.error
    return record


def test_a_stage_is_stored_with_its_record_and_its_curves_are_those_of_the_run(environment):
    record = run(environment)
    use = record.stages["warm"]
    folder = environment.results / "stages" / use.key
    assert sorted(path.name for path in folder.iterdir()) == ["curves.json", "record.json", "weights.safetensors"]
    stored = json.loads((folder / "record.json").read_text())
    assert stored["key"] == use.key and stored["files"]["weights.safetensors"] == use.sha256
    assert stored["spec"]["config"].keys() == ToyConfig.model_fields.keys() - {"ema", "drop"}
    assert {"commit", "torch", "threads"} <= stored["provenance"].keys() and use.seconds > 0
    curves = read_curves(environment.results / "runs" / record.key)
    assert [row for row in curves if row[0] == "warm"] == read_curves(folder) and len(read_curves(folder)) == 3
    assert RunFolder(environment.results / "runs" / record.key).read_record() == record


def test_runs_that_differ_in_later_stages_or_protocol_share_a_stage(environment):
    first = run(environment)
    others = [run(environment, ema=0.7), run(environment, drop=0.5), run(environment, protocol="best-on-test")]
    trial = run(environment, stage="trial", ema=0.9)
    assert TRAINED == ["toy"] and not first.stages["warm"].reused
    assert {one.stages["warm"] for one in (*others, trial)} == {replace(first.stages["warm"], reused=True)}
    assert first.compute_seconds > first.stage_seconds > 0
    assert len({one.key for one in (first, *others, trial)}) == 5
    assert [one.notes["warm/loss"] for one in others] == [first.notes["warm/loss"]] * 3


def test_a_shared_stage_gives_the_same_scores_as_one_of_its_own(environment, tmp_path):
    run(environment, ema=0.7)
    shared = run(environment)
    alone = run(replace(environment, results=tmp_path / "other"))
    assert (
        TRAINED == ["toy", "toy"]
        and shared.scores == alone.scores
        and shared.stages["warm"].key in str(list((tmp_path / "other" / "stages").iterdir()))
    )


@pytest.mark.parametrize("values", [{"seed": 1}, {"lr": 0.01}, {"protocol": "refit", "stop": 2}])
def test_a_seed_a_field_of_the_stage_and_other_training_clips_give_another_stage(environment, values):
    first, other = run(environment), run(environment, **values)
    assert first.stages["warm"].key != other.stages["warm"].key and len(TRAINED) == 2


def test_a_version_and_labels_enter_the_key_labels_only_if_the_stage_uses_them(environment):
    blind = replace(STAGED, version=3, stages=(replace(STAGED.stages[0], uses_labels=False),))
    relabelled = Dataset(CARD, lambda request: _relabel(load(request)))
    keys = [
        run(environment, method=method, dataset=dataset).stages["warm"].key
        for method in (STAGED, replace(STAGED, version=2), blind)
        for dataset in (DATA, relabelled)
    ]
    assert len(set(keys[:4])) == 4 and keys[4] == keys[5] and keys[4] not in keys[:4]


def _relabel(splits: DatasetSplits) -> DatasetSplits:
    """Return the splits with the labels of two classes of train exchanged."""
    clips = tuple(replace(clip, target=(1, 0, 2)[clip.target]) for clip in splits.train.clips)
    return replace(splits, train=replace(splits.train, clips=clips), fingerprint="a" * 64)


def test_fresh_trains_the_stage_again(environment):
    first = run(environment)
    again = run(replace(environment, fresh=True))
    assert TRAINED == ["toy", "toy"] and again.stages["warm"].sha256 == first.stages["warm"].sha256


@pytest.mark.parametrize("damage", ["weights", "curves", "record", "link", "other"])
def test_a_stage_that_was_changed_is_not_used_but_trained_again(environment, quiet, damage):
    first = run(environment)
    folder = environment.results / "stages" / first.stages["warm"].key
    name = {"weights": "weights.safetensors", "curves": "curves.json"}.get(damage, "record.json")
    if damage == "link":
        (folder / name).rename(folder / "elsewhere.json")
        (folder / name).symlink_to(folder / "elsewhere.json")
    elif damage == "other":
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"seed": 0', '"seed": 7'))
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-4])
    second = run(environment, ema=0.7)
    assert TRAINED == ["toy", "toy"] and second.stages["warm"].sha256 == first.stages["warm"].sha256
    assert any("cannot be used" in line and "trained again" in line for line in quiet.notices)


def test_a_killed_stage_resumes_from_its_last_epoch(environment, tmp_path):
    class Stopping(Quiet):
        def report_epoch(self, stage, epoch, epochs, values, metric=None):
            if stage == "warm" and epoch == 2 and values:
                raise KeyboardInterrupt

    stopping = replace(environment, reporter=Stopping())
    with pytest.raises(KeyboardInterrupt):
        execute(make_request(), stopping)
    (folder,) = (path for path in (environment.results / "stages").iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]
    resumed = run(environment, ema=0.7)  # by another run
    alone = run(replace(environment, results=tmp_path / "other"), ema=0.7)
    assert resumed.stages["warm"].sha256 == alone.stages["warm"].sha256 and resumed.scores == alone.scores
    assert not (folder / "checkpoints").exists()


def _run_in_process(results: Path, ema: float) -> None:
    record = execute(
        make_request(ema=ema, pause=1.0), RunEnvironment(results, MlflowStore(results), Quiet(), lambda *_: [])
    ).record
    (results / f"made-{ema}.json").write_text(json.dumps([record.stages["warm"].key, len(TRAINED), record.seconds]))


@pytest.mark.slow
def test_of_two_processes_one_trains_the_stage_and_the_other_waits(results):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_run_in_process, args=(results, ema)) for ema in (0.1, 0.2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = [json.loads(path.read_text()) for path in results.glob("made-*.json")]
    assert len(found) == 2 and len({key for key, _, _ in found}) == 1
    assert sorted(count for _, count, _ in found) == [0, 1]


OTHER = replace(CARD, name="other", title="Other clips")


def load_other(request) -> DatasetSplits:
    clips = number_clips("far", 6, OTHER)
    marks = {clip.key: frozenset({clip.key}) for clip in clips.clips}
    sets = {"train": clips, "val": number_clips("v", 2, OTHER), "test": number_clips("t", 2, OTHER)}
    return DatasetSplits(OTHER, **sets, fingerprint="e" * 64, content_hash="d" * 64, marks=marks)


OTHER_DATA = Dataset(OTHER, load_other)


def test_pre_training_on_other_data_uses_their_training_clips_and_is_part_of_the_run_key(environment):
    plain, other = run(environment), run(environment, pretrain_on=OTHER_DATA)
    assert TRAINED == ["toy", "other"] and plain.key != other.key
    assert other.spec.pretrain_on.dataset == "other" and other.spec.extras == {"pretrain_on": "other"}
    assert plain.spec.pretrain_on is None and plain.stages["warm"].key != other.stages["warm"].key


def test_clips_with_the_content_of_held_out_clips_are_left_out_of_pre_training(environment, quiet):
    taken = number_clips("far", 6, OTHER).clips[:2]
    test = number_clips("test", 4).clips[0]
    train = number_clips("train", 8).clips[0]
    marks = {test.key: frozenset({taken[0].key}), train.key: frozenset({taken[1].key})}
    leaking = Dataset(CARD, lambda request: replace(load(request), marks=marks))
    run(environment, dataset=leaking, pretrain_on=OTHER_DATA)
    assert any("Other clips: 1 clips are left out of pre-training" in line for line in quiet.notices)


def test_real_data_are_not_pre_trained_on_the_sample(environment):
    drawn = Dataset(OTHER, lambda request: replace(load_other(request), is_sample=True))
    with pytest.raises(DataError, match="--pretrain-on: Other clips was not found, and the built-in sample is not"):
        execute(make_request(pretrain_on=drawn), environment)


def test_a_stage_that_the_method_lacks_is_an_error_of_one_line(quiet, tmp_path):
    with pytest.raises(ConfigError, match="stage 'warm' is not among the stages of the method"):
        make_context(quiet, tmp_path).load_stage("warm")
