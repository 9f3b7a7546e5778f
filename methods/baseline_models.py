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
from bench.tasks import Classification, Regression, TargetValue, Task, get_values
from bench.types import FEATURES, ClipSet, DatasetInfo, Explanation, Inputs, Sampling
from methods.baselines import FeatureProbeConfig, ProbeConfig, make_feature_sampling, make_probe_sampling

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
        return Scores(row.expand(len(inputs), -1))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return empty explanations."""
        return [Explanation(None, ())] * len(inputs)


def build_majority(config: Config, info: DatasetInfo) -> MajorityPredictor:
    """Make a predictor whose shares are to be loaded."""
    return MajorityPredictor([0.0] * info.task.outputs, info.task)


def fit_majority(ctx: FitContext) -> MajorityPredictor:
    """Count the training clips of each class (the first class wins a tie), or take the median of each target."""
    info, train = ctx.info, ctx.train
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


def summarise_arrays(inputs: Inputs) -> Float[Tensor, "B X"]:
    """Compute mean and deviation over the steps of each array made elsewhere, and whether the clip has it."""
    parts = []
    for name, values in inputs.features.items():
        lengths = inputs.lengths[f"{FEATURES}{name}"]
        valid = (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[..., None]
        mean = (values * valid).sum(1) / lengths[:, None]
        spread = (((values - mean[:, None]) ** 2 * valid).sum(1) / lengths[:, None]).sqrt()
        parts += [mean, spread, inputs.present[f"{FEATURES}{name}"][:, None].float()]
    return torch.cat(parts, 1)


class LinearProbe(nn.Module):
    """Linear map of standardised features to scores of classes, or to numbers."""

    def __init__(self, outputs: int, features: int = FEATURE_COUNT) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.mean: Tensor
        self.scale: Tensor
        self.linear = nn.Linear(features, outputs)

    def compute_features(self, inputs: Inputs) -> Float[Tensor, "B X"]:
        """Compute the features of clips."""
        return compute_simple_features(inputs)

    def forward(self, inputs: Inputs) -> Scores:
        """Return (B, C) scores."""
        return Scores(self.linear((self.compute_features(inputs) - self.mean) / self.scale))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return empty explanations."""
        return [Explanation(None, ())] * len(inputs)


class ArrayProbe(LinearProbe):
    """Linear probe on arrays made elsewhere."""

    def compute_features(self, inputs: Inputs) -> Float[Tensor, "B X"]:
        """Compute mean, deviation and presence of each array."""
        return summarise_arrays(inputs)


def build_probe(config: ProbeConfig, info: DatasetInfo) -> LinearProbe:
    """Build an untrained predictor to load weights into."""
    return LinearProbe(info.task.outputs)


def build_feature_probe(config: FeatureProbeConfig, info: DatasetInfo) -> ArrayProbe:
    """Build an untrained predictor to load weights into."""
    return ArrayProbe(info.task.outputs, sum(2 * width + 1 for width in info.features.values()))


def fit_probe(ctx: FitContext) -> LinearProbe:
    """Fit the probe to classes or numbers."""
    return _fit(build_probe(ctx.config, ctx.info), make_probe_sampling(ctx.config, False), ctx)


def fit_feature_probe(ctx: FitContext) -> LinearProbe:
    """Fit the probe on arrays made elsewhere to classes or numbers."""
    return _fit(build_feature_probe(ctx.config, ctx.info), make_feature_sampling(ctx.config, False), ctx)


def _fit(probe: LinearProbe, sampling: Sampling, ctx: FitContext) -> LinearProbe:
    """Fill the weights of a probe on the features of train; choose its penalty on val."""
    seen, held_out = ((*_extract_features(probe, clips, sampling, ctx), clips) for clips in (ctx.train, ctx.val))
    fit = fit_ridge_regression if isinstance(ctx.info.task, Regression) else fit_logistic_regression
    fit(probe, seen, held_out, ctx)
    return probe.to(ctx.device)


SplitFeatures = tuple[np.ndarray, list[TargetValue], ClipSet]
"""Features (clips, X) and targets of a split, and its clips."""


def fit_ridge_regression(probe: LinearProbe, train: SplitFeatures, val: SplitFeatures, ctx: FitContext) -> None:
    """Fit a ridge regression per penalty and keep the best on val by the primary metric; ties go to the strongest.

    Penalties are logged as epochs, as by `fit_logistic_regression`.
    """
    (x, y, _), (x_val, y_val, clips) = train, val
    scaler = StandardScaler().fit(x)
    scaler.scale_ = scaler.scale_.clip(MIN_DEVIATION)
    keys = tuple(clip.key for clip in clips.clips)
    best, best_rank, best_number = None, (-math.inf, -math.inf), 1
    chosen = INVERSE_PENALTIES if ctx.stop is None else INVERSE_PENALTIES[ctx.stop - 1 : ctx.stop]
    for number, penalty in enumerate(chosen):
        model = Ridge(alpha=1 / penalty).fit(scaler.transform(x), np.asarray(y))
        fitted = model.predict(scaler.transform(x)).reshape(len(x), -1)
        values = {"probe/loss": float(np.abs(fitted - np.asarray(y)).mean())}
        if ctx.stop is None:
            predicted = model.predict(scaler.transform(x_val)).reshape(len(x_val), -1)
            scores = score(Predictions(keys, np.asarray(y_val), predicted), ctx.info.task)
            values |= {f"val/{name}": scores[name] or 0.0 for name in (ctx.metric.name, "loss")}
        ctx.tracker.log_epoch("probe", number, values)
        rank = ctx.metric.rank_epoch(values) or (0.0, 0.0)
        if best is None or rank > best_rank:
            best, best_rank, best_number = model, rank, number + 1
    assert best is not None
    if ctx.stop is None:
        ctx.tracker.log_selected_epoch(best_number)
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.copy_(torch.from_numpy(np.atleast_2d(best.coef_)))
        probe.linear.bias.copy_(torch.from_numpy(np.atleast_1d(best.intercept_)))


def fit_logistic_regression(probe: LinearProbe, train: SplitFeatures, val: SplitFeatures, ctx: FitContext) -> None:
    """Fit a multinomial logistic regression per penalty and keep the best on val; ties go to the strongest penalty.

    Penalties are logged as epochs: if `ctx.stop` is set, only the penalty of that number is fitted and val is not
    scored.
    """
    (x, y, _), (x_val, y_val, _) = train, val
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
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.zero_()
        probe.linear.bias.fill_(-1e3 if len(best.classes_) < len(ctx.info.classes) else 0.0)
        rows = torch.from_numpy(best.classes_)
        two = len(best.classes_) == 2  # scikit-learn stores one row for two classes
        weight, bias = torch.from_numpy(best.coef_).float(), torch.from_numpy(best.intercept_).float()
        probe.linear.weight[rows] = torch.cat([-weight / 2, weight / 2]) if two else weight
        probe.linear.bias[rows] = torch.cat([-bias / 2, bias / 2]) if two else bias


def _extract_features(
    probe: LinearProbe, clips: ClipSet, opened: Sampling, ctx: FitContext
) -> tuple[np.ndarray, list[TargetValue]]:
    """Return the features, (clips, X), and the targets of a split."""
    rows = []
    with ctx.timer("read"):
        for loaded in Loader(clips, opened, 16, ctx, shuffle=False).iterate_epoch(0):
            rows.append(probe.compute_features(loaded.inputs))
    return torch.cat(rows).numpy(), [clip.target for clip in clips.clips]
