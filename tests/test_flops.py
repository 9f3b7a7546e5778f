"""Formula for the FLOP of a training step, compared with PyTorch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.rng import RngTree
from bench.types import Batch
from methods.mart.masking import compute_mask_ratio
from methods.mart_released import ReleasedObjective
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor, SupervisedObjective
from tests.methods.mart.toys import CARD, SMALL, objective, one_clip, spoken_batch
from tests.methods.released.test_released import TINY
from tests.speed import flops

WIDER = {"width": 64, "decoder_width": 64, "audio_stride": 8, "contrast_width": 32}


def counted(model: nn.Module, batch: Batch) -> int:
    """Count the FLOP of all products of a step, with attention as two products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        losses = model(batch)
        torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_the_formula_counts_a_step_of_mart(progress: float) -> None:
    config = SMALL.override({**WIDER, "verify": "none"})
    batch = one_clip(spoken_batch(config, progress), 0)
    expected = counted(objective(config), batch)
    assert flops.pre_training(config, 2, compute_mask_ratio(config, progress)) == pytest.approx(expected, rel=0.02)


def test_the_formula_counts_a_released_step() -> None:
    config = TINY.override({name: value for name, value in WIDER.items() if name != "contrast_width"})
    model = ReleasedObjective(MbtPredictor(Mbt(config, 3, RngTree(0)), CARD.task), config, CARD, RngTree(0))
    assert flops.released(config, 3) == pytest.approx(counted(model, one_clip(spoken_batch(config), 0)), rel=0.02)


def test_the_formula_counts_a_fine_tuning_step() -> None:
    config = TINY.override({name: value for name, value in WIDER.items() if name != "contrast_width"})
    model = SupervisedObjective(MbtPredictor(Mbt(config, 3, RngTree(0)), CARD.task), CARD, 0.5)
    assert flops.fine_tuning(config) == pytest.approx(counted(model, one_clip(spoken_batch(config), 0)), rel=0.02)
