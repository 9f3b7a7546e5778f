"""Load tensors by name from published weight files; other objects are not loaded and no code in a file is run."""

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
FILE_ADVICE = "use the published file, or save its tensors as .safetensors"

Module = TypeVar("Module", bound=nn.Module)


def load_tensors(path: Path, field: str) -> dict[str, Tensor]:
    """Return name -> tensor of a PyTorch file or, by its suffix, a safetensors file.

    Wrapper dicts (`model`, `module`, `state_dict`) and the `module.` prefix of data-parallel training are removed.
    Raises ConfigError, which names the config `field`, for a file that cannot be read or has no named tensors.
    """
    try:
        state = _unwrap_state(load_file(path) if path.suffix == ".safetensors" else _load_torch_file(path))
    except OSError as error:
        raise ConfigError(f"{field}: cannot read '{path}' ({error.strerror or error}); {FILE_ADVICE}") from None
    except Exception as error:  # PyTorch and safetensors raise many types for a damaged file
        raise ConfigError(
            f"{field}: '{path}' is damaged or contains objects other than tensors, which are not loaded "
            f"({type(error).__name__}); {FILE_ADVICE}"
        ) from None
    named = state.items() if isinstance(state, dict) else ()
    tensors = {str(name).removeprefix("module."): value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"{field}: '{path}' contains no named tensors; {FILE_ADVICE}")
    return tensors


class Checkpoint:
    """Tensors of a published file, with a record of those that were used; `file` opens its error messages."""

    def __init__(self, file: str, tensors: dict[str, Tensor]) -> None:
        self.file, self.tensors = file, tensors
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def find_prefix(self, known: Iterable[str]) -> str:
        """Return the first known prefix of the file's `blocks.` names, or "" if there is none."""
        return next((prefix for prefix in known if any(n.startswith(f"{prefix}blocks.") for n in self.tensors)), "")

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Return a tensor as float and mark it as used; None in `shape` allows any size.

        Raises ConfigError if the shape differs.
        """
        tensor = self.tensors[name]
        sizes = zip(tensor.shape, shape, strict=False)
        if tensor.ndim != len(shape) or any(expected not in (None, size) for size, expected in sizes):
            raise self.make_shape_error(name, shape)
        self.used.add(name)
        return tensor.float()

    def make_shape_error(self, name: str, shape: Iterable[int | None]) -> ConfigError:
        """Make the error for a tensor whose shape differs from the config's."""
        shapes = (self.get_shape(name), shape)
        actual, expected = (", ".join("any" if size is None else str(size) for size in sizes) for sizes in shapes)
        return ConfigError(
            f"{self.file}: {name} is [{actual}], this config expects [{expected}]; set the sizes of the file with --set"
        )

    def get_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without marking it as used."""
        return tuple(self.tensors[name].shape)

    def list_unused(self) -> tuple[str, ...]:
        """Return the names of the tensors that were not used, in file order."""
        return tuple(name for name in self.tensors if name not in self.used)


def _load_torch_file(path: Path) -> object:
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):  # options of a training
        warnings.simplefilter("ignore")  # PyTorch warns about the pickle protocol
        loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return loaded


def _unwrap_state(loaded: object) -> object:
    for name in WRAPPER_KEYS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            return _unwrap_state(loaded[name])
    return loaded


def load_frozen(module: Module, tensors: Mapping[str, Tensor], error_prefix: str) -> Module:
    """Load `tensors` into the module and return it frozen and in evaluation mode; extra tensors are ignored.

    Raises ConfigError, whose message starts with `error_prefix`, if a tensor is missing or has another shape.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    if wrong:
        counted = f"{len(wrong)} of {len(own)} tensors are missing or have another shape"
        raise ConfigError(f"{error_prefix}: {counted}, e.g. {wrong[0]}")
    module.load_state_dict({name: tensors[name] for name in own})
    return module.requires_grad_(False).eval()
