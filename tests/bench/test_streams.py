import torch

from bench.rng import RngTree


def test_streams_follow_from_seed_purpose_and_parts_alone():
    assert RngTree(1).derive_seed("order", 3) == RngTree(1).derive_seed("order", 3)
    assert len({RngTree(s).derive_seed(p, e) for s in (0, 1) for p in ("order", "masks") for e in (0, 1)}) == 8


def test_parts_do_not_run_into_each_other():
    assert RngTree(0).derive_seed("a", "bc") != RngTree(0).derive_seed("ab", "c")


def test_generators_repeat():
    assert torch.equal(torch.rand(3, generator=RngTree(5).torch("x")), torch.rand(3, generator=RngTree(5).torch("x")))
    assert RngTree(5).numpy("x").random() == RngTree(5).numpy("x").random()
