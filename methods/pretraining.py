"""The values that every pre-training in front of MBT has; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bench.config import Search
from methods.backbones.config import MbtConfig


class PretrainConfig(MbtConfig):
    """MBT's values, which fine-tuning uses unchanged, and those of a pre-training with words and a decoder."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {
            **MbtConfig.presets["quick"],
            "pretrain_epochs": 15,
            "pretrain_lr": 1e-3,
            "decoder_depth": 1,
            "decoder_width": 48,
            "decoder_heads": 4,
        },
    }

    def files(self) -> dict[str, Path]:
        """The weights that training starts from, those of the words too."""
        return {**super().files(), **({"weights_text": Path(self.weights_text)} if self.weights_text else {})}

    pretrain_epochs: int = Field(100, ge=1, description="pre-training epochs")
    pretrain_lr: Annotated[float, Search(1e-5, 3e-3, log=True)] = Field(2e-4, gt=0, description="peak step size")
    decoder_depth: int = Field(8, ge=1, description="blocks of a decoder")
    decoder_width: int = Field(512, ge=8, description="width of a decoder")
    decoder_heads: int = Field(16, ge=1, description="attention heads of a decoder")
    weights_text: str = Field("", description="folder of a BERT in HuggingFace's format; empty = a learned word table")
