"""Published weights put into an MBT before its training, and what was taken of them told in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ConfigError
from methods.backbones.config import MbtConfig
from methods.backbones.mbt import Mbt
from methods.backbones.published_files import Source, flat_tensors
from methods.backbones.published_names import State, picture, sound, whole

TOLD = 6  # groups of names that one line has room for


@dataclass(frozen=True)
class Naming:
    """How the files of a config field are named, and the parameters of ours that they are for."""

    read: Callable[[Source, Mbt], State]
    ours: tuple[str, ...]  # beginnings of names
    expected: str


NAMINGS = {
    "weights_video": Naming(
        picture,
        ("video_tokens", "video_blocks", "video_norm"),
        "VideoMAE's or timm's: patch_embed.proj, blocks.0.attn.qkv ..., alone or after encoder. or backbone.",
    ),
    "weights_audio": Naming(
        sound,
        ("audio_tokens", "audio_blocks", "audio_norm"),
        "AST's or DeiT's: cls_token, dist_token, pos_embed, blocks.0.attn.qkv ..., alone or after v.",
    ),
    "weights_all": Naming(whole, ("",), "the authors': vit.vid_model.*, vit.ast_model.v.*, vit.bottleneck"),
}


@dataclass(frozen=True)
class Taken:
    """What became of a published file: our parameters that it filled and those it lacks, its tensors that are left."""

    field: str
    file: str
    taken: tuple[str, ...]
    missing: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        filled = f"{self.field}: {len(self.taken)} of {len(self.taken) + len(self.missing)} parameters from {self.file}"
        return f"{filled}; missing: {_groups(self.missing)}; left over: {_groups(self.left)}"


def load_published(mbt: Mbt, config: MbtConfig, notice: Callable[[str], None]) -> None:
    """Fill `mbt` from the files that the config names, and freeze the first sound blocks where they came from one.

    Raises ConfigError in one line for a file that is none, fits nothing, or has another shape.
    """
    for field, naming in NAMINGS.items():
        if getattr(config, field):
            notice(str(take(mbt, field, naming, Path(getattr(config, field)))))
    if config.freeze_audio and (config.weights_audio or config.weights_all):
        for part in (mbt.audio_tokens, *mbt.audio_blocks[: config.freeze_audio]):
            part.requires_grad_(False)


def take(mbt: Mbt, field: str, naming: Naming, path: Path) -> Taken:
    """Fill `mbt` from one file."""
    source = Source(path.name, flat_tensors(path, field))
    state = naming.read(source, mbt)
    if not state:
        raise ConfigError(f"{field}: nothing in {source.file} has a name that is expected, {naming.expected}")
    mbt.load_state_dict(state, strict=False)
    ours = [name for name, _ in mbt.named_parameters() if name.startswith(naming.ours)]
    missing = tuple(name for name in ours if name not in state)
    return Taken(field, source.file, tuple(state), missing, source.left())


def _groups(names: Iterable[str]) -> str:
    """Names without their numbers and last parts, each with how often; those that a line has no room for counted."""
    counts: dict[str, int] = {}
    for name in names:
        group = re.sub(r"\.(\d+\..*|weight|bias)$", "", name)
        counts[group] = counts.get(group, 0) + 1
    told = [f"{group} ({count})" if count > 1 else group for group, count in counts.items()]
    more = [f"{len(told) - TOLD} more"] if len(told) > TOLD else []
    return ", ".join([*told[:TOLD], *more]) or "none"
