"""Networks that others trained and nothing here trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from bench.errors import ConfigError

Module = TypeVar("Module", bound=nn.Module)


def fill(module: Module, tensors: Mapping[str, Tensor], told: str) -> Module:
    """The module with all its parameters from `tensors`, frozen, in evaluation; tensors it has no place for are left.

    Raises ConfigError, which `told` opens, where one is missing or of another shape.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    if wrong:
        raise ConfigError(f"{told}: {len(wrong)} of {len(own)} tensors are missing or of another shape, as {wrong[0]}")
    module.load_state_dict({name: tensors[name] for name in own})
    return module.requires_grad_(False).eval()
