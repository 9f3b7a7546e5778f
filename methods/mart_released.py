"""MART as its authors released it, trained by this suite's loop.

Tokens are masked after the encoder, and only those of the video. Two defects of the released training are repaired: its
optimiser lacks the parameters of pre-training, and it is correct for batch size 1 only.

Key: B clips, S segments, T frames, H W pixels, K words of a segment (padded), N video tokens, D width, Q values of a
patch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
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
from bench.types import Batch, DatasetInfo
from methods.mart.config import ReleasedConfig
from methods.mart.contrast import CueFeatures, make_word_embedding
from methods.mart.lexicon import load_lexicon
from methods.mart.masking import draw_uniform_scores
from methods.mart.verification import CueFinder
from methods.mbt.config import MODALITIES, make_sampling
from methods.mbt.layers import make_blocks, make_seeded, run_block, sinusoidal_positions
from methods.mbt.model import EncodedSegments, Mbt, stack_present
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import (
    MbtPredictor,
    compute_head_losses,
    fine_tune,
    load_pretrained_model,
    make_pretraining_stage,
    polarity_cross_entropy,
)
from methods.weights import load_tensors

LEXICON = "nrc"  # defines the rows of the word table if no BERT is set
CLASS_SHARE, TEXT_SHARE = 0.9, 0.1  # weights of class-token and text attention in the masking score
REVEALED_SHARE = 0.1  # hints are drawn from this share of top-ranked tokens, as many as this share of the masked ones
UNMASKED_SEGMENT_CHANCE = 0.5  # probability that a segment is not masked
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
            raise ConfigError(f"width {width} is not a multiple of text_heads {heads}; change one of them")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, words: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> CueFeatures:
        """Attend from each word to the tokens of its segment."""
        q, k, v = (
            rearrange(relu(layer(x)), "B S n (h d) -> B S h n d", h=self.heads)
            for layer, x in ((self.query, words), (self.key, tokens), (self.value, tokens))
        )
        maps = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        content = relu(self.out(rearrange(maps @ v, "B S h k d -> B S k (h d)")))
        return CueFeatures(content, maps.mean(2))


class WordPredictor(nn.Module):
    """Predictor of one modality's word features from the other's: four convolutions of kernel 3 with ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(4))

    def forward(self, features: Float[Tensor, "B S K D"], mask: Bool[Tensor, "B S K"]) -> Float[Tensor, "B S K D"]:
        """Return the prediction at each word; the input of every layer is zero on padding."""
        clips = len(features)
        flat_mask = rearrange(mask, "B S k -> (B S) 1 k")
        x = rearrange(features, "B S k d -> (B S) d k")
        for layer in self.layers:
            x = relu(layer(x * flat_mask))
        return rearrange(x, "(B S) d k -> B S k d", B=clips)


def released_contrastive_loss(
    content: Float[Tensor, "B S K D"], predicted: Float[Tensor, "B S K D"], mask: Bool[Tensor, "B S K"]
) -> Float[Tensor, " B"]:
    """Compute mean(pos - logsumexp) of cosines at temperature 1 over all words of a clip; 0 for a clip without words.

    The released code minimises this value, so with the opposite sign of a contrastive loss.
    """
    content, predicted = (normalize(rearrange(x, "B s k d -> B (s k) d"), dim=-1) for x in (content, predicted))
    words = rearrange(mask, "B s k -> B (s k)")
    cosines = (content @ predicted.transpose(1, 2)).masked_fill(~words[:, None], -torch.inf)
    own = (content * predicted).sum(-1)
    total = cosines.logsumexp(-1).where(words, 0.0)
    return ((own - total) * words).sum(-1) / words.sum(-1).clamp(min=1)


def mean_over_words(values: Float[Tensor, "B S K D"], mask: Bool[Tensor, "B S K"]) -> Float[Tensor, "B D"]:
    """Average over the words of a segment, then over segments with words; return zeros for a clip without words."""
    weight = _share_among_words(mask) / mask.any(-1).sum(-1).clamp(min=1)[:, None, None]
    return torch.einsum("bskd,bsk->bd", values, weight)


