"""Cue embeddings, attention to video and audio, and the contrastive loss (Eqs. 4 and 5).

A frozen BERT embeds a cue as the mean over its word pieces in the transcript of its segment; without BERT, a learned
word table does. Cues attend to video and audio; the loss pulls the feature of a modality to its cue and pushes it from
features of the other modality in other segments of the clip.

Key: B clips, S segments = windows, K cues of a segment (padded), P word pieces of a segment, N tokens, H width of BERT,
D width, E width of the projection space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.errors import ConfigError
from methods.mart.lexicon import PADDING_ROW, UNKNOWN_ROW, Cue, Lexicon
from methods.mart.verification import CueBatch
from methods.weights import load_frozen, load_tensors

BERT_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
BERT_VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")


def make_word_embedding(folder: str, lexicon: Lexicon, width: int) -> WordTable | BertEmbedding:
    """Return the module that embeds cues: the BERT in `folder`, or a learned word table if `folder` is empty."""
    return BertEmbedding(BertReader(Path(folder)), width) if folder else WordTable(len(lexicon.word_rows), width)


class BertEmbedding(nn.Module):
    """Cue embeddings x_l from a frozen BERT; only the projection to width D learns.

    The reader is not a submodule, so that neither checkpoints nor the optimiser include BERT.
    """

    def __init__(self, reader: BertReader, width: int) -> None:
        super().__init__()
        self.reader = reader
        self.enter = nn.Identity() if reader.width == width else nn.Linear(reader.width, width)

    def forward(self, cues: CueBatch) -> Float[Tensor, "B S K D"]:
        """Return x_l of every cue, (B, S, K, D), with zeros on padding."""
        device = cues.mask.device
        features = torch.zeros((*cues.mask.shape, self.reader.width))
        for b, (transcripts, segments) in enumerate(zip(cues.transcripts, cues.by_segment, strict=True)):
            for s, vectors in enumerate(self.reader(transcripts, segments, device)):
                features[b, s, : len(vectors)] = vectors
        embedded: Tensor = self.enter(features.to(device, non_blocking=True)) * rearrange(cues.mask, "B S k -> B S k 1")
        return embedded


class BertReader:
    """Frozen BERT that encodes the transcript of each clip once and caches the vectors of its cues.

    Clips are encoded one at a time, so that their vectors do not depend on the rest of the batch.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer, self.bert = load_bert(folder)
        self.width = int(self.bert.config.hidden_size)
        self._vector_cache: dict[tuple[str, ...], list[Tensor]] = {}

    def __call__(
        self, transcripts: tuple[str, ...], cues: tuple[tuple[Cue, ...], ...], device: torch.device
    ) -> list[Float[Tensor, "_ H"]]:
        """Return the cue vectors of each slot of a clip, one (cues, H) tensor per slot."""
        if transcripts not in self._vector_cache:
            self._vector_cache[transcripts] = self._encode_clip(transcripts, cues, device)
        return self._vector_cache[transcripts]

    def _encode_clip(
        self, transcripts: Sequence[str], cues: Sequence[tuple[Cue, ...]], device: torch.device
    ) -> list[Tensor]:
        slots = [slot for slot, slot_cues in enumerate(cues) if slot_cues]
        vectors = [torch.zeros((0, self.width)) for _ in cues]
        if slots:
            options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
            pieces = self.tokenizer([transcripts[slot] for slot in slots], **options)
            encoded = self._encode_pieces(pieces["input_ids"], device)
            for slot, spans, hidden in zip(slots, pieces["offset_mapping"], encoded, strict=True):
                vectors[slot] = torch.stack([_average_pieces(cue, spans, hidden) for cue in cues[slot]])
        return vectors

    @torch.no_grad()
    def _encode_pieces(self, slots: list[list[int]], device: torch.device) -> list[Float[Tensor, "_ H"]]:
        """Return the last hidden states of each slot's pieces; slots longer than BERT's input are cut into windows."""
        longest = self.bert.config.max_position_embeddings - 2  # without [CLS] and [SEP]
        windows = [ids[start : start + longest] for ids in slots for start in range(0, max(len(ids), 1), longest)]
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        framed = [torch.tensor([first, *window, last]) for window in windows]
        ids = pad_sequence(framed, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        mask = pad_sequence([torch.ones_like(window) for window in framed], batch_first=True)
        with torch.autocast(device.type, enabled=False):
            hidden = self.bert.to(device)(ids.to(device), attention_mask=mask.to(device)).last_hidden_state.cpu()
        pieces = torch.cat([hidden[row, 1 : 1 + len(window)] for row, window in enumerate(windows)])
        return list(torch.split(pieces, [len(ids) for ids in slots]))


def load_bert(folder: Path) -> tuple[Any, Any]:
    """Load the tokenizer and the frozen model of a local folder in HuggingFace format.

    Raises ConfigError if a file is missing or the folder contains no BERT.
    """
    from transformers import BertConfig, BertModel, BertTokenizer

    weights, _ = (_find_file(folder, names) for names in (BERT_WEIGHT_FILES, BERT_VOCABULARY_FILES))
    try:
        sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if sizes.get("model_type") != "bert":
            raise ValueError(f"model_type in config.json is '{sizes.get('model_type')}'")
        bert = BertModel(BertConfig(**sizes), add_pooling_layer=False)
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        if len(tokenizer) > bert.config.vocab_size:
            raise ValueError(f"{len(tokenizer)} pieces in its vocabulary, {bert.config.vocab_size} in config.json")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"weights_text: '{folder}' is not a BERT model ({reason}); see docs/weights.md") from None
    tensors = {_modernise_name(name): tensor for name, tensor in load_tensors(weights, "weights_text").items()}
    return tokenizer, load_frozen(bert, tensors, f"weights_text: '{weights}' does not match config.json")


