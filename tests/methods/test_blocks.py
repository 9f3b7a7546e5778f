"""Blocks give timm's numbers when they save memory or time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from methods.mbt.config import MBT
from methods.mbt.layers import NORM_EPS, make_blocks, run_block
from tests.methods.toys import TINY, run_fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute small tensors too."""
    monkeypatch.setattr("methods.mbt.layers.MIN_RECOMPUTE_SIZE", 0)


def pair() -> tuple[nn.Module, nn.Module]:
    """Make a LeanBlock and timm's block with the same weights."""
    torch.manual_seed(0)
    ours = make_blocks(32, 1, 4)[0]
    theirs = Block(32, 4, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=NORM_EPS))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(block: nn.Module, recompute: bool = False) -> tuple[list[torch.Tensor], int]:
    """Return all gradients of a block on fixed tokens, and the FLOP of its matrix products."""
    tokens = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        run_block(block, tokens, recompute).square().sum().backward()  # type: ignore[no-untyped-call]
    found = [tokens, *block.parameters()]
    return [tensor.grad.clone() for tensor in found if tensor.grad is not None], counter.get_total_flops()


def test_a_block_has_timms_gradients_for_as_many_products() -> None:
    (ours, products), (theirs, expected) = (gradients(block) for block in pair())
    assert len(ours) == len(theirs) and products == expected
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)


def test_recomputing_changes_no_gradient_and_costs_the_forward_pass_again() -> None:
    block, _ = pair()
    kept, products = gradients(block)
    block.zero_grad()
    again, more = gradients(block, recompute=True)
    for own, other in zip(kept, again, strict=True):
        torch.testing.assert_close(own, other)
    assert products < more <= products * 4 / 3


def test_recomputing_changes_no_score(tmp_path: Path) -> None:
    usual, again = (
        run_fit(MBT, TINY.override({"recompute": flag, "dropout": 0.1}), tmp_path / str(flag))[0]
        for flag in (False, True)
    )
    torch.testing.assert_close(usual, again)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_blocks_give_the_same_gradients(tmp_path: Path) -> None:
    """Run in a child process, as shape checks and compiled code do not work together."""
    script = """
import torch
from methods.mbt.layers import make_blocks
torch.manual_seed(0)
plain, fused = make_blocks(32, 2, 4), make_blocks(32, 2, 4, compiled=True)
fused.load_state_dict(plain.state_dict())
for length in (9, 7):
    tokens = torch.randn(2, length, 32)
    for made in (plain, fused):
        made.zero_grad()
        x = tokens
        for block in made:
            x = block(x)
        x.square().sum().backward()
    for one, other in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)
from torch._dynamo.utils import counters
assert counters["stats"]["unique_graphs"] > 0
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
