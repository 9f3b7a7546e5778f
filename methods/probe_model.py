"""The probe's features and its linear model.

Key: B clips, S segments, T frames, F sound frames, M mel bins, X features.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from bench.data import Card, ClipSet, Explanation, Inputs, Sampling
from bench.loading import Loader
from bench.method import Context, Scores
from bench.streams import Streams
from methods.probe import ProbeConfig, sampling

BANDS = 16  # of sound
LEAST = 1e-4  # a deviation below is rounding, which scaling would blow up
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # sklearn's C
COUNT = 6 + 6 + 4 + 3 * BANDS


def simple_features(inputs: Inputs) -> Float[Tensor, "B X"]:
    """Means and deviations over a clip: colour, its spread within a frame, change between frames, energy by band."""
    video, audio = inputs.video.float() / 255, inputs.audio
    colour = reduce(video, "B S T h w c -> B S c", "mean")
    texture = rearrange(video, "B S T h w c -> B S (T h w) c").std(2)
    change = reduce((video[:, :, 1:] - video[:, :, :-1]).abs(), "B S t h w c -> B S", "mean")
    fastest = (video[:, :, 1:] - video[:, :, :-1]).abs().amax((2, 3, 4, 5))
    bands = reduce(audio, "B S f (b m) -> B S f b", "mean", b=BANDS)
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
        self.register_buffer("mean", torch.zeros(COUNT))
        self.register_buffer("scale", torch.ones(COUNT))
        self.mean: Tensor
        self.scale: Tensor
        self.linear = nn.Linear(COUNT, classes)

    def forward(self, inputs: Inputs) -> Scores:
        """Scores of the clips."""
        return Scores(self.linear((simple_features(inputs) - self.mean) / self.scale))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Nothing to tell."""
        return [Explanation(None, ())] * len(inputs.words)


def build_probe(config: ProbeConfig, card: Card) -> LinearProbe:
    """Make a predictor whose weights are to be loaded."""
    return LinearProbe(len(card.classes))


def fit_probe(
    config: ProbeConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context
) -> LinearProbe:
    """Fit a multinomial logistic regression with the penalty that is best on val, of equals the strongest.

    Penalties are its epochs: where the context says when to stop, that one is taken.
    """
    (x, y), (x_val, y_val) = (_features(clips, sampling(config, False), streams, ctx) for clips in (train, val))
    scaler = StandardScaler().fit(x)
    scaler.scale_ = scaler.scale_.clip(LEAST)
    best, best_score = None, -1.0
    for place, penalty in enumerate(PENALTIES if ctx.stop is None else PENALTIES[ctx.stop - 1 : ctx.stop]):
        model = LogisticRegression(C=penalty, max_iter=5000).fit(scaler.transform(x), y)
        score = model.score(scaler.transform(x_val), y_val) if ctx.stop is None else 0.0
        loss = log_loss(y, model.predict_proba(scaler.transform(x)), labels=model.classes_)
        told = {"val/acc_e": score} if ctx.stop is None else {}
        ctx.tracker.epoch("probe", place, {"probe/loss": float(loss), **told})
        if score > best_score:
            best, best_score, chosen = model, score, place + 1
    assert best is not None
    if ctx.stop is None:
        ctx.tracker.chose(chosen)
    probe = LinearProbe(len(card.classes))
    with torch.no_grad():
        probe.mean.copy_(torch.from_numpy(scaler.mean_))
        probe.scale.copy_(torch.from_numpy(scaler.scale_))
        probe.linear.weight.zero_()
        probe.linear.bias.fill_(-1e3 if len(best.classes_) < len(card.classes) else 0.0)
        rows = torch.from_numpy(best.classes_)
        two = len(best.classes_) == 2  # sklearn keeps one row for two classes
        weight, bias = torch.from_numpy(best.coef_).float(), torch.from_numpy(best.intercept_).float()
        probe.linear.weight[rows] = torch.cat([-weight / 2, weight / 2]) if two else weight
        probe.linear.bias[rows] = torch.cat([-bias / 2, bias / 2]) if two else bias
    return probe.to(ctx.device)


def _features(clips: ClipSet, opened: Sampling, streams: Streams, ctx: Context):  # type: ignore[no-untyped-def]
    """(n, X) features and (n,) labels."""
    rows = []
    with ctx.clock("read"):
        for read in Loader(clips, opened, streams, 16, ctx, shuffle=False).epoch(0):
            rows.append(simple_features(read.inputs))
    return torch.cat(rows).numpy(), [clip.label for clip in clips.clips]
