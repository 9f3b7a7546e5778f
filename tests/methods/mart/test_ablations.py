"""Each named ablation differs from MART only in the part that its name states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import ConfigError
from bench.rng import RngTree
from methods import VARIANTS
from methods.mart.config import MartConfig
from methods.mart.masking import compute_mask_ratio
from methods.mart.pretraining import MartObjective, MartPredictor
from methods.mbt.model import Mbt
from tests.methods.mart.toys import CARD, SMALL, objective, spoken_batch, tower_file

ALWAYS = {"cls_video", "cls_audio"}
WORDS = {"cue_video", "cue_audio", "tacl_video", "tacl_audio"}
BOTH = {"patch_video", "patch_audio", "kl"}
TERMS: dict[str, set[str]] = {
    "mbt-long": ALWAYS,
    "mart-video": ALWAYS | WORDS | BOTH,
    "mart-audio": ALWAYS | WORDS | BOTH,
    "mart-no-masking": ALWAYS | WORDS,
    "mart-no-verification": ALWAYS | WORDS | BOTH,
    "mart-sentiment-only": ALWAYS | WORDS | BOTH,
    "mart-emotion-only": ALWAYS | WORDS | BOTH,
    "mart-mask-frame": ALWAYS | WORDS | BOTH,
    "mart-mask-random": ALWAYS | WORDS | BOTH,
    "mart-mask-tube": ALWAYS | WORDS | BOTH,
    "mart-mask-attention": ALWAYS | WORDS | BOTH,
    "mart-target-kl": ALWAYS | WORDS | {"kl"},
    "mart-target-pixel": ALWAYS | WORDS | {"patch_video", "patch_audio"},
    "mart-target-hog": ALWAYS | WORDS | {"patch_video"},
    "mart-target-clip": ALWAYS | WORDS | {"patch_video"},
}
OTHER_CUES = {"mart-no-verification", "mart-sentiment-only", "mart-emotion-only"}  # they use other cues than MART
ONE_MODALITY = {"mart-video", "mart-audio"}  # without fusion all terms differ


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tower_file(tmp_path_factory.mktemp("teacher") / "tower.safetensors")


def arm_of(name: str, teacher: Path, base: MartConfig = SMALL) -> MartConfig:
    files = {"weights_teacher": str(teacher)} if name == "mart-target-clip" else {}
    return base.override({**VARIANTS[name].overrides, **files})


def test_every_arm_is_covered_here() -> None:
    assert set(TERMS) == {name for name, arm in VARIANTS.items() if arm.method == "mart"}


@pytest.mark.parametrize("name", TERMS)
def test_an_ablation_has_the_terms_of_its_name_and_the_others_are_marts(name: str, teacher: Path) -> None:
    batch = spoken_batch()
    plain, other = objective()(batch).terms, objective(arm_of(name, teacher))(batch).terms
    assert set(other) == TERMS[name]
    for term in set() if name in ONE_MODALITY else ALWAYS | (set() if name in OTHER_CUES else WORDS & set(other)):
        assert torch.equal(plain[term], other[term]), term


@pytest.mark.parametrize("name", TERMS)
def test_an_ablation_starts_from_marts_weights_but_for_the_last_layer_of_another_target(
    name: str, teacher: Path
) -> None:
    plain, other = objective().state_dict(), objective(arm_of(name, teacher)).state_dict()
    targets = {"mart-target-hog", "mart-target-clip"}
    own = {f"decoders.video.patches.{kind}" for kind in ("weight", "bias")} if name in targets else set()
    assert other.keys() <= plain.keys()
    assert all(torch.equal(plain[key], other[key]) for key in other.keys() - own)
    assert all(plain[key].shape != other[key].shape for key in own)


RATIOS: dict[str, tuple[float, float]] = {
    "mart-mask-frame": (0.4, 0.4),
    "mart-mask-random": (0.9, 0.9),
    "mart-mask-tube": (0.95, 0.95),
    "mart-mask-attention": (0.1, 0.5),
}


@pytest.mark.parametrize("name", RATIOS)
def test_masks_are_compared_at_the_papers_ratios(name: str) -> None:
    config = MartConfig().override(VARIANTS[name].overrides)
    assert tuple(compute_mask_ratio(config, progress) for progress in (0.0, 1.0)) == pytest.approx(RATIOS[name])


@pytest.mark.parametrize(
    ("name", "video", "audio"),  # of 2 time steps x 4 positions, and 2 rows x 8 columns
    [
        ("mart-mask-frame", 4 / 8, 6 / 16),  # one time step, three columns
        ("mart-mask-random", 7 / 8, 15 / 16),
        ("mart-mask-tube", 6 / 8, 8 / 16),  # all but one position, one row
        ("mart-mask-attention", 3 / 8, 5 / 16),  # ceil of 30 % half way
    ],
)
def test_masks_hide_the_share_of_their_ratio(name: str, video: float, audio: float, teacher: Path) -> None:
    notes = objective(arm_of(name, teacher))(spoken_batch()).notes
    assert notes["hidden_video"].unique().tolist() == [video]
    assert notes["hidden_audio"].unique().tolist() == [audio]


QUICK = MartConfig.from_preset("quick")


@pytest.mark.parametrize("name", TERMS)
def test_an_ablation_runs_with_quick_or_names_the_options_to_set(name: str, teacher: Path) -> None:
    if name == "mart-mask-tube":
        with pytest.raises(ConfigError, match="--set patch=12 --set audio_patch=16"):
            MartObjective(predictor(arm_of(name, teacher, QUICK)), arm_of(name, teacher, QUICK), CARD, RngTree(0))
    sizes: dict[str, Any] = {"patch": 12, "audio_patch": 16} if name == "mart-mask-tube" else {}
    config = arm_of(name, teacher, QUICK.override(sizes))
    terms = MartObjective(predictor(config), config, CARD, RngTree(0))(spoken_batch(config)).terms
    assert set(terms) == TERMS[name] and all(term.isfinite().all() for term in terms.values())


def predictor(config: MartConfig) -> MartPredictor:
    return MartPredictor(Mbt(config, len(CARD.classes), RngTree(0)), config, CARD)
