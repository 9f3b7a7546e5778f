"""Parts of a file are the slices of its whole decoding, frame by frame and sample by sample, read in one pass."""

import numpy as np
import pytest

from bench.types import ClipSources
from datasets.decode import clip as decoding
from datasets.decode import container as containers
from datasets.decode.clip import decode_clip, decode_parts
from tests.datasets.odd_media import write_frames_at_25
from tests.datasets.slices import check_slices, make_parts, read_media, write_numbered
from tests.datasets.trees import write_media, write_mp3

SPANS = [(0.0, 0.5), (2.0, 2.5), (2.5, 2.9), (4.71, 5.3), (5.0, 5.6), (5.0, 5.01), (7.337, None), (None, 0.4)]
SHORT = [(0.0, 1.0), (1.0, 2.0), (0.5, 1.25), (1.337, 1.338), (2.2, None), (None, 0.4)]
JUMPY = np.cumsum(np.random.default_rng(1).choice([0.01, 0.033, 0.04, 0.2, 0.9], size=60))
OPEN_GOP = {"x264-params": "open-gop=1:keyint=40:bframes=3:scenecut=0"}
FILES = {
    "few key frames, B-frames": ("a.mp4", "libx264", "aac", {"key_frames": 1000}),
    "no audio, so it seeks": ("b.mp4", "libx264", None, {}),
    "a later first time stamp": ("c.mkv", "libx264", "libmp3lame", {"first": 5.0}),
    "audio that starts later": ("k.mkv", "libx264", "libmp3lame", {"late": 3.0}),
    "variable frame rate": ("d.mp4", "libx264", None, {"times": JUMPY}),
    "opus": ("e.webm", "libvpx", "libopus", {"between": 0, "deadline": "realtime", "cpu-used": "8"}),
    "no time stamps of packets": ("f.avi", "mpeg4", "libmp3lame", {}),
    "no index of flash video": ("h.flv", "flv", "libmp3lame", {"between": 0}),
    "no index": ("g.mpg", "mpeg2video", "mp2", {"key_frames": 12}),
    "frames that refer to the group before": ("i.mp4", "libx264", None, OPEN_GOP),
    "a wave in a video": ("j.mov", "mpeg4", "pcm_s16le", {}),
}


@pytest.mark.parametrize("case", FILES, ids=str)
def test_a_part_of_a_file_is_the_slice_of_the_whole(tmp_path, case):
    name, codec, sound, options = FILES[case]
    path = write_numbered(tmp_path / name, codec, sound, **options)
    check_slices(ClipSources(video=path), SPANS, SPANS[3:4], SPANS[6:7])  # the other parts must not matter


@pytest.mark.parametrize("pattern", ["cremad_clips/media/1001_DFA_ANG_XX.flv", "grid_clips/*.mpg", "odd_media/*/*.mkv"])
def test_a_part_of_a_real_file_is_the_slice_of_the_whole(shared, pattern):
    for path in sorted(shared.glob(pattern))[:2]:
        check_slices(ClipSources(video=path), SHORT, SHORT[1:2])


def test_parts_of_audio_and_of_frames_are_slices_too(tmp_path, shared):
    check_slices(ClipSources(audio=write_mp3(tmp_path / "a.mp3", 3.0, rate=44100)), SHORT)
    check_slices(ClipSources(audio=shared / "cremad_clips/wav16k/1001_DFA_ANG_XX.wav"), SHORT)
    files = write_frames_at_25(tmp_path / "frames")
    for number in (1, 2, 40, 41, 60):
        (files.frames / f"{number:06d}.jpg").unlink()
    (files.frames / "000050.jpg").write_bytes(b"no picture")
    media = check_slices(files, [*SHORT, (48.5 / 30, 2.5), (47.5 / 30, 1.6)])
    assert ["frames" in {problem.what for problem in media[n].problems} for n in (6, 7)] == [True, True]
    separate = ClipSources(video=write_media(tmp_path / "v.mp4", 3.0), audio=write_mp3(tmp_path / "s.mp3", 3.0))
    check_slices(separate, SHORT)


def count_decoded(monkeypatch, run):
    """Return the number of video packets that are decoded, and that are read."""
    numbers = {"decoded": 0, "read": 0}
    decode, add = containers.StreamDecoder.decode, decoding.VideoParts.add

    def count_decode(self, packet):
        numbers["decoded"] += self._kind == "video" and packet.size > 0
        return decode(self, packet)

    def count_add(self, packet):
        numbers["read"] += self._held is None or packet not in (self._held or [])
        return add(self, packet)

    with monkeypatch.context() as patch:
        patch.setattr(containers.StreamDecoder, "decode", count_decode)
        patch.setattr(decoding.VideoParts, "add", count_add)
        run()
    return numbers["decoded"], numbers["read"]


def test_a_part_is_decoded_from_the_key_frame_before_it_and_no_further(tmp_path, monkeypatch):
    heard = write_numbered(tmp_path / "a.mp4", "libx264", "aac", seconds=30, key_frames=25)
    mute = write_numbered(tmp_path / "b.mp4", "libx264", None, seconds=30, key_frames=25)
    for path in heard, mute:
        parts = make_parts(ClipSources(video=path), [(20.5, 21.5)])
        decoded, _ = count_decoded(monkeypatch, lambda parts=parts: read_media(parts))
        assert 30 < decoded < 130, path.name  # the first group, and the one of the part
    _, read = count_decoded(monkeypatch, lambda: read_media(make_parts(ClipSources(video=mute), [(20.5, 21.5)])))
    assert read < 200  # 750 packets are in the file
    _, read = count_decoded(monkeypatch, lambda: read_media(make_parts(ClipSources(video=heard), [(5.0, 6.0)])))
    assert read < 300


