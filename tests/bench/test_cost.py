from __future__ import annotations

import torch

from bench.evaluate import measure_cost
from bench.method import Scores
from bench.types import Inputs
from tests.inputs import make_opened

CLIP = make_opened(torch.zeros((2, 4, 8, 8, 3)), torch.zeros((2, 100, 5)), ((), ()), (False, True, False))


class Known(torch.nn.Module):
    """A layer and an attention whose operations are counted by hand below."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(5, 3, bias=True)

    def forward(self, inputs: Inputs) -> Scores:
        hidden = self.layer(inputs.audio)  # 2 segments x 100 frames
        keys = hidden.flatten(1, 2)[:, None]  # (1, 1, 200, 3)
        return Scores(torch.nn.functional.scaled_dot_product_attention(keys, keys, keys).mean((1, 2)))


def test_parameters_and_operations_are_those_counted_by_hand():
    found = measure_cost(Known(), CLIP, "cpu")
    assert found["cost/parameters"] == 5 * 3 + 3
    layer, attention = 2 * 200 * 5 * 3, 2 * (2 * 200 * 200 * 3)
    assert found["cost/flops"] == layer + attention


def test_counting_leaves_the_random_generator_alone():
    model = Known()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    measure_cost(model, CLIP, "cpu")
    assert torch.equal(torch.rand(3), expected)
