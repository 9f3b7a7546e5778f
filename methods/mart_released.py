"""MART as its authors released it, trained by this suite's loop (METHOD.md section 9).

Tokens are masked after the encoder, and only those of the picture. Defects of the released training that are no part of
the method (optimiser, batches) are repaired.

Key: B clips, S segments, K words of a segment, N picture tokens, D width, Q values of a patch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from bench.errors import ConfigError
from bench.method import FitContext, Predictor
from bench.rng import RngTree
from bench.training import Losses, train_stage
from bench.types import Batch, ClipSet, DatasetInfo
from methods.mart.config import ReleasedConfig
from methods.mart.contrast import CueFeatures, make_word_embedding
from methods.mart.lexicon import load_lexicon
from methods.mart.masking import draw_uniform_scores
from methods.mart.verification import CueFinder
from methods.mbt.config import make_sampling
from methods.mbt.layers import make_blocks, make_seeded, run_block, sinusoidal_positions
from methods.mbt.model import EncodedSegments, Mbt
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import (
    MbtPredictor,
    compute_head_losses,
    fine_tune,
    make_pretraining_stage,
    polarity_cross_entropy,
)
from methods.weights import load_tensors

MODALITIES = ("video", "audio")
LEXICON = "nrc"  # gives the word table its rows where no BERT is named
CLASS_SHARE, TEXT_SHARE = 0.9, 0.1  # of class-token and of text attention in the masking score
REVEALED_SHARE = 0.1  # of the tokens, highest first, may be drawn as hints; a tenth of the masked number is
UNMASKED_SEGMENT_CHANCE = 0.5  # chance that nothing of a segment is masked
DECODER_EPS = 1e-5

PARAMETER_NAMES = {
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


class ReluAttention(nn.Module):
    """Multi-head attention with a ReLU on queries, keys, values and output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} is no multiple of text_heads {heads}")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, words: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> CueFeatures:
        """Each word's answer from the tokens of its own segment."""
        q, k, v = (
            rearrange(relu(layer(x)), "B S n (h d) -> B S h n d", h=self.heads)
            for layer, x in ((self.query, words), (self.key, tokens), (self.value, tokens))
        )
        maps = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        content = relu(self.out(rearrange(maps @ v, "B S h k d -> B S k (h d)")))
        return CueFeatures(content, maps.mean(2))


class WordPredictor(nn.Module):
    """One modality's answers from the other's: four convolutions of three words, each with a ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(4))

    def forward(self, answers: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]) -> Float[Tensor, "B S K D"]:
        """The prediction at each word; what lies past a segment's words stays zero, as the padding is."""
        clips = len(answers)
        kept = rearrange(here, "B S k -> (B S) 1 k")
        x = rearrange(answers, "B S k d -> (B S) d k")
        for layer in self.layers:
            x = relu(layer(x * kept))
        return rearrange(x, "(B S) d k -> B S k d", B=clips)


def released_contrastive_loss(
    content: Float[Tensor, "B S K D"], predicted: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]
) -> Float[Tensor, " B"]:
    """mean(pos - logsumexp) of cosines at temperature 1 over all words of a clip, which the released code minimises;
    0 for a clip without words."""
    content, predicted = (normalize(rearrange(x, "B s k d -> B (s k) d"), dim=-1) for x in (content, predicted))
    words = rearrange(here, "B s k -> B (s k)")
    cosines = (content @ predicted.transpose(1, 2)).masked_fill(~words[:, None], -torch.inf)
    own = (content * predicted).sum(-1)
    against = cosines.logsumexp(-1).where(words, 0.0)
    return ((own - against) * words).sum(-1) / words.sum(-1).clamp(min=1)


def mean_over_words(values: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]) -> Float[Tensor, "B D"]:
    """Mean over the words of a segment, then over the segments that have any; zeros for a clip without words."""
    weight = here.float()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    weight = weight / here.any(-1).sum(-1).clamp(min=1)[:, None, None]
    return torch.einsum("bskd,bsk->bd", values, weight)


