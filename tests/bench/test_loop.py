"""Tests of the settings of a training stage against loops written by hand, and of stages that follow the val score."""

import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench.errors import ConfigError
from bench.loader import collate
from bench.rng import RngTree
from bench.training import Losses, TrainConfig, train_stage
from bench.types import Batch
from tests.toys import ToyConfig, make_context, number_clips, sampling

SAMPLING, CLIPS, RNG = sampling(ToyConfig(), True), number_clips("train", 5), RngTree(1)
CONFIG = TrainConfig("fit", 3, 4, 0.05, schedule="constant")  # 15 clips: batches of 4, 4, 4 and 3
BATCHES = 4


class Net(nn.Module):
    """Two layers and a scale; with `norm` a batch norm, with `whole` a loss of the whole batch."""

    def __init__(self, norm=False, whole=False, drop=0.0):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4) if norm else nn.Identity()
        self.drop, self.second = nn.Dropout(drop), nn.Linear(4, 3)
        self.scale, self.whole, self.batches = nn.Parameter(torch.ones(3)), whole, []

    def forward(self, batch):
        self.batches.append((batch.epoch, batch.keys))
        hidden = self.norm(self.first(batch.inputs.audio.mean((1, 2))))
        out = self.second(self.drop(hidden)) * self.scale
        terms = {"label": nn.functional.cross_entropy(out, batch.target, reduction="none")}
        return Losses(terms, {}, {"spread": 0.1 * hidden.std(0).sum()} if self.whole else {})


def run(quiet, folder, config=CONFIG, objective=None, select=None, **context):
    objective = objective or Net()
    train_stage(objective, SAMPLING, config, make_context(quiet, folder, train=CLIPS, rng=RNG, **context), select)
    return objective


def divide(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


def list_batches(epoch, size):
    order = RNG.numpy("order", epoch).permutation(len(CLIPS.clips)).tolist()
    batches = []
    for rows in divide(order, size):
        inputs = collate([CLIPS.read(row, SAMPLING, RNG, epoch) for row in rows])
        target = torch.tensor([CLIPS.clips[row].target for row in rows])
        batches.append(Batch(inputs, target, tuple(CLIPS.clips[row].key for row in rows), epoch, 0.0))
    return batches


def train_by_hand(objective, optimizer, rate=lambda step: 0.05, clip=lambda parameters: None, accumulate=1):
    """Train for three epochs in plain torch; `rate` maps the step to the learning rate."""
    steps = count()
    for epoch in range(3):
        for group in divide(list_batches(epoch, 4), accumulate):
            clips = sum(len(batch.keys) for batch in group)
            optimizer.zero_grad()
            for batch in group:
                losses = objective(batch)
                whole = sum(losses.whole.values()) / len(group)
                (losses.terms["label"].sum() / clips + whole).backward()
            clip(objective.parameters())
            step = next(steps)
            for settings in optimizer.param_groups:
                settings["lr"] = rate(step) * settings.get("factor", 1)
            optimizer.step()
    return objective


def assert_same(one, two):
    for name, value in one.state_dict().items():
        torch.testing.assert_close(
            value, two.state_dict()[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}:{m}"
        )


def follow(*scores):
    """Return a `select` with the given accuracies."""
    given = iter(scores)
    return lambda: {"val/acc_e": next(given), "val/loss": 1.0}


def adam(objective, **settings):
    return torch.optim.AdamW(objective.parameters(), weight_decay=0.0, **settings)


@pytest.mark.parametrize(
    ("changed", "make", "rate"),
    [
        ({}, adam, lambda step: 0.05),
        ({"warmup": 0.5}, adam, lambda step: 0.05 * min(1, (step + 1) / 7)),
        (
            {"schedule": "cosine"},
            lambda objective: torch.optim.Adam(objective.parameters()),
            lambda step: 0.05 * 0.5 * (1 + math.cos(math.pi * step / 12)),
        ),
        ({"optimizer": "sgd"}, lambda objective: torch.optim.SGD(objective.parameters()), lambda step: 0.05),
        (
            {"optimizer": "sgd", "momentum": 0.9, "warmup": 0.25},
            lambda objective: torch.optim.SGD(objective.parameters(), momentum=0.9),
            lambda step: 0.05 * min(1, (step + 1) / 4),
        ),
    ],
)
def test_schedules_and_optimisers_are_those_of_plain_torch(quiet, tmp_path, changed, make, rate):
    objective = Net()
    assert_same(run(quiet, tmp_path, replace(CONFIG, **changed)), train_by_hand(objective, make(objective), rate))


def test_the_decay_of_sgd_spares_biases(quiet, tmp_path):
    objective = Net()
    weights = [parameter for parameter in objective.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in objective.parameters() if parameter.ndim == 1]
    expected = torch.optim.SGD([{"params": weights, "weight_decay": 0.3}, {"params": others}])
    trained = run(quiet, tmp_path, replace(CONFIG, optimizer="sgd", weight_decay=0.3))
    assert_same(trained, train_by_hand(objective, expected))


@pytest.mark.parametrize(
    ("changed", "clip"),
    [
        ({"clip_value": 0.01}, lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01)),
        ({"clip_norm": 0.01}, lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.01)),
    ],
)
def test_gradients_are_clipped_once_a_step(quiet, tmp_path, changed, clip):
    objective = Net()
    config = replace(CONFIG, optimizer="sgd", accumulate=2, **changed)
    expected = train_by_hand(objective, torch.optim.SGD(objective.parameters()), clip=clip, accumulate=2)
    assert_same(run(quiet, tmp_path, config), expected)


