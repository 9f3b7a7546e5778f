import pytest
import torch

from methods.mbt.config import MBT, MbtConfig, make_sampling
from tests.methods.published import ast, authors, videomae, write
from tests.methods.toys import TINY, accuracy, run_fit, toy_batch, toy_clips
from tests.toys import CARD, make_context

OTHER = {
    "segments": 3,
    "test_segments": 4,
    "frames": 4,
    "stride": 3,
    "size": 24,
    "mels": 48,
    "patch": 4,
    "tubelet": 1,
    "stem": "local",
    "scale": "segment",
    "audio_patch": 8,
    "audio_stride": 12,
    "width": 24,
    "depth": 3,
    "heads": 4,
    "fusion_depth": 2,
    "bottleneck": 3,
    "dropout": 0.2,
    "polarity_weight": 2.0,
    "epochs": 4,
    "batch": 4,
    "lr": 1e-3,
    "weight_decay": 0.4,
    "optimizer": "adam",
    "warmup": 0.5,
    "clip_norm": 0.1,
    "ema": 0.5,
    "ema_ramp": 40,
    "precision": "bf16-mixed",
    "modalities": "audio",
    "freeze_audio": 1,
}
SAVERS = ("recompute", "compile")  # save memory or time; tests/methods/test_blocks.py shows that they change no number


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return run_fit(MBT, TINY, tmp_path_factory.mktemp("usual"))[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a published file for each field of weights."""
    folder = tmp_path_factory.mktemp("published")
    published = {
        "weights_video": videomae(width=16),
        "weights_audio": ast(width=16),
        "weights_all": authors((2, 6), width=16),
    }
    return {field: str(write(folder / field, tensors)) for field, tensors in published.items()}


@pytest.mark.slow
@pytest.mark.parametrize("field", [name for name in MbtConfig.model_fields if name not in SAVERS])
def test_every_field_changes_something(field, usual, files, tmp_path):
    config = TINY
    if field == "freeze_audio":  # only loaded blocks are frozen
        config = TINY.override({"weights_audio": files["weights_audio"]})
        usual, _ = run_fit(MBT, config, tmp_path / "usual")
    scores, _ = run_fit(MBT, config.override({field: {**OTHER, **files}[field]}), tmp_path / "other")
    assert scores.isfinite().all() and not torch.allclose(scores, usual, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", ["paper", "quick"])
def test_a_preset_is_a_checked_config(preset):
    config = MbtConfig.from_preset(preset)
    assert config.override(config.model_dump()) == config
    assert config.width % config.heads == 0 and config.size % config.patch == 0


def test_the_defaults_are_the_paper_s():
    paper = MbtConfig()
    assert MbtConfig.from_preset("paper") == paper
    assert (paper.segments, paper.test_segments, paper.frames, paper.size, paper.mels) == (12, 16, 16, 112, 128)
    assert (paper.width, paper.depth, paper.fusion_depth, paper.bottleneck) == (768, 12, 4, 32)
    assert (paper.lr, paper.weight_decay, paper.epochs, paper.batch) == (2e-4, 0.04, 150, 36)
    assert (paper.ema, paper.ema_ramp, paper.polarity_weight) == (0.999, 2000, 0.5)


def test_sampling_is_random_in_training_and_fixed_at_test():
    assert make_sampling(TINY, True).training and not make_sampling(TINY, False).training
    assert (make_sampling(TINY, True).segments, make_sampling(TINY, False).segments) == (2, 3)


def test_same_seed_gives_the_same_scores_and_another_seed_others(usual, tmp_path):
    assert torch.equal(run_fit(MBT, TINY, tmp_path / "again")[0], usual)
    assert not torch.allclose(run_fit(MBT, TINY, tmp_path / "other", seed=1)[0], usual)


def test_micro_batches_give_the_scores_of_the_whole_batch(usual, tmp_path):
    parts, _ = run_fit(MBT, TINY, tmp_path, micro_batch=2)
    torch.testing.assert_close(parts, usual, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("here", [{}, {"audio": False}, {"video": False}], ids=["both", "video", "audio"])
def test_colour_and_tone_are_learnt_together_and_alone(here, tmp_path):
    config = TINY.override({"epochs": 12, "batch": 6})
    given = {split: toy_clips(split, count, **here) for split, count in (("train", 8), ("val", 4), ("test", 8))}
    scores, tracker = run_fit(MBT, config, tmp_path, **given)
    assert accuracy(scores, given["test"]) >= 0.75  # chance 0.33; 24 clips
    first, last = tracker.epochs[0][2], tracker.epochs[-1][2]
    assert last["finetune/loss"] < first["finetune/loss"] and 0 <= last["val/acc_e"] <= 1
    if here:  # the head without its modality has nothing to learn
        absent = next(iter(here))
        assert last[f"finetune/{absent}"] == 0.0


def test_a_predictor_is_rebuilt_from_its_config_and_weights(quiet, tmp_path):
    inputs = toy_batch(training=False).inputs
    made = MBT.fit(make_context(quiet, tmp_path, TINY, train=toy_clips("train", 2), val=toy_clips("val", 1)))
    built = MBT.build(TINY, CARD)
    built.train(False)
    assert not torch.equal(built(inputs).output, made(inputs).output)
    built.load_state_dict(made.state_dict())
    assert torch.equal(built(inputs).output, made(inputs).output)
