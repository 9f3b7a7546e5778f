"""FLOP of a training step by formula: matrix products including attention, without recomputation.

Key: N tokens, D width. A product of m x k and k x n is 2 m k n FLOP; the backward pass costs twice the forward pass.
"""

from __future__ import annotations

import math

from methods.mart.config import MartConfig, ReleasedConfig
from methods.mart.masking import count_visible_tokens
from methods.mbt.config import MbtConfig


def block(tokens: int, width: int) -> int:
    """Return the FLOP of a block's forward pass: query, key, value and output projections, MLP and full attention."""
    return 24 * tokens * width**2 + 4 * tokens**2 * width


def grids(config: MbtConfig) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Return the token grids of video (time, height, width) and audio (bins, time)."""
    side = config.size // config.patch
    bins, times = ((length - config.audio_patch) // config.audio_stride + 1 for length in (config.mels, 100))
    return (config.frames // config.tubelet, side, side), (bins, times)


def encoders(config: MbtConfig, video: int, audio: int) -> int:
    """Return the FLOP of both encoders' forward pass over a segment with the given patch tokens."""
    apart, joint = config.depth - config.fusion_depth, config.fusion_depth
    return sum(
        apart * block(tokens, config.width) + joint * block(tokens + config.bottleneck, config.width)
        for tokens in (video + 1, audio + 2)
    )


def stems(config: MbtConfig) -> int:
    """Return the FLOP of the patch embeddings' forward pass."""
    video, audio = (math.prod(grid) for grid in grids(config))
    return 2 * config.width * (video * config.tubelet * config.patch**2 * 3 + audio * config.audio_patch**2)


def ask(tokens: int, words: int, width: int) -> int:
    """Return the FLOP of the attention of words to a modality's tokens, forward."""
    return 4 * (tokens + words) * width**2 + 4 * tokens * words * width


def class_attention(tokens: int, width: int) -> int:
    """Return the FLOP of the keys of class-token attention, which has no backward pass."""
    return 2 * tokens * width**2


def decoder(visible: int, tokens: int, config: MartConfig | ReleasedConfig, values: int) -> int:
    """Return the FLOP of a decoder's forward pass: input projection, blocks, output projection."""
    own = config.decoder_width
    return 2 * own * (visible * config.width + tokens * values) + config.decoder_depth * block(tokens, own)


def fine_tuning(config: MbtConfig) -> int:
    """Return the FLOP of a fine-tuning step on one clip: forward and backward, without gradients of the input."""
    video, audio = (math.prod(grid) for grid in grids(config))
    return config.segments * (2 * stems(config) + 3 * encoders(config, video, audio))


def pre_training(config: MartConfig, words: int, ratio: float) -> int:
    """Return the FLOP of a MART step on one clip with `words` cues per segment and a share `ratio` masked."""
    video_grid, audio_grid = grids(config)
    video, audio = math.prod(video_grid), math.prod(audio_grid)
    grids_by_axis = enumerate((video_grid, audio_grid))  # the time axis is 0 for video, 1 for audio
    seen = tuple(count_visible_tokens(config.mask, ratio, grid, axis) for axis, grid in grids_by_axis)
    patch = config.tubelet * config.patch**2 * 3
    attended = sum(ask(tokens, words, config.width) for tokens in (video, audio))
    projected = 3 * 2 * words * config.width * config.contrast_width  # x_vl, x_al and x_l
    passes = encoders(config, video, audio) + encoders(config, *seen)
    decoders = decoder(seen[0], video, config, patch) + decoder(seen[1], audio, config, config.audio_patch**2)
    once = sum(class_attention(t + s + config.bottleneck, config.width) for t, s in ((video, 1), (audio, 2)))
    return config.segments * (2 * stems(config) + 3 * (passes + attended + projected + decoders) + once)


def released(config: ReleasedConfig, words: int) -> int:
    """Return the FLOP of a released step on one clip: an encoder pass, word attention, a decoder over all tokens."""
    video, audio = (math.prod(grid) for grid in grids(config))
    width, patch = config.width, config.tubelet * config.patch**2 * 3
    attended = sum(ask(tokens, words, width) for tokens in (video, audio))
    projected = (
        2 * 2 * 2 * words * width**2 + 2 * 4 * 2 * words * 3 * width**2
    )  # two layers; four convolutions of three
    forward = encoders(config, video, audio) + attended + projected + decoder(video, video, config, patch)
    once = sum(class_attention(t + s + config.bottleneck, width) for t, s in ((video, 1), (audio, 2)))
    return config.segments * (2 * stems(config) + 3 * forward + once)
