"""A whole checkpoint of the authors' code as the state of our objective, beyond what MBT takes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import ConfigError
from methods.backbones.published_files import flat_tensors

PLACES = {
    "Vmask_token": "decoder.mask_token",
    "decoder_embd.": "decoder.enter.",
    "decoder_blocks.": "decoder.blocks.",
    "decoder_norm.": "decoder.norm.",
    "decoder_pred.": "decoder.patches.",
    "tacl.l_norm.": "tacl.norm.words.",
    **{
        f"tacl.{theirs}": f"tacl.{ours}"
        for letter, name, predictor in (("v", "video", "v2a_contrast"), ("a", "audio", "a2v_contrast"))
        for theirs, ours in (
            (f"{letter}2l_attn.linear_q.", f"ask.{name}.query."),
            (f"{letter}2l_attn.linear_k.", f"ask.{name}.key."),
            (f"{letter}2l_attn.linear_v.", f"ask.{name}.value."),
            (f"{letter}2l_attn.linear_o.", f"ask.{name}.out."),
            (f"{letter}_norm.", f"norm.{name}."),
            (f"{letter}_proj.fc1.", f"project.{name}.0."),
            (f"{letter}_proj.fc2.", f"project.{name}.2."),
            (f"{letter}_fc.fc1.", f"head.{name}.0."),
            (f"{letter}_fc.fc2.", f"head.{name}.2."),
            *((f"{predictor}.net.{2 * layer}.", f"predict.{name}.layers.{layer}.") for layer in range(4)),
        )
    },
}


def load_released(objective: nn.Module, path: Path, notice: Callable[[str], None]) -> None:
    """Fill the parts that MBT lacks from a checkpoint of the authors' code; a head for other classes is left.

    Raises ConfigError for a shape that does not fit.
    """
    state, own = released_state(flat_tensors(path, "weights_all")), objective.state_dict()
    heads = [name for name in state if ".head." in name and own[name].shape != state[name].shape]
    for name in heads:
        del state[name]
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            wants = list(own[name].shape) if name in own else "no such tensor"
            raise ConfigError(f"{path.name}: {name} is {list(tensor.shape)}, this config wants {wants}")
    objective.load_state_dict(state, strict=False)
    left = f"; left over, since it scores other classes: {', '.join(heads)}" if heads else ""
    notice(f"weights_all: {len(state)} parameters of the pre-training from {path.name}{left}")


def released_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the tensors of the words' attention, the contrast and the decoder."""
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        for theirs, ours in PLACES.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = tensor
    for name in [name for name in state if name.endswith(".q_bias")]:
        q, v = state.pop(name), state.pop(name.replace("q_bias", "v_bias"))
        state[name.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return state
