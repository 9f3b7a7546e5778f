"""Broken, damaged and truncated files, and time stamps that jump."""

import types

import av
import numpy as np
import pytest

from bench.errors import MediaError
from datasets.decode.container import StreamDecoder, _get_plane_widths, open_media
from datasets.streams.audio import read_log_mel
from datasets.streams.video import read_video
from tests.datasets.trees import brightness, greys, write_media


@pytest.mark.parametrize("content", [b"", b"no media at all" * 100], ids=["empty", "garbage"])
def test_a_file_that_is_no_media_is_an_error_that_says_why(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"clip\.mp4"):
        read_video(tmp_path / "clip.mp4", 24, "k")


def test_a_wrong_suffix_does_not_matter(tmp_path):
    write_media(tmp_path / "clip.mkv", 0.3).rename(tmp_path / "clip.avi")
    assert len(read_video(tmp_path / "clip.avi", 24, "k")[0].index) >= 7


def test_a_truncated_file_gives_what_is_left_of_it(tmp_path):
    path = write_media(tmp_path / "clip.mpg", 2.0, sound=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    picture, _ = read_video(path, 24, "k")
    assert 10 < len(picture.index) < 50


def test_a_truncated_mp4_without_its_index_is_an_error(tmp_path):
    path = write_media(tmp_path / "clip.mp4", 1.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="cannot be opened"):
        read_video(path, 24, "k")


def stamped(monkeypatch, stamps):
    """Give the frames of any video these time stamps."""
    from datasets.streams import video

    class Stamped(video.TimestampRepair):
        def repair(self, stamp):
            return super().repair(next(given))

    given = iter(stamps)
    monkeypatch.setattr(video, "TimestampRepair", Stamped)


@pytest.mark.parametrize(
    ("second", "jumps"),
    [(np.arange(25) / 25, 1), (np.arange(25) / 25 + 4000, 1), ([None] * 25, 0)],
    ids=["restart", "jump", "none"],
)
def test_time_stamps_that_restart_or_jump_are_continued_and_reported_once(tmp_path, monkeypatch, second, jumps):
    path = write_media(tmp_path / "clip.mp4", 2.0, sound=False)
    stamped(monkeypatch, [*(np.arange(25) / 25 + 100), *second])
    picture, problems = read_video(path, 24, "joy/clip")
    assert len(picture.index) == 60
    assert np.abs(greys(picture) - [brightness(place / 30) for place in range(60)]).max() < 12
    assert [(p.what, p.where) for p in problems] == [("time stamps", "joy/clip")] * jumps
    assert not jumps or "times: 1" in problems[0].why


def test_one_wrong_stamp_does_not_displace_the_others(tmp_path, monkeypatch):
    path = write_media(tmp_path / "clip.mp4", 1.0, sound=False)
    stamps = np.arange(25) / 25
    stamps[[5, 12, 18]] = 5000.0, stamps[10], 0.0
    stamped(monkeypatch, stamps)
    picture, problems = read_video(path, 24, "k")
    assert len(picture.index) == 30 and len(problems) == 1
    assert np.abs(greys(picture) - [brightness(place / 30) for place in range(30)]).max() < 16


def test_two_recordings_in_one_file_are_read_one_after_the_other(tmp_path):
    one, two = (write_media(tmp_path / name, 1.0, sound=False).read_bytes() for name in ("a.mpg", "b.mpg"))
    (tmp_path / "ab.mpg").write_bytes(one + two)
    picture, problems = read_video(tmp_path / "ab.mpg", 24, "k")
    assert abs(len(picture.index) - 60) <= 2 and [p.what for p in problems] == ["time stamps"]


def test_a_damaged_range_loses_only_its_own_packets_and_is_reported_once(tmp_path):
    path = write_media(tmp_path / "clip.mp4", 4.0)
    raw = bytearray(path.read_bytes())
    third, half = len(raw) // 3, len(raw) // 2
    raw[third:half] = np.random.default_rng(0).integers(0, 256, half - third, dtype=np.uint8).tobytes()
    path.write_bytes(raw)
    picture, problems = read_video(path, 24, "k")
    assert len(picture.index) == 120 and abs(greys(picture)[-1] - brightness(4.0)) < 16
    assert [p.what for p in problems] == ["damaged"] and "of 100 video packets" in problems[0].why
    sound, problems = read_log_mel(path, 32, "k")
    assert abs(len(sound.mels) - 400) <= 12 and [p.what for p in problems] == ["damaged"]  # skipped packets are silent


def test_media_without_a_decoder_are_a_clear_error(tmp_path):
    path = write_media(tmp_path / "clip.avi", 0.5)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(MediaError, match="no decoder"):
        read_video(path, 24, "k")
    assert len(read_log_mel(path, 32, "k")[0].mels)


def test_a_title_in_another_encoding_is_ignored(tmp_path):
    path = write_media(tmp_path / "clip.avi", 0.5)
    raw = path.read_bytes()
    place = raw.index(b"ISFT") + 8
    path.write_bytes(raw[:place] + b"\xe9\xe8" + raw[place + 2 :])
    assert len(read_video(path, 24, "k")[0].index) == 14 and len(read_log_mel(path, 32, "k")[0].mels)


@pytest.mark.parametrize(("form", "plane"), [("yuv420p", 2), ("bgr0", 0), ("yuv420p10le", 1)])
def test_frames_that_differ_in_one_byte_anywhere_have_other_digests(form, plane):
    one, other = (av.VideoFrame(66, 48, form) for _ in range(2))
    for frame in (one, other):
        for part in frame.planes:
            part.update(bytes(part.buffer_size))
    last = other.planes[plane]
    width = _get_plane_widths(other)[plane]
    changed = bytearray(last.buffer_size)
    changed[(last.height - 1) * last.line_size + width - 1] = 7
    last.update(bytes(changed))
    assert digest_of(one) != digest_of(other)
    changed = bytearray(last.buffer_size)
    changed[width : last.line_size] = b"\x09" * (last.line_size - width)  # padding
    last.update(bytes(changed))
    assert digest_of(one) == digest_of(other)


def digest_of(frame):
    stream = types.SimpleNamespace(type="video", codec_context=object())
    track = StreamDecoder(None, stream, "a")
    track._record_frame(frame)
    return track.digest


def test_frames_that_the_decoder_marks_as_damaged_are_reported(shared, tmp_path):
    data = bytearray((shared / "grid_clips" / "bbaf2n.mpg").read_bytes())
    for place in range(60_000, len(data), 4_000):
        data[place] ^= 0xFF
    (tmp_path / "a.mpg").write_bytes(data)
    with open_media(tmp_path / "a.mpg") as container:
        track = StreamDecoder(container, container.streams.video[0], "a.mpg")
        decoded = sum(1 for _ in track.iter_frames())
    (why,) = [p.why for p in track.list_issues("joy/a") if "are damaged" in p.why]
    assert f"of {decoded} video frames" in why
