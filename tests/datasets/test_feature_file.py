"""Feature files: what is read, what is refused, and that nothing in a file runs."""

from __future__ import annotations

import copyreg
import functools
import gzip
import hashlib
import importlib
import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from datasets.feature_file import FeatureFile, read_feature_file
from tests.conftest import ROOT
from tests.datasets.feature_files import (
    CLIPS,
    LENGTH,
    WIDTHS,
    Numpy1Pickler,
    Python2Pickler,
    array,
    dtype,
    make_content,
    number,
    program,
    raw_bytes,
    text,
    write,
)

WRITERS = [
    *[(protocol, pickler) for protocol in (2, 3, 4, 5) for pickler in (pickle.Pickler, Numpy1Pickler)],
    (2, Python2Pickler),
]
Content = dict[str, dict[str, Any]]


@pytest.fixture
def content() -> Content:
    return make_content()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[object], FeatureFile]:
    """Return a function that writes a value as a pickle and reads it."""
    return lambda value: read_feature_file(write(tmp_path / "mosi.pkl", value))


def refuse(path: Path) -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(DataError) as refused:
        read_feature_file(path)
    message = str(refused.value)
    assert str(path) in message and "\n" not in message
    return message


def refuse_content(tmp_path: Path, value: object) -> str:
    return refuse(write(tmp_path / "mosi.pkl", value))


def check(found: FeatureFile) -> None:
    """Assert what every result guarantees."""
    ids = [text for split in found.splits.values() for text in split.ids]
    assert list(found.splits) == ["train", "val", "test"] and len(ids) == len(set(ids))
    assert not any(set(text) & {"/", "\\", "\0"} or text.startswith(".") or not text for text in ids)
    for split in found.splits.values():
        n = len(split.ids)
        assert n and split.streams and split.streams.keys() == split.lengths.keys()
        for stream, values in split.streams.items():
            assert values.shape[0] == n and values.ndim == 3 and values.dtype == np.float32
            assert np.isfinite(values).all() and values.flags.c_contiguous
            lengths = split.lengths[stream]
            assert lengths.shape == (n,) and lengths.dtype == np.int64
            assert lengths.min() >= 0 and lengths.max() <= values.shape[1]
        assert split.bert is None or (split.bert.shape[:2] == (n, 3) and split.bert.dtype == np.int32)
        assert split.scores is None or (split.scores.shape == (n,) and np.isfinite(split.scores).all())
        assert all(part is None or len(part) == n for part in (split.texts, split.classes))
        assert split.scores is not None or split.classes is not None


def equals(found: FeatureFile, content: Content) -> None:
    """Assert that a file holds the given content, and nothing was replaced."""
    check(found)
    assert found.issues == ()
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        made, given = found.splits[split], content[name]
        for stream in WIDTHS:
            assert np.array_equal(made.streams[stream], given[stream])
        for stream in ("audio", "vision"):
            assert made.lengths[stream].tolist() == list(given[f"{stream}_lengths"])
        assert np.array_equal(made.bert, given["text_bert"])
        assert made.lengths["text"].tolist() == given["text_bert"][:, 1].sum(1).tolist()
        assert made.ids == tuple(given["id"]) and made.texts == tuple(given["raw_text"])
        assert made.scores.tolist() == [float(score) for score in given["regression_labels"]]
        assert made.classes == tuple(str(int(label)) for label in given["classification_labels"])


# --- what is read


@pytest.mark.parametrize(("protocol", "pickler"), WRITERS)
def test_files_of_every_writer_hold_the_same_values(tmp_path: Path, content: Content, protocol: int, pickler: Any):
    path = write(tmp_path / "mosi.pkl", content, protocol, pickler)
    found = read_feature_file(path)
    equals(found, content)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("protocol", "pickler"), WRITERS)
@pytest.mark.parametrize("form", [">f4", "<f8", ">f8", "fortran", "transposed", "strided", "lists", "list of arrays"])
def test_arrays_of_every_form_hold_the_same_values(
    tmp_path: Path, content: Content, protocol: int, pickler: Any, form: str
):
    def change(values: np.ndarray) -> Any:
        if form == "fortran":
            return np.asfortranarray(values)
        if form == "transposed":
            return np.ascontiguousarray(values.transpose(1, 0, 2)).transpose(1, 0, 2)
        if form == "strided":
            return np.repeat(values, 2, axis=1)[:, ::2]
        if form == "lists":
            return values.tolist()
        return list(values) if form == "list of arrays" else values.astype(form)

    changed = {
        name: {key: change(value) if key in (*WIDTHS, "text_bert") else value for key, value in split.items()}
        for name, split in content.items()
    }
    equals(read_feature_file(write(tmp_path / "mosi.pkl", changed, protocol, pickler)), content)