def test_parts_of_the_objective_have_their_own_step_sizes(quiet, tmp_path):
    """Check that the longest name wins, that a name is that of a whole module, and that a factor of 0 freezes."""
    objective = Net()
    optimizer = torch.optim.AdamW(
        [
            {"params": [objective.first.weight], "factor": 0.1},
            {"params": [objective.first.bias], "factor": 3.0},
            {"params": objective.second.parameters(), "factor": 0.0},
            {"params": [objective.scale]},
        ],
        weight_decay=0.0,
    )
    config = replace(CONFIG, warmup=0.5, lr_scales={"first": 0.1, "first.bias": 3.0, "second": 0.0})
    trained = run(quiet, tmp_path, config)
    assert_same(trained, train_by_hand(objective, optimizer, lambda step: 0.05 * min(1, (step + 1) / 7)))
    assert torch.equal(trained.second.weight, Net().second.weight)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("frist", "did you mean 'first'"),
        ("first.wieght", "did you mean 'first.weight'"),
        ("fir", "did you mean 'first'"),  # not the beginning of a name, but a whole part
        ("", "known: first, scale, second, and their parts"),
        ("zzz", "known: first, scale, second, and their parts"),
    ],
)
def test_a_step_size_of_no_parameter_is_an_error_that_names_close_ones(quiet, tmp_path, name, answer):
    config = TrainConfig("fit", 3, 4, 0.05, lr_scales={"first": 1.0, name: 0.1})
    with pytest.raises(ConfigError, match=f"fit: lr_scales of '{name}': no such parameter; {answer}"):
        run(quiet, tmp_path, config)
    assert quiet.epochs == []


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_accumulated_batches_are_one_larger_batch(quiet, tmp_path, optimizer):
    """Check 15 clips: groups of 2, 2, 2; 2, 2, 2; 2, 1 against batches of 6, 6 and 3, with schedule and average."""
    config = replace(
        CONFIG, schedule="cosine", warmup=0.2, ema=0.5, ema_ramp=3.0, clip_norm=0.5, optimizer=optimizer, momentum=0.5
    )
    whole = run(quiet, tmp_path / "whole", replace(config, batch=6))
    parts = run(quiet, tmp_path / "parts", replace(config, batch=2, accumulate=3))
    assert len(parts.batches) == 3 * 8 and len(whole.batches) == 3 * 3
    assert_same(whole, parts)
    logged = [values["fit/loss"] for _, _, values in quiet.epochs]
    assert logged[:3] == pytest.approx(logged[3:], rel=1e-5)
    more = run(quiet, tmp_path / "more", replace(config, batch=2, accumulate=3), micro_batch=1)
    assert_same(whole, more)


def test_processes_exchange_gradients_once_a_step(quiet, tmp_path, monkeypatch):
    """Check batches of 4, 4, 4 and 3 as groups of three and one, in micro-batches of three and one or of three."""
    postponed = []

    def no_backward_sync(fabric, module, enabled):
        postponed.append(enabled)
        return nullcontext()

    monkeypatch.setattr("bench.training.Fabric.no_backward_sync", no_backward_sync)
    run(quiet, tmp_path, replace(CONFIG, epochs=1, accumulate=3), micro_batch=3)
    assert postponed == [True] * 5 + [False, False]


def test_a_group_of_more_batches_than_the_epoch_ends_with_it(quiet, tmp_path):
    whole = run(quiet, tmp_path / "whole", replace(CONFIG, batch=15))
    assert_same(whole, run(quiet, tmp_path / "parts", replace(CONFIG, accumulate=100)))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_whole_loss_is_added_once_a_batch(quiet, tmp_path, accumulate):
    objective = Net(whole=True)
    config = replace(CONFIG, optimizer="sgd", accumulate=accumulate)
    trained = run(quiet, tmp_path, config, Net(whole=True), coupled=True)
    expected = train_by_hand(objective, torch.optim.SGD(objective.parameters()), accumulate=accumulate)
    assert_same(trained, expected)
    assert not torch.allclose(trained.first.weight, run(quiet, tmp_path / "without", config).first.weight)


