"""Published checkpoints as initial weights of MBT: VideoMAE, timm's ViT, AST, DeiT and the authors' own.

Each mapping translates the published parameter names to those of MBT and resizes patch embeddings and positions. One
line reports what was loaded.

Key: D width, k special tokens, m t bins and times of a grid of sound patches.
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

MAX_NAME_GROUPS = 6  # groups of names that one line has room for


def resize_patches(weight: Float[Tensor, "D c *old"], size: tuple[int, ...]) -> Float[Tensor, "D c *new"]:
    """A patch embedding for patches of another size, with the same answer to an even picture; one of pictures is laid
    over the frames of a tubelet."""
    if weight.ndim == 4 and len(size) == 3:
        weight = rearrange(weight, "D c h w -> D c 1 h w")
    share = math.prod(weight.shape[2:]) / math.prod(size)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    resized: Tensor = interpolate(weight, size, mode=mode, align_corners=False) * share
    return resized


def find_audio_grid(patches: int, own: GridSize) -> GridSize | None:
    """(bins, times) of AST's positions: ours, or AST's bins, or our bins at another length; None where none fits."""
    if patches == math.prod(own):
        return own
    return next(((bins, patches // bins) for bins in (AST_BINS, own[0]) if patches % bins == 0), None)


def find_square_grid(patches: int) -> GridSize | None:
    """(rows, columns) of the positions of square pictures; None where they are not square."""
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else None


def interpolate_positions(table: Float[Tensor, "1 n D"], old: GridSize, new: GridSize) -> Float[Tensor, "1 N D"]:
    """Positions of a grid for another one: those between its own by interpolation."""
    grid = rearrange(table, "1 (m t) D -> 1 D m t", m=old[0])
    if old != new:
        grid = interpolate(grid, new, mode="bilinear", align_corners=False)
    return rearrange(grid, "1 D m t -> 1 (m t) D")


def crop_positions(table: Float[Tensor, "1 n D"], old: GridSize, times: int) -> tuple[Float[Tensor, "1 N D"], GridSize]:
    """The middle `times` of a grid that has more, as AST itself does it, and the grid that is left."""
    bins, length = old
    if length <= times:
        return table, old
    start = length // 2 - times // 2
    grid = rearrange(table, "1 (m t) D -> 1 m t D", m=bins)[:, :, start : start + times]
    return rearrange(grid, "1 m t D -> 1 (m t) D"), (bins, times)


def read_video_weights(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Of VideoMAE, pre-trained (`encoder.`) or fine-tuned, or of a picture ViT of timm."""
    return _map_video(source, mbt, source.find_prefix(("encoder.", "backbone.", "")))