@pytest.mark.parametrize(("protocol", "pickler"), WRITERS)
@pytest.mark.parametrize("form", ["S", "O", "bytes", "list", "scalars"])
def test_text_of_every_form_is_the_same(tmp_path: Path, content: Content, protocol: int, pickler: Any, form: str):
    def change(values: np.ndarray) -> Any:
        encoded = [value.encode() for value in values.tolist()]
        return {
            "S": np.array(encoded),
            "O": values.astype(object),
            "bytes": np.array(encoded, object),
            "list": values.tolist(),
            "scalars": list(values),
        }[form]

    changed = {
        name: {key: change(value) if key in ("id", "raw_text") else value for key, value in split.items()}
        for name, split in content.items()
    }
    equals(read_feature_file(write(tmp_path / "mosi.pkl", changed, protocol, pickler)), content)


@pytest.mark.slow
def test_large_arrays_are_read_in_pieces(tmp_path: Path, content: Content):
    rng = np.random.default_rng(1)
    for name, split in content.items():
        split["audio"] = rng.normal(size=(CLIPS[name], 600, 301)).astype(np.float32)
        split["audio"][..., 0] += 1
        split["vision"] = np.asfortranarray(rng.normal(size=(CLIPS[name], 600, 171)).astype(np.float32))
        del split["audio_lengths"], split["vision_lengths"]
    for protocol, pickler in ((2, pickle.Pickler), (2, Python2Pickler), (5, pickle.Pickler)):
        found = read_feature_file(write(tmp_path / "mosi.pkl", content, protocol, pickler))
        for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
            for stream in ("audio", "vision"):
                assert np.array_equal(found.splits[split].streams[stream], content[name][stream])


def test_ids_of_parts_are_joined(content: Content, read: Callable[[object], FeatureFile]):
    content["train"]["id"] = [[f"v{number}", number] for number in range(5)]
    content["valid"]["id"] = np.array([[f"w{number}".encode(), b"0.5"] for number in range(3)])
    content["test"]["id"] = np.array([[f"x{number}"] for number in range(4)], object)
    splits = read(content).splits
    assert splits["train"].ids[1] == "v1$_$1" and splits["val"].ids[2] == "w2$_$0.5" and splits["test"].ids[0] == "x0"


def test_ids_that_cannot_name_files_are_replaced_by_distinct_ones(
    content: Content, read: Callable[[object], FeatureFile]
):
    bad = ["../../etc/passwd", "a/b", "a\\b", "..", "line\nbreak"]
    content["train"]["id"] = bad
    content["valid"]["id"] = ["", "x" * 300, "a_b"]
    found = read(content)
    check(found)
    ids = [*found.splits["train"].ids, *found.splits["val"].ids]
    assert len(set(ids)) == 8 and not set(ids) & set(bad) and ids[-1] == "a_b"
    assert max(map(len, ids)) < 150 and [issue.what for issue in found.issues] == ["ids", "ids"]


def test_features_without_length_are_one_row(content: Content, read: Callable[[object], FeatureFile]):
    for split in content.values():
        split["vision"] = split["vision"].sum(1)
        del split["vision_lengths"]
    split = read(content).splits["val"]
    assert split.streams["vision"].shape == (3, 1, 4) and split.lengths["vision"].tolist() == [1, 1, 1]


def test_lengths_come_from_the_key_the_mask_or_the_last_filled_row(
    content: Content, read: Callable[[object], FeatureFile]
):
    expected = content["test"].pop("audio_lengths")
    content["test"]["audio"][0, 0] = 0  # zeros before values are not padding
    content["test"]["audio"][0, 1] = 1
    expected[0] = max(expected[0], 2)
    assert read(content).splits["test"].lengths["audio"].tolist() == expected
    for split in content.values():
        del split["text_bert"]
    assert set(read(content).splits["test"].lengths["text"].tolist()) == {LENGTH}


