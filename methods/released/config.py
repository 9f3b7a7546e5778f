"""The values of the released pre-training: the few that its authors' code leaves open."""

from __future__ import annotations

from pydantic import Field

from methods.pretraining import PretrainConfig


class ReleasedConfig(PretrainConfig):
    """A pre-training's values, and those of the released one."""

    text_heads: int = Field(8, ge=1, description="attention heads of the words' question to picture and sound")
    w_patch: float = Field(0.05, ge=0, description="weight of pixel recovery")
