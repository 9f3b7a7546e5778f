"""Acted speech as an ordinary data set: actors are left out, and audio without video is enough."""

import numpy as np
import pandas
import pytest

from bench.artifacts import PREDICTIONS_FILE
from bench.method import Method
from bench.rng import RngTree
from bench.types import SplitRequest
from methods import METHODS
from tests.inputs import list_present
from tests.speech import FOLDS, SETTINGS, run, speech, split

MBT: Method = METHODS["mbt"]


@pytest.fixture(scope="module")
def folder(shared):
    place = shared / "java_sed_audio"
    if not place.is_dir():
        pytest.skip("no java_sed_audio among the real clips")
    return place


def actors(clips):
    return {clip.group for clip in clips}


def test_every_actor_is_left_out_once_and_straddles_no_splits(folder):
    tested = []
    for fold in range(FOLDS):
        train, val, test = (actors(clips) for clips in split(folder, fold).values())
        assert (len(train), len(val), len(test)) == (6, 2, 2)
        assert not (train & val or train & test or val & test)
        tested += sorted(test)
    assert len(tested) == len(set(tested)) == 10


@pytest.mark.slow
def test_mbt_runs_on_audio_only_and_scores_unseen_actors(folder, results):
    record = run(folder, results, 0, "mbt", **SETTINGS, epochs=3)
    table = pandas.read_parquet(results / "runs" / record.key / PREDICTIONS_FILE)
    assert np.isfinite(table.filter(like="score/").to_numpy()).all()
    tested = {clip.key for clip in split(folder, 0)["test"]}
    assert set(table[table["split"] == "test"]["clip"]) == tested
    sampling = MBT.sampling(MBT.config.from_preset("quick").override(SETTINGS), True)
    corpus = speech(folder).load(SplitRequest(None, results, sampling.video.size, sampling.audio.mels, 0))
    assert not actors(corpus.test.clips) & (actors(corpus.train.clips) | actors(corpus.val.clips))
    assert list_present(corpus.train.read(0, sampling, RngTree(0), 0)) == [False, True, False]