def _find_file(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"weights_text: '{folder}' has no {' or '.join(names)}; give the folder of a BERT model in HuggingFace format"
    )


def _modernise_name(name: str) -> str:
    """Return a tensor's name without the `bert.` prefix, with gamma and beta of norms as weight and bias."""
    return name.removeprefix("bert.").replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias")


def _average_pieces(cue: Cue, spans: list[tuple[int, int]], hidden: Float[Tensor, "P H"]) -> Float[Tensor, " H"]:
    """Average the pieces that overlap a word of the cue; return zeros if the tokenizer drops all its characters."""
    rows = [row for row, (start, end) in enumerate(spans) if any(start < b and a < end for a, b in cue.word_spans)]
    return hidden[rows].sum(0) / max(len(rows), 1)


class WordTable(nn.Module):
    """Learned word vectors, used without BERT; a cue is the mean over its words."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(UNKNOWN_ROW + 1 + words, width, padding_idx=PADDING_ROW)

    def forward(self, cues: CueBatch) -> Float[Tensor, "B S K D"]:
        """Return x_l of every cue, (B, S, K, D), with zeros on padding."""
        count = (cues.word_rows != PADDING_ROW).sum(-1, keepdim=True).clamp(min=1)
        mean: Tensor = self.table(cues.word_rows).sum(-2) / count
        return mean


class CueFeatures(NamedTuple):
    """Features of one modality for each cue, and the attention that produced them."""

    content: Float[Tensor, "B S K D"]  # x_vl or x_al
    attention: Float[Tensor, "B S K N"]  # of the cue to the tokens, mean over heads


class CueAttention(nn.Module):
    """Multi-head attention with cues as queries and a segment's tokens as keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, cues: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> CueFeatures:
        """Attend from each cue to the tokens of its segment (Eq. 6's map, averaged over heads)."""
        clips = len(cues)
        flat = rearrange(tokens, "B S n d -> (B S) n d")
        content, maps = self.attention(rearrange(cues, "B S k d -> (B S) k d"), flat, flat, need_weights=True)
        return CueFeatures(*(rearrange(x, "(B S) k y -> B S k y", B=clips) for x in (content, maps)))


def contrastive_loss(
    own: Float[Tensor, "B S K E"],
    other: Float[Tensor, "B S K E"],
    words: Float[Tensor, "B S K E"],
    kept: Bool[Tensor, "B S K"],
    tau: float,
    negatives: Literal["paper", "paper+words"] = "paper",
) -> Float[Tensor, " B"]:
    """Compute L_v of Eq. 4 with own = x_vl, other = x_al (L_a of Eq. 5 with the two swapped), per clip.

    Pulls own[t] to words[t] and pushes it from other[i] for the clip's cues i outside the window of t. All features
    have unit length. Mean over the kept cues; 0 for a clip without cues, or with all of them in one window.
    """
    segments, cues = own.shape[1:3]
    own, other, words = (rearrange(x, "B s k e -> B (s k) e") for x in (own, other, words))
    kept = rearrange(kept, "B s k -> B (s k)")
    window = repeat(torch.arange(segments, device=own.device), "s -> (s k)", k=cues)
    outside = (window[:, None] != window[None]) & kept[:, None, :]  # (B, t, i)
    positive = (own * words).sum(-1, keepdim=True) / tau
    similarities = [own @ other.transpose(1, 2) / tau]
    if negatives == "paper+words":
        similarities.append(own @ words.transpose(1, 2) / tau)
    negative = [x.masked_fill(~outside, -torch.inf) for x in similarities]
    loss = torch.cat([positive, *negative], -1).logsumexp(-1) - positive.squeeze(-1)
    return (loss * kept).sum(-1) / kept.sum(-1).clamp(min=1)


def mean_over_cues(values: Float[Tensor, "B S K"], kept: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
    """Average over the cues of a segment, then over the segments with a cue; return 0 for a clip without cues."""
    weight = kept.float()
    segment_means = (values * weight).sum(-1) / weight.sum(-1).clamp(min=1)
    has_cue = kept.any(-1).float()
    return (segment_means * has_cue).sum(-1) / has_cue.sum(-1).clamp(min=1)


def measure_cue_alignment(
    own: Float[Tensor, "B S K E"], words: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], present: Tensor
) -> Float[Tensor, " B"]:
    """Return the mean cosine of a modality's feature and its cue; NaN for a clip without cues or the modality."""
    cosine = mean_over_cues((own * words).sum(-1), kept)
    return torch.where(kept.any(-1).any(-1) & (present > 0), cosine, torch.nan)


def measure_feature_spread(
    features: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], present: Tensor
) -> Float[Tensor, " B"]:
    """Return 1 - the length of the mean of a clip's unit features: 0 if all are equal (collapse).

    NaN for a clip with fewer than two cues or without the modality.
    """
    weight, count = kept.float()[..., None], kept.sum((1, 2))
    mean = (features * weight).sum((1, 2)) / count.clamp(min=1)[:, None]
    return torch.where((count > 1) & (present > 0), 1 - mean.norm(dim=-1), torch.nan)
