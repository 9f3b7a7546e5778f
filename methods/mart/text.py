"""Cue embeddings by a frozen BERT or a learned word table (METHOD.md section 4).

A cue is the mean over its word pieces in the whole transcript of its segment.

Key: B clips, S segments, K cues of a segment, P word pieces of a segment, H width of BERT, D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.errors import ConfigError
from methods.mart.contrast import WordTable
from methods.mart.lexicon import Cue, Lexicon
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
            pieces = self.tokenizer(
                [said[slot] for slot in spoken], add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
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
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )


def _average_pieces(cue: Cue, spans: list[tuple[int, int]], hidden: Float[Tensor, "P H"]) -> Float[Tensor, " H"]:
    """The mean over the pieces that touch a word of the cue; zeros where the tokenizer knows none of its letters."""
    rows = [row for row, (start, end) in enumerate(spans) if any(start < b and a < end for a, b in cue.word_spans)]
    return hidden[rows].sum(0) / max(len(rows), 1)
