"""Predictors of the baselines, and their fit functions.

Key: B clips, S segments, T frames, F audio frames, M mel bins, X features, C classes.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from bench.config import Config
from bench.loader import Loader
from bench.method import FitContext, Scores
from bench.metrics import Predictions, score
from bench.rng import RngTree
from bench.tasks import Classification, Regression, Task, get_values
from bench.types import ClipSet, DatasetInfo, Explanation, Inputs, Sampling
from methods.baselines import ProbeConfig, make_probe_sampling

SOUND_BANDS = 16  # groups of mel bins
MIN_DEVIATION = 1e-4  # smaller standard deviations are rounding noise, which division would amplify
INVERSE_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # sklearn's C
FEATURE_COUNT = 6 + 6 + 4 + 3 * SOUND_BANDS


class MajorityPredictor(nn.Module):
    """Predictor of log class frequencies of the training split, or of medians of its targets, equal for all clips."""

    def __init__(self, shares: list[float], task: Task) -> None:
        super().__init__()
        self.task = task
        self.register_buffer("share", torch.tensor(shares))
        self.share: torch.Tensor

    def forward(self, inputs: Inputs) -> Scores:
        """Return (B, C) scores, one row repeated for every clip."""
        row = self.share.clamp(min=1e-6).log() if isinstance(self.task, Classification) else self.share
        return Scores(row.expand(len(inputs.words), -1))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return empty explanations."""
        return [Explanation(None, ())] * len(inputs.words)


def build_majority(config: Config, info: DatasetInfo) -> MajorityPredictor:
    """Make a predictor whose shares are to be loaded."""
    return MajorityPredictor([0.0] * info.task.outputs, info.task)