def test_lengths_outside_the_stream_are_cut_and_reported(content: Content, read: Callable[[object], FeatureFile]):
    content["train"]["audio_lengths"] = np.array([[99.0], [-4], [0], [3], [7]])
    found = read(content)
    assert found.splits["train"].lengths["audio"].tolist() == [7, 0, 0, 3, 7]
    whys = [(issue.what, issue.where, issue.why) for issue in found.issues]
    assert whys[0][:2] == ("lengths", "mosi.pkl: train") and whys[0][2].startswith("2 lengths")
    assert whys[1][0] == "no values" and whys[1][2].startswith("2 clips")


def test_a_clip_without_any_values_is_left_out(content: Content, read: Callable[[object], FeatureFile]):
    for stream in ("audio", "vision"):
        content["train"][f"{stream}_lengths"][2] = 0
    content["train"]["text_lengths"] = [3, 3, 0, 3, 3]
    found = read(content)
    check(found)
    assert found.splits["train"].ids == tuple(np.delete(content["train"]["id"], 2))
    assert "empty" in [issue.what for issue in found.issues]


def test_values_that_are_not_finite_become_0_and_are_counted(content: Content, read: Callable[[object], FeatureFile]):
    content["train"]["audio"][1, 0] = -np.inf
    content["train"]["audio"][3, 0, 0] = np.nan
    content["valid"]["vision"] = content["valid"]["vision"].astype(np.float64)
    content["valid"]["vision"][0, 0, 0] = 1e300
    found = read(content)
    check(found)
    assert not found.splits["train"].streams["audio"][1, 0].any()
    assert [issue.why for issue in found.issues] == [
        "4 values of 2 clips not finite in 'audio', replaced by 0",
        "1 value of 1 clip not finite in 'vision', replaced by 0",
    ]


def test_clips_without_finite_labels_are_left_out_of_every_part(
    content: Content, read: Callable[[object], FeatureFile]
):
    content["train"]["regression_labels"][[0, 3]] = np.nan, np.inf
    content["train"]["classification_labels"][4] = np.nan
    found = read(content)
    check(found)
    split, given = found.splits["train"], content["train"]
    assert split.ids == tuple(given["id"][[1, 2]]) and np.array_equal(split.streams["text"], given["text"][[1, 2]])
    assert np.array_equal(split.bert, given["text_bert"][[1, 2]]) and split.texts == tuple(given["raw_text"][[1, 2]])
    assert [issue.why.split()[0] for issue in found.issues] == ["2", "1"]


def test_repeated_ids_are_left_out_and_a_later_split_holds_the_clip(
    content: Content, read: Callable[[object], FeatureFile]
):
    content["train"]["id"] = ["a", "b", "b", "c", "d"]
    content["valid"]["id"] = ["c", "e", "a"]
    content["test"]["id"] = ["a", "f", "g", "g"]
    found = read(content)
    check(found)
    assert [found.splits[split].ids for split in ("train", "val", "test")] == [("b", "d"), ("c", "e"), ("a", "f", "g")]
    assert np.array_equal(found.splits["train"].streams["audio"], content["train"]["audio"][[1, 4]])
    assert {issue.what for issue in found.issues} == {"duplicates"} and len(found.issues) == 4


def test_classes_are_read_from_annotations_if_there_are_no_labels(
    content: Content, read: Callable[[object], FeatureFile]
):
    for split in content.values():
        del split["classification_labels"], split["regression_labels"]
    split = read(content).splits["test"]
    assert split.classes == tuple(content["test"]["annotations"]) and split.scores is None


