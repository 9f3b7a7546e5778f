"""Pre-training objective and predictor: terms, weights, invariances, verification of cues."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.rng import RngTree
from bench.types import Word
from methods import VARIANTS
from methods.mart.contrast import measure_cue_alignment, measure_feature_spread
from methods.mart.pretraining import MartPredictor, measure_cue_coverage
from methods.mart.verification import verify_cues
from methods.mbt.config import MbtConfig
from methods.mbt.model import Mbt
from tests.inputs import with_streams, without
from tests.methods.mart.toys import CARD, SMALL, hand_made_cues, objective, one_clip, spoken_batch

CLS = {"cls_video", "cls_audio"}
CUE = {"cue_video", "cue_audio"}
TACL = {"tacl_video", "tacl_audio"}
PATCH = {"patch_video", "patch_audio"}


@pytest.mark.parametrize(
    ("values", "terms"),
    [
        ({}, CLS | CUE | TACL | PATCH | {"kl"}),
        ({"w_cue": 0}, CLS | TACL | PATCH | {"kl"}),
        ({"w_tacl": 0}, CLS | CUE | PATCH | {"kl"}),
        ({"w_patch": 0}, CLS | CUE | TACL | {"kl"}),
        ({"w_kl": 0}, CLS | CUE | TACL | PATCH),
        ({"target": "kl"}, CLS | CUE | TACL | {"kl"}),
        ({"target": "pixel"}, CLS | CUE | TACL | PATCH),
        ({"mask": "none"}, CLS | CUE | TACL),
        ({"w_patch": 0, "w_kl": 0}, CLS | CUE | TACL),
        (dict(VARIANTS["mbt-long"].overrides), CLS),
    ],
)
def test_a_term_whose_weight_is_zero_is_not_there(values: dict[str, Any], terms: set[str]) -> None:
    assert set(objective(SMALL.override(values))(spoken_batch()).terms) == terms


def test_the_label_only_control_has_no_parts_beyond_mbt() -> None:
    model = objective(SMALL.override(dict(VARIANTS["mbt-long"].overrides)))
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"predictor"}


@pytest.mark.parametrize("weight", ["w_cue", "w_tacl", "w_patch", "w_kl"])
def test_a_weight_scales_its_own_terms_alone(weight: str) -> None:
    batch = spoken_batch()
    once, twice = (objective(SMALL.override({weight: w}))(batch).terms for w in (1.0, 2.0))
    own = {"w_cue": CUE, "w_tacl": TACL, "w_patch": PATCH, "w_kl": {"kl"}}[weight]
    for name in once:
        torch.testing.assert_close(twice[name], once[name] * (2 if name in own else 1))


@pytest.mark.parametrize("mask", ["affective", "random", "frame"])
def test_a_batch_is_its_clips_one_by_one(mask: str) -> None:
    model, batch = objective(SMALL.override({"mask": mask})), spoken_batch()
    words = list(batch.inputs.words)
    words[1] = ((), (), ())  # a clip without cues
    words[2] = tuple(slot * 3 for slot in words[2])  # and one with many
    batch = replace(batch, inputs=with_streams(batch.inputs, text=tuple(words)))
    whole = model(batch)
    for index in range(len(batch.keys)):
        alone = model(one_clip(batch, index))
        for kind in ("terms", "notes"):
            for name, value in getattr(alone, kind).items():
                expected = getattr(whole, kind)[name][index : index + 1]
                torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4, equal_nan=True, msg=name)


def test_a_clip_without_cues_has_no_cue_losses_and_is_still_masked() -> None:
    losses = objective()(spoken_batch(speaks=False))
    for name in CUE | TACL:
        assert losses.terms[name].tolist() == [0.0] * 6
    assert losses.notes["fallback"].tolist() == [1.0] * 6 and losses.notes["coverage"].tolist() == [0.0] * 6
    assert losses.notes["pass_sentiment"].isnan().all()
    assert losses.notes["hidden_video"].tolist() == [3 / 8] * 6


def test_a_missing_modality_adds_nothing() -> None:
    batch = spoken_batch()
    model = objective(SMALL.override({"verify": "none"}))
    terms = model(replace(batch, inputs=without(batch.inputs, "video", clip=0))).terms
    for name in ("cls_video", "cue_video", "patch_video", "tacl_video", "tacl_audio"):
        assert terms[name][0] == 0 and terms[name][1] != 0, name
    assert terms["cls_audio"][0] != 0


def test_every_parameter_learns() -> None:
    model = objective(SMALL.override({"verify": "none"}))
    losses = model(spoken_batch())
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not still


def test_all_cues_are_kept_until_verification_starts() -> None:
    model = objective(SMALL.override({"verify_after": 0.3}))
    before, after = (model(spoken_batch(progress=p)).notes for p in (0.29, 0.31))
    assert before["coverage_kept"].tolist() == before["coverage"].tolist() == [1.0] * 6
    assert after["coverage_kept"].tolist() == after["coverage_degree"].tolist() != [1.0] * 6


def test_coverage_is_measured_at_each_level() -> None:
    # the clip of test_verification: 3 + 3 + 2 cues; 2 + 3 + 1, 1 + 2 + 1 and 1 + 1 + 0 pass
    cues = hand_made_cues(
        [
            [(1, {2}, 0.9), (1, {0, 2}, 0.9), (-1, {0}, 0.9)],
            [(-1, {1}, 0.9), (-1, {1}, 0.0), (-1, {0}, 0.5)],
            [(-1, {1}, 0.1), (1, {2}, 0.1)],
        ]
    )
    curve = torch.tensor([[[0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3]]]).log()
    stages = verify_cues(curve, cues, torch.tensor([-1, -1, 1]), 0.5)
    notes = {name: float(value) for name, value in measure_cue_coverage(cues, stages, stages.degree).items()}
    expected = {
        **{"coverage": 1.0, "coverage_kept": 2 / 3},
        **{"coverage_sentiment": 1.0, "coverage_emotion": 1.0, "coverage_degree": 2 / 3},
        **{"pass_sentiment": 6 / 8, "pass_emotion": 4 / 8, "pass_degree": 2 / 8},
    }
    assert notes == pytest.approx(expected)


def test_spread_is_zero_for_equal_features_and_one_for_opposite_ones() -> None:
    equal, kept = torch.tensor([1.0, 0.0]).expand(1, 2, 1, 2), torch.ones((1, 2, 1), dtype=torch.bool)
    opposite = torch.tensor([[[[1.0, 0.0]], [[-1.0, 0.0]]]])
    here = torch.ones(1)
    assert (float(measure_feature_spread(equal, kept, here)), float(measure_feature_spread(opposite, kept, here))) == (
        0.0,
        1.0,
    )
    assert math.isnan(float(measure_feature_spread(equal, torch.tensor([[[True], [False]]]), here)))
    assert math.isnan(float(measure_feature_spread(equal, kept, torch.zeros(1))))


def test_alignment_is_the_mean_cosine_and_nan_without_cues_or_modality() -> None:
    own, words = torch.tensor([[[[1.0, 0.0]], [[0.6, 0.8]]]]), torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    kept = torch.ones((1, 2, 1), dtype=torch.bool)
    assert float(measure_cue_alignment(own, words, kept, torch.ones(1))) == pytest.approx(0.8)
    assert math.isnan(float(measure_cue_alignment(own, words, ~kept, torch.ones(1))))
    assert math.isnan(float(measure_cue_alignment(own, words, kept, torch.zeros(1))))


def test_notes_of_a_missing_modality_are_nan() -> None:
    batch = spoken_batch()
    absent = replace(batch, inputs=without(batch.inputs, "audio", clip=0))
    notes = objective(SMALL.override({"verify": "none"}))(absent).notes
    for name in ("alignment_audio", "spread_audio", "hidden_audio", "sound_share"):
        assert notes[name].isnan().tolist() == [True] + [False] * 5, name
    assert not notes["alignment_video"].isnan().any()


def test_the_encoders_start_as_mbts_do() -> None:
    shared = {name: value for name, value in SMALL.model_dump().items() if name in MbtConfig.model_fields}
    mbt = Mbt(MbtConfig(**shared), len(CARD.classes), RngTree(3)).state_dict()
    torch.manual_seed(99)
    mart = objective(seed=3).predictor.mbt.state_dict()
    assert mart.keys() == mbt.keys()
    assert all(torch.equal(mart[name], mbt[name]) for name in mbt)


def test_verdicts_have_the_words_of_the_transcript_with_times_and_nested_levels() -> None:
    model, batch = objective(), spoken_batch()
    words = ((Word("Good", 0.1, 0.3), Word("morning!", 0.4, 0.6)), (Word("grief", 1.5, 1.8),), ())
    batch = replace(batch, inputs=with_streams(batch.inputs, text=(words, *batch.inputs.words[1:])))
    explanations = model.predictor.explain(batch.inputs)
    assert [(v.text, v.start) for v in explanations[0].verdicts] == [("good morning", 0.1), ("grief", 1.5)]
    assert explanations[0].curve is not None and explanations[0].curve.shape == (3, 3)
    for explanation in explanations:
        for verdict in explanation.verdicts:
            assert verdict.sentiment >= verdict.emotion >= verdict.degree
    assert {v.sentiment for x in explanations for v in x.verdicts} == {True, False}


def test_a_predictor_is_rebuilt_from_config_info_and_state() -> None:
    from methods.mart.config import MART

    batch, predictor = spoken_batch(), objective().predictor
    again = MART.build(SMALL, CARD)
    assert isinstance(again, MartPredictor)
    again.load_state_dict(predictor.state_dict())
    again.train(False)
    assert torch.equal(again(batch.inputs).output, predictor(batch.inputs).output)
    assert again.explain(batch.inputs)[4].verdicts == predictor.explain(batch.inputs)[4].verdicts


def test_paper_preset_has_the_papers_sizes() -> None:
    from methods.mart.config import MartConfig

    paper = MartConfig.from_preset("paper")
    assert (paper.pretrain_epochs, paper.epochs, paper.pretrain_lr, paper.weight_decay) == (100, 150, 2e-4, 0.04)
    assert (paper.decoder_depth, paper.decoder_width, paper.decoder_heads, paper.w_patch) == (8, 512, 16, 0.05)
    assert (paper.mask_from, paper.mask_to) == (0.1, 0.5)
