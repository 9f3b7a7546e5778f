"""Supervised training of MBT: polarity-consistent loss, predictor and fine-tuning (docs/methods.md).

Key: B clips, S segments, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bench.evaluate import Validation, explain
from bench.method import FitContext, Predictor, Scores
from bench.rng import RngTree
from bench.tasks import Classification, Regression, Task
from bench.training import Losses, TrainConfig, train_stage
from bench.types import Batch, DatasetInfo, Explanation, Inputs
from methods.mbt.config import MODALITIES, MbtConfig, PretrainConfig, make_sampling
from methods.mbt.model import EncodedSegments, Mbt, compute_temporal_scores, stack_present
from methods.mbt.pretrained import load_pretrained

HEADS = tuple(f"{name}_head." for name in MODALITIES)


def polarity_cross_entropy(
    logits: Float[Tensor, "B C"], label: Int[Tensor, " B"], sentiment: Int[Tensor, " C"], weight: float
) -> Float[Tensor, " B"]:
    """Compute cross-entropy, times 1 + weight if the arg-max class has the wrong polarity (Zhao et al., AAAI 2020)."""
    wrong = sentiment[logits.argmax(-1)] != sentiment[label]
    return nn.functional.cross_entropy(logits, label, reduction="none") * (1 + weight * wrong)


class MbtPredictor(nn.Module):
    """Predictor of MBT: the sum of the two heads on features averaged over segments.

    For a regression it is their mean, of the modalities that a clip has, scaled from -1..1 to the range of each target.
    """

    def __init__(self, mbt: Mbt, task: Task) -> None:
        super().__init__()
        self.mbt, self.task = mbt, task
        bounds = task.bounds if isinstance(task, Regression) else ()
        self.register_buffer("middle", torch.tensor([(low + high) / 2 for low, high in bounds]), persistent=False)
        self.register_buffer("extent", torch.tensor([(high - low) / 2 for low, high in bounds]), persistent=False)
        self.middle: Tensor
        self.extent: Tensor

    def score_heads(self, inputs: Inputs) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Return the scores of the video and the audio head on features averaged over segments."""
        encoded = self.mbt.encode(self.mbt.embed(inputs))
        present = stack_present(inputs)
        return self.mbt.score_classes(encoded.video_class.mean(1), encoded.audio_class.mean(1), present)

    def forward(self, inputs: Inputs) -> Scores:
        """Return the scores of clips, (B, C), and of segments, (B, S, C)."""
        encoded = self.mbt.encode(self.mbt.embed(inputs))
        here = stack_present(inputs)
        video, audio = self.mbt.score_classes(encoded.video_class.mean(1), encoded.audio_class.mean(1), here)
        video_s, audio_s = self.mbt.score_classes(encoded.video_class, encoded.audio_class, here)
        if isinstance(self.task, Classification):
            return Scores(video + audio, video_s + audio_s)
        count = here.sum(1).clamp(min=1)
        output, segments = (video + audio) / count[:, None], (video_s + audio_s) / count[:, None, None]
        return Scores(self.middle + self.extent * output, self.middle + self.extent * segments)

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return the temporal emotion scores (Eq. 3), (S, C), and the features of each clip; no scores of numbers."""
        encoded = self.mbt.encode(self.mbt.embed(inputs))
        features = compute_clip_features(encoded)
        if isinstance(self.task, Regression):
            return [Explanation(None, (), feature=z.cpu()) for z in features]
        present = stack_present(inputs)
        curves = compute_temporal_scores(self.mbt, encoded.video_class, encoded.audio_class, present).curve
        return [Explanation(c.cpu(), (), feature=z.cpu()) for c, z in zip(curves, features, strict=True)]


def compute_clip_features(encoded: EncodedSegments) -> Float[Tensor, "B Z"]:
    """Concatenate the video and audio class features averaged over segments, Z = 2 D."""
    return torch.cat([encoded.video_class.mean(1), encoded.audio_class.mean(1)], -1)


class SupervisedObjective(nn.Module):
    """Supervised objective of a predictor: the loss of each head on clips with its modality."""

    def __init__(self, predictor: MbtPredictor, info: DatasetInfo, polarity_weight: float) -> None:
        super().__init__()
        self.predictor, self.polarity_weight = predictor, polarity_weight
        self.register_buffer("sentiment", torch.tensor(info.sentiment), persistent=False)
        self.sentiment: Tensor

    def forward(self, batch: Batch) -> Losses:
        """Compute the loss of each head, one value per clip."""
        heads = self.predictor.score_heads(batch.inputs)
        if isinstance(self.predictor.task, Regression):
            return Losses(self._compute_errors(heads, batch), {})
        return Losses(compute_head_losses(heads, batch, self.sentiment, self.polarity_weight), {})

    def _compute_errors(
        self, heads: tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]], batch: Batch
    ) -> dict[str, Float[Tensor, " B"]]:
        """Compute the absolute error of each head, in halves of the ranges of the targets."""
        target = (batch.target - self.predictor.middle) / self.predictor.extent
        named = dict(zip(MODALITIES, heads, strict=True))
        return {
            name: self.predictor.task.loss(head, target) * batch.inputs.present[name] for name, head in named.items()
        }


def load_pretrained_model(mbt: Mbt, weights: Mapping[str, Tensor], keep_heads: bool, prefix: str) -> None:
    """Load the model of a pre-training stage, whose names start with `prefix`; its heads only with `keep_heads`."""
    named = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not keep_heads:
        named = {name: value for name, value in named.items() if not name.startswith(HEADS)}
    missing, unexpected = mbt.load_state_dict(named, strict=False)
    if unexpected or any(keep_heads or not name.startswith(HEADS) for name in missing):
        raise ValueError(f"the weights of the stage do not fit the model: {[*missing, *unexpected][:3]}")


def compute_head_losses(
    heads: tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]], batch: Batch, sentiment: Tensor, weight: float
) -> dict[str, Float[Tensor, " B"]]:
    """Compute the polarity-consistent loss of each head, (B,), zero for clips without its modality."""
    terms = {}
    for head, name in zip(heads, MODALITIES, strict=True):
        loss = polarity_cross_entropy(head, batch.target, sentiment, weight)
        terms[name] = loss * batch.inputs.present[name]
    return terms


def make_pretraining_stage(config: PretrainConfig) -> TrainConfig:
    """Make the pre-training stage."""
    return _make_stage(config.for_pretraining(), "pretrain", config.pretrain_epochs, config.pretrain_lr)


def make_fine_tuning_stage(config: MbtConfig) -> TrainConfig:
    """Make the fine-tuning stage, with a moving average of the weights."""
    return replace(_make_stage(config, "finetune", config.epochs, config.lr), ema=config.ema, ema_ramp=config.ema_ramp)


def _make_stage(config: MbtConfig, name: str, epochs: int, lr: float) -> TrainConfig:
    shared = config.model_dump(include={"batch", "weight_decay", "warmup", "optimizer", "clip_norm", "precision"})
    return TrainConfig(name=name, epochs=epochs, lr=lr, **shared)


def fine_tune(predictor: MbtPredictor, ctx: FitContext) -> Predictor:
    """Train a predictor on labels; return it with the averaged weights of the best epoch on val."""
    config: MbtConfig = ctx.config
    objective = SupervisedObjective(predictor.to(ctx.device), ctx.info, config.polarity_weight)
    fixed = make_sampling(config, False)
    select = Validation(predictor, fixed, ctx)
    train_stage(objective, make_sampling(config, True), make_fine_tuning_stage(config), ctx, select)
    if ctx.explains:
        explanations = explain(predictor, ctx.val, fixed, ctx)
        explanations = {key: replace(x, verdicts=()) for key, x in explanations.items()}  # fine-tuning uses no cues
        ctx.tracker.log_explanations("finetune", explanations)
    return predictor


def build_mbt(config: MbtConfig, info: DatasetInfo) -> MbtPredictor:
    """Build an untrained predictor to load weights into."""
    return MbtPredictor(Mbt(config, info.task.outputs, RngTree(0)), info.task)


def fit_mbt(ctx: FitContext) -> Predictor:
    """Train MBT on labels; return the predictor of the best epoch on val."""
    mbt = Mbt(ctx.config, ctx.info.task.outputs, ctx.rng)
    load_pretrained(mbt, ctx.config, ctx.tracker.notify)
    return fine_tune(MbtPredictor(mbt, ctx.info.task), ctx)
