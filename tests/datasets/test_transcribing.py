"""Transcribing: subtitles for clips without any, written atomically, never overwriting, resumable."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import ConfigError, DataError
from bench.types import Clip, ClipSources, Word
from datasets.streams import text as transcribing
from datasets.streams.audio import SAMPLE_RATE
from datasets.streams.text import read_transcript, transcribe_clips, write_transcripts
from tests.datasets.trees import write_media, write_mp3

SAID = [Word(" What", 0.25, 0.5), Word(" joy,", 0.5, 0.75), Word("\n ", 0.75, 0.8), Word(" don't!", 3661.5, 3661.25)]


class Parrot:
    """Recogniser that returns the same words for any audio."""

    def __init__(self, words=SAID):
        self.words, self.heard = words, []

    def __call__(self, samples):
        assert samples.dtype == np.float32 and samples.ndim == 1
        self.heard.append(len(samples) / SAMPLE_RATE)
        return self.words


def clip(name, **files):
    return Clip(f"joy/{name}", 0, "train", name, ClipSources(**files))


def quiet(what, done, total):
    pass


def test_each_word_is_a_caption_at_its_own_time(tmp_path):
    made = [clip("a", audio=write_mp3(tmp_path / "a.mp3", 1.0)), clip("b", video=write_media(tmp_path / "b.mp4", 2.0))]
    parrot = Parrot()
    assert write_transcripts(made, tmp_path, parrot, quiet) == []
    assert np.abs(np.array(parrot.heard) - [1.0, 2.0]).max() < 0.15
    text = (tmp_path / "srt/joy/b.srt").read_text()
    assert text.startswith("1\n00:00:00,250 --> 00:00:00,500\nWhat\n\n2\n") and "01:01:01,500 --> 01:01:01,500" in text
    words, problems = read_transcript(tmp_path / "srt/joy/a.srt", "joy/a")
    assert not problems and [(w.text, w.start) for w in words] == [("what", 0.25), ("joy", 0.5), ("don't", 3661.5)]


def test_a_clip_without_speech_gets_a_file_without_words(tmp_path):
    write_transcripts([clip("a", audio=write_mp3(tmp_path / "a.mp3"))], tmp_path, Parrot([]), quiet)
    words, problems = read_transcript(tmp_path / "srt/joy/a.srt", "joy/a")
    assert not words and [p.what for p in problems] == ["no words"] and "hold no words" in problems[0].why


def test_clips_that_have_words_or_no_sound_are_passed_over(tmp_path):
    mine, sound = tmp_path / "srt/joy/mine.srt", write_mp3(tmp_path / "a.mp3")
    mine.parent.mkdir(parents=True)
    mine.write_text("my own")
    clips = [
        clip("mine", audio=sound),
        clip("other", audio=sound, transcript=tmp_path / "elsewhere.srt"),
        clip("text", audio=sound, text="as the manifest says"),
        clip("mute", frames=tmp_path),
    ]
    parrot = Parrot()
    assert write_transcripts(clips, tmp_path, parrot, quiet) == []
    assert not parrot.heard and mine.read_text() == "my own" and list(mine.parent.iterdir()) == [mine]


def test_a_clip_that_fails_is_reported_and_the_others_are_transcribed(tmp_path):
    (tmp_path / "broken.mp3").write_bytes(b"no sound")
    clips = [
        clip("broken", audio=tmp_path / "broken.mp3"),
        clip("gone", audio=tmp_path / "gone.mp3"),
        clip("mute", video=write_media(tmp_path / "mute.mp4", 0.5, sound=False)),
        clip("good", audio=write_mp3(tmp_path / "good.mp3")),
    ]
    problems = write_transcripts(clips, tmp_path, Parrot(), quiet)
    assert [(p.what, p.where) for p in problems] == [("transcribe", f"joy/{n}") for n in ("broken", "gone", "mute")]
    assert [path.name for path in (tmp_path / "srt/joy").iterdir()] == ["good.srt"]


def test_it_resumes_after_an_interrupt_and_reports_the_remaining_work(tmp_path):
    class Stopped(Parrot):
        def __call__(self, samples):
            if len(self.heard) == 2:
                raise KeyboardInterrupt
            return super().__call__(samples)

    clips = [clip(name, audio=write_mp3(tmp_path / f"{name}.mp3", 0.3)) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        write_transcripts(clips, tmp_path, Stopped(), quiet)
    assert sorted(path.name for path in (tmp_path / "srt/joy").iterdir()) == ["a.srt", "b.srt"]
    parrot, reports = Parrot(), []
    write_transcripts(clips, tmp_path, parrot, lambda *row: reports.append(row))
    assert len(parrot.heard) == 1 and reports == [("transcribe", 0, 1), ("transcribe", 1, 1)]


def test_a_folder_that_cannot_be_written_is_a_one_line_error(tmp_path):
    (tmp_path / "srt").write_text("a file in the way")
    with pytest.raises(DataError, match=r"cannot write .*a\.srt: .*then rerun"):
        write_transcripts([clip("a", audio=write_mp3(tmp_path / "a.mp3"))], tmp_path, Parrot(), quiet)


def test_the_error_without_the_extra_states_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(transcribing, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "\.\[asr\]" in the checkout') as error:
        transcribe_clips([], tmp_path, tmp_path, "en", quiet)
    assert "\n" not in str(error.value) and "docs/transcripts.md" in str(error.value)


def test_a_folder_without_a_model_is_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(transcribing, "find_spec", lambda name: sys)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no faster-whisper model \(model\.bin, tokenizer\.json missing\)"):
        transcribe_clips([clip("a", audio=tmp_path / "a.mp3")], tmp_path, tmp_path, "en", quiet)


def test_a_real_model_writes_transcripts_of_real_clips(tmp_path, shared):
    pytest.importorskip("faster_whisper")
    if "BENCH_WHISPER" not in os.environ:
        pytest.skip("BENCH_WHISPER is not set to the folder of a faster-whisper model")
    model = Path(os.environ["BENCH_WHISPER"])
    with pytest.raises(ConfigError, match="does not support language 'xx'"):
        transcribe_clips([], tmp_path, model, "xx", quiet)
    clips = [clip(path.stem, video=path) for path in sorted((shared / "grid_clips").glob("*.mpg"))[:2]]
    assert transcribe_clips(clips[:1], tmp_path, model, "mul", quiet) == []
    assert transcribe_clips(clips, tmp_path, model, "en", quiet) == []
    for made in clips:
        words, problems = read_transcript(tmp_path / f"srt/{made.key}.srt", made.key)
        assert {p.what for p in problems} <= {"no words", "overlap"} and all(word.start < 3.5 for word in words)


@pytest.mark.parametrize("link", ["srt", "srt/joy"])
def test_nothing_is_written_through_a_link_out_of_the_data_folder(tmp_path, link):
    data, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    (data / link).parent.mkdir(parents=True)
    (data / link).symlink_to(outside)
    made = clip("a", audio=write_mp3(data / "a.mp3"))
    with pytest.raises(DataError, match="leaves the data folder"):
        write_transcripts([made], data, Parrot(), quiet)
    assert not list(outside.iterdir())
