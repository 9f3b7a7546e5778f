"""Contract of DatasetSplits, for the built-in sample and for the prepared clips of real files."""

from dataclasses import replace
from functools import partial
from itertools import chain

import pytest
import torch

from bench.rng import RngTree
from bench.types import AudioSpec, ClipSet, Sampling, SplitRequest, VideoSpec
from datasets.registry import DATASETS
from datasets.sample import ensure_sample
from tests.conftest import lend_sample, work_here
from tests.datasets.trees import write_tree
from tests.inputs import list_present

SAMPLING = Sampling(3, VideoSpec(2, 3, 24), AudioSpec(32), training=True)


SLOW_CASE = pytest.param(("perr", "sample"), marks=pytest.mark.slow, id="perr-sample")
CASES = [("ekman6", "sample"), ("ekman6", "real"), SLOW_CASE, ("iemocap", "real")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def corpus(request, tmp_path_factory, few_drawn):
    name, kind = request.param
    entry, cache = DATASETS[name], tmp_path_factory.mktemp("cache")
    if request.param == ("ekman6", "sample"):
        lend_sample(few_drawn, cache)
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        patch.delenv("BENCH_DATA", raising=False)
        patch.setattr("datasets.paths.PROJECT_ROOT", cache)
        patch.setattr("datasets.splits.ensure_sample", partial(ensure_sample, clips=6, training=5))
        patch.setattr("datasets.sample.CLIP_SECONDS", (2.0, 2.5))  # shorter, to be fast
        folder = None if kind == "sample" else write_tree(cache / "tree", entry.info, 5, 1, seconds=0.4)
        return entry.load(SplitRequest(folder, cache, SAMPLING.video.size, SAMPLING.audio.mels, 0))


def sets(corpus):
    return {"train": corpus.train, "val": corpus.val, "test": corpus.test}


def test_splits_share_no_clip_and_no_group(corpus):
    keys = [clip.key for clip in chain(*(found.clips for found in sets(corpus).values()))]
    assert len(keys) == len(set(keys)) == 6 * len(corpus.info.classes)
    groups = [{clip.group for clip in found.clips} for found in sets(corpus).values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_every_clip_opens_in_the_requested_shape(corpus):
    for found in sets(corpus).values():
        assert isinstance(found, ClipSet)
        for place, clip in enumerate(found.clips):
            sample = found.read(place, SAMPLING, RngTree(0), 0)
            assert sample.video.shape == (3, 2, 24, 24, 3) and sample.video.dtype == torch.uint8
            assert sample.audio.shape == (3, 100, 32) and sample.audio.isfinite().all()
            assert len(sample.words) == 3 and list_present(sample)[:2] == [True, True]
            assert clip.key.partition("/")[0] == corpus.info.classes[clip.target] and clip.sources.video is None


def test_a_clip_reads_the_same_each_time_and_another_way_in_another_epoch(corpus):
    read = partial(corpus.train.read, 0)
    one, again, later = (read(SAMPLING, RngTree(0), epoch) for epoch in (2, 2, 3))
    assert torch.equal(one.video, again.video) and torch.equal(one.audio, again.audio) and one.words == again.words
    assert not torch.equal(one.audio, later.audio)
    still = replace(SAMPLING, training=False)
    assert torch.equal(read(still, RngTree(0), 0).video, read(still, RngTree(5), 7).video)


def test_only_the_sample_is_marked_as_one_and_has_truth(corpus):
    assert corpus.is_sample == bool(corpus.truth)
    if corpus.is_sample:
        assert set(corpus.truth) == {clip.key for clip in chain(*(found.clips for found in sets(corpus).values()))}
    assert corpus.fingerprint and corpus.content_hash
    assert {problem.what for problem in corpus.issues} <= {"warning", "length", "straddles"}
