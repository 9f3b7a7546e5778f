"""Tests of data identity: known without decoding, from hashes that are computed once, and limited on request."""

import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from bench.types import SplitRequest
from datasets.catalog.ekman6 import INFO
from datasets.registry import DATASETS
from tests.datasets.trees import write_tree

pytestmark = pytest.mark.usefixtures("prepared_here")
EKMAN6 = DATASETS["ekman6"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"), INFO, 6, 2, seconds=0.1)


def ask(folder, cache, seed=0, **more):
    return SplitRequest(folder, cache, 16, 24, seed, **more)


def identify(folder, cache, **more):
    return EKMAN6.identify_data(ask(folder, cache, **more))


@pytest.fixture
def undecoded(monkeypatch):
    """Make every attempt to decode a clip fail the test."""
    for name in ("decode_clip", "decode_parts"):
        monkeypatch.setattr(f"datasets.decode.clip.{name}", lambda *args: pytest.fail("decoded"))


def test_data_are_identified_without_decoding_and_hashed_once(tree, tmp_path, undecoded, monkeypatch):
    first = identify(tree, tmp_path)
    assert not first.is_sample and not list((tmp_path / "prepared" / "ekman6").glob("side*"))
    monkeypatch.setattr("datasets.sources.sha256", lambda path: pytest.fail("hashed again"))
    assert identify(tree, tmp_path) == first == identify(tree, tmp_path, only_known=True)
    assert identify(tree, tmp_path, seed=1) != first and identify(tree, tmp_path, seed=5) == first


def test_loaded_splits_have_the_content_they_were_identified_by(tree, tmp_path):
    identity = identify(tree, tmp_path)
    splits = EKMAN6.load(ask(tree, tmp_path))
    assert splits.content_hash == identity.content_hash and splits.fingerprint == identity.fingerprint


def test_data_that_were_never_hashed_are_unknown_and_nothing_is_written(tree, tmp_path):
    assert identify(tree, tmp_path / "new", only_known=True) is None
    assert identify(None, tmp_path / "new", only_known=True) is None  # the sample is not written
    assert not (tmp_path / "new").exists()


def test_a_changed_file_is_unknown_and_gives_another_content(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "copy")
    before = identify(copy, tmp_path)
    srt = copy / "srt/joy/c0.srt"
    stat, text = srt.stat(), srt.read_text()
    other = copy / "srt/joy/other.srt"
    other.write_text(text.replace("joy", "fun"))
    other.replace(srt)  # a file of the same size and time, so only the inode differs
    os.utime(srt, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert srt.stat().st_size == stat.st_size and srt.stat().st_mtime_ns == stat.st_mtime_ns
    assert identify(copy, tmp_path, only_known=True) is None
    after = identify(copy, tmp_path)
    assert after.content_hash != before.content_hash and after.fingerprint == before.fingerprint
    srt.write_text(text)
    assert identify(copy, tmp_path) == before


def test_an_unreadable_clip_is_part_of_the_identity_and_not_of_the_splits(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "copy")
    for path in (*(copy / "imgs/joy/c1").iterdir(), copy / "mp3/joy/c1.mp3"):
        path.write_bytes(b"")
    identity, splits = identify(copy, tmp_path), EKMAN6.load(ask(copy, tmp_path))
    assert splits.content_hash == identity.content_hash and splits.fingerprint != identity.fingerprint
    whole = EKMAN6.load(ask(tree, tmp_path))
    assert identity.fingerprint == whole.fingerprint and identity.content_hash != whole.content_hash


def test_a_row_that_was_cut_short_or_is_no_row_is_computed_again(tree, tmp_path):
    before = identify(tree, tmp_path)
    hashes = tmp_path / "prepared/ekman6/sources.jsonl"
    lines = hashes.read_text().splitlines()
    hashes.write_text("\n".join(['{"key": 3}', "[1]", *lines[1:-1], lines[-1][:40]]))
    assert identify(tree, tmp_path, only_known=True) is None
    assert identify(tree, tmp_path) == before and len(hashes.read_text().splitlines()) == len(lines)


def count_classes(clips):
    return Counter(clip.key.partition("/")[0] for clip in clips.clips)


def test_a_limit_takes_so_many_clips_of_each_class_of_each_split(tree, tmp_path):
    few = EKMAN6.load(ask(tree, tmp_path, limit=1))
    assert all(count_classes(part) == dict.fromkeys(INFO.classes, 1) for part in (few.train, few.val, few.test))
    two = EKMAN6.load(ask(tree, tmp_path, limit=2))
    assert count_classes(two.train) == dict.fromkeys(INFO.classes, 2)
    assert {clip.key for clip in few.train.clips} < {clip.key for clip in two.train.clips}
    other = EKMAN6.load(ask(tree, tmp_path, seed=1, limit=1))
    assert {clip.key for clip in few.test.clips} == {clip.key for clip in other.test.clips}
    whole = EKMAN6.load(ask(tree, tmp_path))
    assert len({splits.content_hash for splits in (few, two, whole)}) == 3
    assert identify(tree, tmp_path, limit=1) == replace(identify(tree, tmp_path, limit=1), is_sample=False)
    assert identify(tree, tmp_path, limit=1).fingerprint == few.fingerprint != whole.fingerprint


def test_a_limit_decodes_only_the_clips_it_takes(tree, tmp_path):
    EKMAN6.load(ask(tree, tmp_path, limit=1))
    assert len(list(tmp_path.glob("prepared/ekman6/side*/*.safetensors"))) == 18
