"""Toy clips whose video, audio and words indicate their class, and a MART small enough to train in a second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from bench.loader import collate, slice_batch
from bench.rng import RngTree
from bench.tasks import Classification
from bench.types import Batch, Clip, ClipSources, DatasetInfo, Inputs, OpenedClip, Sampling, Word
from methods.mart.config import MART, MartConfig
from methods.mart.pretraining import MartObjective, MartPredictor
from methods.mart.verification import CueBatch
from methods.mbt.model import Mbt
from tests.inputs import make_inputs, make_opened

CARD = DatasetInfo(
    name="toy",
    title="Toy clips",
    task=Classification(("sad", "afraid", "glad"), (-1, -1, 1)),
    emotions={"sad": frozenset({"sadness"}), "afraid": frozenset({"fear"}), "glad": frozenset({"joy"})},
    language="en",
    licence="none",
    cite="",
    obtain="",
    features={"toy": 3},
)
WORDS = (("grief", "misery"), ("terror", "panic"), ("joy", "delight"))  # by class

SMALL = MartConfig(
    segments=3,
    test_segments=3,
    frames=4,
    size=16,
    mels=32,
    patch=8,
    audio_stride=12,
    width=16,
    depth=2,
    heads=2,
    fusion_depth=1,
    bottleneck=2,
    epochs=1,
    batch=4,
    lr=3e-3,
    ema=0.0,
    pretrain_epochs=2,
    pretrain_lr=3e-3,
    contrast_width=8,
    decoder_depth=1,
    decoder_width=16,
    decoder_heads=2,
)


@dataclass(frozen=True)
class SpokenClips:
    """Clips with one or two cues and a filler per slot; each class has its own brightness, loudness and words."""

    clips: tuple[Clip, ...]
    speaks: bool = True

    @property
    def contents(self) -> tuple[str, ...]:
        return tuple(clip.key for clip in self.clips)

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        clip, segments = self.clips[index], sampling.segments
        purpose = ("augmentation", epoch, clip.key) if sampling.training else ("fixed", clip.key)
        generator = streams.torch(*purpose)
        shape = (segments, sampling.video.frames, sampling.video.size, sampling.video.size, 3)
        video = 20 + 80 * clip.target + torch.randint(0, 40, shape, generator=generator)
        audio = -8 + 2 * clip.target + torch.randn((segments, 100, sampling.audio.mels), generator=generator)
        words = tuple(self._slot(clip.target, s) for s in range(segments))
        opened = make_opened(video.to(torch.uint8), audio, words, (True, True, self.speaks))
        if not sampling.reads_stream("features/toy"):
            return opened
        array = clip.target + torch.randn((2 + index % 3, 3), generator=generator)
        return OpenedClip({**opened.streams, "features/toy": array}, {**opened.present, "features/toy": True})

    def _slot(self, label: int, segment: int) -> tuple[Word, ...]:
        if not self.speaks:
            return ()
        cues = (WORDS[label] * 2)[segment % 2 : segment % 2 + 1 + segment % 2]  # one, two, one ... cues
        texts = ("the", *cues)
        return tuple(Word(text, segment + 0.2 * i, segment + 0.2 * i + 0.1) for i, text in enumerate(texts))


def spoken_clips(split: str, per_class: int, speaks: bool = True) -> SpokenClips:
    """Make `per_class` clips of each class, named after their split."""
    files = ClipSources(transcript=Path("toy.srt")) if speaks else ClipSources()
    clips = (
        Clip(f"{name}/{split}{i}", label, "train", f"{split}{i}", files)
        for label, name in enumerate(CARD.classes)
        for i in range(per_class)
    )
    return SpokenClips(tuple(clips), speaks)


def spoken_batch(config: MartConfig = SMALL, progress: float = 0.5, speaks: bool = True) -> Batch:
    """Make a batch of two clips of each class."""
    source, streams = spoken_clips("train", 2, speaks), RngTree(1)
    opened = [source.read(i, MART.sampling(config, True), streams, 0) for i in range(len(source.clips))]
    label = torch.tensor([clip.target for clip in source.clips])
    return Batch(collate(opened), label, tuple(clip.key for clip in source.clips), 0, progress)


def spoken_inputs(words: tuple[tuple[Word, ...], ...]) -> Inputs:
    """Make the inputs of one clip with the given words per slot."""
    video, audio = torch.zeros((1, len(words), 1, 8, 8, 3), dtype=torch.uint8), torch.zeros((1, len(words), 100, 32))
    return make_inputs(video, audio, (words,))


def one_clip(batch: Batch, index: int) -> Batch:
    """Return the batch of a single clip of a batch."""
    own = slice(index, index + 1)
    inputs = slice_batch(batch.inputs, index, index + 1)
    return replace(batch, inputs=inputs, target=batch.target[own], keys=batch.keys[own])


def objective(config: MartConfig = SMALL, seed: int = 3) -> MartObjective:
    """Make the pre-training objective of an untrained small model."""
    streams = RngTree(seed)
    predictor = MartPredictor(Mbt(config, len(CARD.classes), streams), config, CARD)
    return MartObjective(predictor, config, CARD, streams).eval()


def hand_made_cues(cues: list[list[tuple[int, set[int], float]]]) -> CueBatch:
    """Make the cues of one clip from (polarity, classes, degree) by segment and cue."""
    shape = (1, len(cues), max(map(len, cues)))
    mask, polarity = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.long)
    degree, classes = torch.zeros(shape), torch.zeros((*shape, 3), dtype=torch.bool)
    for s, slot in enumerate(cues):
        for k, (sign, named, strength) in enumerate(slot):
            mask[0, s, k], polarity[0, s, k], degree[0, s, k] = True, sign, strength
            classes[0, s, k, list(named)] = True
    return CueBatch((), mask, polarity, degree, classes, torch.zeros((*shape, 4), dtype=torch.long), ())


def tower_file(file: Path, seed: int = 7) -> Path:
    """Write a small CLIP image tower (32 x 32 images, patches of 8) as safetensors, and next to it as `.pt`."""
    torch.manual_seed(seed)
    tower = timm.create_model(
        "vit_base_patch16_clip_224", img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=0
    )
    save_file(tower.state_dict(), file)
    torch.save(tower.state_dict(), file.with_suffix(".pt"))
    return file


def bert_folder(folder: Path, hidden: int = 16) -> Path:
    """Write a BERT of two small blocks with the toys' vocabulary and an input of 24 pieces; return its folder."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    letters = (f"{mark}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##"))
    words = ("the", "grief", "misery", "terror", "panic", "joy", "del", "##ight", "good", "morning", ",", "!", ".")
    pieces = dict.fromkeys((*special, *words, *letters))
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    torch.manual_seed(7)
    sizes = BertConfig(
        vocab_size=len(pieces),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.5,
    )
    BertModel(sizes).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
