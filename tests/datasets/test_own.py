"""Custom data: manifests, folders of classes and trees; which of them are read, reported or refused."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, DataError
from bench.rng import RngTree
from bench.types import AudioSpec, Sampling, SplitRequest, VideoSpec
from datasets.catalog.ekman6 import INFO
from datasets.index import read_listed_clips
from datasets.registry import make_dataset, make_manifest_source
from datasets.rows import NamingRules
from datasets.summary import locate_dataset
from tests.datasets.trees import write_media, write_srt, write_tree

KNOWN = [INFO]
CLASSES = ("calm", "joy", "rage")


def listed(path, fold=None):
    """Return the (info, listing) of a custom data set."""
    source = make_manifest_source(path, KNOWN)
    return source.info, locate_dataset(source, None, fold or source.info.folds[0]).listing


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def empty(root, *names):
    """Write empty files, since only their names are read."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def folder(tmp_path):
    empty(tmp_path, *(f"{label}/{label}{n}.mp4" for label in CLASSES for n in range(10)))
    return tmp_path


def test_a_folder_of_classes_is_split_into_five_folds(folder):
    write_srt(folder / "joy/joy3.srt")
    (folder / "joy/notes.txt").touch()
    card, index = listed(folder)
    assert card.classes == CLASSES and card.folds == (1, 2, 3, 4, 5) and card.name.startswith("own-")
    assert card.sentiment == (0, 1, 0) and card.emotions["joy"] == {"joy"} and card.unreached == ("calm", "rage")
    assert {p.where for p in index.issues if p.what == "warning"} == {"calm", "rage"}
    (spoken,) = [clip for clip in index.available if clip.sources.transcript]
    assert spoken.key == "joy/joy3" and spoken.sources.video == folder / "joy/joy3.mp4"
    tests = [{clip.key for clip in listed(folder, fold)[1].available if clip.split == "test"} for fold in card.folds]
    vals = [{clip.key for clip in listed(folder, fold)[1].available if clip.split == "val"} for fold in card.folds]
    assert len(set().union(*tests)) == sum(map(len, tests)) == 30 and vals[:4] == tests[1:] and vals[4] == tests[0]


def test_a_toml_file_describes_the_classes(folder):
    write(folder / "dataset.toml", 'title = "Moods"', 'language = "de"', 'classes = ["rage", "joy", "calm"]')
    text = (folder / "dataset.toml").read_text()
    write(folder / "dataset.toml", text, "[sentiment]", "rage = -1", "calm = 0", "[emotions]", 'rage = ["anger"]')
    card, index = listed(folder)
    assert (card.title, card.language, card.classes, card.sentiment) == (
        "Moods",
        "de",
        ("rage", "joy", "calm"),
        (-1, 1, 0),
    )
    assert card.emotions["rage"] == {"anger"} and not index.issues


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("titel = 'x'", "did you mean 'title'"),
        ("sentiment = {joi = 1}", "did you mean 'joy'"),
        ("sentiment = {joy = 3}", "joy"),
        ("emotions = {joy = ['happy']}", "joy"),
        ("title = ", "not readable TOML"),
    ],
)
def test_a_wrong_toml_is_one_line_that_names_the_place(folder, line, message):
    write(folder / "dataset.toml", line)
    with pytest.raises(DataError, match=message):
        listed(folder)


def test_a_manifest_locates_all_media(tmp_path):
    empty(tmp_path, "v/a.mp4", "v/b.mp4", "s/b.wav", "t/a.srt")
    path = write(
        tmp_path / "mine.csv",
        "clip,label,split,video,audio,transcript,text,sentiment,colour",
        "a,joy,train,v/a.mp4,,t/a.srt,,1,red",
        'b,rage,Test,v/b.mp4,s/b.wav,,"no, never",negative,blue',
    )
    card, index = listed(path)
    assert card.name == "own-mine" and card.sentiment == (1, -1) and card.folds == (0,)
    a, b = index.available
    assert (a.key, a.split, a.sources.transcript) == ("joy/a", "train", tmp_path / "t/a.srt")
    assert (b.split, b.sources.audio, b.sources.text) == ("test", tmp_path / "s/b.wav", "no, never")
    assert [(p.what, "colour" in p.why) for p in index.issues] == [("columns", True)]


