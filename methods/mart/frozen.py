"""Networks that others trained and nothing here trains on: their tensors are read from a file and stay as they are."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.errors import ConfigError

Module = TypeVar("Module", bound=nn.Module)


def read_tensors(path: Path, field: str) -> dict[str, Tensor]:
    """The named tensors of a safetensors file, or of one that torch.save wrote; no code in it is ever run.

    Raises ConfigError, with the config's field in front, for any other file.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
        held = held.get("state_dict", held)
        return {name: value for name, value in held.items() if isinstance(value, Tensor)}
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{field}: '{path}' holds no tensors that can be read ({reason})") from None


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
