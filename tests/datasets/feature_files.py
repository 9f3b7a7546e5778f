"""Writers of feature files: pickles as Python 2 and 3 and numpy 1 and 2 write them."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

WIDTHS = {"text": 6, "audio": 3, "vision": 4}
CLIPS = {"train": 5, "valid": 3, "test": 4}
LENGTH = 7


def make_split(name: str, clips: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return a split in the form of MMSA's files."""
    split: dict[str, Any] = {}
    for stream, width in WIDTHS.items():
        split[stream] = rng.normal(size=(clips, LENGTH, width)).astype(np.float32)
    for stream in ("audio", "vision"):
        lengths = rng.integers(1, LENGTH + 1, clips)
        for row, length in zip(split[stream], lengths, strict=True):
            row[length:] = 0
        split[f"{stream}_lengths"] = lengths.tolist()
    mask = np.arange(LENGTH) < rng.integers(2, LENGTH + 1, (clips, 1))
    split["text_bert"] = np.stack([rng.integers(0, 30000, (clips, LENGTH)) * mask, mask, 0 * mask], 1).astype(
        np.float32
    )
    split["raw_text"] = np.array([f"it is {name} {number}, né" for number in range(clips)])
    split["id"] = np.array([f"{name}{number // 2}$_${number}" for number in range(clips)])
    split["regression_labels"] = rng.uniform(-3, 3, clips).astype(np.float32)
    split["classification_labels"] = rng.integers(0, 3, clips).astype(np.float32)
    split["annotations"] = np.array(["Negative", "Neutral", "Positive"])[rng.integers(0, 3, clips)]
    split["regression_labels_T"] = split["regression_labels"].copy()
    return split


def make_content(seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return the content of a small feature file."""
    rng = np.random.default_rng(seed)
    return {name: make_split(name, clips, rng) for name, clips in CLIPS.items()}


class Numpy1Pickler(pickle._Pickler):
    """A pickler that writes the names of modules as numpy 1 does."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        name = name or obj.__qualname__
        module = obj.__module__.replace("numpy._core", "numpy.core")
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            module = module.replace("builtins", "__builtin__") if self.proto < 3 else module
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[FunctionType] = save_global


class Python2Pickler(Numpy1Pickler):
    """A pickler that writes text and bytes as the strings of Python 2, at protocol 2."""

    dispatch: ClassVar[dict[Any, Any]] = dict(Numpy1Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode()
        short = len(raw) < 256
        self.write(
            (pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + struct.pack("<B" if short else "<i", len(raw))
        )
        self.write(raw)
        self.memoize(value)

    def save_int(self, value: int) -> None:
        if abs(value) < 2**31:
            pickle._Pickler.save_long(self, value)
        else:
            self.write(pickle.INT + f"{value}\n".encode())

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[int] = save_int


def write(path: Path, content: object, protocol: int = 4, pickler: Any = pickle.Pickler) -> Path:
    """Write a pickle; return its path."""
    buffer = io.BytesIO()
    pickler(buffer, protocol).dump(content)
    path.write_bytes(buffer.getvalue())
    return path


def text(value: str) -> bytes:
    """Return the instruction that makes a text."""
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """Return the instruction that makes a number."""
    raw = value.to_bytes(12, "little", signed=True)
    return pickle.LONG1 + bytes([len(raw)]) + raw


def program(*parts: bytes, protocol: int = 4) -> bytes:
    """Return the pickle of the given instructions."""
    return pickle.PROTO + bytes([protocol]) + b"".join(parts) + pickle.STOP


def array(shape: tuple[int, ...], dtype: bytes, raw: bytes, state: bytes | None = None) -> bytes:
    """Return the instructions that make an array of a declared shape from any bytes.

    `dtype` are the arguments of numpy's dtype, `state` its state.
    """
    made = b"cnumpy\ndtype\n" + dtype + pickle.REDUCE
    if state is not None:
        made += state + pickle.BUILD
    sizes = pickle.MARK + b"".join(map(number, shape)) + pickle.TUPLE
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR"
    return start + pickle.MARK + number(1) + sizes + made + pickle.NEWFALSE + raw + pickle.TUPLE + pickle.BUILD


def dtype(code: str) -> bytes:
    """Return the instructions that make the arguments of numpy's dtype."""
    return text(code) + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3


def raw_bytes(value: bytes) -> bytes:
    """Return the instruction that makes bytes."""
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value
