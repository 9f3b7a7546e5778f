"""Feature files: pickles of arrays in a train, a valid and a test split, read without running anything they name.

The pickle instructions are carried out here, not by Python's unpickler: only those that build plain values and arrays
exist. Long byte strings stay in the file until their array is wanted, so the memory in use is that of the result.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import math
import os
import pickle
import pickletools
import re
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from bench.errors import DataError
from bench.types import DataIssue
from datasets.paths import is_valid_name

T = TypeVar("T")
SplitName = Literal["train", "val", "test"]
SPLITS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}
"""Split -> its name in the file, in the order in which a later split keeps a clip that two splits hold."""
STREAMS = ("text", "audio", "vision")
FEATURE_FILE_SUFFIXES = (".pkl", ".pickle")
CLASS_KEYS = ("classification_labels", "annotations")  # the first that a file has is read
MAX_OBJECTS = 4_000_000  # pickle instructions, and values of lists; a file of 23,000 clips has less than a million
MAX_DEPTH = 8  # containers inside each other; feature files have three or four
MAX_ID_BYTES = 200

_MAX_INLINE_TEXT, _MAX_INLINE_BYTES = 65_536, 1024  # longer strings stay in the file
_CHUNK = 2**20  # bytes read at once
_DTYPE = re.compile(r"(b1|[iu][1248]|f[248])|[SU][0-9]{1,7}|O[0-9]{0,1}", re.ASCII)
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\.+")
_DAMAGED = (LookupError, TypeError, ValueError, ArithmeticError, struct.error)  # what instructions out of order cause
_ADVICE = "use a file of arrays, numbers and text only"
_OTHER_FORMS = (
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"PK", "a zip archive, such as torch.save and numpy.savez write; unpack it or write a pickle of numpy arrays"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x89HDF", "an HDF5 file; write a pickle of numpy arrays"),
    (b"\x93NUMPY", "a single numpy array; write a pickle of the three splits"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file; run git lfs pull"),
    (b"<", "a web page or XML; download the file itself"),
)


@dataclass(frozen=True)
class FeatureSplit:
    """Clips of one split: n ids, features and labels in the same order."""

    ids: tuple[str, ...]  # n, unique in the file, safe as file names
    streams: Mapping[str, np.ndarray]  # "text", "audio", "vision" -> (n, L, D) float32, finite
    lengths: Mapping[str, np.ndarray]  # stream -> (n,) int64, 1..L, or 0: the clip lacks the stream
    bert: np.ndarray | None  # (n, 3, L) int32: token ids, mask, token types
    texts: tuple[str, ...] | None  # n
    scores: np.ndarray | None  # (n,) float64, finite
    classes: tuple[str, ...] | None  # n


@dataclass(frozen=True)
class FeatureFile:
    """Content of a feature file. All splits have the same streams, widths and kinds of labels."""

    sha256: str  # of the file's bytes
    splits: Mapping[SplitName, FeatureSplit]
    issues: tuple[DataIssue, ...]  # clips left out and values replaced


def is_feature_file(path: Path) -> bool:
    """Return whether a path names a feature file, by its suffix."""
    return path.suffix.lower() in FEATURE_FILE_SUFFIXES


def read_feature_file_once(path: Path) -> FeatureFile:
    """Read a feature file; a process that reads it again, unchanged, gets the same arrays."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path and its permissions") from None
    return _read_cached(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1)
def _read_cached(path: Path, size: int, changed: int) -> FeatureFile:
    return read_feature_file(path)


def read_feature_file(path: Path) -> FeatureFile:
    """Read a pickle of the splits train, valid and test.

    Raises DataError if it is not a readable file, holds anything but data, or lacks a split or a required key.
    """
    try:
        if stat.S_ISLNK(path.lstat().st_mode):
            raise DataError(f"a link to {os.readlink(path)}; give the path of the file itself")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DataError("not a file; give the path of a pickle such as mosi.pkl")
        with path.open("rb") as file:
            return _read_open_file(file, path.name)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check the path and its permissions") from None
    except MemoryError:
        raise DataError(f"{path}: needs more memory than this machine has free; use a smaller file") from None


def _read_open_file(file: BufferedReader, name: str) -> FeatureFile:
    before = os.fstat(file.fileno())
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    source = _Source(file, before.st_size, MAX_OBJECTS, 4 * before.st_size + 2**16)
    file.seek(0)
    try:
        content = _Pickle(source).load()
        splits, issues = _read_splits(source, content, name)
    except _DAMAGED:
        raise DataError("a damaged pickle; download or write it again") from None
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError("changed while it was read; start again when it is complete")
    return FeatureFile(digest, splits, tuple(issues))


