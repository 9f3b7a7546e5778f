"""MART end to end on toy clips: it learns, explains and warns, and every config field changes the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.evaluate import Validation
from bench.rng import RngTree
from bench.stages import fit_alone
from bench.types import DatasetInfo
from methods.mart.config import MART, MartConfig
from methods.mbt.config import MbtConfig
from methods.mbt.supervised import fit_mbt
from tests.conftest import Quiet
from tests.methods.mart.toys import CARD, SMALL, bert_folder, spoken_clips, tower_file
from tests.toys import make_context

CHANGES: dict[str, dict[str, Any]] = {
    "pretrain_epochs": {"pretrain_epochs": 3},
    "pretrain_lr": {"pretrain_lr": 1e-3},
    "lexicon": {},  # a file, written by the test
    "verify": {"verify": "none"},
    "tau_degree": {"tau_degree": 0.2},
    "verify_after": {"verify_after": 0.9},
    "tcam": {"tcam": "raw"},
    "mask": {"mask": "attention"},
    "mask_from": {"mask_from": 0.4},
    "mask_to": {"mask_to": 0.8},
    "mask_ramp": {"mask_ramp": 0.3},
    "reveal": {"reveal": 0.3},
    "target": {"target": "kl"},
    "kl_axis": {"kl_axis": "time"},
    "tau": {"tau": 0.5},
    "negatives": {"negatives": "paper+words"},
    "contrast_width": {"contrast_width": 4},
    "decoder_depth": {"decoder_depth": 2},
    "decoder_width": {"decoder_width": 8},
    "decoder_heads": {"decoder_heads": 4},
    "w_tacl": {"w_tacl": 0.3},
    "w_cue": {"w_cue": 0.3},
    "w_patch": {"w_patch": 0.5},
    "w_kl": {"w_kl": 0.3},
    "w_target": {"w_target": 0.3},
    "pretrain_weight_decay": {"pretrain_weight_decay": 0.5},
    "pretrain_dropout": {"pretrain_dropout": 0.3},
    "pretrain_polarity_weight": {"pretrain_polarity_weight": 3.0},
    "weights_text": {},  # a folder, written by the test
    "weights_teacher": {},  # two files, written by the test
}
NEEDS: dict[str, dict[str, Any]] = {"w_target": {"target": "pixel"}}  # values without which a field has no meaning


def trained(config: MartConfig, folder: Path, quiet: Quiet, card: DatasetInfo = CARD, **clips: Any) -> Any:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    train = spoken_clips("train", clips.pop("per_class", 2), **clips)
    val = spoken_clips("val", 2, **clips)
    return fit_alone(MART, make_context(quiet, folder, config, info=card, train=train, val=val, rng=RngTree(4)))


def weights(predictor: Any) -> torch.Tensor:
    return torch.cat([value.flatten() for value in predictor.state_dict().values()])


def test_each_field_is_shown_to_matter() -> None:
    assert set(CHANGES) == set(MartConfig.model_fields) - set(MbtConfig.model_fields)


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return weights(trained(SMALL, tmp_path_factory.mktemp("defaults"), Quiet()))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_field_changes_the_finished_predictor(
    name: str, tmp_path: Path, quiet: Quiet, defaults: torch.Tensor
) -> None:
    values = CHANGES[name]
    if name == "lexicon":
        file = tmp_path / "custom.json"
        file.write_text(json.dumps({"joy": {"polarity": -0.4, "emotions": ["fear"]}}))
        values = {"lexicon": str(file)}
    if name == "weights_text":
        values = {"weights_text": str(bert_folder(tmp_path / "bert"))}
    needs = NEEDS.get(name, {})
    if name == "weights_teacher":
        one, other = (tower_file(tmp_path / f"{seed}.safetensors", seed) for seed in (7, 8))
        needs, values = {"target": "clip", "weights_teacher": str(one)}, {"weights_teacher": str(other)}
    base = defaults
    if needs:
        base = weights(trained(SMALL.override(needs), tmp_path / "base", quiet))
    changed = weights(trained(SMALL.override({**needs, **values}), tmp_path / "run", quiet))
    assert not torch.equal(changed, base)


def test_the_same_seed_gives_the_same_predictor(tmp_path: Path, quiet: Quiet, defaults: torch.Tensor) -> None:
    assert torch.equal(weights(trained(SMALL, tmp_path / "again", quiet)), defaults)


def test_it_learns_toy_clips_and_their_cues_pass_verification(tmp_path: Path, quiet: Quiet) -> None:
    config = SMALL.override({"pretrain_epochs": 10, "epochs": 8, "batch": 6})
    predictor = trained(config, tmp_path, quiet, per_class=6)
    context = make_context(quiet, tmp_path, config, info=CARD, val=spoken_clips("val", 6), rng=RngTree(4))
    scores = Validation(predictor, MART.sampling(config, False), context)()
    assert scores["val/acc_e"] > 0.9
    epochs = [values for stage, _, values in quiet.epochs if stage == "pretrain"]
    assert len(epochs) == 10
    assert epochs[-1]["pretrain/loss"] < epochs[0]["pretrain/loss"]
    assert epochs[-1]["pretrain/kl"] < 0.1
    assert epochs[-1]["pretrain/pass_sentiment"] > 0.9 and epochs[-1]["pretrain/pass_emotion"] > 0.9
    explanations = quiet.explanations["pretrain"]
    assert set(explanations) == {clip.key for clip in (*spoken_clips("train", 6).clips, *spoken_clips("val", 2).clips)}
    assert all(x.curve is not None and x.curve.shape == (3, 3) for x in explanations.values())
    assert {len(x.verdicts) for x in explanations.values()} == {4}


def test_words_do_not_change_a_prediction(tmp_path: Path, quiet: Quiet) -> None:
    """Check that prediction uses video and audio only."""
    from tests.inputs import with_streams
    from tests.methods.mart.toys import spoken_batch

    predictor = trained(SMALL, tmp_path, quiet)
    inputs = spoken_batch().inputs
    silent = with_streams(inputs, text=(((),) * 3,) * 6)
    assert torch.equal(predictor(inputs).output, predictor(silent).output)


def test_a_data_set_without_transcripts_warns_before_training(tmp_path: Path, quiet: Quiet) -> None:
    trained(SMALL, tmp_path, quiet, speaks=False)
    assert quiet.notices == [
        "no training clip has a transcript: MART has no cues and masks by class-token attention only; add .srt files, "
        "or transcribe with `prepare --transcribe`"
    ]
    fallback = [values["pretrain/fallback"] for stage, _, values in quiet.epochs if stage == "pretrain"]
    assert fallback == [1.0, 1.0]


@pytest.mark.slow
def test_the_papers_sizes_without_a_bert_warn_that_words_are_a_table(tmp_path: Path, quiet: Quiet) -> None:
    config = SMALL.override({"width": 768, "depth": 1, "pretrain_epochs": 1})
    trained(config, tmp_path / "table", quiet, per_class=1)
    assert quiet.notices == ["weights_text: no BERT, so words are a learned table; see docs/weights.md"]
    trained(
        config.override({"weights_text": str(bert_folder(tmp_path / "bert"))}), tmp_path / "read", quiet, per_class=1
    )
    assert len(quiet.notices) == 1


def test_an_english_lexicon_over_foreign_words_warns(tmp_path: Path, quiet: Quiet) -> None:
    from dataclasses import replace

    trained(SMALL, tmp_path, quiet, card=replace(CARD, language="zh"))
    lexicon = "lexicon: nrc is English, but the transcripts of Toy clips are 'zh'; set another with --set lexicon=FILE"
    assert quiet.notices == [lexicon]


def test_a_full_data_set_and_the_label_only_control_do_not_warn(tmp_path: Path, quiet: Quiet) -> None:
    trained(SMALL, tmp_path / "a", quiet)
    control = SMALL.override({"mask": "none", "verify": "none", "w_tacl": 0, "w_cue": 0})
    trained(control, tmp_path / "b", quiet, speaks=False)
    assert quiet.notices == []


def test_pre_training_is_followed_by_mbts_own_fine_tuning(tmp_path: Path, quiet: Quiet) -> None:
    """Check that MART equals MBT if the learning rate of pre-training is nearly 0."""
    values = {name: value for name, value in SMALL.model_dump().items() if name in MbtConfig.model_fields}
    sets = {"train": spoken_clips("train", 2), "val": spoken_clips("val", 2)}
    torch.set_num_threads(1)
    mbt = fit_mbt(make_context(quiet, tmp_path, MbtConfig(**values), info=CARD, rng=RngTree(4), **sets))
    mart = trained(SMALL.override({"pretrain_lr": 1e-12, "pretrain_epochs": 1}), tmp_path / "mart", quiet)
    torch.testing.assert_close(weights(mart), weights(mbt), atol=1e-5, rtol=0)


def test_it_trains_in_half_precision_too(tmp_path: Path, quiet: Quiet) -> None:
    predictor = trained(SMALL.override({"precision": "bf16-mixed"}), tmp_path, quiet)
    assert weights(predictor).isfinite().all()
