"""Issues of real media: each has its own kind, and none stops the other clips."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bench.errors import MediaError
from bench.types import Clip, ClipSources
from datasets.decode.clip import decode_clip
from datasets.decode.container import MAX_CLIP_SECONDS
from datasets.streams.video import decode_frames, encode_jpeg
from tests.datasets.trees import write_frames, write_media, write_mp3

TALK, SHOUT = "grid_clips/bbaf2n.mpg", "cremad_clips/media/1001_DFA_ANG_XX.flv"


def decode(video=None, **files):
    return decode_clip(Clip("joy/a", 0, "train", "a", ClipSources(video=video, **files)), 32, 16)


def issue_kinds(video=None, **files):
    return [what for what, where, _ in decode(video, **files)[1]["problems"] if where == "joy/a"]


def why(kind, *args, **files):
    return next(why for what, _, why in decode(*args, **files)[1]["problems"] if what == kind)


def digests(video=None, **files):
    facts = decode(video, **files)[1]
    return facts["looks"], facts["sounds"]


def remux(source: Path, target: Path, turn: int = 0, streams: str = "video audio") -> Path:
    """Write the same packets to another container, with a rotation of `turn` degrees in the metadata."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        copies = {s.index: made.add_stream_from_template(s) for s in given.streams if s.type in streams}
        if turn:
            next(s for s in copies.values() if s.type == "video").set_display_rotation(turn)
        for packet in given.demux(*[given.streams[number] for number in copies]):
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                made.mux(packet)
    return target


def cut(source: Path, target: Path, share: float) -> Path:
    raw = source.read_bytes()
    target.write_bytes(raw[: int(len(raw) * share)])
    return target


def write_still(path: Path, grey: int, step: float, frames: int, options: dict[str, str] | None = None) -> Path:
    """Write a video of one grey level with a frame every `step` seconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8))
            frame.pts, frame.time_base = round(number * step * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_quiet(path: Path, seconds: float) -> Path:
    """Write an audio file of digital silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * 16000)), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16000, frame_size=4096)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def test_intact_real_clips_have_no_issues(shared):
    assert issue_kinds(shared / TALK) == issue_kinds(shared / SHOUT) == []


def test_an_empty_file_leaves_the_clip_out_or_only_its_sound(tmp_path, shared):
    (tmp_path / "a.mpg").write_bytes(b"")
    (tmp_path / "a.mp3").write_bytes(b"")
    with pytest.raises(MediaError, match=r"a\.mpg is empty \(0 bytes\)"):
        decode(tmp_path / "a.mpg")
    assert issue_kinds(shared / TALK, audio=tmp_path / "a.mp3") == ["sound", "no sound"]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_truncated_real_clip_is_reported_and_used(tmp_path, shared, share):
    data, facts = decode(cut(shared / SHOUT, tmp_path / "a.flv", share))
    assert "truncated" in [what for what, _, _ in facts["problems"]]
    assert share * 50 < facts["frames"] < share * 80 and len(data["index"]) == facts["frames"]


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_file_that_holds_less_than_it_states_is_truncated(tmp_path, shared, suffix):
    whole = remux(shared / TALK, tmp_path / f"whole{suffix}")
    assert issue_kinds(whole) == []
    reason = why("truncated", cut(whole, tmp_path / f"a{suffix}", 0.5))
    assert "states 3.0 s but only" in reason or "ends early (a packet is cut short)" in reason


def test_a_file_with_the_suffix_of_another_container_is_read_and_reported(tmp_path, shared):
    (tmp_path / "a.mp4").write_bytes((shared / SHOUT).read_bytes())
    (tmp_path / "a.mp3").write_bytes((shared / "cremad_clips/wav16k/1001_DFA_ANG_XX.wav").read_bytes())
    data, facts = decode(tmp_path / "a.mp4", audio=tmp_path / "a.mp3")
    assert [(what, reason.split(" despite")[0]) for what, _, reason in facts["problems"]] == [
        ("container", "a.mp3 is a wav file"),
        ("container", "a.mp4 is a flv file"),
    ]
    assert facts["frames"] > 60 and len(data["sound"]) > 200


