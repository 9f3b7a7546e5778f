"""What a protocol lets a fit see: never the test split where it must not be, and flagged where it was."""

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
    """A test split that nobody may open during a search."""

    @property
    def clips(self):
        raise AssertionError("the test split was opened")

    def read(self, *given):
        raise AssertionError("the test split was opened")


@pytest.fixture
def desk(results: Path, quiet) -> RunEnvironment:
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *given: [], threads=1)


def ask(dataset: Dataset = TOY_DATA, **changed) -> RunRequest:
    return replace(RunRequest("toy", TOY, ToyConfig(epochs=3), "quick", dataset, 0), **changed)


def guarded(request: SplitRequest) -> DatasetSplits:
    return replace(TOY_DATA.load(request), test=Forbidden())


def test_a_trial_never_opens_the_test_split_and_keeps_no_scores_of_it(desk):
    record = execute(ask(Dataset(CARD, guarded), stage="trial"), desk).record
    assert record.error is None and record.scores["val/acc_e"] is not None
    assert {value for name, value in record.scores.items() if name.startswith("test/")} == {None}
    assert WEIGHTS_FILE not in record.files and not any(name.endswith(".png") for name in record.files)


def test_what_a_trial_is_given_has_no_test_split(desk):
    assert isinstance(load_splits(ask(stage="trial"), desk).test, SealedSplit)
    assert not isinstance(load_splits(ask(), desk).test, SealedSplit)


def test_the_guard_of_the_test_above_can_fail(desk):
    record = execute(ask(Dataset(CARD, guarded)), desk).record
    assert record.error is not None and "the test split was opened" in record.error.message


def test_a_sealed_split_says_what_was_done_wrong():
    corpus = seal_test(TOY_DATA.load(None))
    for reach in (lambda: corpus.test.clips, lambda: corpus.test.read(0, None, None, 0)):
        with pytest.raises(SealedError, match="not available during a search"):
            reach()
    assert isinstance(split_view(corpus, "clean", "trial").reportable.test, SealedSplit)


def test_a_trial_is_no_final_run(desk):
    trial, final = execute(ask(stage="trial"), desk).record, execute(ask(), desk)
    assert trial.key != final.record.key and not final.already_done


def test_a_trial_that_is_given_up_is_a_record_without_scores_and_leaves_no_checkpoint(desk):
    seen = []

    def watch(epoch, value):
        seen.append(epoch)
        if epoch == 1:
            raise Pruned("after epoch 2")

    outcome = execute(ask(stage="trial", pruning_callback=watch), desk)
    folder = RunFolder(desk.results / "runs" / outcome.record.key)
    assert outcome.record.error is not None and outcome.record.error.kind == "pruned"
    assert seen == [0, 1] and outcome.record.scores == {} and not folder.checkpoints.exists()
    run = desk.store.connect().get_run(outcome.run_id)
    assert run.info.status == "KILLED"


def test_a_refit_trains_on_train_and_val_for_the_epochs_it_is_told(desk):
    outcome = execute(ask(protocol="refit", stop=2), desk)
    folder = desk.results / "runs" / outcome.record.key
    epochs = [
        point["epoch"] for point in json.loads((folder / "curves.json").read_text()) if point["stage"] == "finetune"
    ]
    assert epochs == [0, 1]
    assert outcome.record.scores["val/acc_e"] is None and outcome.record.scores["test/acc_e"] is not None
    assert not any("val/" in name for name in outcome.record.notes)
    view = split_view(TOY_DATA.load(None), "refit", "final")
    assert len(view.train.clips) == 3 * (8 + 3) and view.reportable.val is NO_CLIPS


def test_where_a_refit_stops_is_part_of_what_it_is(desk):
    keys = {execute(ask(protocol="refit", stop=stop), desk).record.key for stop in (1, 2)}
    assert len(keys) == 2


def test_choosing_on_test_is_named_so_wherever_it_is_written(desk):
    clean, chosen = execute(ask(), desk).record, execute(ask(protocol="best-on-test"), desk).record
    assert chosen.scores["val/acc_e"] is None and chosen.spec.protocol == "best-on-test"
    assert chosen.scores["test/acc_e"] >= clean.scores["test/acc_e"]  # the same training, the better epoch
    assert describe_protocol(chosen.spec) == "EPOCH CHOSEN ON TEST" and describe_protocol(clean.spec) == ""
    text = (desk.results / "runs" / chosen.key / "curves.json").read_text()
    assert "test/acc_e" in text and "val/acc_e" not in text


def test_a_clean_run_says_after_which_epoch_val_liked_it_best(desk):
    record = execute(ask(), desk).record
    curve = json.loads((desk.results / "runs" / record.key / "curves.json").read_text())
    val = [point["values"] for point in curve if "val/acc_e" in point["values"]]
    best = max(range(len(val)), key=lambda epoch: (val[epoch]["val/acc_e"], -val[epoch]["val/loss"]))
    assert record.chosen == best + 1


def test_joined_clips_are_read_from_the_set_they_came_from():
    first, second = number_clips("train", 2), number_clips("val", 1)
    both = ConcatClips((first, second))
    keys = [clip.key for clip in both.clips]
    assert keys == sorted(clip.key for part in (first, second) for clip in part.clips)
    from bench.rng import RngTree
    from tests.toys import sampling

    fixed = sampling(ToyConfig(), False)
    place = keys.index(second.clips[0].key)
    assert both.read(place, fixed, RngTree(0), 0).audio.equal(second.read(0, fixed, RngTree(0), 0).audio)