@dataclass
class _Source:
    """An open file and how much may still be made of it, so that a small file cannot fill the memory."""

    file: BufferedReader
    size: int  # bytes
    objects: int  # Python values that may still be made
    room: int  # bytes of arrays that may still be allocated

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises DataError if the file ends before."""
        data = self.file.read(count)
        if len(data) != count:
            raise DataError("ends too early, so it is incomplete; download or copy it again")
        return data

    def skip(self, count: int) -> int:
        """Skip `count` bytes and return where they start. Raises DataError if the file ends before."""
        start = self.file.tell()
        if count > self.size - start:
            raise DataError("ends too early, so it is incomplete; download or copy it again")
        self.file.seek(count, os.SEEK_CUR)
        return start

    def take_objects(self, count: int) -> None:
        """Count values that are about to be made. Raises DataError if they are too many."""
        self.objects -= count
        if self.objects < 0:
            raise DataError(f"holds more than {MAX_OBJECTS:,} single values; store features as arrays, not as lists")

    def allocate(self, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
        """Return an array to be filled. Raises DataError if it is out of proportion to the file."""
        self.room -= math.prod(shape) * np.dtype(kind).itemsize
        if self.room < 0:
            raise DataError("declares more values than its bytes can hold; it is not opened")
        return np.empty(shape, kind)


# --- values that a pickle may hold, and the instructions that make them


class _Known(Enum):
    """Names that a file may use. Each has a meaning here; none is imported from the module that it names."""

    RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    FROMBUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
    SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    NDARRAY = ("numpy.ndarray",)
    DTYPE = ("numpy.dtype",)
    ENCODE = ("_codecs.encode",)
    BYTES = ("builtins.bytes", "__builtin__.bytes")


_KNOWN = {name: known for known in _Known for name in known.value}


@dataclass(frozen=True)
class _Span:
    """Bytes that stay in the file."""

    start: int
    size: int
    is_text: bool = False  # as UTF-8 text, one character a byte: how Python 3 writes bytes at protocol 2


@dataclass
class _Dtype:
    code: str  # such as "f4"
    order: str = "<"

    def set_state(self, state: object) -> None:
        """Take over the byte order of a pickled dtype. Raises DataError for fields, subarrays and odd sizes."""
        if not (isinstance(state, tuple) and len(state) >= 6 and state[2:5] == (None, None, None)):
            raise DataError(f"holds an array of fields, which is not supported; {_ADVICE}")
        order = _decode(state[1]) if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise DataError("a damaged pickle: an unknown byte order; download or write it again")
        self.order = order

    def resolve(self) -> np.dtype[Any]:
        """Return numpy's dtype."""
        return np.dtype(object if self.code.startswith("O") else ("<" if self.order == "=" else self.order) + self.code)


@dataclass
class _Array:
    """An array in the file: values of `stored` shape in C order, whose axes are `axes` of the stored ones."""

    dtype: np.dtype[Any] | None = None
    stored: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    data: bytes | _Span | tuple[object, ...] | None = None  # None: not complete yet

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored[axis] for axis in self.axes)

    def set_state(self, state: object) -> None:
        """Complete the array from ndarray's state: (version,) shape, dtype, is_fortran, values."""
        fields = tuple(state) if isinstance(state, tuple) else ()
        match fields[-4:]:
            case (tuple() as shape, _Dtype() as dtype, bool() | int() as fortran, data) if len(fields) in (4, 5):
                axes = tuple(range(len(shape)))
                axes = axes[::-1] if fortran and isinstance(data, bytes | _Span) else axes  # lists are in C order
                self.fill(tuple(shape[axis] for axis in axes), axes, dtype.resolve(), data)
            case _:
                raise DataError("a damaged pickle: an array without shape and values; download or write it again")

    def fill(self, stored: tuple[object, ...], axes: tuple[object, ...], dtype: np.dtype[Any], data: object) -> None:
        """Take over shape and values. Raises DataError if they disagree or the values are not plain."""
        sizes = tuple(size for size in stored if isinstance(size, int) and size >= 0)
        order = tuple(axis for axis in axes if isinstance(axis, int))
        if len(sizes) != len(stored) or len(sizes) > MAX_DEPTH or sorted(order) != list(range(len(sizes))):
            raise DataError("a damaged pickle: an impossible shape; download or write it again")
        count = math.prod(sizes)
        if dtype.hasobject:
            if not isinstance(data, list | tuple):
                raise DataError("a damaged pickle: an array without values; download or write it again")
            for item in data:
                if not isinstance(item, str | bytes | int | float):
                    raise DataError(f"holds an array of {_describe(item)}, which is not data; {_ADVICE}")
            length, fits = len(data), len(data) == count
            data = tuple(data)
        elif isinstance(data, bytes | _Span):
            length, wanted = len(data) if isinstance(data, bytes) else data.size, count * dtype.itemsize
            spare = wanted if isinstance(data, _Span) and data.is_text else 0
            fits = wanted <= length <= wanted + spare
        else:
            raise DataError("a damaged pickle: an array without values; download or write it again")
        if not fits:
            raise DataError(f"declares an array of shape {sizes} and holds {length} bytes or values for it; not opened")
        self.dtype, self.stored, self.axes, self.data = dtype, sizes, order, data


