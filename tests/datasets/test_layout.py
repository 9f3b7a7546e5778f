"""The folder tree: lists, annotation files, names that leave the folder, media that are missing or misspelt."""

import json

import pytest

from bench.errors import DataError
from datasets.ekman6 import CARD
from datasets.layout import index_tree, read_rows
from tests.datasets.trees import write_lists


@pytest.fixture
def tree(tmp_path):
    """Two clips of each class as empty files: indexing opens none."""
    for name in CARD.classes:
        for number in range(2):
            for path in (f"video/{name}/c{number}.mp4", f"srt/{name}/c{number}.srt"):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).touch()
    write_lists(tmp_path, CARD, [0], [1])
    return tmp_path


def add(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_lists_and_media_meet_by_class_and_clip(tree):
    clips, problems = index_tree(tree, CARD)
    assert not problems and len(clips) == 12
    first = clips[0]
    assert (first.key, first.label, first.split, first.group) == ("anger/c0", 0, "train", "anger/c0")
    assert first.files.video == tree / "video/anger/c0.mp4" and first.files.transcript == tree / "srt/anger/c0.srt"
    assert {clip.key for clip in clips if clip.split == "test"} == {f"{name}/c1" for name in CARD.classes}


@pytest.mark.parametrize("folder", ["imgs", "img"])
def test_frames_and_sound_may_lie_apart_under_either_spelling(tmp_path, folder):
    for name in CARD.classes:
        for number in range(2):
            (tmp_path / folder / name / f"c{number}").mkdir(parents=True)
        (tmp_path / "mp3" / name).mkdir(parents=True)
        (tmp_path / "mp3" / name / "c0.mp3").touch()
    write_lists(tmp_path, CARD, [0], [1])
    clips, problems = index_tree(tmp_path, CARD)
    assert not problems and clips[0].files.frames == tmp_path / folder / "anger/c0"
    assert clips[0].files.audio == tmp_path / "mp3/anger/c0.mp3" and clips[-1].files.audio is None


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "webm", "flv", "mpg", "mov", "MP4"])
def test_every_container_is_found(tree, suffix):
    (tree / "video/joy/c0.mp4").rename(tree / f"video/joy/c0.{suffix}")
    clips, problems = index_tree(tree, CARD)
    assert len(clips) == 12 and not problems


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "joy/../c0", "..\\joy\\c0", "joy/a/b", "c0"])
def test_a_list_entry_that_leaves_the_folder_is_refused_with_its_line(tree, name):
    add(tree / "trainlist01.txt", f"{name} 1")
    with pytest.raises(DataError, match=r"trainlist01\.txt:7.*correct the list"):
        index_tree(tree, CARD)


def test_a_link_out_of_the_folder_is_not_followed(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.mp4"
    outside.touch()
    (tree / "video/joy/c0.mp4").unlink()
    (tree / "video/joy/c0.mp4").symlink_to(outside)
    clips, problems = index_tree(tree, CARD)
    assert "joy/c0" not in {clip.key for clip in clips}
    assert {(p.what, p.where) for p in problems} == {("link", "joy/c0"), ("missing", "joy/c0")}


def test_a_class_the_card_lacks_is_an_error_that_proposes_the_right_one(tree):
    add(tree / "testlist01.txt", "angr/c9")
    with pytest.raises(DataError, match=r"testlist01\.txt:7.*'angr'.*did you mean 'anger'"):
        index_tree(tree, CARD)


def test_rows_without_media_and_media_without_rows_are_told_by_name(tree):
    (tree / "video/joy/c1.mp4").unlink()
    (tree / "video/fear/extra.mp4").touch()
    clips, problems = index_tree(tree, CARD)
    assert len(clips) == 11
    assert {(p.what, p.where) for p in problems} == {("missing", "joy/c1"), ("unlisted", "fear/extra")}


def test_a_row_twice_is_kept_once_and_a_leak_stays_in_test_alone(tree):
    add(tree / "trainlist01.txt", "joy/c0 4\nfear/c1 3")
    clips, problems = index_tree(tree, CARD)
    assert {(p.what, p.where) for p in problems} == {("duplicate", "joy/c0"), ("leak", "fear/c1")}
    assert len(clips) == 12 and [c.split for c in clips if c.key == "fear/c1"] == ["test"]


def test_a_misspelt_class_folder_is_taken_and_told(tree):
    (tree / "video/joy").rename(tree / "video/Joy")
    clips, problems = index_tree(tree, CARD)
    assert len(clips) == 12 and [(p.what, p.where) for p in problems] == [("case", "video/Joy")]


def test_one_list_without_the_other_is_an_error(tree):
    (tree / "testlist01.txt").unlink()
    with pytest.raises(DataError, match="not the other list"):
        index_tree(tree, CARD)


def test_a_tree_without_media_says_what_was_wanted(tmp_path):
    write_lists(tmp_path, CARD, [0], [1])
    with pytest.raises(DataError, match=r"holds no media of Ekman-6; wanted: imgs/<Class>"):
        index_tree(tmp_path, CARD)


def annotate(tree, database):
    (tree / "trainlist01.txt").unlink()
    (tree / "testlist01.txt").unlink()
    (tree / "ekman6.json").write_text(json.dumps({"labels": list(CARD.classes), "database": database}))


def test_an_annotation_file_stands_in_for_lists(tree):
    annotate(
        tree,
        {
            "c0": {"subset": "training", "annotations": {"label": "joy"}},
            "c1.mp4": {"subset": "validation", "annotations": {"label": "joy"}},
            "c2": {"subset": "holdout", "annotations": {"label": "fear"}},
        },
    )
    rows, problems = read_rows(tree, CARD)
    assert [(row.key, row.label, row.split) for row in rows] == [("joy/c0", 3, "train"), ("joy/c1", 3, "test")]
    assert [(p.what, p.where) for p in problems] == [("subset", "fear/c2")] and "holdout" in problems[0].why


@pytest.mark.parametrize(
    ("name", "entry", "told"),
    [
        ("c0", {"subset": "training", "annotations": {"label": "joi"}}, "did you mean 'joy'"),
        ("../c0", {"subset": "training", "annotations": {"label": "joy"}}, "inside the data folder"),
        ("c0", {"subset": "training"}, "annotations.label"),
    ],
)
def test_a_wrong_annotation_is_an_error_that_names_it(tree, name, entry, told):
    annotate(tree, {name: entry})
    with pytest.raises(DataError, match=told):
        read_rows(tree, CARD)


def test_the_real_lists_and_annotation_of_ekman6_name_the_same_clips(shared, tmp_path):
    source = shared / "ve8_ek6_lists" / "cten_ek6"
    for name in ("trainlist01.txt", "testlist01.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    rows, problems = read_rows(tmp_path, CARD)
    assert not problems and {row.label for row in rows} == set(range(6))
    assert [sum(row.split == split for row in rows) for split in ("train", "test")] == [819, 818]
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "ek6_01.json").write_bytes((source / "ek6_01.json").read_bytes())
    annotated, _ = read_rows(tmp_path / "json", CARD)
    assert {(row.key, row.split) for row in annotated} == {(row.key, row.split) for row in rows}