# --- what is refused


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c.pop("valid"), ["'valid'"]),
        (lambda c: c.update(test=[1]), ["'test'"]),
        (lambda c: c["train"].pop("id"), ["'train'", "'id'"]),
        (lambda c: [c["test"].pop(stream) for stream in WIDTHS], ["'test'", "'text' or 'audio' or 'vision'"]),
        (
            lambda c: [c["test"].pop(key) for key in ("regression_labels", "classification_labels", "annotations")],
            ["'regression_labels'"],
        ),
        (lambda c: c["valid"].pop("audio"), ["'audio'", "'valid'"]),
        (lambda c: c["valid"].pop("text_bert"), ["'text_bert'", "'valid'"]),
        (lambda c: c["train"].update(audio=c["train"]["audio"][:4]), ["'audio'", "4 clips", "5"]),
        (lambda c: c["train"].update(raw_text=["a"]), ["'raw_text'", "1 clip"]),
        (lambda c: c["train"].update(regression_labels=[0.5] * 6), ["'regression_labels'", "6 clips"]),
        (lambda c: c["train"].update(regression_labels=["x"] * 5), ["'regression_labels'", "'x'"]),
        (lambda c: c["train"].update(regression_labels=np.ones((5, 2))), ["'regression_labels'"]),
        (lambda c: c["train"].update(audio=np.ones((5, 7, 3, 2))), ["'audio'", "(5, 7, 3, 2)"]),
        (lambda c: c["train"].update(audio=np.ones((5, 0, 3))), ["'audio'", "(5, 0, 3)"]),
        (lambda c: c["train"].update(audio=np.ones((5, 7, 9))), ["'audio'", "widths"]),
        (lambda c: c["train"].update(audio=np.full((5, 7, 3), "x")), ["'audio'", "text"]),
        (lambda c: c["train"].update(audio=[[[1.0] * 3] * 7] * 4 + [[[1.0] * 3] * 6]), ["'audio'", "lengths"]),
        (lambda c: c["train"].update(audio=[np.ones((7, 3))] * 4 + [np.ones((6, 3))]), ["'audio'", "shapes"]),
        (lambda c: c["train"].update(audio="loud"), ["'audio'"]),
        (lambda c: c["train"].update(text_bert=np.ones((5, 7, 3))), ["'text_bert'"]),
        (lambda c: c["train"]["text_bert"].fill(0.5), ["'text_bert'", "whole"]),
        (lambda c: c["train"]["text_bert"].fill(-1), ["'text_bert'"]),
        (lambda c: c["train"]["text_bert"].fill(2), ["'text_bert'", "mask"]),
        (lambda c: c["train"].update(id=[]), ["'train'", "no clips"]),
        (lambda c: c["train"].update(id="abcde"), ["'id'"]),
        (lambda c: c["train"].update(id=[None] * 5), ["'id'", "NoneType"]),
        (lambda c: c["train"]["regression_labels"].fill(np.nan), ["'train'", "no usable clips"]),
        (lambda c: c["train"].update(annotations=np.zeros(5, "M8[s]")), ["M8"]),
        (lambda c: c["train"].update(audio=np.zeros((5, 7), "f4,f4")), ["dtype 'V8'"]),
        (lambda c: c["train"].update(audio=np.zeros((5, 7, 3), complex)), ["dtype 'c16'"]),
        (lambda c: c["train"].update(id={"a", "b"}), ["EMPTY_SET"]),
    ],
)
def test_defective_content_is_refused_by_name(tmp_path: Path, content: Content, damage: Any, words: list[str]):
    damage(content)
    message = refuse_content(tmp_path, content)
    assert all(word in message for word in words), message


def make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (gzip.compress(b"\x80\x04.", mtime=0), "gzip"),
        (make_zip(), "zip"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n  <html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\x00", "numpy array"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"a,b\n1,2\n", "not a pickle"),
        (pickle.dumps({"train": 1}, 0), "not a pickle of protocol 2 to 5"),
        (b"\x80\x09.", "not a pickle of protocol 2 to 5"),
        (pickle.dumps([1, 2]), "holds list"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2), "more than one pickle"),
        (b"\x80", "not a pickle"),
        (b"\x80\x04", "incomplete"),
        (b"\x80\x04.", "damaged"),
        (b"\x80\x04\xff.", "damaged"),
        (b"\x80\x04Nt.", "damaged"),
        (b"\x80\x04NNa.", "damaged"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, word: str):
    path = tmp_path / "mosi.pkl"
    path.write_bytes(data)
    assert word in refuse(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "mosi.pkl", content)
    (tmp_path / "link.pkl").symlink_to(path)
    assert "No such file" in refuse(tmp_path / "none.pkl")
    assert "not a file" in refuse(tmp_path)
    assert f"a link to {path}" in refuse(tmp_path / "link.pkl")

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "Permission denied; check" in refuse(path)


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "pickler"), [(2, pickle.Pickler), (2, Python2Pickler), (5, pickle.Pickler)])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, content: Content, protocol: int, pickler: Any):
    path = write(tmp_path / "mosi.pkl", content, protocol, pickler)
    data = path.read_bytes()
    for size in range(2, len(data) - 1, 61):
        path.write_bytes(data[:size])
        message = refuse(path)
        assert "incomplete" in message or "damaged" in message


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path / "mosi.pkl", content)
    digest = hashlib.file_digest

    def touch(*arguments: Any) -> Any:
        os.utime(path, (1, 1))
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", touch)
    assert "changed while it was read" in refuse(path)


