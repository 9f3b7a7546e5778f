import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.errors import Diverged
from bench.training import Losses, TrainConfig, _make_fabric, train_stage
from tests.toys import ToyConfig, make_context, sampling

SAMPLING = sampling(ToyConfig(), True)


class Regression(nn.Module):
    """Linear regression with a weight, and a bias without weight decay."""

    def __init__(self, drop=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3))
        self.bias = nn.Parameter(torch.ones(3))
        self.dropout = nn.Dropout(drop)
        self.seen = []

    def forward(self, batch):
        self.seen.append((batch.epoch, batch.progress, batch.keys))
        out = self.dropout(batch.inputs.audio.mean((1, 2))) @ self.weight + self.bias
        loss = nn.functional.cross_entropy(out, batch.target, reduction="none")
        return Losses({"label": loss}, {"half": torch.where(batch.target == 0, torch.nan, 1.0)})


STAGE = TrainConfig("fit", 4, 4, 0.05)


def run(quiet, folder, stage=STAGE, objective=None, select=None, **context):
    objective = objective or Regression()
    train_stage(objective, SAMPLING, stage, make_context(quiet, folder, **context), select)
    return objective


def test_training_lowers_the_loss_and_logs_every_epoch_once(quiet, tmp_path):
    run(quiet, tmp_path)
    assert [(stage, epoch) for stage, epoch, _ in quiet.epochs] == [("fit", e) for e in range(4)]
    assert quiet.epochs[-1][2]["fit/loss"] < quiet.epochs[0][2]["fit/loss"]
    assert quiet.epochs[0][2]["fit/half"] == 1.0  # clips without a value do not count


def test_micro_batches_reach_the_same_weights(quiet, tmp_path):
    whole = run(quiet, tmp_path / "a")
    parts = run(quiet, tmp_path / "b", micro_batch=3)
    torch.testing.assert_close(whole.weight, parts.weight, rtol=1e-5, atol=1e-6)


def test_progress_runs_from_zero_to_one(quiet, tmp_path):
    seen = [progress for _, progress, _ in run(quiet, tmp_path).seen]
    assert seen[0] == 0.0 and seen == sorted(seen) and seen[-1] == pytest.approx(15 / 16)


def test_weight_decay_spares_biases(quiet, tmp_path):
    class Idle(Regression):
        def forward(self, batch):
            zero = (self.weight.sum() + self.bias.sum()) * 0
            return Losses({"none": zero.expand(len(batch.target))}, {})

    objective = Idle()
    with torch.no_grad():
        objective.weight.fill_(1.0)
    run(quiet, tmp_path, replace(STAGE, weight_decay=0.5), objective)
    assert (objective.weight < 1).all() and (objective.bias == 1).all()


def test_the_best_epoch_is_selected_and_ties_go_to_the_smaller_loss(quiet, tmp_path):
    scores = iter([(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.6, 0.1)])
    weights = []
    objective = Regression()

    def select():
        weights.append(objective.weight.detach().clone())
        acc, loss = next(scores)
        return {"val/acc_e": acc, "val/loss": loss}

    run(quiet, tmp_path, objective=objective, select=select)
    assert torch.equal(objective.weight, weights[2])


def test_averaged_weights_are_selected_and_follow_the_ramp(quiet, tmp_path):
    """Check one step: t = 1 with ema 0.5 and ramp 1 gives decay = 0.5 (1 - 1/e); the average moves by 1 - decay."""
    stage = TrainConfig("fit", 1, 15, 0.1, ema=0.5, ema_ramp=1.0)
    plain = run(quiet, tmp_path / "plain", replace(stage, ema=0.0)).weight
    averaged = run(quiet, tmp_path / "ema", stage).weight
    decay = 0.5 * (1 - math.exp(-1))
    torch.testing.assert_close(averaged, plain * (1 - decay))  # the weights started at 0


class Killed(BaseException):
    """Simulates a kill: a BaseException that no code catches."""


@pytest.mark.parametrize(
    ("share", "last_saved"), [(1e9, 2), (1e-9, 1)]
)  # a checkpoint after every epoch, or only after the first
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_stage_killed_anywhere_ends_with_the_same_weights(quiet, tmp_path, monkeypatch, ema, share, last_saved):
    monkeypatch.setattr("bench.timing.MAX_COST_SHARE", share)
    stage = replace(STAGE, ema=ema, clip_norm=0.5, warmup=0.2)
    undisturbed = run(quiet, tmp_path / "a", stage, Regression(drop=0.3))

    class Fragile(Regression):
        def forward(self, batch):
            if len(self.seen) == 10:
                raise Killed
            return super().forward(batch)

    with pytest.raises(Killed):
        run(quiet, tmp_path / "b", stage, Fragile(drop=0.3))
    resumed = run(quiet, tmp_path / "b", stage, Regression(drop=0.3))
    assert resumed.seen[0][0] == last_saved
    assert torch.equal(undisturbed.weight, resumed.weight)


def test_the_tracker_is_called_before_each_checkpoint(quiet, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.timing.MAX_COST_SHARE", 1e-9)  # checkpoints after the first and the last epoch
    path, found = tmp_path / "fit.pt", []
    quiet.before_checkpoint = lambda: found.append(
        torch.load(path, weights_only=True)["state"]["epoch"] if path.exists() else 0
    )
    run(quiet, tmp_path)
    assert found == [0, 1] and torch.load(path, weights_only=True)["state"]["epoch"] == 4


def test_a_finished_stage_is_not_trained_again(quiet, tmp_path):
    first = run(quiet, tmp_path)
    again = run(quiet, tmp_path)
    assert again.seen == [] and torch.equal(first.weight, again.weight)


def test_a_loss_that_is_not_a_number_is_an_error(quiet, tmp_path):
    class Broken(Regression):
        def forward(self, batch):
            losses = super().forward(batch)
            return Losses({"label": losses.terms["label"] * float("nan")}, {})

    with pytest.raises(Diverged, match="loss of epoch 1 is not finite"):
        run(quiet, tmp_path, objective=Broken())


@pytest.mark.parametrize(
    ("device", "accelerator", "devices"), [("cpu", "cpu", 1), ("cuda", "cuda", 1), ("cuda:3", "cuda", [3])]
)
def test_a_stage_trains_on_the_device_of_its_context(device, accelerator, devices, quiet, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("bench.training.Fabric", lambda **given: asked.append(given))
    _make_fabric(make_context(quiet, tmp_path, device=device), "32-true")
    assert asked == [{"accelerator": accelerator, "devices": devices, "precision": "32-true"}]
