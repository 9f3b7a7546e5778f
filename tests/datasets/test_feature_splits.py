"""Feature files as data sets: splits, content, targets, streams, and the mistakes of a user."""

import pickle
import re

import numpy as np
import pytest

from bench.errors import ConfigError, DataError
from bench.rng import RngTree
from bench.tasks import Classification, Regression
from bench.types import SplitRequest
from datasets.registry import is_path, make_manifest_source
from methods import METHODS
from studies.requests import apply_task, find_dataset, find_source
from tests.datasets.feature_files import CLIPS, LENGTH, WIDTHS, make_content

READ_ALL = METHODS["probe-features"].sampling(METHODS["probe-features"].config(), False)


def write(path, content=None):
    path.write_bytes(pickle.dumps(content or make_content()))
    return path


def load(path, cache, seed=0, task=""):
    return find_dataset(apply_task(str(path), task)).load(SplitRequest(None, cache, 24, 32, seed))


def test_the_official_splits_are_those_of_every_seed(tmp_path):
    path = write(tmp_path / "mosi.pkl")
    first, second = (load(path, tmp_path / "cache", seed) for seed in (0, 3))
    assert first.fingerprint == second.fingerprint and first.content_hash == second.content_hash
    counts = [len(clips.clips) for clips in (first.train, first.val, first.test)]
    assert counts == [CLIPS["train"], CLIPS["valid"], CLIPS["test"]]
    assert {clip.group for clip in first.train.clips} == {"train0", "train1", "train2"}
    assert is_path("mosi.pkl") and is_path("MOSEI.PICKLE@classes") and not is_path("mosi")


def test_a_limited_file_is_identified_by_the_clips_that_are_used(tmp_path):
    dataset = find_dataset(str(write(tmp_path / "mosi.pkl")))
    whole, few = (SplitRequest(None, tmp_path / "cache", 24, 32, 0, limit=limit) for limit in (None, 2))
    assert len(dataset.load(few).train.clips) == 2
    assert dataset.load(few).fingerprint == dataset.identify_data(few).fingerprint
    assert dataset.identify_data(few).fingerprint != dataset.identify_data(whole).fingerprint


def test_clips_are_the_arrays_of_the_file(tmp_path):
    content = make_content()
    splits = load(write(tmp_path / "mosi.pkl", content), tmp_path / "cache")
    assert splits.info.features == WIDTHS and "features/audio" in splits.info.streams and "text" in splits.info.streams
    for clips, name in ((splits.train, "train"), (splits.val, "valid"), (splits.test, "test")):
        for index, clip in enumerate(clips.clips):
            opened = clips.read(index, READ_ALL, RngTree(0), 0)
            length = content[name]["audio_lengths"][index]
            found = opened.streams["features/audio"].numpy()
            assert found.shape == (length, WIDTHS["audio"])
            assert np.array_equal(found, content[name]["audio"][index, :length])
            assert len(opened.streams["features/text"]) <= LENGTH and opened.present["features/vision"]
            assert clip.target == (pytest.approx(float(content[name]["regression_labels"][index])),)
            assert not opened.present["video"] and not opened.present["text"]  # not read


def test_words_are_given_to_methods_that_read_text(tmp_path):
    splits = load(write(tmp_path / "mosi.pkl"), tmp_path / "cache")
    sampling = METHODS["mbt"].sampling(METHODS["mbt"].config.from_preset("quick"), False)
    opened = splits.train.read(2, sampling, RngTree(0), 0)
    assert opened.present["text"] and [word.text for word in opened.words[0]] == ["it", "is", "train", "2", "né"]
    assert len(opened.words) == sampling.segments and not any(opened.words[1:])


def test_scores_come_first_and_classes_on_request(tmp_path):
    path = write(tmp_path / "mosi.pkl")
    assert isinstance(find_source(str(path)).info.task, Regression)
    info = find_source(apply_task(str(path), "classes")).info
    assert isinstance(info.task, Classification) and info.name == "own-mosi-classes"
    content = make_content()
    for split in content.values():
        for key in ("regression_labels", "regression_labels_T"):
            del split[key]
    only = write(tmp_path / "only.pkl", content)
    assert find_source(str(only)).info.name == "own-only"
    with pytest.raises(DataError, match=r"--task scores: only.pkl has no scores in all of its splits"):
        find_source(apply_task(str(only), "scores"))


def test_the_toml_file_states_the_range(tmp_path):
    path = write(tmp_path / "mosi.pkl")
    (tmp_path / "mosi.toml").write_text('title = "CMU-MOSI"\nselect = "corr"\n[targets]\nsentiment = [-3, 3]\n')
    info = make_manifest_source(path, []).info
    assert info.title == "CMU-MOSI" and info.task.primary.name == "corr" and info.task.bounds == ((-3.0, 3.0),)


def test_other_bytes_are_another_content(tmp_path):
    first = load(write(tmp_path / "a" / "mosi.pkl") if (tmp_path / "a").mkdir() is None else None, tmp_path / "cache")
    content = make_content()
    content["test"]["audio"][0, 0, 0] += 1
    (tmp_path / "b").mkdir()
    second = load(write(tmp_path / "b" / "mosi.pkl", content), tmp_path / "cache")
    assert first.content_hash != second.content_hash and first.fingerprint == second.fingerprint


def test_a_video_in_two_splits_is_reported(tmp_path):
    content = make_content()
    content["test"]["id"] = np.array(["train0$_$9", *content["test"]["id"][1:]])
    issues = load(write(tmp_path / "mosi.pkl", content), tmp_path / "cache").issues
    assert [issue.where for issue in issues if issue.what == "straddles"] == ["video train0"]


def test_a_hostile_file_is_refused_in_one_line_and_runs_nothing(tmp_path, capsys):
    from tests.studies.command_line import bench

    class Bomb:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'trace'}",)

    path = tmp_path / "mosi.pkl"
    path.write_bytes(pickle.dumps({"train": Bomb(), "valid": {}, "test": {}}))
    done = bench("--method", "probe-features", "--dataset", path, "--results", tmp_path / "results")
    assert done.code == 2 and done.err.count("\n") == 1 and "system" in done.err
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_the_command_line_trains_on_a_file_and_prepare_explains(tmp_path):
    from tests.studies.command_line import bench

    path, results = write(tmp_path / "mosi.pkl"), tmp_path / "results"
    done = bench("--method", "probe-features,majority", "--dataset", path, "--results", results)
    assert done.code == 0 and "MAE" in done.out and re.search(r"probe-features +│", done.out)
    refused = bench("--method", "mbt", "--dataset", path, "--results", results)
    assert refused.code == 2 and "mbt reads video, audio, but mosi has text, features/text" in refused.err
    assert "choose --method from majority, probe-features" in refused.err
    told = bench("prepare", "--dataset", path, "--results", results)
    assert told.code == 2 and "is a feature file, which needs no preparation" in told.err
    assert bench("check", "--dataset", path).code == 0


def test_missing_files_and_other_kinds_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file or folder: .*gone.pkl"):
        make_manifest_source(tmp_path / "gone.pkl", [])
    with pytest.raises(ConfigError, match="has no task 'va'"):
        apply_task(str(tmp_path / "mosi.pkl"), "va")