# --- what would harm


class Call:
    """A value whose pickle calls a function when Python opens it."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Exist, so that what this makes can be called in turn."""


def leave_trace(path: Path) -> str:
    return f"touch {path}"


RUNNING: dict[str, Callable[[Path], Any]] = {
    "posix.system": lambda trace: Call(os.system, leave_trace(trace)),
    "builtins.eval": lambda trace: Call(eval, f"open({str(trace)!r}, 'w').close()"),
    "builtins.exec": lambda trace: Call(exec, f"open({str(trace)!r}, 'w').close()"),
    "builtins.open": lambda trace: Call(open, str(trace), "w"),
    "subprocess.check_call": lambda trace: Call(subprocess.check_call, ["touch", str(trace)]),
    "builtins.getattr": lambda trace: Call(Call(getattr, Call(importlib.import_module, "os"), "system"), str(trace)),
    "operator.attrgetter": lambda trace: Call(Call(operator.attrgetter, "system"), Call(importlib.import_module, "os")),
    "functools.partial": lambda trace: Call(functools.partial(os.system, leave_trace(trace))),
    "numpy.save": lambda trace: Call(np.save, str(trace), 1),
}
"""Name that is refused -> a value that would leave a trace (or be a part of doing so)."""


@pytest.mark.parametrize("place", ["split", "list", "object array", "state", "key"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "builtins.open", "subprocess.check_call"])
def test_nothing_in_a_file_runs(tmp_path: Path, content: Content, name: str, protocol: int, place: str):
    trace = tmp_path / "trace"
    harm = RUNNING[name](trace)
    if place == "split":
        content["train"] = harm
    elif place == "list":
        content["train"]["other"] = [1, (harm,)]
    elif place == "object array":
        content["train"]["id"] = np.array(["a", harm], object)
    elif place == "state":
        content["train"]["id"] = Call(dict, state=harm)
    else:
        content["train"][Call(tuple, [harm])] = 1
    path = write(tmp_path / "mosi.pkl", content, protocol)
    with suppress(Exception):  # its result may not be a key or a state
        pickle.loads(path.read_bytes())
    assert trace.exists(), "the file does no harm, so that it proves nothing"
    trace.unlink()
    refuse(path)
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", [*RUNNING])
def test_the_refused_name_is_in_the_message(tmp_path: Path, content: Content, name: str, protocol: int):
    content["train"]["id"] = RUNNING[name](tmp_path / "trace")
    message = refuse(write(tmp_path / "mosi.pkl", content, protocol))
    assert f"{name.split('.')[1]}', which is not data" in message
    assert not (tmp_path / "trace").exists()


def make_nested(depth: int) -> bytes:
    return program(pickle.EMPTY_LIST * depth, pickle.APPEND * (depth - 1))


def make_bomb(levels: int) -> bytes:
    """Return lists of ten times the list before."""
    parts = [pickle.EMPTY_LIST, pickle.BINPUT, b"\0"]
    for level in range(levels):
        get = pickle.BINGET + bytes([level])
        parts += [
            pickle.POP,
            pickle.EMPTY_LIST,
            pickle.BINPUT,
            bytes([level + 1]),
            pickle.MARK,
            get * 10,
            pickle.APPENDS,
        ]
    return program(*parts)


def make_splits(stream: bytes) -> bytes:
    """Return a file of three splits of one clip, all with the same instructions for audio."""
    ids = [pickle.EMPTY_LIST + text(f"a{number}") + pickle.APPEND for number in range(3)]
    labels = text("regression_labels") + pickle.EMPTY_LIST + number(1) + pickle.APPEND
    start = pickle.EMPTY_DICT + pickle.MARK + text("audio") + stream + labels + text("id")
    splits = [
        text(name) + start + key + pickle.SETITEMS for name, key in zip(("train", "valid", "test"), ids, strict=True)
    ]
    return program(pickle.EMPTY_DICT, pickle.MARK, *splits, pickle.SETITEMS)