def test_a_whole_loss_is_logged_by_clips_and_is_part_of_the_loss(quiet, tmp_path):
    class Sizes(Net):
        def forward(self, batch):
            term = self.scale.sum().expand(len(batch.keys)) * 0 + 1.0
            return Losses({"one": term}, {}, {"size": self.scale.sum() * 0 + float(len(batch.keys))})

    run(quiet, tmp_path, replace(CONFIG, epochs=1), Sizes(), coupled=True)
    size = (4 * 4 * 3 + 3 * 3) / 15
    assert quiet.epochs[0][2] == pytest.approx({"fit/one": 1.0, "fit/size": size, "fit/loss": 1 + size})


def test_an_objective_may_have_whole_losses_only(quiet, tmp_path):
    class Alone(Net):
        def forward(self, batch):
            return Losses({}, {}, {"norm": self.scale.square().sum()})

    assert (run(quiet, tmp_path, replace(CONFIG), Alone(), coupled=True).scale < 1).all()
    assert quiet.epochs[0][2].keys() == {"fit/norm", "fit/loss"}


def record_rates():
    rates = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    return rates, hook


def test_the_rate_is_reduced_on_a_plateau(quiet, tmp_path):
    """Check reductions two epochs after the best one, and again two later; a new best epoch starts the count anew."""
    scores = (0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)
    config = replace(CONFIG, epochs=10, schedule="plateau", plateau_factor=0.5, plateau_patience=2, accumulate=4)
    rates, hook = record_rates()
    run(quiet, tmp_path, config, select=follow(*scores))
    hook.remove()
    assert rates == pytest.approx([0.05] * 4 + [0.025] * 3 + [0.0125] * 2 + [0.00625])


def test_a_plateau_is_reduced_after_the_warm_up_too(quiet, tmp_path):
    config = replace(CONFIG, epochs=4, warmup=0.5, schedule="plateau", plateau_patience=1, accumulate=4)
    rates, hook = record_rates()
    run(quiet, tmp_path, config, select=follow(0.5, 0.4, 0.6, 0.6))
    hook.remove()
    assert rates == pytest.approx([0.05 / 3, 0.05 * 2 / 3, 0.005, 0.005])


