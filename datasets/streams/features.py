"""Arrays made elsewhere, such as features of a published encoder: a stream (L, D) of a clip in a .npy or .npz file.

Nothing in a file is executed: arrays of objects are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from bench.errors import MediaError
from bench.types import Clip, DataIssue

NPZ_ENTRY = "values"  # array of an .npz file
MAX_VALUES = 100_000_000  # of an array: 400 MB
ARRAY_SUFFIXES = (".npy", ".npz")


def decode_features(clip: Clip, problems: list[DataIssue]) -> dict[str, np.ndarray]:
    """Return name -> (L, D) float32 of the features of a clip; report those that cannot be read."""
    found = {}
    for name, path in clip.sources.features:
        try:
            found[name] = read_array(path, clip.key, problems)
        except MediaError as error:
            problems.append(DataIssue("features", clip.key, f"{name}: {error}; used without"))
    return found


def read_array(path: Path, key: str, problems: list[DataIssue]) -> np.ndarray:
    """Read the (L, D) float32 array in a file; numbers that are not finite become 0 and are reported.

    An array of one axis is one step. Raises MediaError for a file that is not such an array, OSError if it cannot be
    accessed.
    """
    shape = read_shape(path)
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                values = archive[NPZ_ENTRY]
        else:
            values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise MediaError(f"{path.name} is damaged ({' '.join(str(error).split())[:100]})") from None
    values = np.asarray(values, dtype=np.float32).reshape(shape)
    odd = ~np.isfinite(values)
    if odd.any():
        why = f"{path.name}: {int(odd.sum())} of {values.size} numbers are not finite; replaced by 0"
        problems.append(DataIssue("features", key, why))
        values = np.where(odd, np.float32(0), values)
    return np.ascontiguousarray(values)


def read_shape(path: Path) -> tuple[int, int]:
    """Return (L, D) from the header of an array file, without its values.

    Raises MediaError for a file that is not an array of numbers with one or two axes, OSError if it cannot be accessed.
    """
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open(f"{NPZ_ENTRY}.npy") as file:
                shape, dtype = _read_header(file)
        else:
            with path.open("rb") as file:
                shape, dtype = _read_header(file)
    except KeyError:
        raise MediaError(f"{path.name} has no array '{NPZ_ENTRY}'") from None
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise MediaError(f"{path.name} is not an array file ({' '.join(str(error).split())[:100]})") from None
    if dtype.kind not in "iufb":
        raise MediaError(f"{path.name} holds {dtype.name}, not numbers")
    if len(shape) not in (1, 2) or 0 in shape:
        raise MediaError(f"{path.name} has shape {shape}, not (steps, values)")
    if np.prod(shape, dtype=np.float64) > MAX_VALUES:
        raise MediaError(f"{path.name} has shape {shape}, more than {MAX_VALUES / 1e6:.0f} million numbers")
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an array in numpy's format."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def find_widths(clips: Mapping[str, tuple[tuple[str, Path], ...]]) -> dict[str, int]:
    """Return stream of features -> D of the first clip whose array has a readable header."""
    widths: dict[str, int] = {}
    for sources in clips.values():
        for name, path in sources:
            if name not in widths:
                try:
                    widths[name] = read_shape(path)[1]
                except (MediaError, OSError):
                    continue
    return widths
