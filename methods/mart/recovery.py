"""Recovery of masked tokens: targets, decoders and losses.

Targets are normalised patches, HOG features or features of a frozen teacher, with or instead of the emotion
distribution. The teacher is the image tower of an image-text model (CLIP, Radford et al., ICML 2021).

Key: B clips, S segments, T frames, H W pixels, F audio frames, M mel bins, N tokens, n visible ones, D width, W decoder
width, Q values of a patch (or width of the teacher), C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import timm
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int, UInt8
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import ConfigError
from bench.rng import RngTree
from methods.mart.config import MartConfig
from methods.mbt.layers import NORM_EPS, make_blocks, make_seeded, run_block, scale_pixels, sinusoidal_positions
from methods.mbt.model import Mbt
from methods.weights import load_frozen, load_tensors

TEACHER_BATCH = 64  # frames
TOWER_HEAD_WIDTH = 64  # width per attention head, up to ViT-L
MAX_TOWER_WIDTH = 1024

HOG_ORIENTATIONS = 9  # bins of 20 degrees; opposite gradients share a bin
HOG_CELL = 8  # pixels


class Teacher:
    """Frozen image tower; not an nn.Module, so that neither checkpoints nor the optimiser include it."""

    def __init__(self, tower: VisionTransformer) -> None:
        self.tower = tower
        self.width = int(tower.embed_dim)
        self.grid: tuple[int, int] = tower.patch_embed.grid_size
        self.size: tuple[int, int] = tower.patch_embed.img_size
        self.scale = torch.tensor([OPENAI_CLIP_MEAN, OPENAI_CLIP_STD]).view(2, 3, 1, 1)

    @torch.no_grad()
    def __call__(self, video: UInt8[Tensor, "B S T H W 3"], tubelet: int, side: int) -> Float[Tensor, "B S N Q"]:
        """Return the features of each tubelet's middle frame, pooled to side x side and layer-normalised."""
        clips, segments = video.shape[:2]
        self.tower.to(video.device)
        self.scale = self.scale.to(video.device)
        frames = rearrange(video[:, :, tubelet // 2 :: tubelet], "B S t h w c -> (B S t) c h w")
        maps = torch.cat([self._encode_frames(batch, side) for batch in torch.split(frames, TEACHER_BATCH)])
        features = rearrange(maps, "(B S t) q h w -> B S (t h w) q", B=clips, S=segments)
        return functional.layer_norm(features, (self.width,))

    def _encode_frames(self, frames: UInt8[Tensor, "n 3 H W"], side: int) -> Float[Tensor, "n Q h w"]:
        mean, deviation = self.scale
        scaled = functional.interpolate(frames.float() / 255, self.size, mode="bicubic", antialias=True)
        tokens = self.tower.forward_features((scaled - mean) / deviation)[:, self.tower.num_prefix_tokens :].float()
        return functional.adaptive_avg_pool2d(rearrange(tokens, "n (h w) q -> n q h w", h=self.grid[0]), side)


def load_teacher(file: str) -> Teacher:
    """Load the teacher from a file with timm's or OpenCLIP's parameter names; its size follows from the tensors.

    Raises ConfigError if no file is set or it contains no such tower.
    """
    if not file:
        raise ConfigError("weights_teacher: target=clip needs a CLIP image tower (--set weights_teacher=FILE)")
    tensors = load_tensors(Path(file), "weights_teacher")
    error_prefix = f"weights_teacher: '{file}' has no CLIP image tower up to ViT-L"
    width, depth, patch, side = _infer_tower_sizes(tensors, error_prefix)
    tower = timm.create_model(
        "vit_base_patch16_clip_224",
        **{"img_size": side * patch, "patch_size": patch, "embed_dim": width, "depth": depth},
        num_heads=width // TOWER_HEAD_WIDTH,
        num_classes=0,
    )
    return Teacher(load_frozen(tower, checkpoint_filter_fn(tensors, tower), error_prefix))


def _infer_tower_sizes(tensors: dict[str, Tensor], error_prefix: str) -> tuple[int, int, int, int]:
    """Return width, depth, patch side in pixels and image side in patches of the image tower.

    Raises ConfigError, whose message starts with `error_prefix`, if the tensors fit no ViT up to ViT-L.
    """
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")} or tensors
    own = {name.removeprefix("visual.").removeprefix("trunk."): tensor for name, tensor in visual.items()}
    kernel = own.get("patch_embed.proj.weight", own.get("conv1.weight"))
    positions = own.get("pos_embed", own.get("positional_embedding"))
    if kernel is None or kernel.ndim != 4 or positions is None:
        raise ConfigError(f"{error_prefix}: no patch embedding or no positions")
    width, patch, side = kernel.shape[0], kernel.shape[-1], math.isqrt(positions.shape[-2] - 1)
    depth = sum(name.endswith(("norm1.weight", "ln_1.weight")) for name in own)
    if width % TOWER_HEAD_WIDTH or width > MAX_TOWER_WIDTH or side**2 + 1 != positions.shape[-2]:
        raise ConfigError(f"{error_prefix}: width {width}, {positions.shape[-2]} positions")
    return width, depth, patch, side


class PatchTarget(NamedTuple):
    """Target of video tokens: number of values per token, and the function that computes them."""

    size: int
    compute: Callable[[UInt8[Tensor, "B S T H W 3"]], Float[Tensor, "B S N Q"]]


@dataclass(frozen=True)
class RecoveryTarget:
    """Target, recovered modalities and loss weights of a value of the config field `target`."""

    make_video_target: Callable[[MartConfig], PatchTarget]
    recovers_audio: bool  # recover audio patches too
    get_loss_weights: Callable[[MartConfig], tuple[float, float]]  # of patches, of the emotion distribution


def make_pixel_target(config: MartConfig) -> PatchTarget:
    """Make the target of normalised pixels."""
    size = config.tubelet * config.patch**2 * 3
    return PatchTarget(size, lambda video: compute_video_target(scale_pixels(video), config.tubelet, config.patch))


def make_hog_target(config: MartConfig) -> PatchTarget:
    """Make the target of histograms of oriented gradients (MaskFeat, Wei et al., CVPR 2022)."""
    cells = (config.patch // choose_cell_size(config.patch)) ** 2
    size = config.tubelet * cells * 3 * HOG_ORIENTATIONS
    return PatchTarget(size, partial(compute_hog_target, tubelet=config.tubelet, patch=config.patch))


def make_teacher_target(config: MartConfig) -> PatchTarget:
    """Make the target of features of a frozen image-text teacher."""
    teacher, side = load_teacher(config.weights_teacher), config.size // config.patch
    return PatchTarget(teacher.width, partial(teacher, tubelet=config.tubelet, side=side))


RECOVERY_TARGETS: dict[str, RecoveryTarget] = {
    "distribution": RecoveryTarget(make_pixel_target, True, lambda config: (config.w_patch, config.w_kl)),
    "kl": RecoveryTarget(make_pixel_target, True, lambda config: (0.0, config.w_kl)),
    "pixel": RecoveryTarget(make_pixel_target, True, lambda config: (config.w_target, 0.0)),
    "hog": RecoveryTarget(make_hog_target, False, lambda config: (config.w_target, 0.0)),
    "clip": RecoveryTarget(make_teacher_target, False, lambda config: (config.w_target, 0.0)),
}


def compute_video_target(video: Float[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """Cut video into patches, each channel normalised by its own mean and variance."""
    patches = rearrange(video, "B S (t a) (h b) (w c) ch -> B S (t h w) (a b c) ch", a=tubelet, b=patch, c=patch)
    return rearrange(_normalise(patches, -2), "B S n q ch -> B S n (q ch)")


def compute_audio_target(audio: Float[Tensor, "B S F M"], patch: int, stride: int) -> Float[Tensor, "B S N Q"]:
    """Cut log-mel segments into overlapping patches, each normalised by its own mean and variance."""
    clips = len(audio)
    image = rearrange(audio, "B S f m -> (B S) 1 m f")
    patches = rearrange(functional.unfold(image, patch, stride=stride), "(B S) q n -> B S n q", B=clips)
    return _normalise(patches, -1)


def compute_hog_target(video: UInt8[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """Compute the gradient histograms of each patch, flattened over its frames, cells and colours."""
    clips, segments = video.shape[:2]
    cell = choose_cell_size(patch)
    histograms = compute_gradient_histograms(rearrange(video, "B S t h w c -> (B S t) c h w").float() / 255, cell)
    sizes = {"B": clips, "S": segments, "a": tubelet, "b": patch // cell, "d": patch // cell}
    return rearrange(histograms, "(B S t a) c o (h b) (w d) -> B S (t h w) (a b d c o)", **sizes)


def choose_cell_size(patch: int) -> int:
    """Return the side of a HOG cell: 8 pixels if they divide the patch, else half of it, else all of it."""
    if patch % HOG_CELL == 0:
        return HOG_CELL
    return patch // 2 if patch % 2 == 0 else patch


def compute_gradient_histograms(frames: Float[Tensor, "n c H W"], cell: int) -> Float[Tensor, "n c 9 h w"]:
    """Compute unit-length HOG of each cell and colour (Dalal and Triggs, CVPR 2005); zeros in flat cells.

    Gradients are central differences, 0 at the frame border; each adds its magnitude to a single orientation bin.
    """
    down = functional.pad(frames[:, :, 2:] - frames[:, :, :-2], (0, 0, 1, 1))
    right = functional.pad(frames[..., 2:] - frames[..., :-2], (1, 1))
    size = torch.hypot(down, right)
    upper = torch.where((down < 0) | ((down == 0) & (right < 0)), -1.0, 1.0)  # maps opposite directions to one
    angle = torch.atan2(down * upper, right * upper)
    bins = (angle * (HOG_ORIENTATIONS / torch.pi)).floor().clamp(0, HOG_ORIENTATIONS - 1)
    counted = [
        reduce(size * (bins == orientation), "n c (h a) (w b) -> n c h w", "mean", a=cell, b=cell)
        for orientation in range(HOG_ORIENTATIONS)
    ]
    histograms = torch.stack(counted, 2)
    return histograms / (histograms.square().sum(2, keepdim=True) + 1e-10).sqrt()


def _normalise(patches: Tensor, axis: int) -> Tensor:
    mean, variance = patches.mean(axis, keepdim=True), patches.var(axis, keepdim=True, unbiased=False)
    return (patches - mean) / (variance + 1e-6).sqrt()


class RecoveryDecoder(nn.Module):
    """Decoder of one modality: visible tokens, and mask tokens elsewhere, to patches and emotion scores."""

    def __init__(self, config: MartConfig, tokens: int, values: int, classes: int) -> None:
        super().__init__()
        width, heads = config.decoder_width, config.decoder_heads
        if width % heads:
            raise ConfigError(f"decoder_width {width} is not a multiple of decoder_heads {heads}; change one of them")
        self.recompute = config.recompute
        self.enter = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.register_buffer("position", sinusoidal_positions(tokens, width), persistent=False)
        self.position: Tensor
        self.blocks = make_blocks(width, config.decoder_depth, heads, compiled=config.compile)
        self.norm = nn.LayerNorm(width, NORM_EPS)
        self.patches = nn.Linear(width, values)
        self.classes = nn.Linear(width, classes)

    def forward(
        self, visible: Float[Tensor, "B S n D"], indices: Int[Tensor, "B S n"]
    ) -> tuple[Float[Tensor, "B S N Q"], Float[Tensor, "B S C"]]:
        """Return the predicted patches and the modality's term of the emotion scores."""
        clips, segments = visible.shape[:2]
        embedded = self.enter(visible)
        full = self.mask_token.to(embedded.dtype).expand(clips, segments, self.position.shape[1], -1)
        full = full.scatter(2, indices[..., None].expand_as(embedded), embedded)
        tokens = rearrange(full, "B S n w -> (B S) n w") + self.position
        for block in self.blocks:
            tokens = run_block(block, tokens, self.recompute)
        tokens = rearrange(self.norm(tokens), "(B S) n w -> B S n w", B=clips)
        return self.patches(tokens), self.classes(tokens.mean(2))


def make_decoders(
    config: MartConfig, mbt: Mbt, classes: int, video_values: int, audio: bool, rng: RngTree
) -> nn.ModuleDict:
    """Make a decoder of video patches with `video_values` values, and one of audio patches if `audio` is set."""
    sizes = {"video": (math.prod(mbt.video_grid), config.tubelet * config.patch**2 * 3)}
    if audio:
        sizes["audio"] = (math.prod(mbt.audio_grid), config.audio_patch**2)
    made = {
        name: make_seeded(rng, f"mart.decoder.{name}", partial(RecoveryDecoder, config, *size, classes))
        for name, size in sizes.items()
    }
    if video_values != sizes["video"][1]:  # seeded apart, so that all other weights are equal for every target
        last = make_seeded(rng, "mart.decoder.video.target", lambda: nn.Linear(config.decoder_width, video_values))
        made["video"].patches = last
    return nn.ModuleDict(made)


def find_uncovered_audio(
    hidden: Bool[Tensor, "B S N"], mels: int, frames: int, patch: int, stride: int
) -> Bool[Tensor, "B S N Q"]:
    """Return True for values of masked patches that no visible patch overlaps; the others could be copied."""
    clips = len(hidden)
    visible = rearrange((~hidden).float(), "B S n -> (B S) 1 n").expand(-1, patch * patch, -1)
    covered = functional.fold(visible, (mels, frames), patch, stride=stride) > 0
    copyable = rearrange(functional.unfold(covered.float(), patch, stride=stride), "(B S) q n -> B S n q", B=clips)
    return (copyable == 0) & hidden[..., None]


def patch_loss(
    predicted: Float[Tensor, "B S N Q"], target: Float[Tensor, "B S N Q"], counted: Bool[Tensor, "B S N Q"]
) -> Float[Tensor, " B"]:
    """Average the squared error over the counted values of a segment, then over segments; 0 if none is counted."""
    weight = counted.float()
    error = ((predicted - target).square() * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)
    return error.mean(1)


def distribution_loss(
    curve: Float[Tensor, "B S C"], scores: Float[Tensor, "B S C"], axis: Literal["class", "time"]
) -> Float[Tensor, " B"]:
    """Compute KL(softmax(D_tcam) || softmax(scores)), averaged over segments (axis class) or classes (axis time)."""
    dim = -1 if axis == "class" else 1
    target = curve.detach().softmax(dim)
    return functional.kl_div(scores.log_softmax(dim), target, reduction="none").sum(dim).mean(-1)
