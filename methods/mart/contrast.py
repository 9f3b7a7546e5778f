"""Cue embeddings, attention to video and audio, and the contrastive loss (METHOD.md section 4, Eqs. 4 and 5).

A cue is embedded by a frozen BERT, as the mean over its word pieces in the transcript of its segment, or by a learned
word table. Cues are the queries of an attention to video and to audio; the loss separates the features of one modality
from those of the other in other segments of the clip.

Key: B clips, S segments = windows, K cues of a segment, P word pieces of a segment, N tokens, H width of BERT, D width,
E width of the compared space.
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
    """What gives x_l of every cue: the BERT of a folder, or a learned table of the lexicon's words where it is ""."""
    return BertEmbedding(BertReader(Path(folder)), width) if folder else WordTable(len(lexicon.word_rows), width)


class BertEmbedding(nn.Module):
    """x_l from a frozen BERT. Only the matrix between two widths learns: the reader is no submodule, so that BERT is in
    no checkpoint and no optimiser."""

    def __init__(self, reader: BertReader, width: int) -> None:
        super().__init__()
        self.reader = reader
        self.enter = nn.Identity() if reader.width == width else nn.Linear(reader.width, width)

    def forward(self, cues: CueBatch) -> Float[Tensor, "B S K D"]:
        """x_l of every cue; zeros on padding."""
        device = cues.mask.device
        read = torch.zeros((*cues.mask.shape, self.reader.width))
        for b, (said, found) in enumerate(zip(cues.transcripts, cues.by_segment, strict=True)):
            for s, vectors in enumerate(self.reader(said, found, device)):
                read[b, s, : len(vectors)] = vectors
        entered: Tensor = self.enter(read.to(device, non_blocking=True)) * rearrange(cues.mask, "B S k -> B S k 1")
        return entered


