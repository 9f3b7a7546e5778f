"""Tests of evaluation protocols: the splits that a fit uses, the sealed test split, and flags of best-on-test."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.artifacts import WEIGHTS_FILE
from bench.execute import RunEnvironment, RunRequest, execute, load_splits
from bench.mlflow import MlflowStore
from bench.protocol import NO_CLIPS, ConcatClips, SealedError, SealedSplit, describe_protocol, seal_test, split_view
from bench.record import RunFolder
from bench.tracker import Pruned
from bench.types import Dataset, DatasetSplits, SplitRequest
from tests.toys import CARD, TOY, TOY_DATA, ToyConfig, number_clips


@dataclass(frozen=True)
class Forbidden:
    """A test split that raises AssertionError when it is read."""

    @property
    def clips(self):
        raise AssertionError("the test split was opened")

    def read(self, *args):
        raise AssertionError("the test split was opened")


@pytest.fixture
def environment(results: Path, quiet) -> RunEnvironment:
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *args: [], threads=1)


def make_request(dataset: Dataset = TOY_DATA, **changed) -> RunRequest:
    return replace(RunRequest("toy", TOY, ToyConfig(epochs=3), "quick", dataset, 0), **changed)


def guarded(request: SplitRequest) -> DatasetSplits:
    return replace(TOY_DATA.load(request), test=Forbidden())


def test_a_trial_never_opens_the_test_split_and_has_no_scores_of_it(environment):
    record = execute(make_request(Dataset(CARD, guarded), stage="trial"), environment).record
    assert record.error is None and record.scores["val/acc_e"] is not None
    assert {value for name, value in record.scores.items() if name.startswith("test/")} == {None}
    assert WEIGHTS_FILE not in record.files and not any(name.endswith(".png") for name in record.files)


def test_the_splits_of_a_trial_have_no_test_split(environment):
    assert isinstance(load_splits(make_request(stage="trial"), environment).test, SealedSplit)
    assert not isinstance(load_splits(make_request(), environment).test, SealedSplit)


def test_the_guard_of_the_test_above_can_fail(environment):
    record = execute(make_request(Dataset(CARD, guarded)), environment).record
    assert record.error is not None and "the test split was opened" in record.error.message


def test_a_sealed_split_raises_an_error_that_names_the_fault():
    splits = seal_test(TOY_DATA.load(None))
    for reach in (lambda: splits.test.clips, lambda: splits.test.read(0, None, None, 0)):
        with pytest.raises(SealedError, match="not available during a search"):
            reach()
    assert isinstance(split_view(splits, "clean", "trial").reportable.test, SealedSplit)


def test_a_sealed_split_leaves_no_key_of_a_test_clip_and_still_names_its_content():
    splits = TOY_DATA.load(None)
    first = {name: getattr(splits, name).clips[0].key for name in ("train", "val", "test")}
    marks = {key: frozenset({f"content of {name}"}) for name, key in first.items()}
    sealed = seal_test(replace(splits, marks=marks, truth=dict.fromkeys(first.values())))
    keys = {clip.key for clip in splits.test.clips}
    assert not keys & (sealed.marks.keys() | sealed.truth.keys())
    assert sealed.truth.keys() == {first["train"], first["val"]}
    held_out = [found for key, found in sealed.marks.items() if key != first["train"]]
    assert frozenset().union(*held_out) == {"content of val", "content of test"}


def test_a_trial_is_no_final_run(environment):
    trial, final = execute(make_request(stage="trial"), environment).record, execute(make_request(), environment)
    assert trial.key != final.record.key and not final.already_done


def test_a_pruned_trial_is_a_record_without_scores_and_leaves_no_checkpoint(environment):
    seen = []

    def watch(epoch, value):
        seen.append(epoch)
        if epoch == 1:
            raise Pruned("after epoch 2")

    outcome = execute(make_request(stage="trial", pruning_callback=watch), environment)
    folder = RunFolder(environment.results / "runs" / outcome.record.key)
    assert outcome.record.error is not None and outcome.record.error.kind == "pruned"
    assert seen == [0, 1] and outcome.record.scores == {} and not folder.checkpoints.exists()
    run = environment.store.connect().get_run(outcome.run_id)
    assert run.info.status == "KILLED"


def test_a_refit_trains_on_train_and_val_for_the_given_epochs(environment):
    outcome = execute(make_request(protocol="refit", stop=2), environment)
    folder = environment.results / "runs" / outcome.record.key
    epochs = [
        point["epoch"] for point in json.loads((folder / "curves.json").read_text()) if point["stage"] == "finetune"
    ]
    assert epochs == [0, 1]
    assert outcome.record.scores["val/acc_e"] is None and outcome.record.scores["test/acc_e"] is not None
    assert not any("val/" in name for name in outcome.record.notes)
    view = split_view(TOY_DATA.load(None), "refit", "final")
    assert len(view.train.clips) == 3 * (8 + 3) and view.reportable.val is NO_CLIPS


def test_the_epochs_of_a_refit_are_part_of_the_run_key(environment):
    keys = {execute(make_request(protocol="refit", stop=stop), environment).record.key for stop in (1, 2)}
    assert len(keys) == 2


def test_selection_on_test_is_flagged_in_records_and_curves(environment):
    clean, chosen = (
        execute(make_request(), environment).record,
        execute(make_request(protocol="best-on-test"), environment).record,
    )
    assert chosen.scores["val/acc_e"] is None and chosen.spec.protocol == "best-on-test"
    assert chosen.scores["test/acc_e"] >= clean.scores["test/acc_e"]  # the same training, the better epoch
    assert describe_protocol(chosen.spec) == "EPOCH CHOSEN ON TEST" and describe_protocol(clean.spec) == ""
    text = (environment.results / "runs" / chosen.key / "curves.json").read_text()
    assert "test/acc_e" in text and "val/acc_e" not in text


def test_a_clean_run_stores_the_epoch_with_the_best_score_on_val(environment):
    record = execute(make_request(), environment).record
    curve = json.loads((environment.results / "runs" / record.key / "curves.json").read_text())
    val = [point["values"] for point in curve if "val/acc_e" in point["values"]]
    best = max(range(len(val)), key=lambda epoch: (val[epoch]["val/acc_e"], -val[epoch]["val/loss"]))
    assert record.chosen == best + 1


def test_concatenated_clips_are_read_from_their_own_set():
    first, second = number_clips("train", 2), number_clips("val", 1)
    both = ConcatClips((first, second))
    keys = [clip.key for clip in both.clips]
    assert keys == sorted(clip.key for part in (first, second) for clip in part.clips)
    from bench.rng import RngTree
    from tests.toys import sampling

    fixed = sampling(ToyConfig(), False)
    position = keys.index(second.clips[0].key)
    assert both.read(position, fixed, RngTree(0), 0).audio.equal(second.read(0, fixed, RngTree(0), 0).audio)
