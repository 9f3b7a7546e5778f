"""Initial weights of MBT from published checkpoints: VideoMAE, timm's ViT, AST, DeiT and the authors' own.

Each mapping translates the published parameter names to those of MBT and resizes patch embeddings and positions. One
line reports what was loaded.

Key: D width, c channels, n N old and new positions, m t mel bins and time steps of a grid of audio patches.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.errors import ConfigError
from methods.mbt.config import MbtConfig
from methods.mbt.model import Mbt
from methods.weights import Checkpoint, load_tensors

GridSize = tuple[int, int]

AST_BINS = 12  # rows of a grid over 128 mel bins at AST's stride of 10

StateDict = dict[str, Tensor]

MAX_NAME_GROUPS = 6  # groups of parameter names in a report line


def resize_patches(weight: Float[Tensor, "D c *old"], size: tuple[int, ...]) -> Float[Tensor, "D c *new"]:
    """Resize a patch embedding so that its response to a uniform image is unchanged.

    An embedding of images is repeated over the frames of a tubelet.
    """
    if weight.ndim == 4 and len(size) == 3:
        weight = rearrange(weight, "D c h w -> D c 1 h w")
    share = math.prod(weight.shape[2:]) / math.prod(size)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    resized: Tensor = interpolate(weight, size, mode=mode, align_corners=False) * share
    return resized


def find_audio_grid(patches: int, own: GridSize) -> GridSize | None:
    """Return (bins, time steps) of AST's positions: the model's grid `own`, else AST's, else the model's bins.

    None if neither number of bins divides the number of patches.
    """
    if patches == math.prod(own):
        return own
    return next(((bins, patches // bins) for bins in (AST_BINS, own[0]) if patches % bins == 0), None)


def find_square_grid(patches: int) -> GridSize | None:
    """Return (rows, columns) of the positions of a square image; None if the number is not a square."""
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else None


def interpolate_positions(table: Float[Tensor, "1 n D"], old: GridSize, new: GridSize) -> Float[Tensor, "1 N D"]:
    """Interpolate the positions of a grid bilinearly to another grid."""
    grid = rearrange(table, "1 (m t) D -> 1 D m t", m=old[0])
    if old != new:
        grid = interpolate(grid, new, mode="bilinear", align_corners=False)
    return rearrange(grid, "1 D m t -> 1 (m t) D")


def crop_positions(table: Float[Tensor, "1 n D"], old: GridSize, times: int) -> tuple[Float[Tensor, "1 N D"], GridSize]:
    """Crop a longer grid to its middle `times` time steps, as AST does; return the table and its new grid."""
    bins, length = old
    if length <= times:
        return table, old
    start = length // 2 - times // 2
    grid = rearrange(table, "1 (m t) D -> 1 m t D", m=bins)[:, :, start : start + times]
    return rearrange(grid, "1 m t D -> 1 (m t) D"), (bins, times)


def read_video_weights(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Map VideoMAE, pre-trained (`encoder.`) or fine-tuned, or an image ViT of timm."""
    return _map_video(source, mbt, source.find_prefix(("encoder.", "backbone.", "")))