class BertReader:
    """Reads the transcript of a clip once, and remembers the vectors of its cues.

    A clip is read by itself, so that its vectors do not depend on which others were read beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer, self.bert = load_bert(folder)
        self.width = int(self.bert.config.hidden_size)
        self._vector_cache: dict[tuple[str, ...], list[Tensor]] = {}

    def __call__(
        self, said: tuple[str, ...], found: tuple[tuple[Cue, ...], ...], device: torch.device
    ) -> list[Float[Tensor, "_ H"]]:
        """The vectors of the cues of each slot of a clip."""
        if said not in self._vector_cache:
            self._vector_cache[said] = self._encode_clip(said, found, device)
        return self._vector_cache[said]

    def _encode_clip(self, said: Sequence[str], found: Sequence[tuple[Cue, ...]], device: torch.device) -> list[Tensor]:
        spoken = [slot for slot, cues in enumerate(found) if cues]
        vectors = [torch.zeros((0, self.width)) for _ in found]
        if spoken:
            options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
            pieces = self.tokenizer([said[slot] for slot in spoken], **options)
            read = self._encode_pieces(pieces["input_ids"], device)
            for slot, spans, hidden in zip(spoken, pieces["offset_mapping"], read, strict=True):
                vectors[slot] = torch.stack([_average_pieces(cue, spans, hidden) for cue in found[slot]])
        return vectors

    @torch.no_grad()
    def _encode_pieces(self, slots: list[list[int]], device: torch.device) -> list[Float[Tensor, "_ H"]]:
        """What BERT says of each slot's pieces; a slot longer than it can read is cut into windows."""
        room = self.bert.config.max_position_embeddings - 2  # a window stands between [CLS] and [SEP]
        windows = [ids[start : start + room] for ids in slots for start in range(0, max(len(ids), 1), room)]
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        framed = [torch.tensor([first, *window, last]) for window in windows]
        ids = pad_sequence(framed, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        mask = pad_sequence([torch.ones_like(window) for window in framed], batch_first=True)
        with torch.autocast(device.type, enabled=False):
            hidden = self.bert.to(device)(ids.to(device), attention_mask=mask.to(device)).last_hidden_state.cpu()
        pieces = torch.cat([hidden[row, 1 : 1 + len(window)] for row, window in enumerate(windows)])
        return list(torch.split(pieces, [len(ids) for ids in slots]))


def load_bert(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and frozen model of a local folder in HuggingFace's format; raises ConfigError for any other."""
    from transformers import BertConfig, BertModel, BertTokenizer

    weights, _ = (_find_file(folder, names) for names in (BERT_WEIGHT_FILES, BERT_VOCABULARY_FILES))
    try:
        sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if sizes.get("model_type") != "bert":
            raise ValueError(f"its config.json says model_type '{sizes.get('model_type')}'")
        bert = BertModel(BertConfig(**sizes), add_pooling_layer=False)
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        if len(tokenizer) > bert.config.vocab_size:
            raise ValueError(f"{len(tokenizer)} pieces in its vocabulary, {bert.config.vocab_size} in its config.json")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"weights_text: '{folder}' is no BERT ({reason})") from None
    tensors = {_modernise_name(name): tensor for name, tensor in load_tensors(weights, "weights_text").items()}
    return tokenizer, load_frozen(bert, tensors, f"weights_text: '{weights}' is not the BERT of its config.json")


def _find_file(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"weights_text: '{folder}' lacks {' or '.join(names)}; it has to be a folder of a BERT in HuggingFace's format"
    )


def _modernise_name(name: str) -> str:
    """A tensor's name without the prefix of a whole pre-training model, and with today's names of a norm's values."""
    return name.removeprefix("bert.").replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias")


def _average_pieces(cue: Cue, spans: list[tuple[int, int]], hidden: Float[Tensor, "P H"]) -> Float[Tensor, " H"]:
    """The mean over the pieces that touch a word of the cue; zeros where the tokenizer knows none of its letters."""
    rows = [row for row, (start, end) in enumerate(spans) if any(start < b and a < end for a, b in cue.word_spans)]
    return hidden[rows].sum(0) / max(len(rows), 1)


class WordTable(nn.Module):
    """A learned vector for each word of the lexicon; a cue is the mean over its words. Stands in where no BERT is
    given."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(UNKNOWN_ROW + 1 + words, width, padding_idx=PADDING_ROW)

    def forward(self, cues: CueBatch) -> Float[Tensor, "B S K D"]:
        """x_l of every cue; zeros on padding."""
        count = (cues.word_rows != PADDING_ROW).sum(-1, keepdim=True).clamp(min=1)
        found: Tensor = self.table(cues.word_rows).sum(-2) / count
        return found


class CueFeatures(NamedTuple):
    """What a modality answers to each cue."""

    content: Float[Tensor, "B S K D"]  # x_vl or x_al
    attention: Float[Tensor, "B S K N"]  # of the cue to the tokens, mean over heads


class CueAttention(nn.Module):
    """Multi-head attention with cues as queries and a segment's tokens as keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, cues: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> CueFeatures:
        """One answer and one map for each cue."""
        clips = len(cues)
        flat = rearrange(tokens, "B S n d -> (B S) n d")
        content, maps = self.attention(rearrange(cues, "B S k d -> (B S) k d"), flat, flat, need_weights=True)
        return CueFeatures(*(rearrange(found, "(B S) k x -> B S k x", B=clips) for found in (content, maps)))


def contrastive_loss(
    own: Float[Tensor, "B S K E"],
    other: Float[Tensor, "B S K E"],
    words: Float[Tensor, "B S K E"],
    kept: Bool[Tensor, "B S K"],
    tau: float,
    negatives: Literal["paper", "paper+words"] = "paper",
) -> Float[Tensor, " B"]:
    """L_v of Eq. 4 with own = x_vl, other = x_al (Eq. 5 with the two exchanged); all of unit length.

    Pulls own[t] to words[t] and pushes it from other[i] of the clip's cues i outside the window of t. Mean over the
    clip's cues; 0 for a clip whose cues all lie in one window, or that has none.
    """
    segments, cues = own.shape[1:3]
    own, other, words = (rearrange(x, "B s k e -> B (s k) e") for x in (own, other, words))
    here = rearrange(kept, "B s k -> B (s k)")
    window = repeat(torch.arange(segments, device=own.device), "s -> (s k)", k=cues)
    outside = (window[:, None] != window[None]) & here[:, None, :]  # (B, t, i)
    positive = (own * words).sum(-1, keepdim=True) / tau
    pushed = [own @ other.transpose(1, 2) / tau]
    if negatives == "paper+words":
        pushed.append(own @ words.transpose(1, 2) / tau)
    against = [x.masked_fill(~outside, -torch.inf) for x in pushed]
    loss = torch.cat([positive, *against], -1).logsumexp(-1) - positive.squeeze(-1)
    return (loss * here).sum(-1) / here.sum(-1).clamp(min=1)


def mean_over_cues(values: Float[Tensor, "B S K"], kept: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
    """Mean over the cues of a segment, then over the segments that have one; 0 for a clip without cues."""
    weight = kept.float()
    of_segment = (values * weight).sum(-1) / weight.sum(-1).clamp(min=1)
    has_cue = kept.any(-1).float()
    return (of_segment * has_cue).sum(-1) / has_cue.sum(-1).clamp(min=1)


def measure_cue_alignment(
    own: Float[Tensor, "B S K E"], words: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], here: Tensor
) -> Float[Tensor, " B"]:
    """Mean cosine of what a modality answers and the word; NaN for a clip without cues or without the modality."""
    cosine = mean_over_cues((own * words).sum(-1), kept)
    return torch.where(kept.any(-1).any(-1) & (here > 0), cosine, torch.nan)


def measure_feature_spread(
    features: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], here: Tensor
) -> Float[Tensor, " B"]:
    """1 - length of the mean of a clip's unit features: 0 where all are one vector; NaN with fewer than two cues or
    without the modality."""
    weight, count = kept.float()[..., None], kept.sum((1, 2))
    mean = (features * weight).sum((1, 2)) / count.clamp(min=1)[:, None]
    return torch.where((count > 1) & (here > 0), 1 - mean.norm(dim=-1), torch.nan)