def _describe(value: object) -> str:
    """Name what a value is in the words of a message."""
    if isinstance(value, _Known):
        return f"'{value.value[0]}'"
    return {_Array: "arrays", _Dtype: "dtypes", _Span: "long strings"}.get(type(value), type(value).__name__)


def _quote(text: object) -> str:
    """Return a text of the file on one line of at most 80 printable characters."""
    return str(text)[:80].encode("unicode_escape").decode()


_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
_LONGS = {pickle.LONG1: "<B", pickle.LONG4: "<i"}
_TEXTS = {pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q"}
_BYTES = {
    pickle.SHORT_BINSTRING: "<B",
    pickle.BINSTRING: "<i",
    pickle.SHORT_BINBYTES: "<B",
    pickle.BINBYTES: "<I",
    pickle.BINBYTES8: "<Q",
    pickle.BYTEARRAY8: "<Q",
}
_TUPLES = {pickle.EMPTY_TUPLE: 0, pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}


class _Pickle:
    """A machine for the pickle instructions that make data: protocols 2 to 5 of Python 2 and 3."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # stacks below each mark
        self.memo: dict[int, Any] = {}

    def load(self) -> object:
        """Return the pickled value. Raises DataError, or an error of _DAMAGED for instructions out of order."""
        head = self.source.file.read(24)
        if not head:
            raise DataError("an empty file; download or copy it again")
        for start, what in _OTHER_FORMS:
            if head.lstrip().startswith(start):
                raise DataError(what)
        if head[:1] != pickle.PROTO or head[1:2] not in (b"\2", b"\3", b"\4", b"\5"):
            raise DataError("not a pickle of protocol 2 to 5; write it with pickle.dump(splits, file, protocol=4)")
        self.source.file.seek(2)
        while (code := self.source.read(1)) != pickle.STOP:
            self.source.take_objects(1)
            self._step(code)
        if self.source.file.tell() != self.source.size:
            raise DataError("holds more than one pickle, such as torch.save writes; write one dict of the three splits")
        (value,) = self.stack
        _check_depth(value)
        return value

    def _step(self, code: bytes) -> None:
        """Carry out one instruction."""
        if code in _TEXTS:
            self._push(self._read_text(self._read_number(_TEXTS[code])))
        elif code in _PUTS or code == pickle.MEMOIZE:
            place = self._read_number(_PUTS[code]) if code in _PUTS else len(self.memo)
            self.memo[place] = self.stack[-1]
        elif code in _GETS:
            self._push(self.memo[self._read_number(_GETS[code])])
        elif code in _NUMBERS:
            self._push(self._read_number(_NUMBERS[code]))
        elif code in _BYTES:
            self._push(self._read_bytes(self._read_number(_BYTES[code])))
        elif code in _CONSTANTS:
            self._push(_CONSTANTS[code])
        elif code in _TUPLES:
            self._push(self._pop(_TUPLES[code]))
        elif code in _LONGS:
            self._push(self._read_long(self._read_number(_LONGS[code])))
        elif code == pickle.INT:  # of Python 2, for numbers of more than four bytes
            self._push(int(self._read_line()))
        else:
            self._step_container(code)

    def _step_container(self, code: bytes) -> None:
        """Carry out an instruction that concerns lists, dicts, marks or the stack."""
        match code:
            case pickle.MARK:
                self.marked.append(self.stack)
                self.stack = []
            case pickle.EMPTY_LIST:
                self._push([])
            case pickle.EMPTY_DICT:
                self._push({})
            case pickle.TUPLE:
                self._push(tuple(self._pop_mark()))
            case pickle.LIST:
                self._push(list(self._pop_mark()))
            case pickle.DICT:
                self._push(_update({}, self._pop_mark()))
            case pickle.APPEND:
                self._extend(self._pop(1))
            case pickle.APPENDS:
                self._extend(self._pop_mark())
            case pickle.SETITEM:
                _update(self.stack[-3], self._pop(2))
            case pickle.SETITEMS:
                items = self._pop_mark()
                _update(self.stack[-1], items)
            case pickle.POP:
                self.stack.pop()
            case pickle.POP_MARK:
                self._pop_mark()
            case pickle.DUP:
                self._push(self.stack[-1])
            case _:
                self._step_name(code)

    def _step_name(self, code: bytes) -> None:
        """Carry out an instruction that concerns names and what they make. Raises DataError for all others."""
        match code:
            case pickle.PROTO:
                self.source.read(1)
            case pickle.FRAME:
                self.source.read(8)
            case pickle.GLOBAL:
                self._push_name(self._read_line(), self._read_line())
            case pickle.STACK_GLOBAL:
                self._push_name(*self._pop(2))
            case pickle.REDUCE:
                known, arguments = self._pop(2)
                self._push(_make(known, arguments))
            case pickle.BUILD:
                (state,) = self._pop(1)
                if isinstance(state, tuple) and state and isinstance(state[-1], list):
                    self.source.take_objects(len(state[-1]))  # copied
                if not isinstance(self.stack[-1], _Array | _Dtype):
                    raise DataError(f"sets the state of {_describe(self.stack[-1])}, which is not data; {_ADVICE}")
                self.stack[-1].set_state(state)
            case _:
                if code == pickle.INST:
                    self._push_name(self._read_line(), self._read_line())  # to name it
                names = [known.name for known in pickletools.opcodes if known.code.encode("latin-1") == code]
                if not names:
                    raise DataError("a damaged pickle; download or write it again")
                raise DataError(f"holds the instruction {names[0]}, which does not make data; {_ADVICE}")

    def _push(self, value: object) -> None:
        self.stack.append(value)

    def _push_name(self, module: object, name: object) -> None:
        full = f"{module}.{name}"
        if not (isinstance(module, str) and isinstance(name, str) and full in _KNOWN):
            raise DataError(f"holds '{_quote(full)}', which is not data; it is not opened; {_ADVICE}")
        self._push(_KNOWN[full])

    def _pop(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise IndexError
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def _pop_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    def _extend(self, values: Sequence[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError
        self.stack[-1].extend(values)

    def _read_number(self, form: str) -> Any:
        return struct.unpack(form, self.source.read(struct.calcsize(form)))[0]

    def _read_line(self) -> str:
        line = self.source.file.readline(256)
        if not line.endswith(b"\n"):
            raise DataError("a damaged pickle; download or write it again")
        return line[:-1].decode("utf-8")

    def _read_long(self, count: int) -> int:
        if not 0 <= count <= 64:
            raise DataError("holds a number of more than 64 bytes, which is not data of clips; it is not opened")
        return int.from_bytes(self.source.read(count), "little", signed=True)

    def _read_text(self, count: int) -> str | _Span:
        is_bytes = bool(self.stack) and self.stack[-1] is _Known.ENCODE
        if count > (_MAX_INLINE_BYTES if is_bytes else _MAX_INLINE_TEXT):
            return _Span(self.source.skip(count), count, is_text=True)
        return self.source.read(count).decode("utf-8", "surrogatepass")

    def _read_bytes(self, count: int) -> bytes | _Span:
        if count < 0:
            raise DataError("a damaged pickle: a string of negative length; download or write it again")
        return self.source.read(count) if count <= _MAX_INLINE_BYTES else _Span(self.source.skip(count), count)


def _update(target: object, items: Sequence[Any]) -> object:
    """Set keys and values that alternate in `items`. Keys must be text or small numbers, whose hashes are safe."""
    if not isinstance(target, dict) or len(items) % 2:
        raise TypeError
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int) or (isinstance(key, int) and abs(key) >= 2**32):
            raise DataError(f"holds a dict with a key that is {_describe(key)}, not text; it is not opened")
        target[_decode(key) if isinstance(key, bytes) else key] = value
    return target


def _make(known: object, arguments: object) -> object:
    """Return what a known name makes of its arguments. Raises DataError for any other arguments."""
    if not isinstance(arguments, tuple):
        raise TypeError
    match (known, *arguments):
        case (_Known.RECONSTRUCT, _Known.NDARRAY, (0,), b"b" | "b"):
            return _Array()
        case (_Known.DTYPE, str() | bytes() as code, _, _):
            text = _decode(code) if isinstance(code, bytes) else code
            if not _DTYPE.fullmatch(text):
                raise DataError(f"holds an array of dtype '{_quote(text)}', not of numbers or text; {_ADVICE}")
            return _Dtype(text)
        case (_Known.SCALAR, _Dtype() as dtype, bytes() as raw) if not dtype.resolve().hasobject:
            (value,) = np.frombuffer(raw, dtype.resolve()).tolist()
            return value
        case (_Known.FROMBUFFER, bytes() | _Span() as data, _Dtype() as dtype, tuple() as shape, *order):
            array, numbers = _Array(), tuple(range(len(shape)))
            match order:
                case ("F", *_):
                    array.fill(shape[::-1], numbers[::-1], dtype.resolve(), data)
                case ("K", tuple() as axes):
                    array.fill(shape, axes, dtype.resolve(), data)
                case ("C" | "K", *_):
                    array.fill(shape, numbers, dtype.resolve(), data)
                case _:
                    raise TypeError
            return array
        case (_Known.ENCODE, str() | _Span() as text, "latin1" | "latin-1"):
            return text.encode("latin-1") if isinstance(text, str) else text
        case (_Known.BYTES,):
            return b""
    raise DataError(f"holds a call of {_describe(known)} that no array needs; it is not opened; {_ADVICE}")


def _check_depth(value: object) -> None:
    """Raise DataError if containers are nested too deeply or hold themselves. Shared ones are visited once a level."""
    level: dict[int, Any] = {0: value}
    for _ in range(MAX_DEPTH + 1):
        held = itertools.chain.from_iterable(
            item.values() if isinstance(item, dict) else item
            for item in level.values()
            if isinstance(item, dict | list | tuple)
        )
        level = {id(item): item for item in held if isinstance(item, dict | list | tuple)}
        if not level:
            return
    raise DataError(f"holds lists or dicts nested more than {MAX_DEPTH} deep; it is not opened")


# --- arrays and columns


def _decode(raw: bytes) -> str:
    """Return the text of bytes: UTF-8, else Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _iterate_bytes(source: _Source, data: bytes | _Span) -> Iterator[bytes]:
    """Yield the bytes of an array in pieces."""
    if isinstance(data, bytes):
        yield data
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for offset in range(0, data.size, _CHUNK):
        source.file.seek(data.start + offset)
        piece = source.read(min(_CHUNK, data.size - offset))
        yield decoder.decode(piece).encode("latin-1") if data.is_text else piece


def _iterate_values(source: _Source, array: _Array) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (place of the first, values) of consecutive pieces of an array, in stored order."""
    if isinstance(array.data, tuple):
        if not all(isinstance(item, int | float) for item in array.data):
            raise DataError("holds text where numbers belong; correct the file")
        yield 0, np.array(array.data, np.float64)
        return
    if array.data is None or array.dtype is None or array.dtype.kind not in "biuf":
        raise DataError("holds text where numbers belong; correct the file")
    place, rest = 0, b""
    for piece in _iterate_bytes(source, array.data):
        rest += piece
        whole = len(rest) // array.dtype.itemsize
        yield place, np.frombuffer(rest, array.dtype, whole)
        place, rest = place + whole, rest[whole * array.dtype.itemsize :]
    if rest or place != math.prod(array.stored):
        raise DataError("a damaged pickle: an array of another length than declared; download or write it again")


def _cast(values: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Return values as float32, float64 or int32. Raises DataError if int32 cannot hold them or they are negative."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(kind)
        fits = kind.kind == "f" or (np.array_equal(cast, values) and (cast >= 0).all())
    if not fits:
        raise DataError("holds values that are not whole numbers of at least 0; correct the file")
    return cast


def _fill(source: _Source, out: np.ndarray, value: object) -> None:
    """Write an array, or nested lists of numbers, into `out`, a piece at a time. Raises DataError for other shapes."""
    if isinstance(value, _Array):
        if value.shape != out.shape:
            raise DataError(f"holds parts of the shapes {out.shape} and {value.shape}; make them equal")
        target = out.transpose(np.argsort(value.axes)) if out.ndim else out
        flat = target.reshape(-1) if target.flags.c_contiguous else target.flat
        for place, values in _iterate_values(source, value):
            flat[place : place + len(values)] = _cast(values, out.dtype)
        return
    if not isinstance(value, list | tuple) or len(value) != len(out):
        raise DataError("holds lists of different lengths; pad them to one length")
    if out.ndim > 1:
        for part, item in zip(out, value, strict=True):
            _fill(source, part, item)
    else:
        if not all(isinstance(item, int | float) for item in value):
            raise DataError("holds lists of something else than numbers; correct the file")
        out[:] = _cast(np.array(value, np.float64), out.dtype)


def _find_shape(value: object) -> tuple[int, ...]:
    """Return the shape of an array or of nested lists, whose first items count."""
    shape: tuple[int, ...] = ()
    while isinstance(value, list | tuple) and len(value) and len(shape) < MAX_DEPTH:
        shape, value = (*shape, len(value)), value[0]
    return shape + (value.shape if isinstance(value, _Array) else ())


def _list_items(source: _Source, value: object) -> list[Any]:
    """Return an array, list or tuple as a list, nested like it. Raises DataError if it is none of them."""
    if isinstance(value, list | tuple):
        source.take_objects(len(value))
        return [_list_items(source, item) if isinstance(item, list | tuple | _Array) else item for item in value]
    if not isinstance(value, _Array) or value.data is None or not value.shape:
        raise DataError("holds no array or list; correct the file")
    source.take_objects(math.prod(max(1, size) for size in value.stored))
    if isinstance(value.data, tuple):
        flat = np.empty(len(value.data), object)
        flat[:] = value.data
    else:
        flat = np.frombuffer(b"".join(_iterate_bytes(source, value.data)), value.dtype)
    listed: list[Any] = flat.reshape(value.stored).transpose(value.axes).tolist()
    return listed


# --- splits


@dataclass
class _Draft:
    """A split whose ids and labels are read."""

    name: str  # in the file
    keys: dict[str, object]
    ids: list[str]
    scores: np.ndarray | None = None
    classes: list[str] | None = None
    keep: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # (n,)

    def drop(self, found: np.ndarray, what: str, why: str, issues: list[DataIssue]) -> None:
        """Leave out the clips of a (n,) bool mask and report them."""
        if found.any():
            issues.append(DataIssue(what, self.name, f"{_count(int(found.sum()), 'clip')} left out: {why}"))
            self.keep &= ~found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _read_splits(source: _Source, content: object, name: str) -> tuple[dict[SplitName, FeatureSplit], list[DataIssue]]:
    """Return the splits of an unpickled file, and what was left out or replaced."""
    if not isinstance(content, dict):
        raise DataError(f"holds {_describe(content)}, not a dict of the splits train, valid and test; {_ADVICE}")
    issues: list[DataIssue] = []
    drafts: dict[SplitName, _Draft] = {}
    for split, key in SPLITS.items():
        if not isinstance(content.get(key), dict):
            raise DataError(f"no split '{key}'; a feature file is a dict of the splits train, valid and test")
        drafts[split] = _read_draft(source, key, content[key], issues)
    _compare_keys(list(drafts.values()))
    _drop_duplicates(list(drafts.values()), issues)
    splits = {split: _complete(source, draft, issues) for split, draft in drafts.items()}
    for stream in splits["train"].streams:
        widths = {split: made.streams[stream].shape[2] for split, made in splits.items()}
        if len(set(widths.values())) > 1:
            raise DataError(f"key '{stream}' has different widths: {widths}; all splits need the same features")
    return splits, [DataIssue(issue.what, f"{name}: {issue.where}", issue.why) for issue in issues]


def _read_draft(source: _Source, name: str, keys: dict[str, object], issues: list[DataIssue]) -> _Draft:
    """Read ids and labels of a split. Raises DataError if a required key is missing or of another length."""
    keys = {key: value for key, value in keys.items() if value is not None}
    for wanted in (("id",), STREAMS, ("regression_labels", *CLASS_KEYS)):
        if not any(key in keys for key in wanted):
            listed = " or ".join(f"'{key}'" for key in wanted)
            raise DataError(f"split '{name}' has no key {listed}; a feature file needs it in every split")
    ids = _about(name, "id", _list_items, source, keys["id"])
    if not ids:
        raise DataError(f"split '{name}' holds no clips; a feature file needs clips in every split")
    draft = _Draft(name, keys, _about(name, "id", _join_ids, ids), keep=np.ones(len(ids), bool))
    made_safe = [_make_safe(text) for text in draft.ids]
    changed = [old for old, new in zip(draft.ids, made_safe, strict=True) if old != new]
    if changed:
        why = f"{_count(len(changed), 'id')} that cannot name a file replaced, such as '{_quote(changed[0])}'"
        issues.append(DataIssue("ids", name, why))
    draft.ids = made_safe
    if "regression_labels" in keys:
        draft.scores = np.array(_read_numbers(source, draft, "regression_labels"), np.float64)
        draft.drop(~np.isfinite(draft.scores), "labels", "a regression label that is not finite", issues)
    label = next((key for key in CLASS_KEYS if key in keys), None)
    if label is not None:
        column = _read_column(source, draft, label)
        draft.classes = _about(name, label, lambda: [_to_text(item) for item in column])
        lacking = [isinstance(item, float) and not math.isfinite(item) for item in column]
        lacking = [bad or not text for bad, text in zip(lacking, draft.classes, strict=True)]
        draft.drop(np.array(lacking), "labels", f"no class in '{label}'", issues)
    return draft


def _about(split: str, key: str, function: Callable[..., T], *arguments: object) -> T:
    """Call a function and name split and key in its DataError."""
    try:
        return function(*arguments)
    except DataError as error:
        raise DataError(f"key '{key}' of split '{split}': {error}") from None


def _to_text(value: object) -> str:
    """Return text, bytes or a number as text; whole floats are written without a point."""
    if isinstance(value, bytes):
        return _decode(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise DataError(f"holds {_describe(value)} where text belongs; correct the file")


def _join_ids(ids: list[Any]) -> list[str]:
    """Return ids as text. Parts, such as a video and a segment, are joined as in MMSA's files."""
    return ["$_$".join(map(_to_text, item)) if isinstance(item, list) else _to_text(item) for item in ids]


def _make_safe(name: str) -> str:
    """Return an id that can name a file: unchanged if it can, else cleaned and followed by a hash of the original."""
    if is_valid_name(name) and not _UNSAFE.search(name) and 0 < len(name.encode()) <= MAX_ID_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{_UNSAFE.sub('_', name).encode()[:100].decode(errors='ignore') or 'clip'}-{digest}"


def _read_column(source: _Source, draft: _Draft, key: str) -> list[Any]:
    """Return n plain values of a key, also of shape (n, 1). Raises DataError for another number of clips."""
    items = _about(draft.name, key, _list_items, source, draft.keys[key])
    _check_clips(draft, key, len(items))
    for _ in range(MAX_DEPTH):
        items = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]
    if any(isinstance(item, list) for item in items):
        raise DataError(f"key '{key}' of split '{draft.name}' holds several values a clip; it needs one")
    return items