def fit_majority(
    config: Config, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> MajorityPredictor:
    """Count the training clips of each class (the first class wins a tie), or take the median of each target."""
    if isinstance(info.task, Regression):
        columns = zip(*(get_values(clip.target) for clip in train.clips), strict=True)
        return MajorityPredictor([median(values) for values in columns], info.task)
    counts = Counter(clip.target for clip in train.clips)
    return MajorityPredictor([counts[label] / len(train.clips) for label in range(len(info.classes))], info.task)


def compute_simple_features(inputs: Inputs) -> Float[Tensor, "B X"]:
    """Compute means and deviations over a clip of colour, contrast, change between frames, and energy by mel band."""
    video, audio = inputs.video.float() / 255, inputs.audio
    colour = reduce(video, "B S T h w c -> B S c", "mean")
    texture = rearrange(video, "B S T h w c -> B S (T h w) c").std(2)
    change = reduce((video[:, :, 1:] - video[:, :, :-1]).abs(), "B S t h w c -> B S", "mean")
    fastest = (video[:, :, 1:] - video[:, :, :-1]).abs().amax((2, 3, 4, 5))
    bands = reduce(audio, "B S f (b m) -> B S f b", "mean", b=SOUND_BANDS)
    rhythm = (bands[:, :, 1:] - bands[:, :, :-1]).abs().mean(2)
    parts = [
        *(colour.mean(1), colour.std(1), texture.mean(1), texture.std(1)),
        *(change.mean(1, keepdim=True), change.std(1, keepdim=True)),
        *(fastest.mean(1, keepdim=True), fastest.std(1, keepdim=True)),
        *(bands.mean((1, 2)), bands.std((1, 2)), rhythm.mean(1)),
    ]
    return torch.cat(parts, 1)


class LinearProbe(nn.Module):
    """Linear map of standardised features to scores of classes, or to numbers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURE_COUNT))
        self.register_buffer("scale", torch.ones(FEATURE_COUNT))
        self.mean: Tensor
        self.scale: Tensor
        self.linear = nn.Linear(FEATURE_COUNT, outputs)

    def forward(self, inputs: Inputs) -> Scores:
        """Return (B, C) scores."""
        return Scores(self.linear((compute_simple_features(inputs) - self.mean) / self.scale))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return empty explanations."""
        return [Explanation(None, ())] * len(inputs.words)


def build_probe(config: ProbeConfig, info: DatasetInfo) -> LinearProbe:
    """Build an untrained predictor to load weights into."""
    return LinearProbe(info.task.outputs)


def fit_probe(
    config: ProbeConfig, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> LinearProbe:
    """Fit the probe to classes or numbers."""
    fit = fit_ridge_regression if isinstance(info.task, Regression) else fit_logistic_regression
    return fit(config, info, train, val, rng, ctx)


def fit_ridge_regression(
    config: ProbeConfig, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> LinearProbe:
    """Fit a ridge regression per penalty and keep the best on val by the primary metric; ties go to the strongest.

    Penalties are logged as epochs, as by `fit_logistic_regression`.
    """
    (x, y), (x_val, y_val) = (
        _extract_features(clips, make_probe_sampling(config, False), rng, ctx) for clips in (train, val)
    )
    scaler = StandardScaler().fit(x)
    scaler.scale_ = scaler.scale_.clip(MIN_DEVIATION)
    keys = tuple(clip.key for clip in val.clips)
    best, best_rank, best_number = None, (-math.inf, -math.inf), 1
    chosen = INVERSE_PENALTIES if ctx.stop is None else INVERSE_PENALTIES[ctx.stop - 1 : ctx.stop]
    for number, penalty in enumerate(chosen):
        model = Ridge(alpha=1 / penalty).fit(scaler.transform(x), np.asarray(y))
        fitted = model.predict(scaler.transform(x)).reshape(len(x), -1)
        values = {"probe/loss": float(np.abs(fitted - np.asarray(y)).mean())}
        if ctx.stop is None:
            predicted = model.predict(scaler.transform(x_val)).reshape(len(x_val), -1)
            scores = score(Predictions(keys, np.asarray(y_val), predicted), info.task)
            values |= {f"val/{name}": scores[name] or 0.0 for name in (ctx.metric.name, "loss")}
        ctx.tracker.log_epoch("probe", number, values)
        rank = ctx.metric.rank_epoch(values) or (0.0, 0.0)
        if best is None or rank > best_rank:
            best, best_rank, best_number = model, rank, number + 1
    assert best is not None
    if ctx.stop is None:
        ctx.tracker.log_selected_epoch(best_number)
    probe = LinearProbe(info.task.outputs)
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.copy_(torch.from_numpy(np.atleast_2d(best.coef_)))
        probe.linear.bias.copy_(torch.from_numpy(np.atleast_1d(best.intercept_)))
    return probe.to(ctx.device)


def fit_logistic_regression(
    config: ProbeConfig, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> LinearProbe:
    """Fit a multinomial logistic regression per penalty and keep the best on val; ties go to the strongest penalty.

    Penalties are logged as epochs: if `ctx.stop` is set, only the penalty of that number is fitted and val is not
    scored.
    """
    (x, y), (x_val, y_val) = (
        _extract_features(clips, make_probe_sampling(config, False), rng, ctx) for clips in (train, val)
    )
    scaler = StandardScaler().fit(x)
    scaler.scale_ = scaler.scale_.clip(MIN_DEVIATION)
    best, best_score = None, -1.0
    for number, penalty in enumerate(
        INVERSE_PENALTIES if ctx.stop is None else INVERSE_PENALTIES[ctx.stop - 1 : ctx.stop]
    ):
        model = LogisticRegression(C=penalty, max_iter=5000).fit(scaler.transform(x), y)
        accuracy = model.score(scaler.transform(x_val), y_val) if ctx.stop is None else 0.0
        loss = log_loss(y, model.predict_proba(scaler.transform(x)), labels=model.classes_)
        val_score = {f"val/{ctx.metric.name}": accuracy} if ctx.stop is None else {}
        ctx.tracker.log_epoch("probe", number, {"probe/loss": float(loss), **val_score})
        if accuracy > best_score:
            best, best_score, best_number = model, accuracy, number + 1
    assert best is not None
    if ctx.stop is None:
        ctx.tracker.log_selected_epoch(best_number)
    probe = LinearProbe(len(info.classes))
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.zero_()
        probe.linear.bias.fill_(-1e3 if len(best.classes_) < len(info.classes) else 0.0)
        rows = torch.from_numpy(best.classes_)
        two = len(best.classes_) == 2  # scikit-learn stores one row for two classes
        weight, bias = torch.from_numpy(best.coef_).float(), torch.from_numpy(best.intercept_).float()
        probe.linear.weight[rows] = torch.cat([-weight / 2, weight / 2]) if two else weight
        probe.linear.bias[rows] = torch.cat([-bias / 2, bias / 2]) if two else bias
    return probe.to(ctx.device)


def _extract_features(clips: ClipSet, opened: Sampling, rng: RngTree, ctx: FitContext):  # type: ignore[no-untyped-def]
    """Return the features, (clips, X), and the labels of a split."""
    rows = []
    with ctx.timer("read"):
        for loaded in Loader(clips, opened, rng, 16, ctx, shuffle=False).iterate_epoch(0):
            rows.append(compute_simple_features(loaded.inputs))
    return torch.cat(rows).numpy(), [clip.target for clip in clips.clips]
