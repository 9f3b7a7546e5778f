"""Training steps never synchronise with the device: on the meta device, which has no values, a read raises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.rng import RngTree
from bench.types import Batch
from methods.mart_released import ReleasedObjective
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor, SupervisedObjective
from tests.methods.mart.toys import CARD, SMALL, objective, spoken_batch, tower_file
from tests.methods.released.test_released import TINY


def on_meta(batch: Batch) -> Batch:
    meta = torch.device("meta")
    return replace(batch, inputs=batch.inputs.to(meta), target=batch.target.to(meta))


def devices_after_a_step(model: nn.Module) -> set[str]:
    """Return the device types of the losses, notes and gradients of a step."""
    losses = model.to("meta")(on_meta(spoken_batch()))
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    learnt = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert losses.terms and learnt
    return {value.device.type for value in (*losses.terms.values(), *losses.notes.values(), *learnt)}


@pytest.mark.parametrize(
    "values",
    [{}, *({"mask": mask} for mask in ("attention", "random", "tube", "frame", "none")), {"target": "hog"}],
    ids=str,
)
def test_a_pre_training_step_of_mart_never_waits_for_the_device(values: dict[str, Any]) -> None:
    assert devices_after_a_step(objective(SMALL.override(values))) == {"meta"}


def test_a_step_with_a_teacher_never_waits_for_the_device(tmp_path: Path) -> None:
    config = SMALL.override({"target": "clip", "weights_teacher": str(tower_file(tmp_path / "tower.safetensors"))})
    assert devices_after_a_step(objective(config)) == {"meta"}


def test_a_released_step_never_waits_for_the_device() -> None:
    model = ReleasedObjective(MbtPredictor(Mbt(TINY, 3, RngTree(0)), CARD.task), TINY, CARD, RngTree(0))
    assert devices_after_a_step(model) == {"meta"}


def test_a_fine_tuning_step_never_waits_for_the_device() -> None:
    assert devices_after_a_step(SupervisedObjective(MbtPredictor(Mbt(SMALL, 3, RngTree(0)), CARD.task), CARD, 0.5)) == {
        "meta"
    }


def test_the_meta_device_has_no_values() -> None:
    with pytest.raises(RuntimeError):
        float(torch.zeros(1, device="meta"))