class Tacl(nn.Module):
    """Released TACL: words attend to both modalities, and each modality's features are predicted from the other's."""

    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in (*MODALITIES, "words")})
        self.ask = nn.ModuleDict({name: ReluAttention(width, heads) for name in MODALITIES})
        self.project = nn.ModuleDict({name: _make_mlp(width, width) for name in MODALITIES})
        self.predict = nn.ModuleDict({name: WordPredictor(width) for name in MODALITIES})
        self.head = nn.ModuleDict({name: _make_mlp(width, classes) for name in MODALITIES})

    def attend_to_words(self, words: Float[Tensor, "B S K D"], encoded: EncodedSegments) -> dict[str, CueFeatures]:
        """Return modality -> features and attention of each word."""
        queries = self.norm["words"](words)
        tokens = {"video": encoded.video, "audio": encoded.audio}
        return {name: self.ask[name](queries, self.norm[name](tokens[name])) for name in MODALITIES}

    def project_features(self, answers: dict[str, CueFeatures]) -> dict[str, Float[Tensor, "B S K D"]]:
        """Return modality -> word features in the projection space."""
        return {name: self.project[name](answers[name].content) for name in MODALITIES}

    def score_classes(
        self, projected: dict[str, Tensor], mask: Bool[Tensor, "B S K"]
    ) -> dict[str, Float[Tensor, "B C"]]:
        """Return modality -> class scores of its mean projected feature."""
        return {name: self.head[name](mean_over_words(projected[name], mask)) for name in MODALITIES}

    def compute_contrast(self, projected: dict[str, Tensor], mask: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
        """Sum the contrastive loss over both directions."""
        losses = [
            released_contrastive_loss(projected[name], self.predict[name](projected[other], mask), mask)
            for name, other in (("video", "audio"), ("audio", "video"))
        ]
        return torch.stack(losses).sum(0)


class ReleasedDecoder(nn.Module):
    """Decoder of encoded video tokens to patches, with a mask token in place of the masked ones."""

    def __init__(self, config: ReleasedConfig, tokens: int) -> None:
        super().__init__()
        own = config.decoder_width
        self.recompute = config.recompute
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.enter = nn.Linear(config.width, own)
        self.register_buffer("position", sinusoidal_positions(tokens, own), persistent=False)
        self.position: Tensor
        sizes = (own, config.decoder_depth, config.decoder_heads)
        self.blocks = make_blocks(*sizes, compiled=config.compile, eps=DECODER_EPS)
        self.norm = nn.LayerNorm(own, DECODER_EPS)
        self.patches = nn.Linear(own, config.tubelet * config.patch**2 * 3)

    def forward(self, tokens: Float[Tensor, "B S N D"], hidden: Bool[Tensor, "B S N"]) -> Float[Tensor, "B S N Q"]:
        """Return the predicted patches."""
        clips = len(tokens)
        shown = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        x = rearrange(self.enter(shown), "B S n w -> (B S) n w") + self.position
        for block in self.blocks:
            x = run_block(block, x, self.recompute)
        predicted: Tensor = rearrange(self.patches(self.norm(x)), "(B S) n q -> B S n q", B=clips)
        return predicted


class ReleasedObjective(nn.Module):
    """Released pre-training objective; all of its parameters are trained, unlike in the released optimiser."""

    def __init__(self, predictor: MbtPredictor, config: ReleasedConfig, info: DatasetInfo, rng: RngTree) -> None:
        super().__init__()
        self.predictor, self.config, self.streams = predictor, config, rng
        self.register_buffer("sentiment", torch.tensor(info.sentiment), persistent=False)
        self.sentiment: Tensor
        classes, tokens = len(info.classes), math.prod(predictor.mbt.video_grid)
        lexicon = load_lexicon(LEXICON)
        self.cue_finder = CueFinder(lexicon, info, match_all_words=True)
        words = partial(make_word_embedding, config.weights_text, lexicon, config.width)
        self.words = make_seeded(rng, "mart.words", words)
        self.tacl = make_seeded(rng, "released.tacl", partial(Tacl, config.width, config.text_heads, classes))
        self.decoder = make_seeded(rng, "released.decoder", partial(ReleasedDecoder, config, tokens))

    def forward(self, batch: Batch) -> Losses:
        """Compute 0.05 recovery + contrast + both classification losses, each of shape (B,)."""
        mbt, inputs, weight = self.predictor.mbt, batch.inputs, self.config.polarity_weight
        present = stack_present(inputs).float()
        encoded = mbt.encode(mbt.embed(inputs), attention=True, video_norm=False)
        heads = mbt.score_classes(encoded.video_class.mean(1), encoded.audio_class.mean(1), stack_present(inputs))
        named = compute_head_losses(heads, batch, self.sentiment, weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        words = self.cue_finder(inputs)
        answers = self.tacl.attend_to_words(self.words(words), encoded)
        projected, has_words = self.tacl.project_features(answers), words.mask.any(-1).any(-1)
        for index, (name, scores) in enumerate(self.tacl.score_classes(projected, words.mask).items()):
            loss = polarity_cross_entropy(scores, batch.target, self.sentiment, weight)
            terms[f"cue_{name}"] = loss * present[:, index] * has_words
        terms["tacl"] = self.tacl.compute_contrast(projected, words.mask) * present[:, 0] * present[:, 1]
        attention = encoded.video_attention
        assert attention is not None
        hidden = self.hide_tokens(batch, compute_mask_score(attention, answers["video"].attention, words.mask).detach())
        patches = self.decoder(encoded.video, hidden)
        target = compute_released_target(inputs.video, self.config.tubelet, self.config.patch)
        terms["patch_video"] = self.config.w_patch * recovery_loss(patches, target, hidden) * present[:, 0]
        share = hidden.float().mean((1, 2)).where(inputs.present["video"], torch.nan)
        return Losses(terms, {"hidden_video": share, "coverage": words.mask.any(-1).float().mean(-1)})

    def hide_tokens(self, batch: Batch, score: Float[Tensor, "B S N"]) -> Bool[Tensor, "B S N"]:
        """Mask the top-ranked tokens except a few random hints; each segment is left unmasked with probability 0.5."""
        segments, tokens = score.shape[1:]
        ratio = 0.1 + 0.8 * min(0.5, batch.epoch / self.config.pretrain_epochs)
        masked, hints = int(ratio * tokens), int(REVEALED_SHARE * ratio * tokens)
        uniform = draw_uniform_scores(self.streams, "video", batch.epoch, batch.keys, segments, tokens + 1)
        uniform = uniform.to(score.device, non_blocking=True)
        rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        drawn = uniform[..., :tokens].masked_fill(rank >= int(REVEALED_SHARE * tokens), 2.0).argsort(-1).argsort(-1)
        return (rank < masked) & (drawn >= hints) & (uniform[..., tokens:] >= UNMASKED_SEGMENT_CHANCE)


def compute_mask_score(
    attention: Float[Tensor, "B S N"], text: Float[Tensor, "B S K N"], mask: Bool[Tensor, "B S K"]
) -> Float[Tensor, "B S N"]:
    """Compute 0.9 class-token attention + 0.1 text attention averaged over the segment's words."""
    return CLASS_SHARE * attention + TEXT_SHARE * torch.einsum("bskn,bsk->bsn", text, _share_among_words(mask))


def _share_among_words(mask: Bool[Tensor, "B S K"]) -> Float[Tensor, "B S K"]:
    """Return equal weights of a segment's words that sum to 1; zeros if it has none."""
    return mask / mask.sum(-1, keepdim=True).clamp(min=1)


def compute_released_target(video: UInt8[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
    """Cut raw pixels into patches, each channel standardised by its mean and (unbiased) deviation."""
    form = "B S (t a) (h b) (w c) ch -> B S (t h w) (a b c) ch"
    patches = rearrange(video.float(), form, a=tubelet, b=patch, c=patch)
    centred = (patches - patches.mean(-2, keepdim=True)) / (patches.std(-2, keepdim=True) + 1e-6)
    return rearrange(centred, "B S n q ch -> B S n (q ch)")


def recovery_loss(
    predicted: Float[Tensor, "B S N Q"], target: Float[Tensor, "B S N Q"], hidden: Bool[Tensor, "B S N"]
) -> Float[Tensor, " B"]:
    """Average the squared error over the masked tokens of a clip; return 0 if none is masked."""
    error = (predicted - target).square().mean(-1) * hidden
    return error.sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)


def _make_mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))


def load_released_weights(objective: nn.Module, path: Path, notice: Callable[[str], None]) -> None:
    """Load the pre-training modules from a checkpoint of the authors' code; skip heads with other classes.

    Raises ConfigError for any other shape that differs.
    """
    state, own = rename_released_state(load_tensors(path, "weights_all")), objective.state_dict()
    heads = [name for name in state if ".head." in name and own[name].shape != state[name].shape]
    state = {name: tensor for name, tensor in state.items() if name not in heads}
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            expected = f"expected {list(own[name].shape)}" if name in own else "which this config lacks"
            raise ConfigError(
                f"weights_all: {path.name}: {name} is {list(tensor.shape)}, {expected}; set the sizes of the file"
            )
    objective.load_state_dict(state, strict=False)
    unused = f"; unused, other number of classes: {', '.join(heads)}" if heads else ""
    notice(f"weights_all: {len(state)} parameters of the pre-training from {path.name}{unused}")


def rename_released_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published tensors of word attention, contrast and decoder to this module's names."""
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        for theirs, ours in PARAMETER_NAMES.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = tensor
    for name in [name for name in state if name.endswith(".q_bias")]:
        q, v = state.pop(name), state.pop(name.replace("q_bias", "v_bias"))
        state[name.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return state


def pretrain_released(ctx: FitContext) -> ReleasedObjective:
    """Pre-train as the released code; the encoders start from the same weights as those of MBT for the same seed."""
    config: ReleasedConfig = ctx.config.for_pretraining()
    predictor = MbtPredictor(Mbt(config, ctx.info.task.outputs, ctx.rng), ctx.info.task)
    load_pretrained(predictor.mbt, config, ctx.tracker.notify)
    objective = ReleasedObjective(predictor, config, ctx.info, ctx.rng)
    if config.weights_all:
        load_released_weights(objective, Path(config.weights_all), ctx.tracker.notify)
    train_stage(objective.to(ctx.device), make_sampling(config, True), make_pretraining_stage(ctx.config), ctx)
    return objective


def fit_released(ctx: FitContext) -> Predictor:
    """Fine-tune the pre-trained model; after a pre-training on other data, with new heads."""
    predictor = MbtPredictor(Mbt(ctx.config, ctx.info.task.outputs, ctx.rng), ctx.info.task)
    load_pretrained(predictor.mbt, ctx.config, lambda text: None)
    weights = ctx.load_stage("pretrain")
    load_pretrained_model(predictor.mbt, weights, ctx.pretrained_on is None, "predictor.mbt.")
    return fine_tune(predictor, ctx)
