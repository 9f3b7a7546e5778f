"""Opening prepared clips: correct content, deterministic at test, random and reproducible in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.rng import RngTree
from bench.types import AudioSpec, Clip, ClipSources, Sampling, VideoSpec
from datasets.prepare import PrepareSpec, prepare_clips
from datasets.prepared_clips import ClipCache, PreparedClipSet
from datasets.streams.audio import SILENCE_LEVEL
from tests.datasets.trees import brightness, write_frames, write_mp3, write_srt
from tests.inputs import list_present

FIXED = Sampling(3, VideoSpec(2, 3, 16), AudioSpec(24), training=False)
RANDOM = replace(FIXED, training=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Prepare a complete clip, one without audio and one without video."""
    root = tmp_path_factory.mktemp("clips")
    frames, sound = write_frames(root / "c", 2.0), write_mp3(root / "c.mp3", 2.0)
    words = write_srt(root / "c.srt", "what joy", 0.1, 1.9)
    files = [
        ClipSources(frames=frames, audio=sound, transcript=words),
        ClipSources(frames=frames),
        ClipSources(audio=sound),
    ]
    found = [Clip(f"joy/c{n}", 3, "train", f"c{n}", file) for n, file in enumerate(files)]
    prepared = prepare_clips(found, PrepareSpec.for_size(16, 24), root / "out", lambda *_: None)
    return PreparedClipSet(tuple(found), tuple(item.path for item in prepared))


def same(one, other):
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio) and one.words == other.words


def test_segments_show_and_sound_their_moments(clips):
    sample = clips.read(0, FIXED, RngTree(0), 0)
    assert sample.video.shape == (3, 2, 16, 16, 3) and sample.video.dtype == torch.uint8
    assert sample.audio.shape == (3, 100, 24) and sample.audio.dtype == torch.float32
    shown = sample.video.float().mean((2, 3, 4))
    expected = torch.tensor([[brightness(m - 0.05), brightness(m + 0.05)] for m in (1 / 3, 1.0, 5 / 3)])
    assert (shown - expected).abs().max() < 9
    level = sample.audio.mean((1, 2))
    assert level[2] > level[0] + 3  # silent before the middle of the clip
    assert [[word.text for word in slot] for slot in sample.words] == [["what"], ["joy"], []]
    assert list_present(sample) == [True, True, True]


def test_an_absent_modality_is_zeros_and_flagged(clips):
    mute, blind = clips.read(1, FIXED, RngTree(0), 0), clips.read(2, FIXED, RngTree(0), 0)
    assert list_present(mute) == [True, False, False] and not mute.audio.any() and mute.video.any()
    assert list_present(blind) == [False, True, False] and not blind.video.any() and blind.audio.any()


@pytest.mark.parametrize("sampling", [FIXED, RANDOM], ids=["fixed", "random"])
def test_a_modality_that_is_left_out_is_absent_and_moves_nothing_of_the_other(clips, sampling):
    whole = clips.read(0, sampling, RngTree(0), 0)
    heard = clips.read(0, replace(sampling, reads=("audio", "text")), RngTree(0), 0)
    seen = clips.read(0, replace(sampling, reads=("video", "text")), RngTree(0), 0)
    assert list_present(heard) == [False, True, True] and not heard.video.any()
    assert list_present(seen) == [True, False, True] and not seen.audio.any()
    assert torch.equal(heard.audio, whole.audio) and torch.equal(seen.video, whole.video)


def test_at_test_nothing_is_random(clips):
    first = clips.read(0, FIXED, RngTree(0), 0)
    assert same(first, clips.read(0, FIXED, RngTree(5), 7))


def test_in_training_the_same_seed_epoch_and_clip_give_the_same_sample_and_others_do_not(clips):
    first = clips.read(0, RANDOM, RngTree(1), 0)
    assert same(first, clips.read(0, RANDOM, RngTree(1), 0))
    assert not same(first, clips.read(0, RANDOM, RngTree(2), 0))
    assert not same(first, clips.read(0, RANDOM, RngTree(1), 1))
    assert not same(first, clips.read(0, FIXED, RngTree(1), 0))


def test_training_masks_bands_of_the_audio_and_sometimes_flips_the_frames(clips, tmp_path):
    masked = 0
    for epoch in range(20):
        audio = clips.read(0, RANDOM, RngTree(1), epoch).audio
        constant = (audio == audio[:, :1]).all(1).any(-1) | (audio == audio[..., :1]).all(-1).any(1)
        masked += int(constant.sum())
    assert masked > 20  # of 60 segments
    folder = tmp_path / "sided"
    folder.mkdir()
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:, 12:] = 255
    from datasets.streams.video import encode_jpeg

    (folder / "000001.jpg").write_bytes(encode_jpeg(picture))
    clip = Clip("joy/s", 3, "train", "s", ClipSources(frames=folder))
    (item,) = prepare_clips([clip], PrepareSpec.for_size(14, 24), tmp_path / "out", lambda *_: None)
    sided = PreparedClipSet((clip,), (item.path,))
    bright_right = []
    for epoch in range(30):
        video = sided.read(0, replace(RANDOM, video=replace(RANDOM.video, size=14)), RngTree(1), epoch).video.float()
        assert torch.equal(video[0], video[1])  # one crop and flip for a whole clip
        bright_right.append(bool(video[0, 0, :, -1].mean() > video[0, 0, :, 0].mean()))
    assert 5 < sum(bright_right) < 25


@pytest.mark.parametrize("room", [0, 10**9])
def test_a_sound_that_ends_early_is_silence_at_the_floor(tmp_path, monkeypatch, room):
    monkeypatch.setattr("datasets.prepared_clips.CACHE", ClipCache(room))
    files = ClipSources(frames=write_frames(tmp_path / "c", 4.0), audio=write_mp3(tmp_path / "c.mp3", 1.0))
    clip = Clip("joy/c", 3, "train", "c", files)
    (item,) = prepare_clips([clip], PrepareSpec.for_size(16, 24), tmp_path / "out", lambda *_: None)
    sample = PreparedClipSet((clip,), (item.path,)).read(0, FIXED, RngTree(0), 0)
    assert torch.allclose(sample.audio[2], torch.tensor(SILENCE_LEVEL)) and not torch.allclose(
        sample.audio[0], torch.tensor(SILENCE_LEVEL)
    )
