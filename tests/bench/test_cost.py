from __future__ import annotations

import torch

from bench.evaluate import measure_cost
from bench.method import Scores
from bench.types import Inputs, Sampling

SAMPLING = Sampling(segments=2, frames=4, stride=1, size=8, mels=5, training=False)


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
    found = measure_cost(Known(), SAMPLING, "cpu")
    assert found["cost/parameters"] == 5 * 3 + 3
    layer, attention = 2 * 200 * 5 * 3, 2 * (2 * 200 * 200 * 3)
    assert found["cost/flops"] == layer + attention


def test_counting_leaves_the_random_generator_alone():
    model = Known()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    measure_cost(model, SAMPLING, "cpu")
    assert torch.equal(torch.rand(3), expected)
