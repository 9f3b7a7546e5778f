"""Useful work of a training step by formula: products alone, attention in, whatever is computed twice once.

Key: N tokens, D width. A product of m x k and k x n is 2 m k n FLOP; a pass forward costs one share, backward two.
"""

from __future__ import annotations

import math

from methods.mart.config import MartConfig, ReleasedConfig
from methods.mart.masking import count_visible_tokens
from methods.mbt.config import MbtConfig


def block(tokens: int, width: int) -> int:
    """A block forward: queries, keys, values, output and MLP, and attention of all tokens to all."""
    return 24 * tokens * width**2 + 4 * tokens**2 * width


def grids(config: MbtConfig) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """The token grids of picture (time, height, width) and sound (bins, time)."""
    side = config.size // config.patch
    bins, times = ((length - config.audio_patch) // config.audio_stride + 1 for length in (config.mels, 100))
    return (config.frames // config.tubelet, side, side), (bins, times)


def encoders(config: MbtConfig, video: int, audio: int) -> int:
    """Both encoders forward over a segment of so many patch tokens."""
    apart, joint = config.depth - config.fusion_depth, config.fusion_depth
    return sum(
        apart * block(tokens, config.width) + joint * block(tokens + config.bottleneck, config.width)
        for tokens in (video + 1, audio + 2)
    )


def stems(config: MbtConfig) -> int:
    """The patch embeddings forward."""
    video, audio = (math.prod(grid) for grid in grids(config))
    return 2 * config.width * (video * config.tubelet * config.patch**2 * 3 + audio * config.audio_patch**2)


def ask(tokens: int, words: int, width: int) -> int:
    """Words asking a modality's tokens, forward."""
    return 4 * (tokens + words) * width**2 + 4 * tokens * words * width


def class_attention(tokens: int, width: int) -> int:
    """Keys for the class tokens' attention; it takes no gradient."""
    return 2 * tokens * width**2


def decoder(visible: int, tokens: int, config: MartConfig | ReleasedConfig, values: int) -> int:
    """A decoder forward: in, blocks, out to patches."""
    own = config.decoder_width
    return 2 * own * (visible * config.width + tokens * values) + config.decoder_depth * block(tokens, own)


def fine_tuning(config: MbtConfig) -> int:
    """A step on one clip: a pass forward and backward, but no gradient of the inputs."""
    video, audio = (math.prod(grid) for grid in grids(config))
    return config.segments * (2 * stems(config) + 3 * encoders(config, video, audio))


def pre_training(config: MartConfig, words: int, ratio: float) -> int:
    """A step of MART on one clip with `words` cues a segment, at a share of hidden tokens."""
    of_video, of_audio = grids(config)
    video, audio = math.prod(of_video), math.prod(of_audio)
    seen = count_visible_tokens(config.mask, ratio, of_video, 0), count_visible_tokens(config.mask, ratio, of_audio, 1)
    patch = config.tubelet * config.patch**2 * 3
    asked = sum(ask(tokens, words, config.width) for tokens in (video, audio))
    projected = 3 * 2 * words * config.width * config.contrast_width  # x_vl, x_al and x_l
    passes = encoders(config, video, audio) + encoders(config, *seen)
    decoders = decoder(seen[0], video, config, patch) + decoder(seen[1], audio, config, config.audio_patch**2)
    once = sum(class_attention(t + s + config.bottleneck, config.width) for t, s in ((video, 1), (audio, 2)))
    return config.segments * (2 * stems(config) + 3 * (passes + asked + projected + decoders) + once)


def released(config: ReleasedConfig, words: int) -> int:
    """A step of the released computation on one clip: one pass, the words, and the decoder over all tokens."""
    video, audio = (math.prod(grid) for grid in grids(config))
    width, patch = config.width, config.tubelet * config.patch**2 * 3
    asked = sum(ask(tokens, words, width) for tokens in (video, audio))
    projected = (
        2 * 2 * 2 * words * width**2 + 2 * 4 * 2 * words * 3 * width**2
    )  # two layers; four convolutions of three
    forward = encoders(config, video, audio) + asked + projected + decoder(video, video, config, patch)
    once = sum(class_attention(t + s + config.bottleneck, width) for t, s in ((video, 1), (audio, 2)))
    return config.segments * (2 * stems(config) + 3 * forward + once)
