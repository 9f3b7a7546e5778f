"""Toy clips with a colour and a tone per class, and a minimal MBT that can learn them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.loader import collate, slice_batch
from bench.rng import RngTree
from bench.stages import fit_alone
from bench.types import Batch, Clip, DatasetInfo, Inputs, OpenedClip, Sampling
from methods.mbt.config import MbtConfig, make_sampling
from tests.conftest import Quiet
from tests.inputs import make_opened
from tests.toys import CARD, make_context

TINY = MbtConfig(
    segments=2,
    test_segments=3,
    frames=2,
    size=16,
    mels=32,
    patch=8,
    audio_patch=16,
    audio_stride=16,
    width=16,
    depth=2,
    heads=2,
    fusion_depth=1,
    bottleneck=2,
    lr=3e-3,
    epochs=3,
    batch=3,
    ema=0.9,
    ema_ramp=4,
)


@dataclass(frozen=True)
class ToyClips:
    """Noisy clips whose frames have the colour and whose audio has the mel band of their class."""

    clips: tuple[Clip, ...]
    video: bool = True
    audio: bool = True

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        clip, s = self.clips[index], sampling
        purpose = ("augmentation", epoch, clip.key) if s.training else ("fixed", clip.key)
        draws = streams.torch(*purpose)
        picture = torch.randint(0, 120, (s.segments, s.video.frames, s.video.size, s.video.size, 3), generator=draws)
        picture += (torch.arange(s.video.frames) * s.video.stride).view(-1, 1, 1, 1)
        picture[..., clip.target] += 60
        sound = torch.randn((s.segments, 100, s.audio.mels), generator=draws) - 7
        band = s.audio.mels // 3
        sound[..., clip.target * band : (clip.target + 1) * band] += 2
        video, audio = self.video and "video" in s.reads, self.audio and "audio" in s.reads
        return make_opened(
            video=picture.to(torch.uint8) * video,
            audio=sound * audio,
            words=((),) * s.segments,
            present=(video, audio, False),
        )


def toy_clips(split: str, per_class: int, **missing: bool) -> ToyClips:
    """Make `per_class` clips of each class, named after their split."""
    clips = (
        Clip(f"{name}/{split}{i}", label, "test" if split == "test" else "train", f"{split}{i}")
        for i in range(per_class)
        for label, name in enumerate(CARD.classes)
    )
    return ToyClips(tuple(clips), **missing)


def toy_batch(
    config: MbtConfig = TINY, present: Sequence[tuple[bool, bool]] = ((True, True),) * 3, training: bool = True
) -> Batch:
    """Make a batch with one clip per row of `present` (video, audio) and alternating classes."""
    clips = toy_clips("batch", len(present))
    read = [
        replace(clips, video=video, audio=audio).read(i, make_sampling(config, training), RngTree(7), 0)
        for i, (video, audio) in enumerate(present)
    ]
    taken = clips.clips[: len(read)]
    return Batch(collate(read), torch.tensor([c.target for c in taken]), tuple(c.key for c in taken), 0, 0.0)


def one_clip(inputs: Inputs, index: int) -> Inputs:
    """Return the inputs of the clip at `index` as a batch of one."""
    return slice_batch(inputs, index, index + 1)


def run_fit(method: Any, config: Any, folder: Path, seed: int = 0, **given: Any) -> tuple[torch.Tensor, Quiet]:
    """Fit a method to toy clips; return its test scores, (clips, C), and its tracker.

    `given` can override `card`, `train`, `val`, `test` and `micro_batch`.
    """
    card: DatasetInfo = given.get("card", CARD)
    train, val = given.get("train", toy_clips("train", 3)), given.get("val", toy_clips("val", 2))
    test = given.get("test", toy_clips("test", 4))
    streams, tracker = RngTree(seed), Quiet()
    folder.mkdir(parents=True, exist_ok=True)
    more = {"micro_batch": given.get("micro_batch"), "coupled": method.coupled}
    ctx = make_context(tracker, folder, config, info=card, train=train, val=val, rng=streams, **more)
    predictor = fit_alone(method, ctx)
    predictor.train(False)
    opened = method.sampling(config, False)
    with torch.inference_mode():
        inputs = collate([test.read(i, opened, streams, 0) for i in range(len(test.clips))])
        return predictor(inputs).output, tracker


def accuracy(scores: torch.Tensor, clips: ToyClips) -> float:
    """Return the share of clips whose largest score is that of their label."""
    labels = torch.tensor([clip.target for clip in clips.clips])
    return float((scores.argmax(-1) == labels).float().mean())