def test_groups_are_never_split_and_val_may_be_stated(tmp_path):
    empty(tmp_path, *(f"{n}.mp4" for n in range(12)))
    rows = [f"{'joy' if n % 2 else 'rage'},{n}.mp4,actor{n // 2}" for n in range(12)]
    _, index = listed(write(tmp_path / "a.csv", "label,video,group", *rows))
    splits = {
        group: {c.split for c in index.available if c.group == group} for group in {c.group for c in index.available}
    }
    assert len(splits) == 6 and all(len(found) == 1 for found in splits.values())
    rows = [f"{'joy' if n % 2 else 'rage'},{n}.mp4,{('train', 'validation', 'test')[n // 4]}" for n in range(12)]
    _, index = listed(write(tmp_path / "b.csv", "label,video,split", *rows))
    assert [clip.split for clip in index.available] == ["train"] * 4 + ["val"] * 4 + ["test"] * 4


def test_a_group_in_several_splits_stays_in_test_only(tmp_path):
    empty(tmp_path, *(f"{n}.mp4" for n in range(4)))
    rows = ["joy,0.mp4,train,g", "rage,1.mp4,train,h", "joy,2.mp4,test,g", "rage,3.mp4,test,i"]
    _, index = listed(write(tmp_path / "a.csv", "label,video,split,group", *rows))
    assert [(p.what, p.where) for p in index.issues if p.what == "leak"] == [("leak", "joy/0")]
    assert "group 'g'" in next(p.why for p in index.issues if p.what == "leak")
    assert {clip.key for clip in index.listed} == {"rage/1", "joy/2", "rage/3"}


def test_a_row_without_its_file_loses_its_clip_and_is_reported(tmp_path):
    empty(tmp_path, "a.mp4")
    _, index = listed(write(tmp_path / "m.csv", "clip,label,split,video", "a,joy,train,a.mp4", "b,rage,test,b.mp4"))
    assert [clip.key for clip in index.available] == ["joy/a"]
    assert ("missing", "rage/b") in {(p.what, p.where) for p in index.issues}


