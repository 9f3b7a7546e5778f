"""Loader of published weight files: tensors by name.

Nothing else in a file is loaded, and no code in it is run.
"""

from __future__ import annotations

import argparse
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.errors import ConfigError

WRAPPER_KEYS = ("model", "module", "state_dict")
FILE_ADVICE = "give the file that its project published, or its tensors alone as .safetensors"

Module = TypeVar("Module", bound=nn.Module)


def load_tensors(path: Path, field: str) -> dict[str, Tensor]:
    """Name -> tensor of a file of torch or, by its suffix, safetensors; without wrapping dicts, and without the
    `module.` that data-parallel training puts before names.

    Raises ConfigError in one line, the config's field in front, for any other file.
    """
    try:
        found = _unwrap_state(load_file(path) if path.suffix == ".safetensors" else _load_torch_file(path))
    except OSError as error:
        raise ConfigError(f"{field}: cannot read '{path}' ({error.strerror or error}); {FILE_ADVICE}") from None
    except Exception as error:  # the readers of torch and safetensors break in as many ways as a file can be damaged
        raise ConfigError(
            f"{field}: '{path}' is damaged, or holds objects that are no tensors and are not loaded "
            f"({type(error).__name__}); {FILE_ADVICE}"
        ) from None
    named = found.items() if isinstance(found, dict) else ()
    tensors = {str(name).removeprefix("module."): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"{field}: '{path}' holds no tensors by name; {FILE_ADVICE}")
    return tensors


class Checkpoint:
    """The tensors of a published file, and which of them were taken."""

    def __init__(self, file: str, tensors: dict[str, Tensor]) -> None:
        self.file, self.tensors = file, tensors
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def find_prefix(self, known: Iterable[str]) -> str:
        """The first of the known prefixes that a block's names have here; none where none has."""
        return next((prefix for prefix in known if any(n.startswith(f"{prefix}blocks.") for n in self.tensors)), "")

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor, taken; raises ConfigError where its shape is another. None stands for any size."""
        tensor = self.tensors[name]
        sizes = zip(tensor.shape, shape, strict=False)
        if tensor.ndim != len(shape) or any(wanted not in (None, size) for size, wanted in sizes):
            raise self.make_shape_error(name, shape)
        self.used.add(name)
        return tensor.float()

    def make_shape_error(self, name: str, shape: Iterable[int | None]) -> ConfigError:
        """The error that a tensor has another shape than this config wants."""
        shapes = (self.get_shape(name), shape)
        has, wants = (", ".join("any" if size is None else str(size) for size in sizes) for sizes in shapes)
        return ConfigError(f"{self.file}: {name} is [{has}], this config wants [{wants}]; set its sizes to the file's")

    def get_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self.tensors[name].shape)

    def list_unused(self) -> tuple[str, ...]:
        """The names that were not taken."""
        return tuple(name for name in self.tensors if name not in self.used)


def _load_torch_file(path: Path) -> object:
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):  # the options of a training
        warnings.simplefilter("ignore")  # about the pickle's protocol
        loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return loaded


def _unwrap_state(found: object) -> object:
    for name in WRAPPER_KEYS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            return _unwrap_state(found[name])
    return found


def load_frozen(module: Module, tensors: Mapping[str, Tensor], told: str) -> Module:
    """The module with all its parameters from `tensors`, frozen, in evaluation; tensors it has no place for are left.

    Raises ConfigError, which `told` opens, where one is missing or of another shape.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    if wrong:
        raise ConfigError(f"{told}: {len(wrong)} of {len(own)} tensors are missing or of another shape, as {wrong[0]}")
    module.load_state_dict({name: tensors[name] for name in own})
    return module.requires_grad_(False).eval()
