"""The image tower of an image-text model (CLIP, Radford et al., ICML 2021) as a frozen teacher.

Key: B clips, S segments, T frames, H W pixels, N tokens of ours, Q width of the tower.
"""

from __future__ import annotations

import math
from pathlib import Path

import timm
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, layer_norm

from bench.errors import ConfigError
from methods.backbones.published_files import flat_tensors
from methods.mart.frozen import fill

AT_ONCE = 64  # pictures
HEAD = 64  # width of an attention head in towers up to ViT-L; wider ones have others
WIDEST = 1024


class Teacher:
    """Features of a tubelet's picture; no module, so that the tower is in no checkpoint and no optimiser."""

    def __init__(self, tower: VisionTransformer) -> None:
        self.tower = tower
        self.width = int(tower.embed_dim)
        self.grid: tuple[int, int] = tower.patch_embed.grid_size
        self.size: tuple[int, int] = tower.patch_embed.img_size
        self.scale = torch.tensor([OPENAI_CLIP_MEAN, OPENAI_CLIP_STD]).view(2, 3, 1, 1)

    @torch.no_grad()
    def __call__(self, video: UInt8[Tensor, "B S T H W 3"], tubelet: int, side: int) -> Float[Tensor, "B S N Q"]:
        """The patch features of each tubelet's middle frame, pooled to side x side and normalised (layer norm)."""
        clips, segments = video.shape[:2]
        self.tower.to(video.device)
        self.scale = self.scale.to(video.device)
        pictures = rearrange(video[:, :, tubelet // 2 :: tubelet], "B S t h w c -> (B S t) c h w")
        told = torch.cat([self._look(some, side) for some in torch.split(pictures, AT_ONCE)])
        features = rearrange(told, "(B S t) q h w -> B S (t h w) q", B=clips, S=segments)
        return layer_norm(features, (self.width,))

    def _look(self, pictures: UInt8[Tensor, "n 3 H W"], side: int) -> Float[Tensor, "n Q h w"]:
        mean, deviation = self.scale
        scaled = interpolate(pictures.float() / 255, self.size, mode="bicubic", antialias=True)
        tokens = self.tower.forward_features((scaled - mean) / deviation)[:, self.tower.num_prefix_tokens :].float()
        return adaptive_avg_pool2d(rearrange(tokens, "n (h w) q -> n q h w", h=self.grid[0]), side)


def load_teacher(file: str) -> Teacher:
    """The teacher of a file of timm's or OpenCLIP's names; its sizes are those of the tensors.

    Raises ConfigError where there is no file, or none of such a tower.
    """
    if not file:
        raise ConfigError("target=clip learns from an image-text tower: name its file, --set weights_teacher=FILE")
    tensors = flat_tensors(Path(file), "weights_teacher")
    told = f"weights_teacher: '{file}' holds no image tower of a CLIP (ViT-L or smaller)"
    width, depth, patch, side = _sizes(tensors, told)
    tower = timm.create_model(
        "vit_base_patch16_clip_224",
        **{"img_size": side * patch, "patch_size": patch, "embed_dim": width, "depth": depth},
        num_heads=width // HEAD,
        num_classes=0,
    )
    return Teacher(fill(tower, checkpoint_filter_fn(tensors, tower), told))


def _sizes(tensors: dict[str, Tensor], told: str) -> tuple[int, int, int, int]:
    """Width, blocks, pixels of a patch's side, patches of a picture's side; of the picture's tower where the file holds
    both."""
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")} or tensors
    own = {name.removeprefix("visual.").removeprefix("trunk."): tensor for name, tensor in visual.items()}
    kernel = own.get("patch_embed.proj.weight", own.get("conv1.weight"))
    places = own.get("pos_embed", own.get("positional_embedding"))
    if kernel is None or kernel.ndim != 4 or places is None:
        raise ConfigError(f"{told}: it has no patch embedding or no positions")
    width, patch, side = kernel.shape[0], kernel.shape[-1], math.isqrt(places.shape[-2] - 1)
    depth = sum(name.endswith(("norm1.weight", "ln_1.weight")) for name in own)
    if width % HEAD or width > WIDEST or side**2 + 1 != places.shape[-2]:
        raise ConfigError(f"{told}: {width} wide, {places.shape[-2]} positions")
    return width, depth, patch, side
