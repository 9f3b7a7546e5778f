"""The baselines' predictors and how they are fitted.

Key: B clips, S segments, T frames, F sound frames, M mel bins, X features.
"""

from __future__ import annotations

from collections import Counter

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from bench.config import Config
from bench.loader import Loader
from bench.method import FitContext, Scores
from bench.rng import RngTree
from bench.types import ClipSet, DatasetInfo, Explanation, Inputs, Sampling
from methods.baselines import ProbeConfig, make_probe_sampling

SOUND_BANDS = 16  # of sound
MIN_DEVIATION = 1e-4  # a deviation below is rounding, which scaling would blow up
INVERSE_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # sklearn's C
FEATURE_COUNT = 6 + 6 + 4 + 3 * SOUND_BANDS


class MajorityPredictor(nn.Module):
    """The logarithm of the classes' training shares, for every clip."""

    def __init__(self, shares: list[float]) -> None:
        super().__init__()
        self.register_buffer("share", torch.tensor(shares))
        self.share: torch.Tensor

    def forward(self, inputs: Inputs) -> Scores:
        """Score every clip alike."""
        return Scores(self.share.clamp(min=1e-6).log().expand(len(inputs.words), -1))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Explain nothing."""
        return [Explanation(None, ())] * len(inputs.words)


def build_majority(config: Config, info: DatasetInfo) -> MajorityPredictor:
    """Make a predictor whose shares are to be loaded."""
    return MajorityPredictor([0.0] * len(info.classes))


def fit_majority(
    config: Config, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> MajorityPredictor:
    """Count the classes; the first of the most frequent ones wins."""
    counts = Counter(clip.target for clip in train.clips)
    return MajorityPredictor([counts[label] / len(train.clips) for label in range(len(info.classes))])


def compute_simple_features(inputs: Inputs) -> Float[Tensor, "B X"]:
    """Means and deviations over a clip: colour, its spread within a frame, change between frames, energy by band."""
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
    """Standardised features and one linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURE_COUNT))
        self.register_buffer("scale", torch.ones(FEATURE_COUNT))
        self.mean: Tensor
        self.scale: Tensor
        self.linear = nn.Linear(FEATURE_COUNT, classes)

    def forward(self, inputs: Inputs) -> Scores:
        """Scores of the clips."""
        return Scores(self.linear((compute_simple_features(inputs) - self.mean) / self.scale))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Nothing to tell."""
        return [Explanation(None, ())] * len(inputs.words)


def build_probe(config: ProbeConfig, info: DatasetInfo) -> LinearProbe:
    """Make a predictor whose weights are to be loaded."""
    return LinearProbe(len(info.classes))


def fit_logistic_regression(
    config: ProbeConfig, info: DatasetInfo, train: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> LinearProbe:
    """Fit a multinomial logistic regression with the penalty that is best on val, of equals the strongest.

    Penalties are its epochs: where the context says when to stop, that one is taken.
    """
    (x, y), (x_val, y_val) = (
        _extract_features(clips, make_probe_sampling(config, False), rng, ctx) for clips in (train, val)
    )
    scaler = StandardScaler().fit(x)
    scaler.scale_ = scaler.scale_.clip(MIN_DEVIATION)
    best, best_score = None, -1.0
    for place, penalty in enumerate(
        INVERSE_PENALTIES if ctx.stop is None else INVERSE_PENALTIES[ctx.stop - 1 : ctx.stop]
    ):
        model = LogisticRegression(C=penalty, max_iter=5000).fit(scaler.transform(x), y)
        score = model.score(scaler.transform(x_val), y_val) if ctx.stop is None else 0.0
        loss = log_loss(y, model.predict_proba(scaler.transform(x)), labels=model.classes_)
        told = {"val/acc_e": score} if ctx.stop is None else {}
        ctx.tracker.log_epoch("probe", place, {"probe/loss": float(loss), **told})
        if score > best_score:
            best, best_score, chosen = model, score, place + 1
    assert best is not None
    if ctx.stop is None:
        ctx.tracker.log_selected_epoch(chosen)
    probe = LinearProbe(len(info.classes))
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.zero_()
        probe.linear.bias.fill_(-1e3 if len(best.classes_) < len(info.classes) else 0.0)
        rows = torch.from_numpy(best.classes_)
        two = len(best.classes_) == 2  # sklearn keeps one row for two classes
        weight, bias = torch.from_numpy(best.coef_).float(), torch.from_numpy(best.intercept_).float()
        probe.linear.weight[rows] = torch.cat([-weight / 2, weight / 2]) if two else weight
        probe.linear.bias[rows] = torch.cat([-bias / 2, bias / 2]) if two else bias
    return probe.to(ctx.device)


def _extract_features(clips: ClipSet, opened: Sampling, rng: RngTree, ctx: FitContext):  # type: ignore[no-untyped-def]
    """(n, X) features and (n,) labels."""
    rows = []
    with ctx.timer("read"):
        for read in Loader(clips, opened, rng, 16, ctx, shuffle=False).iterate_epoch(0):
            rows.append(compute_simple_features(read.inputs))
    return torch.cat(rows).numpy(), [clip.target for clip in clips.clips]