FIELDS = b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}" + number(4) + number(1) + number(0) + b"t"
START, SCALAR = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (program(b"cos\nsystem\n", text("true"), b"\x85R"), "'os.system'"),
    "numpy.load": (program(b"cnumpy\nload\n", text("x"), b"\x85R"), "'numpy.load'"),
    "numpy attribute": (program(text("numpy"), text("ndarray.tofile"), pickle.STACK_GLOBAL), "'numpy.ndarray.tofile'"),
    "copyreg": (program(b"ccopyreg\n_reconstructor\n"), "'copyreg._reconstructor'"),
    "importlib": (program(b"cimportlib\nimport_module\n"), "'importlib.import_module'"),
    "torch": (program(b"ctorch._utils\n_rebuild_tensor_v2\n"), "'torch._utils._rebuild_tensor_v2'"),
    "pandas": (program(b"cpandas.core.frame\nDataFrame\n"), "'pandas.core.frame.DataFrame'"),
    "line break": (program(text("os\n"), text("a\nb" * 200), pickle.STACK_GLOBAL), "'os\\n."),
    "name of a number": (program(number(1), text("a"), pickle.STACK_GLOBAL), "'1.a'"),
    "inst": (program(b"(ios\nsystem\n"), "'os.system'"),
    "known inst": (program(b"(inumpy\ndtype\n"), "INST"),
    "obj": (program(b"(cnumpy\ndtype\no"), "OBJ"),
    "newobj": (program(b"cnumpy\nndarray\n)\x81"), "NEWOBJ"),
    "newobj_ex": (program(b"cnumpy\nndarray\n)}\x92"), "NEWOBJ_EX"),
    "persistent id": (program(b"Pos\n"), "PERSID"),
    "binary persistent id": (program(text("os"), b"Q"), "BINPERSID"),
    "ext1": (program(b"\x82\x01"), "EXT1"),
    "ext2": (program(b"\x83\x01\0"), "EXT2"),
    "ext4": (program(b"\x84\x01\0\0\0"), "EXT4"),
    "buffer": (program(b"\x97", protocol=5), "NEXT_BUFFER"),
    "read-only buffer": (program(b"\x98", protocol=5), "READONLY_BUFFER"),
    "state of a dict": (program(b"}}b"), "dict"),
    "state of a name": (program(b"cnumpy\nndarray\n}b"), "numpy.ndarray"),
    "call of a list": (program(b"])R"), "list"),
    "call of an array": (program(b"cnumpy\nndarray\n", number(2**40), b"\x85R"), "call of 'numpy.ndarray'"),
    "other codec": (program(b"c_codecs\nencode\n", text("a"), text("rot13"), b"\x86R"), "call of '_codecs.encode'"),
    "no codec": (program(b"c_codecs\nencode\n", text("a"), b"\x85R"), "call of '_codecs.encode'"),
    "many bytes": (program(b"cbuiltins\nbytes\n", number(2**40), b"\x85R"), "call of 'builtins.bytes'"),
    "large reconstruct": (
        program(START, b"cnumpy\nndarray\n", number(2**40), b"\x85C\x01b\x87R"),
        "_reconstruct",
    ),
    "other class": (
        program(START, b"cnumpy\ndtype\nK\0\x85C\x01b\x87R"),
        "_reconstruct",
    ),
    "large shape": (make_splits(array((2**40,), dtype("f4"), raw_bytes(b"abcd"))), "1099511627776"),
    "overflowing shape": (make_splits(array((2**32, 2**32), dtype("f4"), raw_bytes(b""))), "4294967296"),
    "negative shape": (make_splits(array((-1, 4), dtype("f4"), raw_bytes(b""))), "shape"),
    "many dimensions": (make_splits(array((1,) * 40, dtype("f4"), raw_bytes(b"abcd"))), "shape"),
    "empty rows": (make_splits(array((2**60, 0), dtype("f4"), raw_bytes(b""))), "(1152921504606846976, 0)"),
    "many empty ids": (
        make_splits(array((1, 1, 1), dtype("f4"), raw_bytes(b"abcd"))).replace(
            text("id") + pickle.EMPTY_LIST + text("a0") + pickle.APPEND,
            text("id") + array((2**60, 0), dtype("U1"), raw_bytes(b"")),
        ),
        "single values",
    ),
    "long text": (make_splits(array((1, 1, 1), dtype("U9999999"), raw_bytes(b"abcd"))), "4 bytes"),
    "longer text": (make_splits(array((1, 1, 1), dtype("U99999999"), raw_bytes(b"abcd"))), "dtype 'U99999999'"),
    "fields": (make_splits(array((1,), dtype("f4,f4"), raw_bytes(b"abcdabcd"))), "dtype 'f4,f4'"),
    "void": (make_splits(array((1,), dtype("V8"), raw_bytes(b"abcdabcd"))), "dtype 'V8'"),
    "fields in the state": (make_splits(array((1,), dtype("f4"), raw_bytes(b"abcd"), FIELDS)), "fields"),
    "objects from bytes": (make_splits(array((1,), dtype("O8"), raw_bytes(b"abcdabcd"))), "damaged"),
    "dict in an array": (make_splits(array((1,), dtype("O8"), b"]}a")), "array of dict"),
    "list in an array": (make_splits(array((1,), dtype("O8"), b"]]a")), "array of list"),
    "name in an array": (make_splits(array((1,), dtype("O8"), b"]cnumpy\ndtype\na")), "'numpy.dtype'"),
    "object scalar": (
        program(
            b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n", dtype("O8"), b"R", raw_bytes(b"abcdabcd"), b"\x86R"
        ),
        "scalar",
    ),
    "nested lists": (make_nested(20_000), "nested"),
    "shared lists": (make_bomb(200), "nested"),
    "list in itself": (program(b"]q\0h\0a"), "nested"),
    "dict in itself": (program(b"}q\0", text("a"), b"h\0s"), "nested"),
    "nested key": (program(b"}", pickle.EMPTY_TUPLE, pickle.TUPLE1 * 20_000, b"Ns"), "key"),
    "large key": (program(b"}", number(2**61 - 1), b"Ns"), "key"),
    "long bytes": (program(pickle.BINBYTES8, struct.pack("<Q", 2**60)), "incomplete"),
    "long byte array": (program(pickle.BYTEARRAY8, struct.pack("<Q", 2**63), protocol=5), "incomplete"),
    "long string": (program(pickle.BINUNICODE8, struct.pack("<Q", 2**60)), "incomplete"),
    "negative string": (program(pickle.BINSTRING, struct.pack("<i", -5), protocol=2), "negative"),
    "long number": (program(pickle.LONG4, struct.pack("<i", 2**31 - 1)), "64 bytes"),
    "late memo": (program(b"N", pickle.LONG_BINPUT, b"\xff\xff\xff\xff"), "NoneType"),
    "no memo": (program(pickle.BINGET, b"\x07"), "damaged"),
    "no mark": (program(b"Nt"), "damaged"),
    "long line": (program(b"c" + b"a" * 1000), "damaged"),
}


