"""The masks of a pre-training batch as values that can be kept: which tokens, and what lies under them.

Key: B clips, S segments, N tokens.
"""

from __future__ import annotations

from torch import Tensor

from bench.data import Batch, Masking
from methods.mart.config import MartConfig
from methods.mart.masking import Evidence, hint_places, mask_ratio


def maskings(
    config: MartConfig, batch: Batch, evidence: dict[str, Evidence], hidden: dict[str, Tensor]
) -> list[dict[str, Masking]]:
    """For each clip modality -> mask, without the modalities that it lacks."""
    ratio = mask_ratio(config, batch.progress)
    hints = {name: hint_places(config.mask, of, ratio, config.reveal) for name, of in evidence.items()}
    content = {"video": batch.inputs.video[:, :, :: config.tubelet], "audio": batch.inputs.audio}
    tubelet = (config.tubelet, config.patch, config.patch)
    shapes = {
        "video": (tubelet, tubelet),
        "audio": ((config.audio_patch,) * 2, (config.audio_stride,) * 2),
    }
    found: list[dict[str, Masking]] = []
    for b, present in enumerate(batch.inputs.present.tolist()):
        here = dict(zip(("video", "audio"), present, strict=False))
        found.append(
            {
                name: Masking(
                    hidden[name][b].cpu(), hints[name][b].cpu(), of.grid, *shapes[name], content[name][b].cpu()
                )
                for name, of in evidence.items()
                if here[name]
            }
        )
    return found