def read_audio_weights(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Of AST (`v.`), or of a distilled DeiT for pictures."""
    prefix = source.find_prefix(("v.", ""))
    return _map_audio(source, mbt, prefix, of_sound=prefix == "v.")


def read_full_checkpoint(source: Checkpoint, mbt: Mbt) -> StateDict:
    """Of a checkpoint of the authors' code; its heads where they score as many classes as ours."""
    model = source.find_prefix(("vit.vid_model.", "vid_model.")).removesuffix("vid_model.")
    state = _map_video(source, mbt, f"{model}vid_model.")
    state |= _map_audio(source, mbt, f"{model}ast_model.v.", of_sound=True)
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


def _map_audio(source: Checkpoint, mbt: Mbt, prefix: str, of_sound: bool) -> StateDict:
    state = _map_blocks(source, mbt.audio_blocks, prefix, "audio_blocks")
    state |= _map_patch_embedding(source, mbt, f"{prefix}patch_embed.proj", "audio_tokens.project")
    tokens = [f"{prefix}cls_token", f"{prefix}dist_token"]
    if all(name in source for name in tokens):
        width = mbt.audio_tokens.class_tokens.shape[-1]
        state["audio_tokens.class_tokens"] = torch.cat([source.take(name, 1, 1, width) for name in tokens], 1)
        if f"{prefix}pos_embed" in source:
            state["audio_tokens.position"] = _map_positions(source, mbt, f"{prefix}pos_embed", of_sound)
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
            # a bias of k would shift all scores of a query alike: the file has none
            state[f"{ours}.{rest}"] = torch.cat([q, torch.zeros_like(q), v])
    return state


def _map_patch_embedding(source: Checkpoint, mbt: Mbt, name: str, ours: str) -> StateDict:
    """The patch embedding for our patches; sound has one colour, the sum of a picture's."""
    state = _copy_tensor(source, mbt, f"{name}.bias", f"{ours}.bias")
    if f"{name}.weight" not in source:
        return state
    wanted = mbt.get_parameter(f"{ours}.weight").shape
    has = source.get_shape(f"{name}.weight")
    if len(has) not in (4, len(wanted)) or len(wanted) < 4:  # no patch embedding, or ours is no linear one
        raise source.make_shape_error(f"{name}.weight", wanted)
    width, colours, *size = wanted
    weight = source.take(f"{name}.weight", width, None if colours == 1 else colours, *[None] * (len(has) - 2))
    if colours == 1:
        weight = weight.sum(1, keepdim=True)
    return {**state, f"{ours}.weight": resize_patches(weight, tuple(size))}


def _map_positions(source: Checkpoint, mbt: Mbt, name: str, of_sound: bool) -> Tensor:
    """The two special tokens' positions as they are, those of the patches cut in time, or interpolated."""
    own: GridSize = mbt.audio_grid
    table = source.take(name, 1, None, mbt.audio_tokens.position.shape[-1])
    special, patches = table[:, :2], table[:, 2:]
    old = find_audio_grid(patches.shape[1], own) if of_sound else find_square_grid(patches.shape[1])
    if old is None or not patches.shape[1]:
        raise source.make_shape_error(name, mbt.audio_tokens.position.shape)
    if of_sound:
        patches, old = crop_positions(patches, old, own[1])
    return torch.cat([special, interpolate_positions(patches, old, own)], 1)


@dataclass(frozen=True)
class KeyMapping:
    """How the files of a config field are named, and the parameters of ours that they are for."""

    read: Callable[[Checkpoint, Mbt], StateDict]
    parameter_prefixes: tuple[str, ...]  # beginnings of names
    expected: str


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
    """What became of a published file: our parameters that it filled and those it lacks, its tensors that are left."""

    field: str
    file: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        wanted, missing = len(self.loaded) + len(self.missing), _summarise_names(self.missing)
        filled = f"{self.field}: {len(self.loaded)} of {wanted} parameters from {self.file}"
        return f"{filled}; missing: {missing}; left over: {_summarise_names(self.unused)}"


def load_pretrained(mbt: Mbt, config: MbtConfig, notice: Callable[[str], None]) -> None:
    """Fill `mbt` from the files that the config names, and freeze the first sound blocks where they came from one.

    Raises ConfigError in one line for a file that is none, fits nothing, or has another shape.
    """
    for field, naming in KEY_MAPPINGS.items():
        if file := getattr(config, field):
            notice(str(load_into(mbt, field, naming, Path(file))))
    if config.freeze_audio and (config.weights_audio or config.weights_all):
        for part in (mbt.audio_tokens, *mbt.audio_blocks[: config.freeze_audio]):
            part.requires_grad_(False)


def load_into(mbt: Mbt, field: str, naming: KeyMapping, path: Path) -> LoadReport:
    """Fill `mbt` from one file."""
    source = Checkpoint(path.name, load_tensors(path, field))
    state = naming.read(source, mbt)
    if not state:
        raise ConfigError(f"{field}: nothing in {source.file} has a name that is expected, {naming.expected}")
    mbt.load_state_dict(state, strict=False)
    ours = [name for name, _ in mbt.named_parameters() if name.startswith(naming.parameter_prefixes)]
    missing = tuple(name for name in ours if name not in state)
    return LoadReport(field, source.file, tuple(state), missing, source.list_unused())


def _summarise_names(names: Iterable[str]) -> str:
    """Names without their numbers and last parts, each with how often; those that a line has no room for counted."""
    counts = Counter(re.sub(r"\.(\d+\..*|weight|bias)$", "", name) for name in names)
    told = [f"{group} ({count})" if count > 1 else group for group, count in counts.items()]
    more = [f"{len(told) - MAX_NAME_GROUPS} more"] if len(told) > MAX_NAME_GROUPS else []
    return ", ".join([*told[:MAX_NAME_GROUPS], *more]) or "none"