class Tacl(nn.Module):
    """Words ask both modalities, and each one's answers are predicted from the other's."""

    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in (*MODALITIES, "words")})
        self.ask = nn.ModuleDict({name: ReluAttention(width, heads) for name in MODALITIES})
        self.project = nn.ModuleDict({name: _make_mlp(width, width) for name in MODALITIES})
        self.predict = nn.ModuleDict({name: WordPredictor(width) for name in MODALITIES})
        self.head = nn.ModuleDict({name: _make_mlp(width, classes) for name in MODALITIES})

    def attend_to_words(self, words: Float[Tensor, "B S K D"], encoded: EncodedSegments) -> dict[str, CueFeatures]:
        """Modality -> its answers."""
        asked = self.norm["words"](words)
        tokens = {"video": encoded.video, "audio": encoded.audio}
        return {name: self.ask[name](asked, self.norm[name](tokens[name])) for name in MODALITIES}

    def project_features(self, answers: dict[str, CueFeatures]) -> dict[str, Float[Tensor, "B S K D"]]:
        """Modality -> its answers where they are compared."""
        return {name: self.project[name](answers[name].content) for name in MODALITIES}

    def score_classes(self, own: dict[str, Tensor], here: Bool[Tensor, "B S K"]) -> dict[str, Float[Tensor, "B C"]]:
        """Modality -> scores of the mean of its projected answers."""
        return {name: self.head[name](mean_over_words(own[name], here)) for name in MODALITIES}

    def compute_contrast(self, own: dict[str, Tensor], here: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
        """The sum over both directions, on projected answers."""
        pairs = (("video", "audio"), ("audio", "video"))
        told = [released_contrastive_loss(own[one], self.predict[one](own[other], here), here) for one, other in pairs]
        return torch.stack(told).sum(0)


class ReleasedDecoder(nn.Module):
    """Encoded picture tokens, a mask token in place of the hidden ones, to patches."""

    def __init__(self, config: ReleasedConfig, tokens: int) -> None:
        super().__init__()
        own = config.decoder_width
        self.recompute = config.recompute
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.enter = nn.Linear(config.width, own)
        self.register_buffer("position", sinusoidal_positions(tokens, own), persistent=False)
        self.position: Tensor
        self.blocks = make_blocks(
            own, config.decoder_depth, config.decoder_heads, eps=DECODER_EPS, compiled=config.compile
        )
        self.norm = nn.LayerNorm(own, DECODER_EPS)
        self.patches = nn.Linear(own, config.tubelet * config.patch**2 * 3)

    def forward(self, tokens: Float[Tensor, "B S N D"], hidden: Bool[Tensor, "B S N"]) -> Float[Tensor, "B S N Q"]:
        """Predicted patches."""
        clips = len(tokens)
        shown = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        x = rearrange(self.enter(shown), "B S n w -> (B S) n w") + self.position
        for block in self.blocks:
            x = run_block(block, x, self.recompute)
        predicted: Tensor = rearrange(self.patches(self.norm(x)), "(B S) n q -> B S n q", B=clips)
        return predicted


class ReleasedObjective(nn.Module):
    """The released objective; all of its parameters learn, which its own optimiser forgot."""

    def __init__(self, predictor: MbtPredictor, config: ReleasedConfig, info: DatasetInfo, rng: RngTree) -> None:
        super().__init__()
        self.predictor, self.config, self.streams = predictor, config, rng
        self.register_buffer("sentiment", torch.tensor(info.sentiment), persistent=False)
        self.sentiment: Tensor
        classes, tokens = len(info.classes), math.prod(predictor.mbt.video_grid)
        lexicon = load_lexicon(LEXICON)
        self.cue_finder = CueFinder(lexicon, info, match_all_words=True)
        self.words = make_seeded(
            rng, "mart.words", lambda: make_word_embedding(config.weights_text, lexicon, config.width)
        )
        self.tacl = make_seeded(rng, "released.tacl", lambda: Tacl(config.width, config.text_heads, classes))
        self.decoder = make_seeded(rng, "released.decoder", lambda: ReleasedDecoder(config, tokens))

    def forward(self, batch: Batch) -> Losses:
        """0.05 recovery + contrast + both classifications, one value a clip."""
        mbt, inputs, weight = self.predictor.mbt, batch.inputs, self.config.polarity_weight
        present = inputs.present.float()
        encoded = mbt.encode(mbt.embed(inputs), attention=True, video_norm=False)
        heads = mbt.score_classes(encoded.video_class.mean(1), encoded.audio_class.mean(1), inputs.present)
        named = compute_head_losses(heads, batch, self.sentiment, weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        words = self.cue_finder(inputs)
        answers = self.tacl.attend_to_words(self.words(words), encoded)
        own, spoken = self.tacl.project_features(answers), words.mask.any(-1).any(-1)
        for index, (name, scores) in enumerate(self.tacl.score_classes(own, words.mask).items()):
            loss = polarity_cross_entropy(scores, batch.target, self.sentiment, weight)
            terms[f"cue_{name}"] = loss * present[:, index] * spoken
        terms["tacl"] = self.tacl.compute_contrast(own, words.mask) * present[:, 0] * present[:, 1]
        attention = encoded.video_attention
        assert attention is not None
        hidden = self.hide_tokens(batch, compute_mask_score(attention, answers["video"].attention, words.mask).detach())
        patches = self.decoder(encoded.video, hidden)
        recovered = recovery_loss(
            patches, compute_released_target(inputs.video, self.config.tubelet, self.config.patch), hidden
        )
        terms["patch_video"] = self.config.w_patch * recovered * present[:, 0]
        share = hidden.float().mean((1, 2)).where(inputs.present[:, 0], torch.nan)
        return Losses(terms, {"hidden_video": share, "coverage": words.mask.any(-1).float().mean(-1)})

    def hide_tokens(self, batch: Batch, score: Float[Tensor, "B S N"]) -> Bool[Tensor, "B S N"]:
        """The masked tokens of an epoch: the highest, less a few hints; by chance nothing in half of the segments."""
        segments, tokens = score.shape[1:]
        ratio = 0.1 + 0.8 * min(0.5, batch.epoch / self.config.pretrain_epochs)
        masked, hints = int(ratio * tokens), int(REVEALED_SHARE * ratio * tokens)
        chance = draw_uniform_scores(self.streams, "video", batch.epoch, batch.keys, segments, tokens + 1)
        chance = chance.to(score.device, non_blocking=True)
        rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        drawn = chance[..., :tokens].masked_fill(rank >= int(REVEALED_SHARE * tokens), 2.0).argsort(-1).argsort(-1)
        return (rank < masked) & (drawn >= hints) & (chance[..., tokens:] >= UNMASKED_SEGMENT_CHANCE)


def compute_mask_score(
    attention: Float[Tensor, "B S N"], text: Float[Tensor, "B S K N"], here: Bool[Tensor, "B S K"]
) -> Float[Tensor, "B S N"]:
    """0.9 class-token attention + 0.1 text attention, mean over the segment's words."""
    weight = here.float()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    return CLASS_SHARE * attention + TEXT_SHARE * torch.einsum("bskn,bsk->bsn", text, weight)


def compute_released_target(video: UInt8[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """Patches of raw pixels, each channel less its mean and over its (unbiased) deviation."""
    patches = rearrange(
        video.float(), "B S (t a) (h b) (w c) ch -> B S (t h w) (a b c) ch", a=tubelet, b=patch, c=patch
    )
    centred = (patches - patches.mean(-2, keepdim=True)) / (patches.std(-2, keepdim=True) + 1e-6)
    return rearrange(centred, "B S n q ch -> B S n (q ch)")


def recovery_loss(
    predicted: Float[Tensor, "B S N Q"], target: Float[Tensor, "B S N Q"], hidden: Bool[Tensor, "B S N"]
) -> Float[Tensor, " B"]:
    """Squared error, mean over the masked tokens of a clip; 0 where none is masked."""
    error = (predicted - target).square().mean(-1) * hidden
    return error.sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)


def _make_mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))


def load_released_weights(objective: nn.Module, path: Path, notice: Callable[[str], None]) -> None:
    """Fill the parts that MBT lacks from a checkpoint of the authors' code; a head for other classes is left.

    Raises ConfigError for a shape that does not fit.
    """
    state, own = rename_released_state(load_tensors(path, "weights_all")), objective.state_dict()
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


def rename_released_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names for the tensors of the words' attention, the contrast and the decoder."""
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        for theirs, ours in PARAMETER_NAMES.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = tensor
    for name in [name for name in state if name.endswith(".q_bias")]:
        q, v = state.pop(name), state.pop(name.replace("q_bias", "v_bias"))
        state[name.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return state


def fit_released(
    config: ReleasedConfig, info: DatasetInfo, clips: ClipSet, val: ClipSet, rng: RngTree, ctx: FitContext
) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    predictor = MbtPredictor(Mbt(config, len(info.classes), rng))
    load_pretrained(predictor.mbt, config, ctx.tracker.notify)
    objective = ReleasedObjective(predictor, config, info, rng)
    if config.weights_all:
        load_released_weights(objective, Path(config.weights_all), ctx.tracker.notify)
    train_stage(objective.to(ctx.device), clips, make_sampling(config, True), make_pretraining_stage(config), rng, ctx)
    return fine_tune(predictor, config, info, clips, val, rng, ctx)
