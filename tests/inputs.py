"""Inputs of video, audio and text for tests, given side by side as three flags in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from bench.types import MEDIA_STREAMS, Inputs, OpenedClip


def make_opened(video: Any, audio: Any, words: Any, present: Sequence[bool]) -> OpenedClip:
    """Return an opened clip with its three streams."""
    flags = dict(zip(MEDIA_STREAMS, map(bool, present), strict=True))
    return OpenedClip({"video": video, "audio": audio, "text": words}, flags)


def make_inputs(video: Any, audio: Any, words: Any, present: torch.Tensor | None = None) -> Inputs:
    """Return the inputs of a batch with its three streams; `present` is (B, 3) bool, or None for all."""
    found = torch.ones((len(words), 3), dtype=torch.bool) if present is None else present
    flags = dict(zip(MEDIA_STREAMS, found.T, strict=True))
    return Inputs({"video": video, "audio": audio, "text": words}, flags)


def list_present(clip: OpenedClip) -> list[bool]:
    """Return whether an opened clip has video, audio and text."""
    return [clip.present[name] for name in MEDIA_STREAMS]


def without(inputs: Inputs, *names: str, clip: int | None = None) -> Inputs:
    """Return inputs in which some streams of a clip, or of all clips, count as absent."""
    rows: Any = slice(None) if clip is None else clip
    present = {name: here.clone() for name, here in inputs.present.items()}
    for name in names:
        present[name][rows] = False
    return replace(inputs, present=present)


def with_streams(inputs: Inputs, **streams: Any) -> Inputs:
    """Return inputs with other streams: video=, audio= or text=."""
    return replace(inputs, streams={**inputs.streams, **streams})