def _read_numbers(source: _Source, draft: _Draft, key: str) -> list[float]:
    """Return n numbers of a key."""
    items = _read_column(source, draft, key)
    for item in items:
        if not isinstance(item, int | float):
            raise DataError(f"key '{key}' of split '{draft.name}' holds '{_quote(item)}', not a number; correct it")
    return [float(item) for item in items]


def _check_clips(draft: _Draft, key: str, count: int) -> None:
    if count != len(draft.ids):
        raise DataError(
            f"key '{key}' of split '{draft.name}' holds {_count(count, 'clip')}, key 'id' {len(draft.ids):,}; "
            "make them equal"
        )


def _compare_keys(drafts: Sequence[_Draft]) -> None:
    """Raise DataError if a stream or a kind of labels is in one split and not in another."""
    classes = [key for key in CLASS_KEYS if any(key in draft.keys for draft in drafts)][:1]
    for key in (*STREAMS, "text_bert", "raw_text", "regression_labels", *classes):
        having = [draft.name for draft in drafts if key in draft.keys]
        lacking = [draft.name for draft in drafts if key not in draft.keys]
        if having and lacking:
            raise DataError(f"key '{key}' is in split '{having[0]}' and not in '{lacking[0]}'; add or remove it")


def _drop_duplicates(drafts: Sequence[_Draft], issues: list[DataIssue]) -> None:
    """Leave out clips of an id that an earlier clip of the split or a later split has. Raises if none are left."""
    for number, draft in enumerate(drafts):
        later = {other.ids[index] for other in drafts[number + 1 :] for index in np.flatnonzero(other.keep)}
        seen: set[str] = set()
        repeated = np.zeros(len(draft.ids), bool)
        for index in np.flatnonzero(draft.keep):
            repeated[index] = draft.ids[index] in seen
            seen.add(draft.ids[index])
        shared = np.array([text in later for text in draft.ids]) & draft.keep
        draft.drop(shared, "duplicates", "a later split has the same id", issues)
        draft.drop(repeated & ~shared, "duplicates", "an earlier clip has the same id", issues)


