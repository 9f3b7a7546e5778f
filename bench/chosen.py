"""The few validation clips that pictures of a finished run are drawn of."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data import Clip

MOST = 4


def chosen(clips: Sequence[Clip]) -> tuple[int, ...]:
    """Places among a validation split's clips: of each of its first classes the first clip with a transcript; where no
    clip has one, the first clip."""
    spoken = [index for index, clip in enumerate(clips) if clip.files.transcript is not None]
    first: dict[int, int] = {}
    for index in spoken or range(len(clips)):
        first.setdefault(clips[index].label, index)
    return tuple(first[label] for label in sorted(first)[:MOST])
