"""Splits of a run from a data folder: where data are searched, and which problems are errors or issues."""

import shutil
from collections import Counter
from dataclasses import fields
from itertools import chain

import av
import pytest

from bench.errors import DataError
from bench.types import SplitRequest
from datasets.catalog.ekman6 import INFO
from datasets.paths import find_data_folder
from datasets.registry import DATASETS
from tests.datasets.trees import write_lists, write_mp3, write_tree

pytestmark = pytest.mark.usefixtures("prepared_here")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"), INFO, 6, 1, seconds=0.1)


def load(folder, cache, seed=0):
    return DATASETS["ekman6"].load(SplitRequest(folder, cache, 16, 24, seed))


def test_the_seed_selects_the_fold_and_test_stays_as_listed(tree, tmp_path):
    corpora = [load(tree, tmp_path, seed) for seed in (0, 1, 5)]
    vals = [{clip.key for clip in corpus.val.clips} for corpus in corpora]
    assert vals[0] == vals[2] and not vals[0] & vals[1]
    assert corpora[0].fingerprint == corpora[2].fingerprint != corpora[1].fingerprint
    for corpus in corpora:
        keys = [[clip.key for clip in clips.clips] for clips in (corpus.train, corpus.val, corpus.test)]
        assert sorted(keys[2]) == sorted(f"{name}/c6" for name in INFO.classes)
        assert max(Counter(chain(*keys)).values()) == 1 and len(keys[0]) + len(keys[1]) == 36
        assert not corpus.is_sample and not corpus.truth
    assert {p.what for p in corpora[0].issues} <= {"warning"}


def test_a_clip_that_cannot_be_read_leaves_the_folds_of_the_others_where_they_are(tree, tmp_path):
    whole = [{clip.key for clip in load(tree, tmp_path, seed).val.clips} for seed in range(5)]
    broken = shutil.copytree(tree, tmp_path / "broken")
    shutil.rmtree(broken / "imgs/anger/c0")  # with its mp3: no media at all
    (broken / "mp3/anger/c0.mp3").unlink()
    for path in (*(broken / "imgs/joy/c1").iterdir(), broken / "mp3/joy/c1.mp3"):
        path.write_bytes(b"")
    for seed in range(5):
        corpus = load(broken, tmp_path, seed)
        assert {clip.key for clip in corpus.val.clips} == whole[seed] - {"anger/c0", "joy/c1"}
    assert {(p.what, p.where) for p in corpus.issues} >= {("missing", "anger/c0"), ("unreadable", "joy/c1")}


def test_one_unusual_file_of_each_kind_does_not_stop_a_run(tree, tmp_path):
    unusual = shutil.copytree(tree, tmp_path / "odd")
    (unusual / "imgs/joy/c0/@eaDir").mkdir()
    (unusual / "imgs/joy/c1/000009.jpg").symlink_to("nowhere.jpg")
    (unusual / "mp3/joy/c2.mp3").unlink()
    (unusual / "mp3/joy/c2.mp3").symlink_to("nowhere.mp3")
    parts = [write_mp3(tmp_path / f"{rate}.mp3", 0.1, rate).read_bytes() for rate in (16000, 44100)]
    (unusual / "mp3/joy/c3.mp3").write_bytes(b"".join(parts))
    corpus = load(unusual, tmp_path)
    assert len(corpus.train.clips) + len(corpus.val.clips) == 36
    kinds = {p.where: p.what for p in corpus.issues if p.what != "no sound"}
    assert "joy/c0" not in kinds and kinds["joy/c1"] == "frames" and kinds["joy/c2"] == "link"


def test_a_clip_set_holds_no_truth_and_no_test_clip(tree, tmp_path):
    corpus = load(tree, tmp_path)
    assert {field.name for field in fields(corpus.train)} == {"clips", "paths", "features"}
    assert all(clip.split == "train" for clip in (*corpus.train.clips, *corpus.val.clips))