MISTAKES = {
    "no label": (["clip,video", "a,a.mp4"], "no column 'label'"),
    "no media": (["clip,label", "a,joy"], "none of the columns"),
    "up": (["label,video", "joy,../a.mp4"], r":2: '\.\./a\.mp4' is not a path below"),
    "root": (["label,video", "joy,/etc/passwd"], ":2: '/etc/passwd' is not a path below"),
    "name": (["clip,label,video", "../a,joy,a.mp4"], ":2"),
    "split": (["label,video,split", "joy,a.mp4,trian"], "did you mean 'train'"),
    "some splits": (["label,video,split", "joy,a.mp4,train", "rage,b.mp4,"], ":3 has no split"),
    "sentiment": (["label,video,sentiment", "joy,a.mp4,good"], "unknown sentiment 'good'"),
    "two sentiments": (
        ["label,video,sentiment", "joy,a.mp4,1", "joy,b.mp4,-1"],
        "sentiment: class 'joy' has two values",
    ),
    "one class": (["label,video", "joy,a.mp4"], "has only one class"),
    "case": (["label,video", "joy,a.mp4", "Joy,b.mp4"], "differ only in case"),
    "cells": (["label,video", "joy,a.mp4,more"], ":2 has more cells"),
    "no rows": (["label,video"], "lists no clips"),
    "twice": (["label,video,video", "joy,a,b"], "column 'video' twice"),
    "empty": ([""], "no column 'label'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_manifest_is_one_line_that_names_the_place(tmp_path, name):
    lines, message = MISTAKES[name]
    with pytest.raises(DataError, match=message) as error:
        listed(write(tmp_path / "m.csv", *lines))
    assert "\n" not in str(error.value)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    empty(outside, "a.mp4")
    empty(tmp_path, "joy/b.mp4", "rage/c.mp4")
    (tmp_path / "joy/a.mp4").symlink_to(outside / "a.mp4")
    assert ("link", "joy/a.mp4") in {(p.what, p.where) for p in listed(tmp_path)[1].issues}
    path = write(tmp_path / "m.csv", "label,video", "joy,joy/a.mp4", "joy,joy/b.mp4", "rage,rage/c.mp4")
    _, index = listed(path)
    assert ("link", "joy/a") in {(p.what, p.where) for p in index.issues} and len(index.available) == 2


def test_the_error_of_a_folder_without_clips_lists_its_content(tmp_path):
    (tmp_path / "things").mkdir()
    with pytest.raises(DataError, match="it contains 'things'"):
        listed(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        listed(tmp_path / "nowhere.csv")


@pytest.mark.slow
def test_both_layouts_a_folder_and_a_manifest_of_the_same_clips_give_the_same_samples(tmp_path, prepared_here):

    tree = write_tree(tmp_path / "tree", INFO, 6, 2, layout="video", seconds=0.4)
    plain, rows = tmp_path / "plain", []
    for name in INFO.classes:
        shutil.copytree(tree / "video" / name, plain / name)
        for number in range(8):
            shutil.copy(tree / "srt" / name / f"c{number}.srt", plain / name)
            split = "train" if number < 6 else "test"
            rows.append(f"c{number},{name},{split},video/{name}/c{number}.avi,srt/{name}/c{number}.srt")
    manifest = write(tree / "manifest.csv", "clip,label,split,video,transcript", *rows)
    sampling = Sampling(2, VideoSpec(2, 2, 16), AudioSpec(24), training=True)
    values = {}
    for name, path in (("tree", tree), ("folder", plain), ("manifest", manifest)):
        corpus = make_dataset(make_manifest_source(path, KNOWN)).load(SplitRequest(None, tmp_path / name, 16, 24, 0))
        for clips in (corpus.train, corpus.val, corpus.test):
            for place, clip in enumerate(clips.clips):
                sample = clips.read(place, sampling, RngTree(3), 1)
                found = (sample.video.numpy().tobytes(), sample.audio.numpy().tobytes(), sample.words)
                assert values.setdefault(clip.key, found) == found
    assert len(values) == 48


def test_text_without_times_is_spread_over_the_clip(tmp_path):
    write_media(tmp_path / "a.avi", 2.0, rate=16000)
    write_media(tmp_path / "b.avi", 2.0, rate=16000)
    path = write(tmp_path / "m.csv", "label,split,video,text", "joy,train,a.avi,so very glad", "rage,test,b.avi,")
    found = locate_dataset(make_manifest_source(path, KNOWN), None, 0)
    from datasets.prepare import PrepareSpec
    from datasets.summary import summarise_dataset

    summarised = summarise_dataset(found, PrepareSpec.for_size(16, 24), tmp_path / "out", lambda *_: None)
    words = {clip.key: spoken for clip, spoken in summarised.iter_words()}
    assert [word.text for word in words["joy/a"]] == ["so", "very", "glad"] and not words["rage/b"]
    assert [round(word.start, 1) for word in words["joy/a"]] == [0.0, 0.7, 1.3]


def test_two_lines_of_one_clip_with_different_files_are_an_error_that_names_both(tmp_path):
    empty(tmp_path, "s1/001.mp4", "s2/001.mp4", "s3/002.mp4")
    with pytest.raises(DataError, match=r"m\.csv:2 and m\.csv:3 are both clip 'joy/001'"):
        listed(write(tmp_path / "m.csv", "label,video", "joy,s1/001.mp4", "joy,s2/001.mp4", "rage,s3/002.mp4"))


def test_a_name_in_two_classes_is_never_split_by_a_fold(folder):
    empty(folder, "joy/odd.mp4", "rage/odd.mp4")
    for fold in range(1, 6):
        _, index = listed(folder, fold)
        assert len({clip.split for clip in index.available if clip.key.endswith("/odd")}) == 1
        assert not [p for p in index.issues if p.what == "leak"] and len(index.available) == 32


def test_a_tree_with_an_unrelated_json_file_is_still_split_into_folds(folder):
    (folder / "video").mkdir()
    for name in CLASSES:
        (folder / name).rename(folder / "video" / name)
    write(folder / "settings.json", '{"colour": "red"}')
    card, index = listed(folder)
    assert card.folds == (1, 2, 3, 4, 5) and len(index.available) == 30


def test_invalid_file_names_are_reported_and_not_read(folder):
    for name in (b"caf\xe9.mp4", b"two\nlines.mp4"):
        open(os.path.join(os.fsencode(folder / "joy"), name), "w").close()
    _, index = listed(folder)
    reasons = [p.why for p in index.issues if p.what == "name"]
    assert len(reasons) == 2 and "\\udce9" in " ".join(reasons) and len(index.available) == 30
    with pytest.raises(DataError, match="correct the list"):
        listed(write(folder / "m.csv", "label,clip,video", '"a\rb",c,joy/joy1.mp4', "joy,d,joy/joy2.mp4"))


def test_a_missing_transcript_loses_the_words_and_not_the_clip(tmp_path):
    empty(tmp_path, "a.mp4", "b.mp4")
    path = write(tmp_path / "m.csv", "label,video,transcript", "joy,a.mp4,a.srt", "rage,b.mp4,")
    _, index = listed(path)
    assert len(index.available) == 2 and [(p.what, p.where) for p in index.issues if p.what == "no file"] == [
        ("no file", "joy/a")
    ]


def test_frames_of_a_manifest_may_be_links_within_its_folder_and_nothing_else(tmp_path, tmp_path_factory):
    from datasets.streams.video import number_frames

    outside = tmp_path_factory.mktemp("outside")
    empty(tmp_path, "annex/one", "f/c1/000001.jpg", "f/c2/000001.jpg")
    empty(outside, "two.jpg")
    (tmp_path / "f/c1/000002.jpg").symlink_to("../../annex/one")
    (tmp_path / "f/c1/000003.jpg").symlink_to(outside / "two.jpg")
    _, index = listed(write(tmp_path / "m.csv", "label,frames", "joy,f/c1", "rage,f/c2"))
    files = index.available[0].sources
    images, issues = number_frames(files.frames, "joy/c1", files.root)
    assert [path.name for path in images.values()] == ["000001.jpg", "000002.jpg"]
    assert "leaves the data folder" in issues[0].why


def test_names_that_only_differ_in_their_letters_stay_apart(tmp_path):
    names = set()
    for name in ("драма", "комедия", "Mine", "mine two"):
        empty(tmp_path / name, "joy/a.mp4", "rage/b.mp4")
        names.add(listed(tmp_path / name)[0].name)
    assert len(names) == 4 and {"own-mine", "own-mine-two"} < names


def test_the_facts_of_a_class_are_part_of_the_content_hash(tmp_path, prepared_here):
    for shade, name in enumerate(("joy", "joy", "joy", "rage", "rage", "rage")):
        write_media(tmp_path / "d" / name / f"{shade}.avi", 0.2, rate=16000, size=(32, 24), shade=shade + 1)
    rows = [
        f"{(n // 3 and 'rage') or 'joy'},d/{(n // 3 and 'rage') or 'joy'}/{n}.avi,{('train', 'val', 'test')[n % 3]}"
        for n in range(6)
    ]
    path, found = write(tmp_path / "m.csv", "label,video,split", *rows), set()
    for sign in (-1, 1):
        write(tmp_path / "m.toml", "[sentiment]", f"rage = {sign}")
        corpus = make_dataset(make_manifest_source(path, KNOWN)).load(SplitRequest(None, tmp_path / "out", 16, 24, 0))
        found.add((corpus.content_hash, corpus.fingerprint))
    assert len({content for content, _ in found}) == 2 and len({split for _, split in found}) == 1
    write(path, "label,video,split", *reversed(rows))
    again = make_dataset(make_manifest_source(path, KNOWN)).load(SplitRequest(None, tmp_path / "out", 16, 24, 0))
    assert [clip.key for clip in again.train.clips] == [clip.key for clip in corpus.train.clips]


def test_media_without_a_row_in_the_manifest_are_reported(tmp_path):
    empty(tmp_path, "v/a.mp4", "v/b.mp4", "v/c.mp4", "v/d.mp4", "v/notes.txt")
    _, index = listed(write(tmp_path / "m.csv", "label,video", "joy,v/a.mp4", "rage,v/b.mp4"))
    assert [(p.where, p.why) for p in index.issues if p.what == "unlisted"] == [
        ("v", "2 media files without a row, first c.mp4; not used")
    ]


def test_a_folder_in_place_of_a_file_is_reported(tmp_path):
    empty(tmp_path, "d/000001.jpg", "a.mp4", "b.mp4")
    path = write(tmp_path / "m.csv", "label,video,audio,frames", "joy,d,,", "rage,a.mp4,d,", "joy,b.mp4,,b.mp4")
    _, index = listed(path)
    assert [p.why for p in index.issues if p.what == "no file"] == [
        "video: d is a folder, not a file",
        "audio: d is a folder, not a file",
        "frames: b.mp4 is not a folder",
    ]
    assert {clip.key for clip in index.available} == {"rage/a", "joy/b"}


CELLS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["joy", "rage", "train", "a.mp4", "../x", '"']
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, max_size=6), max_size=6), st.booleans())
def test_any_text_as_a_manifest_is_read_or_refused_in_one_line(tmp_path, rows, header):
    lines = [",".join(row) for row in rows]
    path = tmp_path / "m.csv"
    path.write_bytes("\n".join((["clip,label,split,group,video,text"] if header else []) + lines).encode())
    try:
        listed(path)
    except BenchError as error:
        assert str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(CELLS | st.sampled_from(["joy/a 4", "fear/b"]), max_size=8).map(lambda x: "\n".join(x).encode())
)
def test_any_bytes_as_a_list_are_read_or_refused_in_one_line(tmp_path, data):
    (tmp_path / "trainlist01.txt").write_bytes(data)
    (tmp_path / "testlist01.txt").write_text("joy/c0\n")
    try:
        rows, _ = read_listed_clips(tmp_path, INFO, NamingRules(), 0)
    except BenchError as error:
        assert str(error)
    else:
        assert all(row.key.count("/") == 1 and ".." not in row.key.split("/") for row in rows)
