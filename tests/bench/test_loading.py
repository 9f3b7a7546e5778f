import sys
from dataclasses import dataclass

import pytest
import torch

from bench.loader import Loader
from bench.types import Clip, Word
from tests.inputs import make_opened
from tests.toys import ToyConfig, make_context, number_clips, sampling


def epochs(quiet, tmp_path, loaders, count=2):
    clips = number_clips("train", 5)
    ctx = make_context(quiet, tmp_path, loaders=loaders)
    loader = Loader(clips, sampling(ToyConfig(), True), 4, ctx, shuffle=True)
    return [[(read.indices, read.inputs.audio) for read in loader.iterate_epoch(epoch)] for epoch in range(count)]


@pytest.mark.slow
def test_the_same_batches_come_whatever_the_number_of_loader_processes(quiet, tmp_path):
    alone, spawned = epochs(quiet, tmp_path, 0), epochs(quiet, tmp_path, 2)
    for a, b in zip([r for e in alone for r in e], [r for e in spawned for r in e], strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1])


def test_every_epoch_sees_every_clip_once_in_another_order(quiet, tmp_path):
    first, second = ([i for indices, _ in epoch for i in indices] for epoch in epochs(quiet, tmp_path, 0))
    assert sorted(first) == sorted(second) == list(range(15)) and first != second


def test_loading_leaves_the_global_generator_alone(quiet, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    epochs(quiet, tmp_path, 0)
    assert torch.equal(torch.rand(1), expected)


@dataclass(frozen=True)
class ImportedPackages:
    """Clips whose words are the packages that the reading process has imported."""

    clips: tuple[Clip, ...]

    def read(self, index, sampling, streams, epoch):
        from datasets.prepared_clips import open_clip  # the import that reading real clips needs

        assert open_clip
        named = {name.partition(".")[0] for name in sys.modules}
        words = (tuple(Word(name, 0.0, 0.0) for name in sorted(named)),)
        video, audio = torch.zeros(1, 1, 1, 1, 3, dtype=torch.uint8), torch.zeros(1, 100, 1)
        return make_opened(video, audio, words, (False, False, False))


@pytest.mark.slow
def test_loader_processes_import_torch_and_av_and_nothing_else_that_is_heavy(quiet, tmp_path):
    clips = ImportedPackages(number_clips("train", 1).clips[:1])
    loader = Loader(clips, sampling(ToyConfig(), True), 1, make_context(quiet, tmp_path, loaders=1), shuffle=False)
    (read,) = loader.iterate_epoch(0)
    named = {word.text for word in read.inputs.words[0][0]}
    assert {"torch", "av"} <= named
    heavy = {"mlflow", "timm", "torchvision", "torchaudio", "lightning_fabric", "sklearn", "scipy", "pandas"}
    assert not named & {*heavy, "matplotlib", "optuna", "transformers", "senticnet", "nltk", "triton"}
