"""Tests of coupled methods, whose loss of a clip depends on its batch: batch norms, whole losses, undivided batches."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.distributed import fit_distributed
from bench.errors import ConfigError
from bench.execute import RunEnvironment, RunRequest, execute
from bench.loader import Loader
from bench.method import Replica
from bench.mlflow import MlflowStore
from bench.rng import RngTree
from bench.training import Losses, TrainConfig, _check_whole, _synchronise_norms, train_stage
from tests.bench.test_loop import BATCHES, CLIPS, CONFIG, SAMPLING, Net, assert_same, follow, list_batches, run
from tests.toys import TOY, TOY_DATA, ToyConfig, make_context, number_clips

COUPLED = replace(TOY, coupled=True)


@pytest.fixture
def environment(results, quiet):
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *args: [], threads=1)


def make_request(method=COUPLED, **values):
    return RunRequest("toy", method, ToyConfig(epochs=1, drop=0.0, **values), "quick", TOY_DATA, 0)


def few_clips(count):
    return replace(number_clips("train", 5), clips=number_clips("train", 5).clips[:count])


def test_a_coupled_run_out_of_memory_is_not_repeated_and_states_what_to_do(environment, quiet):
    record = execute(make_request(fail="memory", batch=8), environment).record
    assert record.error is not None and record.error.kind == "out of memory" and record.attempt == 1
    assert record.error.message.startswith("OutOfMemoryError: CUDA out of memory.")
    assert "depends on its whole batch" in record.error.message and "--set batch=4" in record.error.message
    assert record.provenance["micro_batch"] == 0 and "\n" not in record.error.message
    assert not any("retrying" in line for line in quiet.notices)


def test_another_failure_of_a_coupled_run_states_nothing_about_memory(environment):
    record = execute(make_request(fail="error"), environment).record
    assert record.error is not None and "batch" not in record.error.message


def test_a_micro_batch_below_the_batch_is_refused_for_a_coupled_method_only(environment, quiet):
    with pytest.raises(ConfigError, match=r"warm: micro-batches of 3 clips would divide the batches of 4.*batch=3"):
        execute(make_request(batch=4), replace(environment, micro_batch=3))
    assert quiet.epochs == []
    assert execute(make_request(TOY, batch=4), replace(environment, micro_batch=3)).record.error is None
    assert execute(make_request(batch=5), replace(environment, micro_batch=5)).record.error is None


def test_a_micro_batch_of_a_batch_does_not_divide_a_joined_one(quiet, tmp_path):
    objective = Net(norm=True)
    context = make_context(quiet, tmp_path, train=few_clips(13), micro_batch=4, coupled=True)
    train_stage(objective, SAMPLING, replace(CONFIG, epochs=1), context)
    assert [len(keys) for _, keys in objective.batches] == [4, 4, 5]


class Frozen(Net):
    """A net with a batch norm in evaluation mode; without running statistics it uses those of a batch nevertheless."""

    def __init__(self, track=True):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=track)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


@pytest.mark.parametrize("make", [lambda: Net(norm=True), lambda: Frozen(track=False)])
def test_a_batch_norm_of_a_method_that_is_not_coupled_is_an_error(quiet, tmp_path, make):
    objective = make()
    with pytest.raises(ConfigError, match=r"fit: batch norm 'norm' .*set coupled=True in the method's registry entry"):
        run(quiet, tmp_path, objective=objective)
    assert objective.batches == []
    assert run(quiet, tmp_path, objective=objective, coupled=True).batches


def test_a_batch_norm_in_evaluation_mode_is_not_coupled(quiet, tmp_path):
    whole = run(quiet, tmp_path / "a", objective=Frozen())
    parts = run(quiet, tmp_path / "b", objective=Frozen(), micro_batch=2)
    assert not whole.norm.running_mean.any() and len(whole.batches) < len(parts.batches)
    assert_same(whole, parts)


def test_a_whole_loss_of_a_method_that_is_not_coupled_is_an_error(quiet, tmp_path):
    objective = Net(whole=True)
    with pytest.raises(ConfigError, match="fit: whole loss 'spread' needs coupled=True in the method's registry entry"):
        run(quiet, tmp_path, objective=objective)
    assert_same(objective, Net())


@pytest.mark.parametrize("whole", [{"x": torch.ones(4)}, {"x": torch.ones(1)}, {"label": torch.ones(())}])
def test_a_whole_loss_is_one_number_with_a_name_of_its_own(quiet, tmp_path, whole):
    class Wrong(Net):
        def forward(self, batch):
            return super().forward(batch)._replace(whole=whole)

    objective = Wrong()
    with pytest.raises(ConfigError, match=f"fit: whole loss '{next(iter(whole))}' has shape"):
        run(quiet, tmp_path, objective=objective, coupled=True)
    assert_same(objective, Net())


def test_a_coupled_method_on_several_processors_is_refused_before_a_process_starts(quiet, tmp_path):
    with pytest.raises(
        ConfigError, match=r"--devices 2: the losses of method 'toy' depend on whole .* use --devices 1"
    ):
        fit_distributed(COUPLED, make_context(quiet, tmp_path, ToyConfig()), 2)


def test_a_whole_loss_on_several_devices_is_refused(quiet, tmp_path):
    context = make_context(quiet, tmp_path, device="cuda:0", replica=Replica(0, 2), coupled=True)
    with pytest.raises(
        ConfigError, match=r"--devices 2: loss 'far' of stage 'fit' needs the whole batch .*--devices 1"
    ):
        _check_whole(Losses({}, {}, {"far": torch.ones(())}), "fit", context)
    _check_whole(Losses({"label": torch.ones(4)}, {}), "fit", context)


@pytest.mark.parametrize(("batch", "smallest"), [(2, 2), (7, 1), (12, 3)])
def test_a_batch_with_fewer_clips_than_devices_is_refused(quiet, tmp_path, batch, smallest):
    """Check 15 clips on four devices: batches of 2, of 7, 7 and 1 (which joins), of 12 and 3."""
    objective, config = Net(norm=True), TrainConfig("fit", 1, batch, 0.1)
    context = make_context(quiet, tmp_path, replica=Replica(0, 4), coupled=True)
    if smallest == 1:
        loader = Loader(CLIPS, SAMPLING, batch, context, shuffle=True)
        assert [loader.count_clips(index) for index in range(len(loader))] == [7, 8]
        return
    with pytest.raises(ConfigError, match=f"--devices 4: an epoch has a batch of {smallest} clips, too few"):
        train_stage(objective, SAMPLING, config, context)
    assert objective.batches == []


def test_batch_norms_of_several_devices_are_synchronised_in_place(quiet, tmp_path):
    objective = Net(norm=True)
    before = objective.state_dict(keep_vars=True)
    _synchronise_norms(objective, make_context(quiet, tmp_path))
    assert type(objective.norm) is nn.BatchNorm1d
    _synchronise_norms(objective, make_context(quiet, tmp_path, replica=Replica(1, 2)))
    assert type(objective.norm) is nn.SyncBatchNorm
    after = objective.state_dict(keep_vars=True)
    assert after.keys() == before.keys() and all(after[name] is value for name, value in before.items())
    inputs = list_batches(0, 4)[0]
    plain = Net(norm=True).eval()
    assert torch.equal(objective.eval()(inputs).terms["label"], plain(inputs).terms["label"])


@pytest.mark.parametrize(
    ("clips", "batch", "sizes", "uncoupled"),
    [
        (13, 4, [4, 4, 5], [4, 4, 4, 1]),
        (5, 4, [5], [4, 1]),
        (3, 2, [3], [2, 1]),
        (14, 4, [4, 4, 4, 2], [4, 4, 4, 2]),
        (12, 4, [4, 4, 4], [4, 4, 4]),
        (3, 1, [1, 1, 1], [1, 1, 1]),  # nothing would be left of batches of one
        (1, 4, [1], [1]),
    ],
)
def test_a_last_batch_of_one_clip_joins_the_one_before_it(quiet, tmp_path, clips, batch, sizes, uncoupled):
    rng = RngTree(1)
    context = make_context(quiet, tmp_path, rng=rng)
    for coupled, shuffle, expected in ((True, True, sizes), (False, True, uncoupled), (True, False, uncoupled)):
        given = replace(context, coupled=coupled)
        loader = Loader(few_clips(clips), SAMPLING, batch, given, shuffle=shuffle)
        loaded = [list(one.indices) for one in loader.iterate_epoch(2)]
        assert [len(indices) for indices in loaded] == expected and len(loader) == len(expected)
        assert [loader.count_clips(index) for index in range(len(loader))] == expected
        order = rng.numpy("order", 2).permutation(clips).tolist() if shuffle else list(range(clips))
        assert [index for indices in loaded for index in indices] == order


def test_an_epoch_with_a_last_clip_trains_every_clip_through_a_batch_norm(quiet, tmp_path):
    objective = Net(norm=True)
    context = make_context(quiet, tmp_path, train=few_clips(13), coupled=True)
    config = replace(CONFIG, epochs=2, accumulate=2)
    train_stage(objective, SAMPLING, config, context)
    for epoch in range(2):
        keys = [key for seen, keys in objective.batches if seen == epoch for key in keys]
        assert sorted(keys) == sorted(clip.key for clip in few_clips(13).clips)


def test_running_statistics_are_updated_once_a_batch_as_in_plain_torch(quiet, tmp_path):
    trained = run(quiet, tmp_path, replace(CONFIG, lr=0.0, accumulate=3), Net(norm=True), coupled=True)
    expected = Net(norm=True).train()
    for epoch in range(CONFIG.epochs):
        for batch in list_batches(epoch, 4):
            expected(batch)
    assert_same(trained, expected)
    assert trained.norm.num_batches_tracked == BATCHES * CONFIG.epochs


def test_the_best_epoch_has_its_own_running_statistics(quiet, tmp_path):
    objective, seen = Net(norm=True), []
    scores = follow(0.2, 0.9, 0.5)

    def select():
        seen.append({name: value.clone() for name, value in objective.state_dict().items()})
        return scores()

    run(quiet, tmp_path, objective=objective, select=select, coupled=True)
    assert objective.norm.num_batches_tracked == 2 * BATCHES
    assert all(torch.equal(value, seen[1][name]) for name, value in objective.state_dict().items())


def test_averaged_weights_are_scored_with_the_running_statistics_of_the_trained_ones(quiet, tmp_path):
    def train(name, config, select):
        objective, scored = Net(norm=True), []

        def score():
            scored.append({name: value.clone() for name, value in objective.state_dict().items()})
            return {"val/acc_e": 1.0, "val/loss": 1.0}

        run(quiet, tmp_path / name, config, objective, score if select else None, coupled=True)
        return objective, scored

    _, plain = train("plain", CONFIG, True)
    _, averaged = train("ema", replace(CONFIG, ema=0.9), True)
    last, _ = train("last", replace(CONFIG, ema=0.9), False)  # without val: the average of the last epoch
    for one, two in zip(plain, averaged, strict=True):
        assert torch.equal(one["norm.running_mean"], two["norm.running_mean"])
        assert not torch.equal(one["first.weight"], two["first.weight"])
    assert all(torch.equal(value, averaged[-1][name]) for name, value in last.state_dict().items())
