"""Tests of `predict`: any file, its printed and written results, and one-line errors."""

import json
import shutil

import numpy as np
import pytest

from bench.record import RunSpec
from bench.types import Word
from datasets.catalog.ekman6 import INFO
from studies.cli import predict as predicted
from studies.cli.predict import make_sparkline
from tests.datasets.trees import write_media, write_mp3, write_srt, write_tree
from tests.studies.command_line import bench

SHORT = ("--set", "epochs=1", "--set", "pretrain_epochs=1")
FIELDS = {
    *("file", "run", "method", "dataset", "data", "emotion", "sentiment", "probabilities", "seconds"),
    *("segments", "curve", "cues", "present", "unused", "problems", "error"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("predict") / "data", INFO, 5, 1, layout="video", seconds=0.4)


@pytest.fixture(scope="module")
def finished(tree, tmp_path_factory, ready_mlflow):
    """Return a results folder with one finished run of MART, whose lexicon file has been deleted."""
    results = tmp_path_factory.mktemp("results")
    shutil.copy(ready_mlflow, results / "mlflow.db")
    lexicon = results / "lexicon.json"
    lexicon.write_text(json.dumps({"joy": {"polarity": 0.9, "emotions": ["joy"]}}))
    words = ("--method", "mart", "--dataset", "ekman6", "--data", tree, "--set", f"lexicon={lexicon}", *SHORT)
    assert bench(*words, "--results", results).code == 0
    lexicon.unlink()
    return results


@pytest.fixture
def predict(finished, tmp_path):
    """Return a function that runs the command: exit code, stdout, stderr and the rows of its JSON."""

    def call(*words, results=finished):
        target = tmp_path / "o.json"
        done = bench("predict", *words, "--results", results, "--json", target)
        rows = json.loads(target.read_text()) if target.exists() else []
        return done.code, done.out, done.err, rows

    return call


@pytest.fixture
def copy(finished, tmp_path):
    """Return the finished run in a copy of the results folder, which a test may change."""
    shutil.copytree(finished / "runs", tmp_path / "copy" / "runs")
    (folder,) = [path for path in (tmp_path / "copy" / "runs").iterdir() if path.is_dir()]
    return folder


def change(folder, **spec):
    """Change the record's spec, its key and its folder, as if it were another run."""
    record = json.loads((folder / "record.json").read_text())
    record["spec"].update(spec)
    record["key"] = RunSpec(**record["spec"]).key
    (folder / "record.json").write_text(json.dumps(record))
    return folder.rename(folder.with_name(record["key"]))


def mistake(done, *parts):
    """Check for exit code 2 and one line with all of `parts`."""
    code, _, complaint, _ = done
    assert code == 2 and complaint.count("\n") == 1 and complaint.startswith("error: "), complaint
    assert all(part in complaint for part in parts), complaint
    return True


def test_a_clip_of_the_data_gets_the_scores_that_its_run_stored(predict, finished, tree):
    import pandas

    (table,) = [pandas.read_parquet(path) for path in finished.glob("runs/*/predictions.parquet")]
    row = table[table["clip"] == "joy/c5"].iloc[0]
    scores = np.array([row[f"score/{name}"] for name in INFO.classes])
    stored = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    code, _, _, (said,) = predict(tree / "video" / "joy" / "c5.avi")
    assert code == 0 and said["emotion"] == row["predicted"]
    assert list(said["probabilities"].values()) == pytest.approx(stored.tolist(), abs=1e-4)


def test_the_json_says_everything_and_the_screen_the_main_things(predict, finished, tmp_path):
    clip = write_media(tmp_path / "in" / "müde [x] $1.mp4", 8.0, size=(160, 120))
    code, shown, complaint, (row,) = predict(clip)
    assert code == 0 and complaint == "" and set(row) == FIELDS and row["error"] is None
    assert (row["method"], row["dataset"], row["data"]) == ("mart", "ekman6", "real")
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert row["emotion"] == max(row["probabilities"], key=row["probabilities"].get)
    assert row["sentiment"] in ("negative", "positive")
    assert row["present"] == {"video": True, "audio": True, "text": False}
    assert len(row["segments"]) == len(row["curve"]) == 6
    assert row["segments"][0]["start"] == 0 and row["segments"][-1]["end"] == pytest.approx(row["seconds"], abs=1e-3)
    for segment in row["segments"]:
        assert sum(segment["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    for part in (row["run"], "mart trained on Ekman-6", "val Acc E", clip.name, row["emotion"], row["sentiment"]):
        assert part in shown
    assert "SAMPLE" not in shown
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]
    assert (finished / "predictions" / f"{clip.stem}.png").exists()


def test_files_of_sound_or_picture_alone_are_predicted(predict, tmp_path):
    sound, picture = write_mp3(tmp_path / "a.mp3", 3.0), write_media(tmp_path / "b.mkv", 3.0, sound=False)
    code, shown, _, rows = predict(sound, picture)
    assert code == 0 and [row["present"]["video"] for row in rows] == [False, True]
    assert [row["present"]["audio"] for row in rows] == [True, False] and "no picture" in shown and "no sound" in shown


def test_two_files_of_one_name_get_two_pictures(predict, tmp_path):
    files = [write_media(tmp_path / folder / "clip.mp4", 0.5) for folder in ("a", "b")]
    assert predict(*files, "--out", tmp_path / "out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip-2.png", "clip.png"]


def test_an_unreadable_file_is_reported_and_the_others_are_predicted(predict, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no media at all")
    good = write_media(tmp_path / "good.mp4", 0.5)
    code, shown, _, rows = predict(tmp_path / "broken.mp4", good, tmp_path)
    assert code == 3 and "not read: broken.mp4" in shown and "is a folder" in shown
    assert [row["error"] is None for row in rows] == [False, True, False]
    assert set(rows[0]) == FIELDS and rows[0]["emotion"] is None


def test_where_nothing_can_be_read_it_is_a_mistake(predict, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no media at all")
    assert mistake(predict(tmp_path / "broken.mp4"), "broken.mp4")
    assert mistake(predict(tmp_path / "broken.mp4", tmp_path / "gone.avi"), "broken.mp4", "gone.avi")


def test_a_run_is_named_by_the_start_of_its_key(predict, finished, tmp_path):
    clip = write_media(tmp_path / "clip.mp4", 0.5)
    (key,) = [path.name for path in (finished / "runs").iterdir() if path.is_dir()]
    assert predict(clip, "--run", key[:6])[3][0]["run"] == key
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert mistake(predict(clip, "--run", wrong), wrong, f"did you mean '{key}'")
    assert mistake(predict(clip, "--run", "zz"), "unknown run 'zz'", key)


def test_a_start_that_fits_several_runs_is_no_name(predict, copy, tmp_path):
    shutil.copytree(copy, copy.with_name(f"{copy.name[:5]}0"))
    done = predict(tmp_path / "clip.mp4", "--run", copy.name[:5], results=copy.parents[1])
    assert mistake(done, "matches 2 runs", copy.name)


def test_real_data_come_before_a_newer_sample_and_a_sample_is_reported(predict, copy, tmp_path):
    clip, other = write_media(tmp_path / "clip.mp4", 0.5), copy.with_name("0sample")
    shutil.copytree(copy, other)
    change(other, data="sample")
    assert "BUILT-IN SAMPLE" not in predict(clip, results=copy.parents[1])[1]
    shutil.rmtree(copy)
    _, shown, _, (row,) = predict(clip, results=copy.parents[1])
    assert shown.count("BUILT-IN SAMPLE") >= 2 and row["data"] == "sample"


def test_an_unreadable_record_is_skipped(predict, copy, tmp_path):
    other = copy.with_name("0broken")
    shutil.copytree(copy, other)
    (other / "record.json").write_text("{}")
    clip = write_media(tmp_path / "clip.mp4", 0.5)
    assert predict(clip, results=copy.parents[1])[3][0]["run"] == copy.name
    assert mistake(predict(clip, "--run", "0broken", results=copy.parents[1]), "is not a record")


def test_figures_need_a_folder(predict, copy):
    assert mistake(predict("clip.mp4", "--out", copy / "record.json", results=copy.parents[1]), "--out", "is a file")


def test_without_a_run_it_says_how_to_make_one(predict, tmp_path):
    assert mistake(predict("clip.mp4", results=tmp_path / "none"), "no finished run", "python bench.py --method")
    assert not (tmp_path / "none").exists()


def test_dropped_missing_and_changed_weights_are_reported(predict, copy):
    record, weights = json.loads((copy / "record.json").read_text()), copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert mistake(predict("clip.mp4", results=copy.parents[1]), "weights.safetensors was changed", "--fresh")
    weights.unlink()
    assert mistake(predict("clip.mp4", results=copy.parents[1]), "weights.safetensors is missing", "--fresh")
    del record["files"]["weights.safetensors"]
    (copy / "record.json").write_text(json.dumps(record))
    for words in ((), ("--run", copy.name)):
        assert mistake(predict("clip.mp4", *words, results=copy.parents[1]), "--no-weights", "--fresh")


def test_a_run_of_another_version_of_its_method_is_not_believed(predict, copy):
    other = change(copy, version=99)
    for words in ((), ("--run", other.name)):
        assert mistake(predict("clip.mp4", *words, results=copy.parents[1]), "version")


def test_a_transcript_is_read_unless_the_run_s_own_lexicon_is_gone(predict, copy, tmp_path):
    clip, words = write_media(tmp_path / "clip.mp4", 2.0), write_srt(tmp_path / "clip.srt", "what joy", 0.1, 1.5)
    assert mistake(predict(clip, "--transcript", words), "lexicon", "--transcript")
    config = json.loads((copy / "record.json").read_text())["spec"]["config"]
    change(copy, weights={}, config={**config, "lexicon": "nrc"})
    code, _, _, (row,) = predict(clip, "--transcript", words, results=copy.parents[1])
    assert code == 0 and row["present"]["text"] and [cue["text"] for cue in row["cues"]] == ["joy"]
    assert mistake(predict(clip, clip, "--transcript", words), "one file for 2 videos")
    assert mistake(predict(clip, "--transcript", tmp_path / "gone.srt"), "gone.srt")


@pytest.mark.slow
def test_a_folder_of_transcripts_serves_several_videos(predict, copy, tmp_path):
    config = json.loads((copy / "record.json").read_text())["spec"]["config"]
    change(copy, weights={}, config={**config, "lexicon": "nrc"})
    clips = [write_media(tmp_path / f"{name}.mp4", 2.0) for name in "abc"]
    (tmp_path / "words").mkdir()
    write_srt(tmp_path / "words" / "a.srt", "what joy", 0.1, 1.5)
    write_srt(tmp_path / "words" / "c.srt", "such grief", 0.1, 1.5)
    code, _, _, rows = predict(*clips, "--transcript", tmp_path / "words", results=copy.parents[1])
    assert code == 0 and [[cue["text"] for cue in row["cues"]] for row in rows] == [["joy"], [], ["grief"]]
    (tmp_path / "empty").mkdir()
    found = predict(*clips, "--transcript", tmp_path / "empty", results=copy.parents[1])
    assert mistake(found, "has no a.srt; name the files like the videos")


@pytest.mark.slow
def test_videos_are_transcribed_by_a_local_model(predict, copy, tmp_path, monkeypatch):
    config = json.loads((copy / "record.json").read_text())["spec"]["config"]
    change(copy, weights={}, config={**config, "lexicon": "nrc"})
    clip, silent = write_media(tmp_path / "a.mp4", 2.0), write_media(tmp_path / "b.mp4", 2.0, sound=False)
    assert mistake(predict(clip, "--transcribe", tmp_path, results=copy.parents[1]), "asr")
    heard = lambda samples: [Word("What joy", 0.1, 0.9)] if len(samples) else []  # noqa: E731
    monkeypatch.setattr("studies.cli.predict.load_recogniser", lambda folder, language: heard)
    code, _, _, rows = predict(clip, silent, "--transcribe", tmp_path, results=copy.parents[1])
    assert code == 0 and [[cue["text"] for cue in row["cues"]] for row in rows] == [["joy"], []]


def stream_shares(folder, **shares):
    """Write the shares of training clips with each stream into the record of a run."""
    record = json.loads((folder / "record.json").read_text())
    record["notes"] = {name: value for name, value in record["notes"].items() if not name.startswith("streams/")}
    record["notes"] |= {f"streams/{name}": share for name, share in shares.items()}
    (folder / "record.json").write_text(json.dumps(record))


def test_a_run_records_the_streams_of_its_training(copy):
    notes = json.loads((copy / "record.json").read_text())["notes"]
    assert {name: notes[f"streams/{name}"] for name in ("video", "audio", "text")} == dict.fromkeys(
        ("video", "audio", "text"), 1.0
    )


@pytest.mark.slow
def test_streams_that_training_did_not_see_are_not_used_and_named(predict, copy, tmp_path):
    clip, sound = write_media(tmp_path / "clip.mp4", 1.0), write_media(tmp_path / "sound.mp4", 1.0, picture=False)
    both = predict(clip, results=copy.parents[1])[3][0]["probabilities"]
    stream_shares(copy, video=0.0, audio=0.9)
    code, shown, _, (row,) = predict(clip, results=copy.parents[1])
    assert code == 0 and row["unused"] == ["video"] and not row["present"]["video"]
    assert "video: not used, the model was trained without it" in shown
    assert row["probabilities"] != both
    silent = write_media(tmp_path / "silent.mp4", 1.0, sound=False)
    assert mistake(predict(silent, results=copy.parents[1]), "has none of what run", "was trained on (audio)")
    stream_shares(copy)  # a run of version 0.1 stored none
    (row,) = predict(clip, results=copy.parents[1])[3]
    assert row["unused"] == [] and row["probabilities"] == both
    assert predict(sound, results=copy.parents[1])[0] == 0


def test_ctrl_c_is_reported_in_one_line(predict, monkeypatch):
    def stop(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicted, "predict_file", stop)
    code, _, complaint, _ = predict("clip.mp4")
    assert code == 130 and complaint.count("\n") == 1 and "interrupted" in complaint


@pytest.mark.slow
def test_real_clips_of_three_kinds_are_predicted(predict, shared):
    files = [
        shared / "cremad_clips" / "media" / "1001_DFA_HAP_XX.flv",
        shared / "grid_clips" / "bbaf2n.mpg",
        shared / "cremad_clips" / "wav16k" / "1001_DFA_ANG_XX.wav",
    ]
    code, _, _, rows = predict(*files)
    assert code == 0 and [row["file"] for row in rows] == [str(path) for path in files]
    assert [row["present"]["video"] for row in rows] == [True, True, False]
    assert all(row["present"]["audio"] and 1.5 < row["seconds"] < 4 for row in rows)


def test_a_line_of_blocks_rises_with_its_shares():
    assert make_sparkline(np.array([0.0, 0.5, 1.0]), 2) == "▁▁▅▅██"
