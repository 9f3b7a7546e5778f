"""Folders of numbered pictures: gaps, odd names, links, and pictures that cannot be read."""

import numpy as np
import pytest

from bench.errors import MediaError
from datasets.decode.video import encode_jpeg, read_frame_folder
from tests.datasets.trees import brightness, greys, write_frames


def test_a_folder_of_pictures_stands_at_thirty_a_second(tmp_path):
    picture, problems = read_frame_folder(write_frames(tmp_path / "c", 1.0), 24, "joy/c")
    assert not problems and len(picture.index) == 30
    assert np.abs(greys(picture) - [brightness(n / 30) for n in range(30)]).max() < 6


def test_unreadable_pictures_are_told_once_by_name_and_show_the_one_before(tmp_path):
    folder = write_frames(tmp_path / "c", 0.5)
    for number in (1, 5, 6):
        (folder / f"{number:06d}.jpg").write_bytes(b"no picture")
    picture, problems = read_frame_folder(folder, 24, "joy/c")
    assert [(p.what, p.where) for p in problems] == [("frames", "joy/c")]
    assert "3 of 15" in problems[0].why and "000001.jpg" in problems[0].why
    assert picture.index.tolist() == [0, 0, 1, 2, 2, 2, *range(3, 12)]


def test_a_picture_that_cannot_be_scaled_shows_the_one_before(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "000003.jpg").write_bytes(
        encode_jpeg(np.zeros((1, 3000, 3), np.uint8))
    )  # 72000 wide: more than a JPEG holds
    picture, problems = read_frame_folder(folder, 24, "joy/c")
    assert picture.index.tolist() == [0, 1, 1, 2, 3, 4]
    assert [p.what for p in problems] == ["frames"] and "3000 x 1" in problems[0].why


@pytest.mark.parametrize("first", [0, 1, 57])
def test_frames_stand_where_their_numbers_say_counted_from_the_first(tmp_path, first):
    (tmp_path / "c").mkdir()
    for number in (0, 1, 2, 5, 12):
        grey = np.full((24, 24, 3), 20 * number, np.uint8)
        (tmp_path / "c" / f"frame_{number + first}.jpg").write_bytes(
            encode_jpeg(grey)
        )  # unpadded: 12 sorts before 2 as text
    picture, problems = read_frame_folder(tmp_path / "c", 24, "joy/c")
    wanted = [0, 20, *[40] * 3, *[100] * 7, 240]
    assert np.abs(greys(picture) - wanted).max() < 4
    assert [(p.what, p.where) for p in problems] == [("frames", "joy/c")] and "missing: 8" in problems[0].why


def test_a_jump_in_the_numbers_is_closed_and_told(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "000006.jpg").rename(folder / "20240101120000.jpg")
    picture, problems = read_frame_folder(folder, 24, "joy/c")
    assert len(picture.index) == 6 and ["jumps" in p.why for p in problems] == [True]


def test_what_is_no_numbered_picture_is_no_frame(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "@eaDir").mkdir()
    (folder / "000009.jpg").mkdir()
    (folder / "n_frames").write_text("6")
    assert len(read_frame_folder(folder, 24, "joy/c")[0].index) == 6
    (folder / "cover.jpg").write_bytes(b"")
    (folder / "3.jpeg").write_bytes(b"")
    picture, problems = read_frame_folder(folder, 24, "joy/c")
    assert len(picture.packets) == 6 and picture.index.tolist() == list(range(6))
    assert sorted(p.why for p in problems) == [
        "left out, 1 of the pictures: no file",
        "left out, 1 of the pictures: of a number that another has",
        "left out, 1 of the pictures: without a number",
    ]


def test_frames_may_be_links_within_the_data_folder_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    folder = write_frames(root / "imgs/joy/c", 0.2)
    (root / "annex").mkdir()
    (folder / "000002.jpg").rename(root / "annex/two")
    (folder / "000002.jpg").symlink_to("../../../annex/two")
    picture, problems = read_frame_folder(folder, 24, "joy/c", root)
    assert picture.index.tolist() == list(range(6)) and not problems
    (folder / "000003.jpg").rename(tmp_path / "outside.jpg")
    (folder / "000003.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "000004.jpg").unlink()
    (folder / "000004.jpg").symlink_to("../../../annex/gone")
    picture, problems = read_frame_folder(folder, 24, "joy/c", root)
    assert picture.index.tolist() == [0, 1, 1, 1, 2, 3]
    told = " ".join(p.why for p in problems)
    assert "leaves the data folder" in told and "leads nowhere" in told and "missing: 2" in told


def test_a_folder_without_a_readable_picture_is_an_error_that_names_it(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "000001.jpg").write_bytes(b"")
    with pytest.raises(MediaError, match="c/"):
        read_frame_folder(tmp_path / "c", 24, "joy/c")
