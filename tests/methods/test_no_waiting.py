"""No step asks the device for a value: on the meta device there is none to be had, and whoever asks fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench.data import Batch
from bench.streams import Streams
from methods.backbones.mbt import Mbt
from methods.released.model import Released
from methods.supervised import Classify, MbtPredictor
from tests.methods.mart.toys import CARD, SMALL, objective, spoken_batch
from tests.methods.released.test_released import TINY


def on_meta(batch: Batch) -> Batch:
    meta = torch.device("meta")
    return replace(batch, inputs=batch.inputs.to(meta), label=batch.label.to(meta))


def step(model: nn.Module) -> None:
    losses = model.to("meta")(on_meta(spoken_batch()))
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(value.device.type == "meta" for value in losses.notes.values())


@pytest.mark.parametrize(
    "values",
    [{}, *({"mask": mask} for mask in ("attention", "random", "tube", "frame", "none")), {"target": "hog"}],
    ids=str,
)
def test_a_pre_training_step_of_mart_never_waits_for_the_device(values: dict[str, Any]) -> None:
    step(objective(SMALL.override(values)))


def test_a_released_step_never_waits_for_the_device() -> None:
    step(Released(MbtPredictor(Mbt(TINY, 3, Streams(0))), TINY, CARD, Streams(0)))


def test_a_fine_tuning_step_never_waits_for_the_device() -> None:
    step(Classify(MbtPredictor(Mbt(SMALL, 3, Streams(0))), CARD, 0.5))


def test_the_meta_device_has_no_values() -> None:
    with pytest.raises(RuntimeError):
        float(torch.zeros(1, device="meta"))