def read_audio_weights(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Map AST (`v.`), or a distilled DeiT for images."""
    prefix = source.find_prefix(("v.", ""))
    return _map_audio(source, mbt, prefix, from_audio=prefix == "v.")


def read_full_checkpoint(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Map a checkpoint of the authors' code; its heads only if their number of classes is the same."""
    model = source.find_prefix(("vit.vid_model.", "vid_model.")).removesuffix("vid_model.")
    state = _map_video(source, mbt, f"{model}vid_model.")
    state |= _map_audio(source, mbt, f"{model}ast_model.v.", from_audio=True)
    state |= _copy_tensor(source, mbt, f"{model}bottleneck", "bottleneck_token")
    for published, ours in (("v_fc", "video_head"), ("a_fc", "audio_head")):
        names = [(f"{model}{published}.{part}", f"{ours}.{part}") for part in ("weight", "bias")]
        if all(n in source and source.get_shape(n) == tuple(mbt.get_parameter(own).shape) for n, own in names):
            state |= {own: source.take(name, *source.get_shape(name)) for name, own in names}
    return state


def _map_video(source: Checkpoint, mbt: Mbt, prefix: str) -> StateDict:
    state = _map_blocks(source, mbt.video_blocks, prefix, "video_blocks")
    state |= _map_patch_embedding(source, mbt, f"{prefix}patch_embed.proj", "video_tokens.stem.project")
    state |= _copy_tensor(source, mbt, f"{prefix}cls_token", "video_tokens.class_token")
    norm = next((n for n in ("norm", "fc_norm") if f"{prefix}{n}.weight" in source), "norm")
    for part in ("weight", "bias"):
        state |= _copy_tensor(source, mbt, f"{prefix}{norm}.{part}", f"video_norm.{part}")
    return state


def _map_audio(source: Checkpoint, mbt: Mbt, prefix: str, from_audio: bool) -> StateDict:
    state = _map_blocks(source, mbt.audio_blocks, prefix, "audio_blocks")
    state |= _map_patch_embedding(source, mbt, f"{prefix}patch_embed.proj", "audio_tokens.project")
    tokens = [f"{prefix}cls_token", f"{prefix}dist_token"]
    if all(name in source for name in tokens):
        width = mbt.audio_tokens.class_tokens.shape[-1]
        state["audio_tokens.class_tokens"] = torch.cat([source.take(name, 1, 1, width) for name in tokens], 1)
        if f"{prefix}pos_embed" in source:
            state["audio_tokens.position"] = _map_positions(source, mbt, f"{prefix}pos_embed", from_audio)
    for part in ("weight", "bias"):
        state |= _copy_tensor(source, mbt, f"{prefix}norm.{part}", f"audio_norm.{part}")
    return state


def _copy_tensor(source: Checkpoint, mbt: Mbt, name: str, ours: str) -> StateDict:
    return {ours: source.take(name, *mbt.get_parameter(ours).shape)} if name in source else {}


def _map_blocks(source: Checkpoint, blocks: nn.ModuleList, prefix: str, ours: str) -> StateDict:
    state: StateDict = {}
    for rest, own in blocks.named_parameters():
        name = f"{prefix}blocks.{rest}"
        attention = name.removesuffix("qkv.bias")
        if name in source:
            state[f"{ours}.{rest}"] = source.take(name, *own.shape)
        elif attention != name and f"{attention}q_bias" in source and f"{attention}v_bias" in source:
            q, v = (source.take(f"{attention}{part}_bias", len(own) // 3) for part in "qv")
            # the file has no bias of k: it would add one constant to all scores of a query, which softmax ignores
            state[f"{ours}.{rest}"] = torch.cat([q, torch.zeros_like(q), v])
    return state


def _map_patch_embedding(source: Checkpoint, mbt: Mbt, name: str, ours: str) -> StateDict:
    """Map and resize the patch embedding; for audio, sum the weights of the three colour channels."""
    state = _copy_tensor(source, mbt, f"{name}.bias", f"{ours}.bias")
    if f"{name}.weight" not in source:
        return state
    expected = mbt.get_parameter(f"{ours}.weight").shape
    actual = source.get_shape(f"{name}.weight")
    if len(actual) not in (4, len(expected)) or len(expected) < 4:  # no patch embedding, or stem=local
        raise source.make_shape_error(f"{name}.weight", expected)
    width, colours, *size = expected
    weight = source.take(f"{name}.weight", width, None if colours == 1 else colours, *[None] * (len(actual) - 2))
    if colours == 1:
        weight = weight.sum(1, keepdim=True)
    return {**state, f"{ours}.weight": resize_patches(weight, tuple(size))}


def _map_positions(source: Checkpoint, mbt: Mbt, name: str, from_audio: bool) -> Tensor:
    """Map the positions: special tokens unchanged, patches cropped in time or interpolated."""
    own: GridSize = mbt.audio_grid
    table = source.take(name, 1, None, mbt.audio_tokens.position.shape[-1])
    special, patches = table[:, :2], table[:, 2:]
    old = find_audio_grid(patches.shape[1], own) if from_audio else find_square_grid(patches.shape[1])
    if old is None or not patches.shape[1]:
        raise source.make_shape_error(name, mbt.audio_tokens.position.shape)
    if from_audio:
        patches, old = crop_positions(patches, old, own[1])
    return torch.cat([special, interpolate_positions(patches, old, own)], 1)


@dataclass(frozen=True)
class KeyMapping:
    """Mapping of the files of a config field to parameters of MBT."""

    read: Callable[[Checkpoint, Mbt], StateDict]
    parameter_prefixes: tuple[str, ...]  # parameters that the file should fill
    expected: str  # parameter names, for the error message


KEY_MAPPINGS = {
    "weights_video": KeyMapping(
        read_video_weights,
        ("video_tokens", "video_blocks", "video_norm"),
        "VideoMAE's or timm's: patch_embed.proj, blocks.0.attn.qkv ..., alone or after encoder. or backbone.",
    ),
    "weights_audio": KeyMapping(
        read_audio_weights,
        ("audio_tokens", "audio_blocks", "audio_norm"),
        "AST's or DeiT's: cls_token, dist_token, pos_embed, blocks.0.attn.qkv ..., alone or after v.",
    ),
    "weights_all": KeyMapping(
        read_full_checkpoint, ("",), "the authors': vit.vid_model.*, vit.ast_model.v.*, vit.bottleneck"
    ),
}


@dataclass(frozen=True)
class LoadReport:
    """Parameters that a published file filled, parameters that it lacks, and its unused tensors."""

    field: str
    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        total, missing = len(self.loaded) + len(self.missing), _summarise_names(self.missing)
        filled = f"{self.field}: {len(self.loaded)} of {total} parameters from {self.file}"
        return f"{filled}; missing: {missing}; unused: {_summarise_names(self.unused)}"


def load_pretrained(mbt: Mbt, config: MbtConfig, notice: Callable[[str], None]) -> None:
    """Load the weight files of the config into `mbt`, report each with `notice`, and freeze the first audio blocks.

    Audio blocks are frozen only if weights were loaded into them. Raises ConfigError for a file that cannot be read,
    matches no parameter, or has another shape.
    """
    for field, naming in KEY_MAPPINGS.items():
        if file := getattr(config, field):
            notice(str(load_into(mbt, field, naming, Path(file))))
    if config.freeze_audio and (config.weights_audio or config.weights_all):
        for part in (mbt.audio_tokens, *mbt.audio_blocks[: config.freeze_audio]):
            part.requires_grad_(False)


def load_into(mbt: Mbt, field: str, naming: KeyMapping, path: Path) -> LoadReport:
    """Load one file into `mbt`."""
    source = Checkpoint(f"{field}: {path.name}", load_tensors(path, field))
    state = naming.read(source, mbt)
    if not state:
        raise ConfigError(f"{source.file}: no tensor has an expected name; names are {naming.expected}")
    mbt.load_state_dict(state, strict=False)
    ours = [name for name, _ in mbt.named_parameters() if name.startswith(naming.parameter_prefixes)]
    missing = tuple(name for name in ours if name not in state)
    return LoadReport(field, path.name, tuple(state), missing, source.list_unused())


def _summarise_names(names: Iterable[str]) -> str:
    """Group names without numbers and last parts, with counts: "video_blocks (12), norm, 3 more"."""
    counts = Counter(re.sub(r"\.(\d+\..*|weight|bias)$", "", name) for name in names)
    groups = [f"{group} ({count})" if count > 1 else group for group, count in counts.items()]
    more = [f"{len(groups) - MAX_NAME_GROUPS} more"] if len(groups) > MAX_NAME_GROUPS else []
    return ", ".join([*groups[:MAX_NAME_GROUPS], *more]) or "none"