@pytest.mark.parametrize("name", [*HOSTILE])
def test_hostile_files_are_refused_in_little_memory(tmp_path: Path, name: str):
    data, words = HOSTILE[name]
    path = tmp_path / "mosi.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        message = refuse(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert words in message and len(message) < 400, message
    assert peak < 40 * 2**20


def test_the_number_of_values_is_limited(tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "mosi.pkl", content)
    monkeypatch.setattr("datasets.feature_file.MAX_OBJECTS", 500)
    assert "more than 500 single values" in refuse(path)
    path.write_bytes(program(pickle.NONE * 501))
    assert "more than 500 single values" in refuse(path)


def test_shared_rows_cannot_multiply(tmp_path: Path):
    row = pickle.EMPTY_LIST + pickle.MARK + pickle.BINFLOAT + struct.pack(">d", 1.0) + pickle.DUP * 999 + pickle.APPENDS
    rows = pickle.EMPTY_LIST + pickle.MARK + row + pickle.DUP * 9999 + pickle.APPENDS
    path = tmp_path / "mosi.pkl"
    path.write_bytes(make_splits(pickle.EMPTY_LIST + rows + pickle.APPEND))  # 10 million values in 33 kB
    assert "more values than its bytes can hold" in refuse(path)


@pytest.mark.slow
def test_one_list_cannot_fill_many_arrays(tmp_path: Path):
    ids = pickle.EMPTY_LIST + pickle.MARK + text("a") + pickle.DUP * 9999 + pickle.APPENDS + pickle.BINPUT + b"\0"
    made = array((10_000,), dtype("O8"), pickle.BINGET + b"\0")
    path = tmp_path / "mosi.pkl"
    path.write_bytes(program(ids, pickle.MARK, made * 500, pickle.TUPLE))
    tracemalloc.start()
    try:
        assert "single values" in refuse(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_registered_extensions_are_not_used(tmp_path: Path):
    trace = tmp_path / "trace"
    copyreg.add_extension("posix", "system", 240)
    try:
        path = tmp_path / "mosi.pkl"
        path.write_bytes(program(b"\x82\xf0", text(leave_trace(trace)), b"\x85R"))
        pickle.loads(path.read_bytes())
        assert trace.exists()
        trace.unlink()
        assert "EXT1" in refuse(path) and not trace.exists()
    finally:
        copyreg.remove_extension("posix", "system", 240)


EDITS = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(0, 2), st.binary(min_size=1, max_size=9)), min_size=1, max_size=8
)


