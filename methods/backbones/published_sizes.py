"""Published patch embeddings and positions brought to another size.

Key: D width, k special tokens, m t bins and times of a grid of sound patches.
"""

from __future__ import annotations

import math

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

Grid = tuple[int, int]

AST_BINS = 12  # rows of a grid over 128 mel bins at AST's stride of 10


def resize_patches(weight: Float[Tensor, "D c *old"], size: tuple[int, ...]) -> Float[Tensor, "D c *new"]:
    """A patch embedding for patches of another size, with the same answer to an even picture; one of pictures is laid
    over the frames of a tubelet."""
    if weight.ndim == 4 and len(size) == 3:
        weight = rearrange(weight, "D c h w -> D c 1 h w")
    share = math.prod(weight.shape[2:]) / math.prod(size)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    resized: Tensor = interpolate(weight, size, mode=mode, align_corners=False) * share
    return resized


def sound_grid(patches: int, own: Grid) -> Grid | None:
    """(bins, times) of AST's positions: ours, or AST's bins, or our bins at another length; None where none fits."""
    if patches == math.prod(own):
        return own
    for bins in (AST_BINS, own[0]):
        if patches % bins == 0:
            return bins, patches // bins
    return None


def square_grid(patches: int) -> Grid | None:
    """(rows, columns) of the positions of square pictures; None where they are not square."""
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else None


def place(table: Float[Tensor, "1 n D"], old: Grid, new: Grid) -> Float[Tensor, "1 N D"]:
    """Positions of a grid for another one: those between its own by interpolation."""
    grid = rearrange(table, "1 (m t) D -> 1 D m t", m=old[0])
    if old != new:
        grid = interpolate(grid, new, mode="bilinear", align_corners=False)
    return rearrange(grid, "1 D m t -> 1 (m t) D")


def cut_times(table: Float[Tensor, "1 n D"], old: Grid, times: int) -> tuple[Float[Tensor, "1 N D"], Grid]:
    """The middle `times` of a grid that has more, as AST itself does it, and the grid that is left."""
    bins, length = old
    if length <= times:
        return table, old
    start = length // 2 - times // 2
    grid = rearrange(table, "1 (m t) D -> 1 m t D", m=bins)[:, :, start : start + times]
    return rearrange(grid, "1 m t D -> 1 (m t) D"), (bins, times)