def _complete(source: _Source, draft: _Draft, issues: list[DataIssue]) -> FeatureSplit:
    """Read the features of a split and remove the clips that are left out. Raises DataError if none are left."""
    bert = _read_bert(source, draft) if "text_bert" in draft.keys else None
    streams: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    for stream in STREAMS:
        if stream in draft.keys:
            streams[stream] = _read_stream(source, draft, stream, issues)
            lengths[stream] = _read_lengths(source, draft, stream, streams[stream], bert, issues)
    empty = draft.keep & (np.max(list(lengths.values()), axis=0) == 0)
    draft.drop(empty, "empty", "no stream has values", issues)
    kept = np.flatnonzero(draft.keep)
    if not len(kept):
        raise DataError(f"split '{draft.name}' holds no usable clips: {issues[-1].why}; correct the file")
    texts = None
    if "raw_text" in draft.keys:
        column = _read_column(source, draft, "raw_text")
        texts = _about(draft.name, "raw_text", lambda: tuple(_to_text(column[index]) for index in kept))
    return FeatureSplit(
        ids=tuple(draft.ids[index] for index in kept),
        streams={stream: _select(values, kept) for stream, values in streams.items()},
        lengths={stream: values[kept] for stream, values in lengths.items()},
        bert=None if bert is None else _select(bert, kept),
        texts=texts,
        scores=None if draft.scores is None else draft.scores[kept],
        classes=None if draft.classes is None else tuple(draft.classes[index] for index in kept),
    )


