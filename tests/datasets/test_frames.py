"""Folders of numbered frames: gaps, unusual names, links and unreadable images."""

import numpy as np
import pytest

from bench.errors import MediaError
from datasets.streams.video import encode_jpeg, read_frame_folder
from tests.datasets.trees import brightness, greys, write_frames


def test_a_folder_of_frames_has_thirty_frames_per_second(tmp_path):
    video, problems = read_frame_folder(write_frames(tmp_path / "c", 1.0), 24, "joy/c")
    assert not problems and len(video.index) == 30
    assert np.abs(greys(video) - [brightness(n / 30) for n in range(30)]).max() < 6


def test_unreadable_frames_are_reported_once_by_name_and_repeat_the_one_before(tmp_path):
    folder = write_frames(tmp_path / "c", 0.5)
    for number in (1, 5, 6):
        (folder / f"{number:06d}.jpg").write_bytes(b"no video")
    video, problems = read_frame_folder(folder, 24, "joy/c")
    assert [(p.what, p.where) for p in problems] == [("frames", "joy/c")]
    assert "3 of 15" in problems[0].why and "000001.jpg" in problems[0].why
    assert video.index.tolist() == [0, 0, 1, 2, 2, 2, *range(3, 12)]


def test_a_frame_that_cannot_be_scaled_repeats_the_one_before(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "000003.jpg").write_bytes(
        encode_jpeg(np.zeros((1, 3000, 3), np.uint8))
    )  # 72000 pixels wide after scaling, above MAX_SIDE
    video, problems = read_frame_folder(folder, 24, "joy/c")
    assert video.index.tolist() == [0, 1, 1, 2, 3, 4]
    assert [p.what for p in problems] == ["frames"] and "3000 x 1" in problems[0].why


@pytest.mark.parametrize("first", [0, 1, 57])
def test_frames_are_placed_by_their_numbers_counted_from_the_first(tmp_path, first):
    (tmp_path / "c").mkdir()
    for number in (0, 1, 2, 5, 12):
        grey = np.full((24, 24, 3), 20 * number, np.uint8)
        (tmp_path / "c" / f"frame_{number + first}.jpg").write_bytes(
            encode_jpeg(grey)
        )  # unpadded: 12 sorts before 2 as text
    video, problems = read_frame_folder(tmp_path / "c", 24, "joy/c")
    expected = [0, 20, *[40] * 3, *[100] * 7, 240]
    assert np.abs(greys(video) - expected).max() < 4
    assert [(p.what, p.where) for p in problems] == [("frames", "joy/c")] and "missing: 8" in problems[0].why


def test_a_jump_in_the_numbers_is_closed_and_reported(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "000006.jpg").rename(folder / "20240101120000.jpg")
    video, problems = read_frame_folder(folder, 24, "joy/c")
    assert len(video.index) == 6 and ["jumps" in p.why for p in problems] == [True]


def test_files_that_are_no_numbered_images_are_left_out(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    (folder / "@eaDir").mkdir()
    (folder / "000009.jpg").mkdir()
    (folder / "n_frames").write_text("6")
    assert len(read_frame_folder(folder, 24, "joy/c")[0].index) == 6
    (folder / "cover.jpg").write_bytes(b"")
    (folder / "3.jpeg").write_bytes(b"")
    video, problems = read_frame_folder(folder, 24, "joy/c")
    assert len(video.packets) == 6 and video.index.tolist() == list(range(6))
    assert sorted(p.why for p in problems) == [
        "images left out: 1 (no number in the name)",
        "images left out: 1 (not a file)",
        "images left out: 1 (number used twice)",
    ]


def test_frames_may_be_links_within_the_data_folder_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    folder = write_frames(root / "imgs/joy/c", 0.2)
    (root / "annex").mkdir()
    (folder / "000002.jpg").rename(root / "annex/two")
    (folder / "000002.jpg").symlink_to("../../../annex/two")
    video, problems = read_frame_folder(folder, 24, "joy/c", root)
    assert video.index.tolist() == list(range(6)) and not problems
    (folder / "000003.jpg").rename(tmp_path / "outside.jpg")
    (folder / "000003.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "000004.jpg").unlink()
    (folder / "000004.jpg").symlink_to("../../../annex/gone")
    video, problems = read_frame_folder(folder, 24, "joy/c", root)
    assert video.index.tolist() == [0, 1, 1, 1, 2, 3]
    reasons = " ".join(p.why for p in problems)
    assert "leaves the data folder" in reasons and "a broken link" in reasons and "missing: 2" in reasons


def test_a_folder_without_a_readable_frame_is_an_error_that_names_it(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "000001.jpg").write_bytes(b"")
    with pytest.raises(MediaError, match="c/"):
        read_frame_folder(tmp_path / "c", 24, "joy/c")