def mutate(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Replace, insert or remove bytes."""
    changed = bytearray(data)
    for place, kind, raw in edits:
        start = 2 + place % max(1, len(changed) - 2)
        changed[start : start + (0 if kind == 1 else len(raw))] = b"" if kind == 2 else raw
    return bytes(changed)


@settings(max_examples=200, deadline=None)
@given(edits=EDITS, writer=st.sampled_from(WRITERS), harmful=st.booleans())
def test_mutated_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]], writer: Any, harmful: bool
):
    folder = tmp_path_factory.getbasetemp()
    trace, path = folder / "trace", folder / "mutated.pkl"
    content: Any = make_content()
    for split in content.values():
        split.pop("annotations"), split.pop("regression_labels_T")
    if harmful:
        content["other"] = Call(os.system, leave_trace(trace))
    write(path, content, writer[0], pickle.Pickler if harmful else writer[1])
    path.write_bytes(mutate(path.read_bytes(), edits))
    try:
        check(read_feature_file(path))
    except DataError as error:
        assert "\n" not in str(error)
    assert not trace.exists()


# --- memory

MEASURE = """
import sys
from pathlib import Path
from datasets.feature_file import read_feature_file

def read_peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

path, before = Path(sys.argv[1]), read_peak()
found = read_feature_file(path)
print((read_peak() - before) / path.stat().st_size, len(found.issues))
"""


def make_large(kind: str, scale: int) -> Content:
    """Return a file with much audio, some of it infinite, and with clips that are left out."""
    rng = np.random.default_rng(0)
    content = {}
    for name, clips in (("train", 24 * scale), ("valid", 3 * scale), ("test", 3 * scale)):
        audio = rng.random((clips, 50, 133), np.float32).astype(kind)
        audio[::7, 3] = -np.inf
        labels = np.where(np.arange(clips) % 5, 0.5, np.nan)
        content[name] = {"audio": audio, "id": [f"{name}{n}" for n in range(clips)], "regression_labels": labels}
    return content


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(("protocol", "pickler"), [(2, pickle.Pickler), (2, Python2Pickler), (4, None), (5, None)])
def test_the_peak_memory_is_at_most_one_and_a_half_files(tmp_path: Path, kind: str, protocol: int, pickler: Any):
    path = write(tmp_path / "large.pkl", make_large(kind, 100), protocol, pickler or pickle.Pickler)
    assert path.stat().st_size > 75e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    peak, issues = done.stdout.split()
    assert 0.2 < float(peak) < 1.5 and int(issues) == 6


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_peak_memory_of_a_smaller_file_is_little_more_than_its_values(tmp_path: Path, order: str, protocol: int):
    content = make_large("f4", 20)
    for split in content.values():
        split["audio"] = np.asarray(split["audio"], order=order)
    path = write(tmp_path / "large.pkl", content, protocol)
    del content
    tracemalloc.start()
    try:
        found = read_feature_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check(found)
    assert peak < 1.5 * path.stat().st_size