def test_a_file_whose_key_frames_are_none_is_read_from_its_start(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "a.mkv", "libx264", None, key_frames=1000)

    class Liar:
        """Packet that claims to begin with a key frame."""

        def __init__(self, packet):
            self._packet = packet

        is_keyframe = True

        def __getattr__(self, name):
            return getattr(self._packet, name)

    add, passes = decoding.VideoParts.add, []
    monkeypatch.setattr(decoding.VideoParts, "add", lambda self, packet: add(self, Liar(packet)))
    once = decoding._read_once
    monkeypatch.setattr(decoding, "_read_once", lambda *args: (passes.append(args[-1]), once(*args))[1])
    check_slices(ClipSources(video=path), [(0.0, 0.5), (5.0, 6.0), (7.5, 8.0)])
    assert passes == [True, False]


def test_a_part_after_the_end_of_its_file_is_an_error_with_both_times(tmp_path):
    for name in "a.mp4", "a.mpg":
        video = write_media(tmp_path / name, 2.0)
        files = ClipSources(video=video)
        clips = make_parts(files, [(3.0, 4.0), (1.0, 9.0), (36000.5, None)])
        found = {clip.key: result for clip, result in decode_parts(clips, 24, 16)}
        assert "begins at 3 s" in str(found["joy/p0"]) and f"{name} ends at 2" in str(found["joy/p0"])
        assert "begins at 36000.5 s" in str(found["joy/p2"])
        _, facts = found["joy/p1"]
        (why,) = [why for what, _, why in facts["problems"] if what == "beyond"]
        assert "ends at 9 s" in why and f"{name} at 2" in why
        assert 29 <= facts["frames"] <= 33


def test_an_end_within_a_tenth_of_a_second_after_the_file_is_not_reported(tmp_path):
    path = write_media(tmp_path / "a.avi", 2.0, rate=16000)
    (clip,) = make_parts(ClipSources(video=path), [(1.0, 2.04)])
    assert "beyond" not in {what for what, *_ in decode_clip(clip, 24, 16)[1]["problems"]}


def test_a_part_without_video_or_audio_there_uses_the_other(tmp_path):
    path = write_media(tmp_path / "a.mp4", 1.0, sound_seconds=4.0)
    clips = make_parts(ClipSources(video=path), [(2.5, 3.5), (0.0, 0.9)])
    after, before = (facts for _, (_, facts) in sorted(decode_parts(clips, 24, 16), key=lambda row: row[0].key))
    assert (after["frames"], after["sound"]) == (30, 100)  # the last frame is held
    assert (before["frames"], before["sound"]) == (27, 90)
    mute = write_media(tmp_path / "b.mp4", 2.0, sound=False)
    (clip,) = make_parts(ClipSources(video=mute), [(0.5, 1.5)])
    assert (decode_clip(clip, 24, 16)[1]["frames"], decode_clip(clip, 24, 16)[1]["sound"]) == (30, 0)


def test_the_hour_is_a_limit_of_a_part_and_not_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_CLIP_SECONDS", 3.0)
    path = write_media(tmp_path / "a.mp4", 5.0)
    clips = make_parts(ClipSources(video=path), [(4.0, 4.5), (0.5, 4.5), (0.5, None), (3.0, None)])
    found = {clip.key: result for clip, result in decode_parts(clips, 24, 16)}
    assert [isinstance(found[clip.key], containers.ClipTooLong) for clip in clips] == [False, True, True, False]
    assert str(found["joy/p1"]).startswith("the part of a.mp4 is")


def test_parts_of_a_file_whose_time_stamps_restart_are_slices_and_report_it_where_it_is(tmp_path):
    one, two = (write_media(tmp_path / name, 3.0, sound=False).read_bytes() for name in ("a.mpg", "b.mpg"))
    (tmp_path / "ab.mpg").write_bytes(one + two)
    spans = [(0.2, 0.5), (1.9, 3.5), (4.9, 5.5)]
    media = check_slices(ClipSources(video=tmp_path / "ab.mpg"), spans)
    check_slices(ClipSources(video=tmp_path / "ab.mpg"), spans[2:])
    assert ["time stamps" in {p.what for p in media[n].problems} for n in range(3)] == [False, True, False]


def test_a_long_group_of_frames_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.streams.video.MAX_HELD_BYTES", 5_000)
    path = write_numbered(tmp_path / "a.mp4", "libx264", "aac", key_frames=1000)
    check_slices(ClipSources(video=path), SPANS)


def test_damage_is_reported_for_the_parts_that_it_is_in(tmp_path):
    path = write_media(tmp_path / "clip.mp4", 8.0, sound=False)
    raw = bytearray(path.read_bytes())
    begin, end = len(raw) * 40 // 100, len(raw) * 45 // 100
    raw[begin:end] = np.random.default_rng(0).integers(0, 256, end - begin, dtype=np.uint8).tobytes()
    path.write_bytes(raw)
    clips = make_parts(ClipSources(video=path), [(0.0, 1.0), (1.0, 5.0), (6.5, 7.5)])
    found = {clip.key: facts["problems"] for clip, (_, facts) in decode_parts(clips, 24, 16)}
    assert [any(what == "damaged" for what, *_ in found[clip.key]) for clip in clips] == [False, True, False]


def test_many_parts_of_unreadable_files_have_a_reason_each(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    clips = make_parts(ClipSources(video=tmp_path / "a.mp4"), [(0.0, 1.0), (1.0, 2.0)])
    assert all("cannot be opened" in str(result) for _, result in decode_parts(clips, 24, 16))
