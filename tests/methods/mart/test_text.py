"""Cue embeddings from a small BERT: they equal those of transformers and do not depend on the other slots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.errors import ConfigError
from bench.types import Word
from methods.mart.contrast import BertEmbedding, BertReader, load_bert
from methods.mart.lexicon import join_words, load_lexicon
from methods.mart.verification import CueBatch, CueFinder
from tests.methods.mart.toys import CARD, SMALL, bert_folder, objective, spoken_batch, spoken_inputs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("bert") / "tiny")


def words_of(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, float(i), i + 0.5) for i, word in enumerate(text.split()))


def cues_of(*slots: str) -> CueBatch:
    return CueFinder(load_lexicon("nrc"), CARD)(spoken_inputs(tuple(words_of(slot) for slot in slots)))


def whole_sentence(folder: Path, text: str) -> tuple[list[str], torch.Tensor]:
    """Return the pieces of a text and their hidden states, computed with transformers directly."""
    from transformers import BertModel, BertTokenizer

    tokenizer, bert = BertTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    encoding = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        hidden = bert(encoding["input_ids"], attention_mask=encoding["attention_mask"]).last_hidden_state[0]
    return tokenizer.convert_ids_to_tokens(encoding["input_ids"][0]), hidden


def test_a_cue_is_the_mean_over_its_pieces_in_the_whole_sentence(folder: Path) -> None:
    cues = cues_of("Joy, the delight! good, morning.")
    pieces, hidden = whole_sentence(folder, "Joy, the delight! good, morning.")
    assert pieces[1:11] == ["joy", ",", "the", "del", "##ight", "!", "good", ",", "morning", "."]
    found = BertReader(folder)(cues.transcripts[0], cues.by_segment[0], CPU)[0]
    assert [cue.text for cue in cues.by_segment[0][0]] == ["joy", "delight", "good morning"]
    expected = torch.stack([hidden[1], hidden[4:6].mean(0), hidden[[7, 9]].mean(0)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_cue_found_through_its_stem_has_the_pieces_of_the_word_as_words_of(folder: Path) -> None:
    cues = cues_of("the terrors")
    pieces, hidden = whole_sentence(folder, "the terrors")
    assert [cue.text for cue in cues.by_segment[0][0]] == ["terrors"] and len(pieces) > 4
    found = BertReader(folder)(cues.transcripts[0], cues.by_segment[0], CPU)[0]
    torch.testing.assert_close(found[0], hidden[2:-1].mean(0), atol=1e-5, rtol=1e-4)


def test_the_other_slots_of_a_clip_change_nothing_but_rounding(folder: Path) -> None:
    alone, together = cues_of("the joy"), cues_of("the joy", "grief and misery and terror the panic", "")
    first = BertReader(folder)(alone.transcripts[0], alone.by_segment[0], CPU)
    second = BertReader(folder)(together.transcripts[0], together.by_segment[0], CPU)
    torch.testing.assert_close(first[0], second[0], atol=1e-6, rtol=1e-5)
    assert [len(vectors) for vectors in second] == [1, 4, 0]


def test_a_long_slot_is_read_in_windows_and_loses_no_cue(folder: Path) -> None:
    text = " ".join(["joy the grief"] * 12)  # 36 pieces; a window has 22
    cues = cues_of(text)
    found = BertReader(folder)(cues.transcripts[0], cues.by_segment[0], CPU)[0]
    assert len(found) == 24
    words = text.split()
    _, first = whole_sentence(folder, " ".join(words[:22]))
    _, second = whole_sentence(folder, " ".join(words[22:]))
    hidden = torch.cat([first[1:-1], second[1:-1]])
    expected = hidden[[index for index, word in enumerate(words) if word != "the"]]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_clip_is_encoded_once_and_its_vectors_are_cached(folder: Path) -> None:
    words, batch = BertEmbedding(BertReader(folder), 16), spoken_batch()
    calls: list[int] = []
    words.reader.bert.register_forward_hook(lambda *_: calls.append(1))
    cues = CueFinder(load_lexicon("nrc"), CARD)(batch.inputs)
    first = words(cues)
    assert len(calls) == 3  # six clips; the two of each class have the same transcript
    assert torch.equal(words(cues), first) and len(calls) == 3
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert first[~cues.mask].abs().sum() == 0 and (first[cues.mask].abs().sum(-1) > 0).all()


def test_a_learned_matrix_maps_between_two_widths(folder: Path) -> None:
    narrow = BertEmbedding(BertReader(folder), 12)
    assert [tuple(p.shape) for p in narrow.parameters()] == [(12, 16), (12,)]
    assert narrow(cues_of("joy")).shape == (1, 1, 1, 12)
    assert not list(BertEmbedding(BertReader(folder), 16).parameters())


def test_bert_is_frozen_and_in_no_checkpoint_and_all_else_learns(folder: Path) -> None:
    model = objective(SMALL.override({"weights_text": str(folder), "verify": "none", "width": 24}))
    before = {name: value.clone() for name, value in model.words.reader.bert.state_dict().items()}
    model.train()
    losses = model(spoken_batch())
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert not model.words.reader.bert.training
    assert not any(p.requires_grad for p in model.words.reader.bert.parameters())
    assert {name for name in model.state_dict() if name.startswith("words")} == {
        "words.enter.weight",
        "words.enter.bias",
    }
    assert not {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert all(torch.equal(value, before[name]) for name, value in model.words.reader.bert.state_dict().items())


def test_words_read_by_bert_leave_the_rest_as_it_starts(folder: Path) -> None:
    plain, read = (objective(SMALL.override(values)).state_dict() for values in ({}, {"weights_text": str(folder)}))
    assert plain.keys() - read.keys() == {"words.table.weight"} and not read.keys() - plain.keys()
    assert all(torch.equal(plain[name], read[name]) for name in read)


def test_an_older_checkpoint_with_a_pickle_prefixes_and_old_names_reads_the_same(folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(folder, tmp_path / "old")
    tensors = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (old / name).unlink(missing_ok=True)
    renamed = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tensors.items()
    }
    torch.save({**renamed, "cls.predictions.bias": torch.zeros(3)}, old / "pytorch_model.bin")
    cues = cues_of("the joy, delight")
    first, second = (BertReader(place)(cues.transcripts[0], cues.by_segment[0], CPU)[0] for place in (folder, old))
    assert torch.equal(first, second)


FAULTS: dict[str, tuple[Any, str]] = {
    "no folder": (lambda place: shutil.rmtree(place), "has no model.safetensors or pytorch_model.bin"),
    "no weights": (lambda place: (place / "model.safetensors").unlink(), "has no model.safetensors"),
    "no words": (
        lambda place: [(place / name).unlink(missing_ok=True) for name in ("tokenizer.json", "vocab.txt")],
        "has no tokenizer.json or vocab.txt",
    ),
    "no sizes": (lambda place: (place / "config.json").unlink(), "is not a BERT"),
    "another": (lambda place: change(place, {"model_type": "gpt2"}), "is not a BERT .*gpt2"),
    "other sizes": (lambda place: change(place, {"num_hidden_layers": 3}), "does not match config.json"),
    "few words": (lambda place: change(place, {"vocab_size": 9}), "is not a BERT .*pieces in its vocabulary"),
    "torn": (lambda place: (place / "model.safetensors").write_bytes(b"torn"), "is damaged or contains objects"),
}


def change(place: Path, values: dict[str, Any]) -> None:
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_without_a_bert_raises_a_one_line_error(fault: str, folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "broken")
    harm, message = FAULTS[fault]
    harm(place)
    with pytest.raises(ConfigError, match=message) as caught:
        load_bert(place)
    assert str(caught.value).startswith("weights_text: ") and "\n" not in str(caught.value)


def test_the_spans_of_a_cue_index_the_transcript_that_bert_reads() -> None:
    words = words_of("Joy, the delight!")
    cues = cues_of("Joy, the delight!")
    assert cues.transcripts == ((join_words(words),),)
    assert [cue.word_spans for cue in cues.by_segment[0][0]] == [((0, 3),), ((9, 16),)]