def test_content_follows_the_media(tree, tmp_path):
    before = load(tree, tmp_path).content_hash
    transcript = tree / "srt/joy/c0.srt"
    original = transcript.read_text()
    try:
        transcript.write_text(original.replace("joy", "fun"))
        assert load(tree, tmp_path).content_hash != before
    finally:
        transcript.write_text(original)
    assert load(tree, tmp_path).content_hash == before


@pytest.mark.slow
def test_a_class_absent_from_training_and_an_empty_split_are_errors(tmp_path):
    tree = write_tree(tmp_path / "tree", INFO, 5, 1, seconds=0.1)
    rows = (tree / "trainlist01.txt").read_text().splitlines()
    (tree / "trainlist01.txt").write_text("\n".join(row for row in rows if not row.startswith("joy/")) + "\n")
    with pytest.raises(DataError, match="class 'joy' of Ekman-6 has no readable training clip"):
        load(tree, tmp_path)
    write_lists(tree, INFO, range(5), [])
    with pytest.raises(DataError, match="no readable clip in the test split of Ekman-6"):
        load(tree, tmp_path)


def test_the_error_of_a_class_without_clips_gives_the_cause(tmp_path):
    tree = write_tree(tmp_path / "tree", INFO, 5, 1, seconds=0.1)
    for part in ("imgs", "mp3"):
        (tree / part / "joy").rename(tree / part / "happiness")
    with pytest.raises(DataError, match=r"'joy' .* problems: imgs/happiness: Ekman-6 has no such class"):
        load(tree, tmp_path)


def test_a_class_absent_from_test_or_val_is_a_warning(tmp_path):
    tree = write_tree(tmp_path / "tree", INFO, 5, 1, seconds=0.1)
    rows = (tree / "testlist01.txt").read_text().splitlines()
    (tree / "testlist01.txt").write_text("\n".join(row for row in rows if not row.startswith("joy/")) + "\n")
    warnings = [p for p in load(tree, tmp_path).issues if p.what == "warning" and p.where == "test"]
    assert [p.why for p in warnings] == ["class 'joy' has no clip in the test split"]


def test_data_are_searched_in_the_given_places(tree, tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setattr("datasets.paths.PROJECT_ROOT", tmp_path)
    assert find_data_folder(INFO, tree) == tree and find_data_folder(INFO, None) is None
    (tmp_path / "data" / "ekman6").mkdir(parents=True)
    assert find_data_folder(INFO, None) == tmp_path / "data" / "ekman6"
    monkeypatch.setenv("BENCH_DATA", str(tree))
    assert find_data_folder(INFO, None) == tree
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    assert find_data_folder(INFO, None) == tmp_path / "data" / "ekman6"


def test_the_error_of_a_missing_or_empty_folder_states_how_to_obtain_the_data(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"--data: no such folder: .*nowhere\. Obtain Ekman-6 from its owners: "):
        find_data_folder(INFO, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"--data: empty folder: .*Obtain Ekman-6"):
        find_data_folder(INFO, tmp_path / "empty")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="BENCH_DATA: no such folder"):
        find_data_folder(INFO, None)


def test_a_copy_of_a_test_clip_in_another_container_is_never_trained_or_selected_on(tmp_path):
    root = write_tree(tmp_path / "tree", INFO, 6, 1, layout="video", seconds=0.2)
    copy = root / "video/joy/c0.avi"
    copy.unlink()
    remux(root / "video/fear/c6.avi", copy.with_suffix(".mkv"))
    for seed in range(5):
        corpus = load(root, tmp_path / "cache", seed)
        keys = {clip.key for clips in (corpus.train, corpus.val) for clip in clips.clips}
        assert "joy/c0" not in keys and "fear/c6" in {clip.key for clip in corpus.test.clips} and len(keys) == 35
        assert ("leak", "joy/c0") in {(p.what, p.where) for p in corpus.issues}


def remux(source, target):
    """Write the same streams to another container."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        streams = {stream: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                written.mux(packet)
