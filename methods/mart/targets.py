"""What is recovered of hidden tokens, by the values of `target`: patches of pixels, gradients or a teacher's features
beside or instead of the emotion distribution (METHOD.md section 6).

Key: B clips, S segments, T frames, H W pixels, F sound frames, M mel bins, N tokens, Q values of a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad, unfold

from methods.backbones.tokens import pixels
from methods.mart.config import MartConfig
from methods.mart.teacher import load_teacher

ORIENTATIONS = 9  # of 20 degrees; a gradient and its opposite are one
CELL = 8  # pixels


class Patches(NamedTuple):
    """The target of picture tokens: how many values each has, and which."""

    size: int
    of: Callable[[UInt8[Tensor, "B S T H W 3"]], Float[Tensor, "B S N Q"]]


@dataclass(frozen=True)
class Target:
    """What a value of `target` asks of the decoders."""

    picture: Callable[[MartConfig], Patches]
    sound: bool  # whether sound patches are recovered too
    weights: Callable[[MartConfig], tuple[float, float]]  # of patches, of the emotion distribution


def pixel_patches(config: MartConfig) -> Patches:
    """Normalised pixels."""
    size = config.tubelet * config.patch**2 * 3
    return Patches(size, lambda video: video_target(pixels(video), config.tubelet, config.patch))


def hog_patches(config: MartConfig) -> Patches:
    """Histograms of oriented gradients (MaskFeat, Wei et al., CVPR 2022)."""
    cells = (config.patch // cell_size(config.patch)) ** 2
    size = config.tubelet * cells * 3 * ORIENTATIONS
    return Patches(size, partial(hog_target, tubelet=config.tubelet, patch=config.patch))


def teacher_patches(config: MartConfig) -> Patches:
    """Features of a frozen image-text teacher."""
    teacher, side = load_teacher(config.weights_teacher), config.size // config.patch
    return Patches(teacher.width, partial(teacher, tubelet=config.tubelet, side=side))


TARGETS: dict[str, Target] = {
    "distribution": Target(pixel_patches, True, lambda config: (config.w_patch, config.w_kl)),
    "kl": Target(pixel_patches, True, lambda config: (0.0, config.w_kl)),
    "pixel": Target(pixel_patches, True, lambda config: (config.w_target, 0.0)),
    "hog": Target(hog_patches, False, lambda config: (config.w_target, 0.0)),
    "clip": Target(teacher_patches, False, lambda config: (config.w_target, 0.0)),
}


def video_target(video: Float[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """Patches, each channel normalised by its own mean and variance."""
    patches = rearrange(video, "B S (t a) (h b) (w c) ch -> B S (t h w) (a b c) ch", a=tubelet, b=patch, c=patch)
    return rearrange(_normalise(patches, -2), "B S n q ch -> B S n (q ch)")


def audio_target(audio: Float[Tensor, "B S F M"], patch: int, stride: int) -> Float[Tensor, "B S N Q"]:
    """Overlapping patches of the log-mel segment, normalised by their own mean and variance."""
    clips = len(audio)
    image = rearrange(audio, "B S f m -> (B S) 1 m f")
    patches = rearrange(unfold(image, patch, stride=stride), "(B S) q n -> B S n q", B=clips)
    return _normalise(patches, -1)


def hog_target(video: UInt8[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """The histograms of a patch: those of its frames, cells and colours one after the other."""
    clips, segments = video.shape[:2]
    frames = rearrange(video, "B S t h w c -> (B S t) c h w").float() / 255
    cell = cell_size(patch)
    side = patch // cell
    return rearrange(
        histograms(frames, cell),
        "(B S t a) c o (h b) (w d) -> B S (t h w) (a b d c o)",
        **{"B": clips, "S": segments, "a": tubelet, "b": side, "d": side},
    )


def cell_size(patch: int) -> int:
    """8 pixels where they fill the patch, else half of it, else all of it."""
    if patch % CELL == 0:
        return CELL
    return patch // 2 if patch % 2 == 0 else patch


def histograms(frames: Float[Tensor, "n c H W"], cell: int) -> Float[Tensor, "n c 9 h w"]:
    """Oriented gradients (Dalal and Triggs, CVPR 2005) of each cell and colour, of unit length; zeros where it is flat.

    Differences of the two neighbours, none at the border of a frame, each counted whole under its orientation.
    """
    down = pad(frames[:, :, 2:] - frames[:, :, :-2], (0, 0, 1, 1))
    right = pad(frames[..., 2:] - frames[..., :-2], (1, 1))
    size = torch.hypot(down, right)
    upper = torch.where((down < 0) | ((down == 0) & (right < 0)), -1.0, 1.0)  # one of the two opposite directions
    angle = torch.atan2(down * upper, right * upper)
    bins = (angle * (ORIENTATIONS / torch.pi)).floor().clamp(0, ORIENTATIONS - 1)
    counted = [
        reduce(size * (bins == orientation), "n c (h a) (w b) -> n c h w", "mean", a=cell, b=cell)
        for orientation in range(ORIENTATIONS)
    ]
    found = torch.stack(counted, 2)
    return found / (found.square().sum(2, keepdim=True) + 1e-10).sqrt()


def _normalise(patches: Tensor, axis: int) -> Tensor:
    mean, variance = patches.mean(axis, keepdim=True), patches.var(axis, keepdim=True, unbiased=False)
    return (patches - mean) / (variance + 1e-6).sqrt()
