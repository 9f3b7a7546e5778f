"""The released pre-training objective: tokens are masked after the encoder, and the picture's alone (section 9).

Key: B clips, S segments, K words of a segment, N picture tokens, D width, Q values of a patch, C classes.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from bench.data import Batch, Card
from bench.streams import Streams
from bench.training import Losses
from methods.backbones.blocks import blocks, run
from methods.backbones.mbt import Encoded
from methods.backbones.tokens import seeded, sinusoids
from methods.mart.cues import CueFinder
from methods.mart.lexicon import load_lexicon
from methods.mart.masking import chances
from methods.mart.text import word_vectors
from methods.released.config import ReleasedConfig
from methods.released.contrast import Answer, ReluAttention, WordPredictor, mean_over_words, released_contrast
from methods.supervised import MbtPredictor, polarity_cross_entropy, two_heads

MODALITIES = ("video", "audio")
LEXICON = "nrc"  # gives the word table its rows where no BERT is named
CLASS_SHARE, TEXT_SHARE = 0.9, 0.1  # of class-token and of text attention in the masking score
REVEAL = 0.1  # of the tokens, highest first, may be drawn as hints; a tenth of the masked number is
KEEP_SEGMENT = 0.5  # chance that nothing of a segment is masked
DECODER_EPS = 1e-5


class Tacl(nn.Module):
    """Words ask both modalities, and each one's answers are predicted from the other's."""

    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in (*MODALITIES, "words")})
        self.ask = nn.ModuleDict({name: ReluAttention(width, heads) for name in MODALITIES})
        self.project = nn.ModuleDict({name: _mlp(width, width) for name in MODALITIES})
        self.predict = nn.ModuleDict({name: WordPredictor(width) for name in MODALITIES})
        self.head = nn.ModuleDict({name: _mlp(width, classes) for name in MODALITIES})

    def answers(self, words: Float[Tensor, "B S K D"], encoded: Encoded) -> dict[str, Answer]:
        """Modality -> its answers."""
        asked = self.norm["words"](words)
        tokens = {"video": encoded.video, "audio": encoded.audio}
        return {name: self.ask[name](asked, self.norm[name](tokens[name])) for name in MODALITIES}

    def projected(self, answers: dict[str, Answer]) -> dict[str, Float[Tensor, "B S K D"]]:
        """Modality -> its answers where they are compared."""
        return {name: self.project[name](answers[name].content) for name in MODALITIES}

    def scores(self, own: dict[str, Tensor], here: Bool[Tensor, "B S K"]) -> dict[str, Float[Tensor, "B C"]]:
        """Modality -> scores of the mean of its projected answers."""
        return {name: self.head[name](mean_over_words(own[name], here)) for name in MODALITIES}

    def contrast(self, own: dict[str, Tensor], here: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
        """The sum over both directions, on projected answers."""
        pairs = (("video", "audio"), ("audio", "video"))
        told = [released_contrast(own[one], self.predict[one](own[other], here), here) for one, other in pairs]
        return torch.stack(told).sum(0)


class ReleasedDecoder(nn.Module):
    """Encoded picture tokens, a mask token in place of the hidden ones, to patches."""

    def __init__(self, config: ReleasedConfig, tokens: int) -> None:
        super().__init__()
        own = config.decoder_width
        self.recompute = config.recompute
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.enter = nn.Linear(config.width, own)
        self.register_buffer("position", sinusoids(tokens, own), persistent=False)
        self.position: Tensor
        self.blocks = blocks(own, config.decoder_depth, config.decoder_heads, eps=DECODER_EPS, compiled=config.compile)
        self.norm = nn.LayerNorm(own, DECODER_EPS)
        self.patches = nn.Linear(own, config.tubelet * config.patch**2 * 3)

    def forward(self, tokens: Float[Tensor, "B S N D"], hidden: Bool[Tensor, "B S N"]) -> Float[Tensor, "B S N Q"]:
        """Predicted patches."""
        clips = len(tokens)
        shown = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        x = rearrange(self.enter(shown), "B S n w -> (B S) n w") + self.position
        for block in self.blocks:
            x = run(block, x, self.recompute)
        predicted: Tensor = rearrange(self.patches(self.norm(x)), "(B S) n q -> B S n q", B=clips)
        return predicted


class Released(nn.Module):
    """The released objective; all of its parameters learn, which its own optimiser forgot."""

    def __init__(self, predictor: MbtPredictor, config: ReleasedConfig, card: Card, streams: Streams) -> None:
        super().__init__()
        self.predictor, self.config, self.streams = predictor, config, streams
        self.register_buffer("sentiment", torch.tensor(card.sentiment), persistent=False)
        self.sentiment: Tensor
        classes, tokens = len(card.classes), math.prod(predictor.mbt.video_grid)
        lexicon = load_lexicon(LEXICON)
        self.finder = CueFinder(lexicon, card, every_word=True)
        self.words = seeded(streams, "mart.words", lambda: word_vectors(config.weights_text, lexicon, config.width))
        self.tacl = seeded(streams, "released.tacl", lambda: Tacl(config.width, config.text_heads, classes))
        self.decoder = seeded(streams, "released.decoder", lambda: ReleasedDecoder(config, tokens))

    def forward(self, batch: Batch) -> Losses:
        """0.05 recovery + contrast + both classifications, one value a clip."""
        mbt, inputs, weight = self.predictor.mbt, batch.inputs, self.config.polarity_weight
        present = inputs.present.float()
        encoded = mbt.encode(mbt.embed(inputs), attention=True, video_norm=False)
        heads = mbt.class_scores(encoded.video_class.mean(1), encoded.audio_class.mean(1), inputs.present)
        named = two_heads(heads, batch, self.sentiment, weight)
        terms: dict[str, Tensor] = {f"cls_{name}": loss for name, loss in named.items()}
        words = self.finder(inputs)
        answers = self.tacl.answers(self.words(words), encoded)
        own, spoken = self.tacl.projected(answers), words.here.any(-1).any(-1)
        for index, (name, scores) in enumerate(self.tacl.scores(own, words.here).items()):
            loss = polarity_cross_entropy(scores, batch.label, self.sentiment, weight)
            terms[f"cue_{name}"] = loss * present[:, index] * spoken
        terms["tacl"] = self.tacl.contrast(own, words.here) * present[:, 0] * present[:, 1]
        attention = encoded.video_attention
        assert attention is not None
        hidden = self.hide(batch, mask_score(attention, answers["video"].attention, words.here).detach())
        patches = self.decoder(encoded.video, hidden)
        recovered = recovery_loss(
            patches, released_target(inputs.video, self.config.tubelet, self.config.patch), hidden
        )
        terms["patch_video"] = self.config.w_patch * recovered * present[:, 0]
        share = hidden.float().mean((1, 2)).where(inputs.present[:, 0], torch.nan)
        return Losses(terms, {"hidden_video": share, "coverage": words.here.any(-1).float().mean(-1)})

    def hide(self, batch: Batch, score: Float[Tensor, "B S N"]) -> Bool[Tensor, "B S N"]:
        """The masked tokens of an epoch: the highest, less a few hints; by chance nothing in half of the segments."""
        segments, tokens = score.shape[1:]
        ratio = 0.1 + 0.8 * min(0.5, batch.epoch / self.config.pretrain_epochs)
        masked, hints = int(ratio * tokens), int(REVEAL * ratio * tokens)
        chance = chances(self.streams, "video", batch.epoch, batch.keys, segments, tokens + 1)
        chance = chance.to(score.device, non_blocking=True)
        rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        drawn = chance[..., :tokens].masked_fill(rank >= int(REVEAL * tokens), 2.0).argsort(-1).argsort(-1)
        return (rank < masked) & (drawn >= hints) & (chance[..., tokens:] >= KEEP_SEGMENT)


def mask_score(
    attention: Float[Tensor, "B S N"], text: Float[Tensor, "B S K N"], here: Bool[Tensor, "B S K"]
) -> Float[Tensor, "B S N"]:
    """0.9 class-token attention + 0.1 text attention, mean over the segment's words."""
    weight = here.float()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    return CLASS_SHARE * attention + TEXT_SHARE * torch.einsum("bskn,bsk->bsn", text, weight)


def released_target(video: UInt8[Tensor, "B S T H W 3"], tubelet: int, patch: int) -> Float[Tensor, "B S N Q"]:
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


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))
