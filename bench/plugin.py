"""What the file of a custom method imports: the interfaces of methods, clips, configs and training, in one module."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from bench.config import Config, SearchRange
from bench.errors import ConfigError, Diverged
from bench.evaluate import Validation, explain, predict
from bench.loader import Loader, make_target_tensor
from bench.method import ConfigParts, Deferred, FitContext, Measure, Method, Predictor, Scores, sample_segments
from bench.tasks import Classification, Regression
from bench.training import Losses, TrainConfig, train_stage
from bench.types import (
    ALL_FEATURES,
    AudioSpec,
    Batch,
    ClipSet,
    DatasetInfo,
    Explanation,
    Inputs,
    Sampling,
    VideoSpec,
)

__all__ = [
    "ALL_FEATURES",
    "AudioSpec",
    "BasePredictor",
    "Batch",
    "Classification",
    "ClipSet",
    "Config",
    "ConfigError",
    "ConfigParts",
    "DatasetInfo",
    "Deferred",
    "Diverged",
    "Explanation",
    "Field",
    "FitContext",
    "Inputs",
    "Loader",
    "Losses",
    "Measure",
    "Method",
    "Predictor",
    "Regression",
    "Sampling",
    "Scores",
    "SearchRange",
    "TrainConfig",
    "Validation",
    "VideoSpec",
    "explain",
    "make_target_tensor",
    "predict",
    "sample_segments",
    "train_stage",
]


class BasePredictor(nn.Module):
    """Base class of predictors: a module whose explanations are empty. `forward` maps Inputs to Scores."""

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return an empty explanation of each clip."""
        return [Explanation(None, ())] * len(inputs)
