"""Folder trees: media by class and clip, links, names that leave the folder, missing media, class names."""

import pytest

from bench.errors import DataError
from datasets.catalog.ekman6 import INFO
from datasets.index import index_tree
from tests.datasets.trees import write_lists


@pytest.fixture
def tree(tmp_path):
    """Write two clips of each class as empty files, since indexing opens none."""
    for name in INFO.classes:
        for number in range(2):
            for path in (f"video/{name}/c{number}.mp4", f"srt/{name}/c{number}.srt"):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).touch()
    write_lists(tmp_path, INFO, [0], [1])
    return tmp_path


def add(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_lists_and_media_meet_by_class_and_clip(tree):
    _, clips, problems = index_tree(tree, INFO)
    assert not problems and len(clips) == 12
    first = clips[0]
    assert (first.key, first.target, first.split, first.group) == ("anger/c0", 0, "train", "anger/c0")
    assert first.sources.video == tree / "video/anger/c0.mp4" and first.sources.transcript == tree / "srt/anger/c0.srt"
    assert {clip.key for clip in clips if clip.split == "test"} == {f"{name}/c1" for name in INFO.classes}


@pytest.mark.parametrize("folder", ["imgs", "img"])
def test_frames_and_sound_may_lie_apart_under_either_spelling(tmp_path, folder):
    for name in INFO.classes:
        for number in range(2):
            (tmp_path / folder / name / f"c{number}").mkdir(parents=True)
        (tmp_path / "mp3" / name).mkdir(parents=True)
        (tmp_path / "mp3" / name / "c0.mp3").touch()
    write_lists(tmp_path, INFO, [0], [1])
    _, clips, problems = index_tree(tmp_path, INFO)
    assert not problems and clips[0].sources.frames == tmp_path / folder / "anger/c0"
    assert clips[0].sources.audio == tmp_path / "mp3/anger/c0.mp3" and clips[-1].sources.audio is None


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "webm", "flv", "mpg", "mov", "MP4"])
def test_every_container_is_found(tree, suffix):
    (tree / "video/joy/c0.mp4").rename(tree / f"video/joy/c0.{suffix}")
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 12 and not problems


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "joy/../c0", "..\\joy\\c0", "joy/a/b", "c0"])
def test_a_list_entry_that_leaves_the_folder_is_refused_with_its_line(tree, name):
    add(tree / "trainlist01.txt", f"{name} 1")
    with pytest.raises(DataError, match=r"trainlist01\.txt:7.*correct the list"):
        index_tree(tree, INFO)


def test_a_link_out_of_the_folder_is_not_followed(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.mp4"
    outside.touch()
    (tree / "video/joy/c0.mp4").unlink()
    (tree / "video/joy/c0.mp4").symlink_to(outside)
    _, clips, problems = index_tree(tree, INFO)
    assert "joy/c0" not in {clip.key for clip in clips}
    assert {(p.what, p.where) for p in problems} == {("link", "joy/c0"), ("missing", "joy/c0")}


def test_a_link_within_the_folder_is_followed_from_a_clip_as_from_a_class(tree):
    (tree / "annex").mkdir()
    (tree / "video/joy/c0.mp4").rename(tree / "annex/a1b2")
    (tree / "video/joy/c0.mp4").symlink_to("../../annex/a1b2")
    (tree / "video/fear").rename(tree / "annex/fear")
    (tree / "video/fear").symlink_to("../annex/fear")
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 12 and not problems


def test_a_class_folder_that_is_a_link_out_of_the_folder_is_not_followed(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (tree / "video/joy").rename(outside / "joy")
    (tree / "video/joy").symlink_to(outside / "joy")
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 10 and ("link", "video/joy") in {(p.what, p.where) for p in problems}


@pytest.mark.parametrize("target", ["../../nowhere.mp4", "c0.mp4"], ids=["dangling", "circle"])
def test_a_broken_link_loses_only_its_clip(tree, target):
    (tree / "video/joy/c0.mp4").unlink()
    (tree / "video/joy/c0.mp4").symlink_to(target)
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 11
    assert {(p.what, p.where) for p in problems} == {("link", "joy/c0"), ("missing", "joy/c0")}
    assert "a broken link" in problems[0].why


def test_the_error_mentions_refused_links(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "video"
    (tree / "video").rename(outside)
    (tree / "video").symlink_to(outside)
    for path in sorted((tree / "srt").rglob("*.srt")):
        path.unlink()
    with pytest.raises(DataError, match=r"no media files of Ekman-6 \(1 links .* were not followed\)"):
        index_tree(tree, INFO)


def test_of_two_files_of_one_clip_the_first_by_name_is_used_and_the_other_reported(tree):
    (tree / "video/joy/c0.avi").touch()
    _, clips, problems = index_tree(tree, INFO)
    (clip,) = [clip for clip in clips if clip.key == "joy/c0"]
    assert clip.sources.video == tree / "video/joy/c0.avi"
    assert [(p.what, p.where) for p in problems] == [("two files", "joy/c0")]
    assert "joy/c0.avi is used" in problems[0].why and "c0.mp4 is ignored" in problems[0].why


def test_a_folder_with_the_name_of_a_video_is_no_video(tree):
    (tree / "video/joy/c9.mp4").mkdir()
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 12 and not problems


def test_a_class_the_card_lacks_is_an_error_that_proposes_the_right_one(tree):
    add(tree / "testlist01.txt", "angr/c9")
    with pytest.raises(DataError, match=r"testlist01\.txt:7.*'angr'.*did you mean 'anger'"):
        index_tree(tree, INFO)


def test_rows_without_media_and_media_without_rows_are_reported_by_name(tree):
    (tree / "video/joy/c1.mp4").unlink()
    (tree / "video/fear/extra.mp4").touch()
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 11
    assert {(p.what, p.where) for p in problems} == {("missing", "joy/c1"), ("unlisted", "fear/extra")}


def test_a_class_folder_in_another_case_is_accepted_and_reported(tree):
    (tree / "video/joy").rename(tree / "video/Joy")
    _, clips, problems = index_tree(tree, INFO)
    assert len(clips) == 12 and [(p.what, p.where) for p in problems] == [("case", "video/Joy")]


def test_the_error_of_a_tree_without_media_states_the_layout(tmp_path):
    write_lists(tmp_path, INFO, [0], [1])
    with pytest.raises(DataError, match=r"no media files of Ekman-6; expected imgs/<Class>"):
        index_tree(tmp_path, INFO)
