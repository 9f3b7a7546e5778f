"""Decoding of every container, any size, rate and length."""

import av
import numpy as np
import pytest

from datasets.streams.audio import compute_log_mel, read_log_mel
from datasets.streams.video import decode_frames, read_video
from tests.datasets.trees import CODECS, brightness, greys, write_media, write_mp3


def loud_from(mels):
    """Return the second of the first frame louder than the mean of the quietest and the loudest frame."""
    level = mels.astype(np.float32).mean(1)
    return np.argmax(level > (level.min() + level.max()) / 2) / 100


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1)])
def test_every_container_gives_its_video_and_audio_at_their_times(tmp_path, suffix, rate, channels):
    if suffix == ".flv" and rate == 48000:
        rate = 22050  # flv does not support 48 kHz mp3
    path = write_media(tmp_path / f"clip{suffix}", 1.0, rate=48000 if suffix == ".webm" else rate, channels=channels)
    video, problems = read_video(path, 24, "joy/clip")
    assert not problems and abs(len(video.index) - 30) <= 2
    seconds = np.arange(len(video.index)) / 30
    assert np.abs(greys(video) - [brightness(s) for s in seconds]).max() < 12
    assert video.size == (24, 32)
    sound, problems = read_log_mel(path, 32, "joy/clip")
    mels = sound.mels
    assert not problems and mels.shape[1] == 32 and abs(len(mels) - 100) <= 12  # codecs add some silence
    assert abs(loud_from(mels) - 0.5) < 0.08


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_sound_of_any_rate_keeps_its_time(tmp_path, rate):
    sound, problems = read_log_mel(write_mp3(tmp_path / "a.mp3", 1.0, rate), 32, "joy/a")
    assert not problems and abs(len(sound.mels) - 100) <= 15 and abs(loud_from(sound.mels) - 0.5) < 0.08


@pytest.mark.parametrize("size", [(66, 38), (38, 66), (322, 242), (30, 30)])
def test_unusual_sizes_are_scaled_to_the_short_side(tmp_path, size):
    video, _ = read_video(write_media(tmp_path / "clip.avi", 0.2, size=size, sound=False), 24, "joy/clip")
    height, width = video.size
    assert min(height, width) == 24 and abs(width / height - size[0] / size[1]) < 0.05


def test_variable_frame_rates_are_put_onto_a_steady_time_line(tmp_path):
    times = [0.0, 0.04, 0.08, 0.12, 0.5, 0.54, 0.9, 1.0]  # two long still stretches
    video, _ = read_video(write_media(tmp_path / "clip.mkv", times=times, sound=False), 24, "joy/clip")
    expected = [brightness(max(t for t in times if t <= place / 30 + 0.02)) for place in range(len(video.index))]
    assert abs(len(video.index) - 31) <= 1 and np.abs(greys(video) - expected).max() < 12
    assert len(video.packets) <= len(times)


def test_a_slow_video_repeats_frames_and_a_fast_one_drops_them(tmp_path):
    slow, _ = read_video(write_media(tmp_path / "slow.avi", 1.0, fps=10, sound=False), 24, "joy/slow")
    fast, _ = read_video(write_media(tmp_path / "fast.avi", 1.0, fps=60, sound=False), 24, "joy/fast")
    assert len(slow.packets) == 10 and abs(len(slow.index) - 30) <= 1
    assert abs(len(fast.packets) - 30) <= 1 and abs(len(fast.index) - 30) <= 1


@pytest.mark.parametrize("sound_seconds", [0.5, 2.0])
def test_audio_longer_or_shorter_than_the_video_keeps_its_length(tmp_path, sound_seconds):
    path = write_media(tmp_path / "clip.mp4", 1.0, sound_seconds=sound_seconds)
    assert abs(len(read_video(path, 24, "k")[0].index) - 30) <= 2
    assert abs(len(read_log_mel(path, 32, "k")[0].mels) / 100 - sound_seconds) < 0.1