def test_a_single_frame_is_reported_and_held_for_the_length_of_the_audio(tmp_path, shared):
    (tmp_path / "frames").mkdir()
    with av.open(str(shared / TALK)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    (tmp_path / "frames/000001.jpg").write_bytes(encode_jpeg(first))
    _, facts = decode(shared / TALK, frames=tmp_path / "frames")
    assert [what for what, _, _ in facts["problems"]] == ["one frame", "length"] and facts["frames"] > 80
    assert issue_kinds(write_still(tmp_path / "a.mkv", 90, 1, 1)) == ["one frame", "no sound"]


def test_no_audio_and_silent_audio_are_different_issues(tmp_path, shared):
    mute = remux(shared / TALK, tmp_path / "mute.mkv", streams="video")
    assert issue_kinds(mute) == ["no sound"]
    quiet = write_quiet(tmp_path / "a.flac", 3.0)
    assert issue_kinds(mute, audio=quiet) == ["silent"]
    assert digests(mute, audio=quiet)[1] == digests(mute)[1] == ""


def test_a_black_video_is_reported_and_a_dark_one_is_not(tmp_path, shared):
    sound = shared / "cremad_clips/wav16k/1001_DFA_ANG_XX.wav"
    black, dark = write_still(tmp_path / "a.mkv", 8, 0.5, 5), write_still(tmp_path / "b.mkv", 60, 0.5, 5)
    assert issue_kinds(black, audio=sound) == ["black"] and issue_kinds(dark, audio=sound) == []
    assert digests(black)[0] == "" and digests(dark)[0]
    folder = write_frames(tmp_path / "frames", 0.2)
    for path in sorted(folder.iterdir())[:-1]:
        path.write_bytes(encode_jpeg(np.zeros((24, 32, 3), np.uint8)))
    assert issue_kinds(frames=folder) == ["no sound"]  # it ends bright


@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {}), (".mkv", {"live": "1"})], ids=["stated", "unstated"])
def test_media_of_an_hour_are_refused(tmp_path, monkeypatch, suffix, options):
    long = write_still(tmp_path / f"a{suffix}", 90, 50, round(MAX_CLIP_SECONDS / 50) + 2, options)
    monkeypatch.setattr("datasets.streams.audio.read_samples", lambda *args: pytest.fail("decoded the audio"))
    if not options:
        monkeypatch.setattr("datasets.decode.clip.read_video", lambda *args: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=rf"a\{suffix} is 60 minutes long or longer"):
        decode(long)


def test_an_hour_of_audio_or_of_numbered_frames_is_no_clip(tmp_path, monkeypatch, shared):
    monkeypatch.setattr("datasets.decode.container.MAX_CLIP_SECONDS", 2.5)
    with pytest.raises(MediaError, match=r"a\.mp3 is"):
        decode(write_still(tmp_path / "a.mkv", 90, 0.5, 3), audio=write_mp3(tmp_path / "a.mp3", 3.0))
    with pytest.raises(MediaError, match=r"frames/ is"):
        decode(frames=write_frames(tmp_path / "frames", 2.7))


def test_just_under_an_hour_is_decoded(tmp_path):
    _, facts = decode(write_still(tmp_path / "a.mp4", 90, 50, round(MAX_CLIP_SECONDS / 50) - 1))
    assert 3500 < facts["frames"] / 30 < 3600


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_rotated_video_is_decoded_upright_and_reported(tmp_path, shared, turn):
    upright = remux(shared / TALK, tmp_path / "up.mov")
    rotated = remux(shared / TALK, tmp_path / "a.mov", turn)
    assert issue_kinds(rotated) == ["rotated"] and issue_kinds(upright) == []
    frames = [
        next(decode_frames((data["packets"][: data["offsets"][1]].tobytes(),), [0]))[1]
        for data, _ in map(decode, (upright, rotated))
    ]
    assert np.abs(np.rot90(frames[0].astype(int), turn // 90) - frames[1]).mean() < 5  # each was encoded


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov"])
def test_the_same_streams_in_another_container_are_the_same_content(tmp_path, shared, suffix):
    assert digests(remux(shared / TALK, tmp_path / f"other{suffix}")) == digests(shared / TALK)


def test_unusual_frame_rates_are_the_same_content_in_containers_with_rounded_time_stamps(tmp_path):
    for fps in (24, 60):
        made = write_media(tmp_path / "a.mp4", 2.0, fps=fps)
        assert digests(remux(made, tmp_path / "b.mkv")) == digests(made)


def test_other_content_has_other_digests(tmp_path, shared):
    looks, sounds = zip(*[digests(path) for path in sorted((shared / "grid_clips").glob("*.mpg"))[:4]], strict=True)
    assert len(set(looks)) == len(set(sounds)) == 4 and all(len(digest) == 64 for digest in looks + sounds)
    folder = write_frames(tmp_path / "frames", 0.5)
    before = digests(frames=folder)
    (folder / "000007.jpg").write_bytes(encode_jpeg(np.full((24, 32, 3), 99, np.uint8)))
    assert digests(frames=folder)[0] not in ("", before[0])


def test_unusual_subtitles_are_reported_each_by_its_kind(tmp_path, shared):
    def kinds(raw):
        (tmp_path / "a.srt").write_bytes(raw)
        return issue_kinds(shared / TALK, transcript=tmp_path / "a.srt")

    one = "1\n00:00:00,500 --> 00:00:01,500\nadiós\n\n"
    late = one + "2\n00:00:30,000 --> 00:00:31,000\nlate\n"
    over = one + "2\n00:00:01,000 --> 00:00:02,000\nover\n"
    assert [kinds(text.encode()) for text in (one, late, over, over + over)] == [
        [],
        ["outside"],
        ["overlap"],
        ["overlap"],
    ]
    for encoding in ("latin-1", "utf-16", "utf-16-le", "utf-16-be"):
        assert kinds(one.encode(encoding)) == ["encoding"], encoding
    assert kinds(b"") == ["no words"] and kinds(b"Conversion failed!") == ["transcript"]
