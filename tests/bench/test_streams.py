import torch

from bench.streams import Streams


def test_streams_follow_from_seed_purpose_and_parts_alone():
    assert Streams(1).number("order", 3) == Streams(1).number("order", 3)
    assert len({Streams(s).number(p, e) for s in (0, 1) for p in ("order", "masks") for e in (0, 1)}) == 8


def test_parts_do_not_run_into_each_other():
    assert Streams(0).number("a", "bc") != Streams(0).number("ab", "c")


def test_generators_repeat():
    assert torch.equal(torch.rand(3, generator=Streams(5).torch("x")), torch.rand(3, generator=Streams(5).torch("x")))
    assert Streams(5).numpy("x").random() == Streams(5).numpy("x").random()
