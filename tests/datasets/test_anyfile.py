"""Media files opened for prediction."""

import numpy as np
import pytest

from bench.errors import MediaError
from bench.types import AudioSpec, Sampling, VideoSpec, Word
from datasets import media_file as anyfile
from datasets.media_file import open_media_file, read_slot_frames
from datasets.segments import compute_slots, cut_segments
from tests.datasets.trees import brightness, write_media, write_srt
from tests.inputs import list_present

SAMPLING = Sampling(4, VideoSpec(2, 3, 24), AudioSpec(24), training=False)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 20.0])
def test_the_slots_are_those_that_words_are_cut_into(seconds):
    words = [Word(str(place), moment, moment) for place, moment in enumerate(np.arange(0, seconds, 0.05))]
    segments = cut_segments(round(seconds * 30), 0, words, SAMPLING, None)
    for (start, end), segment in zip(compute_slots(seconds, SAMPLING), segments, strict=True):
        assert [word for word in words if start <= word.start < end] == list(segment.words)


def test_a_file_is_opened_whole_with_its_words_and_leaves_nothing(tmp_path):
    path = write_media(tmp_path / "in" / "a clip ü.mp4", 2.0)
    opened = open_media_file(path, write_srt(tmp_path / "a.srt"), SAMPLING, tmp_path / "work")
    assert list_present(opened.clip) == [True, True, True] and opened.clip.video.shape == (4, 2, 24, 24, 3)
    assert opened.seconds == pytest.approx(2, abs=0.1) and opened.slots[-1][1] == opened.seconds
    assert [path.name for path in path.parent.iterdir()] == ["a clip ü.mp4"]
    assert not list((tmp_path / "work").rglob("*.safetensors"))


def test_slot_frames_show_the_middles_of_the_slots(tmp_path):
    path = write_media(tmp_path / "clip.mp4", 2.0)
    opened = open_media_file(path, None, SAMPLING, tmp_path / "work")
    for still, (start, end) in zip(read_slot_frames(path, opened), opened.slots, strict=True):
        assert still.shape[0] == anyfile.STILL_SIDE and abs(still.mean() - brightness((start + end) / 2)) < 12


def test_slot_frames_of_a_long_clip_are_those_of_the_predictor(tmp_path, monkeypatch):
    path = write_media(tmp_path / "clip.mp4", 1.0)
    opened = open_media_file(path, None, SAMPLING, tmp_path / "work")
    monkeypatch.setattr(anyfile, "MAX_REREAD_SECONDS", 0.5)
    assert [still.shape for still in read_slot_frames(path, opened)] == [(24, 24, 3)] * 4


@pytest.mark.parametrize(("part", "present"), [("picture", [False, True, False]), ("sound", [True, False, False])])
def test_audio_or_video_alone_is_enough(part, present, tmp_path):
    path = write_media(tmp_path / "clip.mkv", 1.0, **{part: False})
    opened = open_media_file(path, None, SAMPLING, tmp_path / "work")
    assert list_present(opened.clip) == present and [p.what for p in opened.issues] == [f"no {part}"]
    assert len(read_slot_frames(path, opened)) == (4 if present[0] else 0)


def test_the_error_of_an_unreadable_file_names_it(tmp_path, monkeypatch):
    (tmp_path / "broken.mp4").write_bytes(b"no media")
    (tmp_path / "text.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nwords\n")
    long = write_media(tmp_path / "long.mp4", 1.0)
    monkeypatch.setattr(anyfile, "MAX_FILE_SECONDS", 0.5)
    for path, why in (
        (tmp_path / "broken.mp4", "broken.mp4 cannot be opened"),
        (tmp_path / "text.srt", "neither video nor audio"),
        (tmp_path / "gone.mp4", "no such file: .*gone.mp4"),
        (tmp_path, "is a folder"),
        (long, "long.mp4 lasts .* cut the file"),
    ):
        with pytest.raises(MediaError, match=why):
            open_media_file(path, None, SAMPLING, tmp_path / "work")