def test_a_stage_out_of_patience_ends_and_is_not_trained_on(quiet, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.timing.MAX_COST_SHARE", 1e-9)  # no checkpoint between the first and the last epoch
    shown, progress, weights = [], [], []
    quiet.report_epoch = lambda stage, epoch, epochs, values: shown.append((epoch, epochs))
    quiet.report_progress = lambda stage, done, total: progress.append((done, total))
    scores = iter((0.1, 0.5, 0.5, 0.4, 0.9))
    objective = Net()

    def select():
        weights.append(objective.second.weight.detach().clone())
        return {"val/acc_e": next(scores), "val/loss": 1.0}

    config = replace(CONFIG, epochs=50, patience=2)
    run(quiet, tmp_path, config, objective, select)
    assert shown == [(0, 50), (1, 50), (2, 50), (3, 50), (4, 4)] and len(quiet.epochs) == 4
    assert progress[-1] == (16, 16) and quiet.chosen == 2
    assert torch.equal(objective.second.weight, weights[1])
    shown.clear()
    again = run(quiet, tmp_path, config, select=follow())
    assert shown == [(4, 4)] and again.batches == [] and torch.equal(again.second.weight, weights[1])


def test_a_stage_with_enough_patience_runs_to_its_end(quiet, tmp_path):
    run(quiet, tmp_path, replace(CONFIG, epochs=4, patience=3), select=follow(0.5, 0.4, 0.4, 0.6))
    assert len(quiet.epochs) == 4 and quiet.chosen == 4


@pytest.mark.parametrize("changed", [{"schedule": "plateau"}, {"patience": 3}])
def test_settings_that_need_val_are_an_error_without_it(quiet, tmp_path, changed):
    objective = Net()
    for context in ({}, {"stop": 1}):
        with pytest.raises(ConfigError, match=r"fit: (schedule 'plateau'|patience 3) needs scores on val"):
            run(quiet, tmp_path, replace(CONFIG, **changed), objective, **context)
    assert objective.batches == []


def test_a_refit_runs_the_selected_epochs_whatever_the_patience(quiet, tmp_path):
    config = replace(CONFIG, epochs=9, patience=1)
    refit = run(quiet, tmp_path / "refit", config, select=follow(), stop=5)
    assert {epoch for epoch, _ in refit.batches} == set(range(5))
    alone = run(quiet, tmp_path / "alone", replace(CONFIG, epochs=9), select=follow(), stop=5)
    assert torch.equal(refit.first.weight, alone.first.weight)


def test_a_refit_with_a_plateau_is_refused_before_it_trains(quiet, tmp_path):
    objective = Net()
    with pytest.raises(ConfigError, match="fit: schedule 'plateau' needs scores on val, which protocol refit trains"):
        run(quiet, tmp_path, replace(CONFIG, schedule="plateau"), objective, follow(), stop=2)
    assert objective.batches == []


@pytest.mark.parametrize(
    ("field", "values"),
    [
        *((name, (-1, math.nan, math.inf)) for name in ("lr", "weight_decay", "clip_norm", "clip_value")),
        *((name, (-1,)) for name in ("epochs", "patience")),
        *((name, (0, -2)) for name in ("batch", "accumulate", "plateau_patience", "ema_ramp")),
        *((name, (-0.1, 1.5, math.nan)) for name in ("warmup", "momentum", "ema")),
        ("plateau_factor", (0.0, 1.1)),
    ],
)
def test_a_value_out_of_range_is_an_error(field, values):
    for value in values:
        with pytest.raises(ConfigError, match=f"fit: {field} is {value}; use "):
            replace(CONFIG, **{field: value})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; use adamw, adam, sgd"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; use cosine, constant, plateau"),
        ({"precision": "16-mixed"}, "unknown precision '16-mixed'; use 32-true, bf16-mixed"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "clip_norm and clip_value are both set; set one of them to 0"),
        ({"lr_scales": {"first": -1.0}}, "lr_scales of 'first' is -1.0; use 0 or more"),
    ],
)
def test_an_unknown_or_contradictory_value_is_an_error(changed, message):
    with pytest.raises(ConfigError, match=f"fit: ({message})"):
        replace(CONFIG, **changed)


class Killed(BaseException):
    """Simulates a kill: a BaseException that no code catches."""


SCORES = (0.3, 0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.9)  # the stage ends after eight epochs, the fifth is the best


@pytest.mark.parametrize("share", [1e9, 1e-9])  # a checkpoint after every epoch, or only after the first
@pytest.mark.parametrize("kill", [3, 13, 18, 30])  # batches before the kill
def test_a_stage_with_every_setting_killed_anywhere_ends_with_the_same_numbers(
    quiet, tmp_path, monkeypatch, share, kill
):
    monkeypatch.setattr("bench.timing.MAX_COST_SHARE", share)
    config = replace(
        CONFIG,
        epochs=20,
        schedule="plateau",
        plateau_patience=2,
        plateau_factor=0.5,
        warmup=0.1,
        optimizer="sgd",
        momentum=0.9,
        weight_decay=0.1,
        clip_value=0.05,
        lr_scales={"first": 0.5},
        patience=3,
        accumulate=3,
        ema=0.5,
    )

    class Fragile(Net):
        def forward(self, batch):
            if len(self.batches) == kill:
                raise Killed
            return super().forward(batch)

    def train(objective, folder, start=0):
        seen = count(start)
        scores = []

        def select():
            scores.append({name: value.clone() for name, value in objective.state_dict().items()})
            return {"val/acc_e": SCORES[next(seen)], "val/loss": 1.0}

        run(quiet, folder, config, objective, select, coupled=True)
        return scores

    undisturbed = Net(norm=True, whole=True, drop=0.3)
    scored = train(undisturbed, tmp_path / "a")
    logged = quiet.epochs[:]
    assert len(scored) == 8 and quiet.chosen == 5
    with pytest.raises(Killed):
        train(Fragile(norm=True, whole=True, drop=0.3), tmp_path / "b")
    done = 0 if kill < BATCHES else torch.load(tmp_path / "b" / "fit.pt", weights_only=True)["state"]["epoch"]
    quiet.epochs.clear()
    resumed = Net(norm=True, whole=True, drop=0.3)
    again = train(resumed, tmp_path / "b", done)
    assert len(again) == 8 - done and quiet.epochs == logged
    for one, two in [*zip(scored[done:], again, strict=True), (undisturbed.state_dict(), resumed.state_dict())]:
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert torch.equal(resumed.norm.running_mean, scored[4]["norm.running_mean"])
    assert not torch.equal(resumed.norm.running_mean, scored[7]["norm.running_mean"])