def test_a_video_without_sound_and_a_sound_without_video_are_read_as_far_as_they_go(tmp_path):
    silent = write_media(tmp_path / "silent.mp4", 0.5, sound=False)
    assert len(read_log_mel(silent, 32, "k")[0].mels) == 0 and len(read_video(silent, 24, "k")[0].index) > 10
    blind = write_media(tmp_path / "blind.mp4", 0.5, picture=False)
    assert len(read_video(blind, 24, "k")[0].index) == 0 and len(read_log_mel(blind, 32, "k")[0].mels) > 40


def test_a_video_of_one_frame_is_a_clip(tmp_path):
    path = write_media(tmp_path / "one.mkv", times=[0.0], sound=False)
    assert len(read_video(path, 24, "k")[0].index) == 1


def test_the_last_frame_is_shown_for_its_own_duration(tmp_path):
    for fps in (1, 5, 25):
        path = write_media(tmp_path / "clip.mp4", 4.0, fps=fps, sound=False)
        assert abs(len(read_video(path, 24, "k")[0].index) - 120) <= 1, fps


def test_sound_whose_rate_changes_midway_is_read_on(tmp_path):
    parts = [write_mp3(tmp_path / f"{rate}.mp3", 1.0, rate).read_bytes() for rate in (16000, 44100)]
    (tmp_path / "clip.mp3").write_bytes(b"".join(parts))
    assert abs(len(read_log_mel(tmp_path / "clip.mp3", 32, "k")[0].mels) - 200) <= 30


@pytest.mark.parametrize(("start", "late"), [(3, 3.0), (-3, -3.0), (61, 0.0), (-4000, 0.0)])
def test_a_delay_beyond_reason_is_ignored(start, late):
    from types import SimpleNamespace as Made

    from datasets.streams.audio import _get_audio_delay

    sound, shown = Made(start_time=100 + start, time_base=1), Made(start_time=100, time_base=1, disposition=0)
    assert _get_audio_delay(Made(streams=Made(audio=[sound], video=[shown]))) == late
    cover = Made(start_time=0, time_base=1, disposition=av.stream.Disposition.attached_pic)
    assert _get_audio_delay(Made(streams=Made(audio=[sound], video=[cover]))) == 0.0


def test_a_long_sound_is_filtered_in_pieces_as_it_is_at_once(monkeypatch):
    import datasets.streams.audio

    wave = np.random.default_rng(0).normal(0.1, 0.1, 40000).astype(np.float32)
    whole = compute_log_mel(wave, 32)
    sizes = []
    energies = datasets.streams.audio._compute_chunk
    monkeypatch.setattr(datasets.streams.audio, "CHUNK_FRAMES", 70)
    monkeypatch.setattr(
        datasets.streams.audio, "_compute_chunk", lambda part, mels: sizes.append(len(part)) or energies(part, mels)
    )
    parts = compute_log_mel(wave, 32)
    assert len(sizes) == 4 and max(sizes) == 69 * 160 + 400
    assert whole.shape == parts.shape == (250, 32) and np.abs(whole.astype(float) - parts).max() < 0.01


def test_real_clips_are_read_whole(shared):
    for folder, suffix in (("cremad_clips/media", ".flv"), ("grid_clips", ".mpg")):
        paths = sorted(p for p in (shared / folder).iterdir() if p.suffix == suffix)
        assert paths
        for path in paths[:4]:
            video, problems = read_video(path, 36, path.stem)
            mels = read_log_mel(path, 32, path.stem)[0].mels
            with av.open(str(path)) as container:
                frames = sum(1 for _ in container.decode(video=0))
                rate = float(container.streams.video[0].average_rate or 30)
            assert not problems and abs(len(video.index) / 30 - frames / rate) < 0.15, path.name
            assert abs(len(mels) / 100 - len(video.index) / 30) < 0.5
            assert mels.astype(np.float32).std() > 1 and next(decode_frames(video.packets, [0]))[1].std() > 10