def _select(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the rows `kept` (ascending) of an array, moved to its front, so that it is not copied."""
    if len(kept) == len(values):
        return values
    rows = _count_rows(values)
    for start in range(0, len(kept), rows):
        part = kept[start : start + rows]
        values[start : start + len(part)] = values[part]
    return values[: len(kept)]


def _count_rows(values: np.ndarray) -> int:
    """Return how many clips to work on at once."""
    return max(1, _CHUNK // (values.nbytes // len(values)))


def _read_stream(source: _Source, draft: _Draft, key: str, issues: list[DataIssue]) -> np.ndarray:
    """Return (n, L, D) float32 finite features of a stream; features (n, D) become (n, 1, D)."""
    shape = _find_shape(draft.keys[key])
    if len(shape) not in (2, 3) or 0 in shape[1:]:
        raise DataError(f"key '{key}' of split '{draft.name}' has shape {shape}, not (clips, length, width)")
    _check_clips(draft, key, shape[0])
    values = source.allocate(shape, np.float32)
    _about(draft.name, key, _fill, source, values, draft.keys[key])
    values = values.reshape(shape[0], -1, shape[-1])
    replaced, clips = 0, set[int]()
    flat, row = values.reshape(-1), values[0].size
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        bad = np.flatnonzero(~np.isfinite(part))
        part[bad] = 0
        replaced += len(bad)
        clips.update(np.unique((start + bad) // row).tolist())
    if replaced:
        why = f"{_count(replaced, 'value')} of {_count(len(clips), 'clip')} not finite in '{key}', replaced by 0"
        issues.append(DataIssue("values", draft.name, why))
    return values


def _read_bert(source: _Source, draft: _Draft) -> np.ndarray:
    """Return (n, 3, L) int32 token ids, mask and token types."""
    shape = _find_shape(draft.keys["text_bert"])
    if len(shape) != 3 or shape[1] != 3 or not shape[2]:
        raise DataError(f"key 'text_bert' of split '{draft.name}' has shape {shape}, not (clips, 3, length)")
    _check_clips(draft, "text_bert", shape[0])
    tokens = source.allocate(shape, np.int32)
    _about(draft.name, "text_bert", _fill, source, tokens, draft.keys["text_bert"])
    if tokens[:, 1].max() > 1:
        raise DataError(f"key 'text_bert' of split '{draft.name}' has a mask of other values than 0 and 1; correct it")
    return tokens


def _read_lengths(
    source: _Source, draft: _Draft, stream: str, values: np.ndarray, bert: np.ndarray | None, issues: list[DataIssue]
) -> np.ndarray:
    """Return (n,) lengths of a stream: 1..L, or 0 where the clip lacks the stream.

    They are those of `<stream>_lengths`; else, for text with `text_bert` of the same length, the sums of its mask;
    else the place of the last row that is not all zeros.
    """
    longest = values.shape[1]
    lengths: np.ndarray = np.empty(len(values), np.int64)
    if f"{stream}_lengths" in draft.keys:
        given = np.array(_read_numbers(source, draft, f"{stream}_lengths"))
        lengths = np.clip(np.nan_to_num(given), 0, longest).astype(np.int64)
        outside: np.ndarray = (lengths != given) & draft.keep
        if outside.any():
            why = f"{_count(int(outside.sum()), 'length')} of '{stream}' not in 1 to {longest}, cut"
            issues.append(DataIssue("lengths", draft.name, why))
    elif stream == "text" and bert is not None and bert.shape[2] == longest:
        lengths = bert[:, 1].sum(axis=1, dtype=np.int64)
    else:
        rows = _count_rows(values)
        for start in range(0, len(values), rows):
            filled = np.logical_or.reduce(values[start : start + rows] != 0, axis=2)
            lengths[start : start + rows] = (filled * np.arange(1, longest + 1)).max(axis=1)
    absent: np.ndarray = (lengths == 0) & draft.keep
    if absent.any():
        why = f"{_count(int(absent.sum()), 'clip')} without values in '{stream}'"
        issues.append(DataIssue("no values", draft.name, why))
    return lengths
