"""Methods: each a config, a way to build a predictor and a way to fit it."""

from __future__ import annotations
