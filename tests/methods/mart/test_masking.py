"""Eqs. 6 and 7 and the other masks against hand-computed numbers."""

from __future__ import annotations

import math

import pytest
import torch

from bench.errors import ConfigError
from bench.rng import RngTree
from methods.mart.config import MartConfig
from methods.mart.masking import (
    MASK_STRATEGIES,
    MaskInputs,
    check_mask_groups,
    compute_affective_score,
    compute_mask_ratio,
    count_hidden_tokens,
    count_revealed_tokens,
    count_visible_tokens,
    draw_uniform_scores,
    find_visible_tokens,
    hide_ranked,
)
from methods.mbt.model import VisibleTokens
from tests.inputs import with_streams
from tests.methods.mart.toys import SMALL, objective, spoken_batch


def evidence(grid: tuple[int, ...], time_axis: int, clips: int = 2, segments: int = 3) -> MaskInputs:
    generator = torch.Generator().manual_seed(5)
    shape = (clips, segments, math.prod(grid))
    maps = torch.rand((clips, segments, 2, shape[-1]), generator=generator)
    kept = torch.tensor([[[True, False], [True, True], [False, False]]] * clips)
    attention, chance = (torch.rand(shape, generator=generator) for _ in range(2))
    return MaskInputs(attention, maps, kept, chance, grid, time_axis)


def test_the_score_is_the_mean_map_of_verified_cues_and_class_attention_without_any() -> None:
    maps = torch.tensor([[[[0.2, 0.8], [0.6, 0.4]], [[0.2, 0.8], [0.6, 0.4]], [[0.2, 0.8], [0.6, 0.4]]]])
    kept = torch.tensor([[[True, True], [False, True], [False, False]]])
    attention = torch.tensor([[[0.9, 0.1]] * 3])
    found = compute_affective_score(MaskInputs(attention, maps, kept, attention, (2,), 0))
    torch.testing.assert_close(found, torch.tensor([[[0.4, 0.6], [0.6, 0.4], [0.9, 0.1]]]))


def test_the_highest_stay_as_hints_and_the_next_are_hidden() -> None:
    score = torch.tensor([[[0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.0, 0.05]]])
    hidden = hide_ranked(score, 0.25, 0.05)  # ceil(.4) = 1 hint: token 1; 2 hidden: tokens 3 and 5
    assert hidden[0, 0].nonzero().flatten().tolist() == [3, 5]
    assert find_visible_tokens(hidden, 6)[0, 0].tolist() == [0, 1, 2, 4, 6, 7]


def test_counts_are_the_papers_rounded_up_and_one_token_stays() -> None:
    assert [count_hidden_tokens(392, ratio) for ratio in (0.1, 0.5)] == [40, 196]
    assert [count_revealed_tokens(392, 0.05), count_revealed_tokens(108, 0.05)] == [20, 6]
    assert count_hidden_tokens(100, 0.07) == 7  # .07 * 100 lies a hair above 7 in floats
    assert [count_hidden_tokens(4, 0.99), count_hidden_tokens(1, 0.5)] == [3, 0]


def test_the_share_hidden_grows_linearly_until_the_ramp_ends() -> None:
    config = MartConfig()
    assert [compute_mask_ratio(config, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.3, 0.5])
    release = MartConfig(mask_ramp=0.5)
    assert [compute_mask_ratio(release, progress) for progress in (0.25, 0.5, 0.9)] == pytest.approx([0.3, 0.5, 0.5])


@pytest.mark.parametrize("name", MASK_STRATEGIES)
@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.5, 0.9, 0.95, 0.99])
def test_every_segment_hides_as_many_tokens_and_one_stays(name: str, ratio: float) -> None:
    for given in (evidence((2, 2, 2), 0), evidence((2, 8), 1)):
        visible = (~MASK_STRATEGIES[name](given, ratio, 0.05)).sum(-1)
        assert visible.unique().tolist() == [count_visible_tokens(name, ratio, given.grid, given.time_axis)]
        assert int(visible[0, 0]) >= 1


@pytest.mark.parametrize(
    ("name", "ratio", "count"), [("affective", 0.3, 5), ("random", 0.9, 15), ("attention", 0.5, 8)]
)
def test_token_masks_hide_the_share_of_the_ratio(name: str, ratio: float, count: int) -> None:
    assert int(MASK_STRATEGIES[name](evidence((2, 8), 1), ratio, 0.05)[1, 2].sum()) == count  # ceil of the share of 16


def test_a_frame_mask_hides_whole_slots_and_a_tube_mask_whole_positions() -> None:
    video, sound = evidence((2, 2, 2), 0), evidence((2, 8), 1)
    frame = MASK_STRATEGIES["frame"](video, 0.4, 0.0).view(2, 3, 2, 4)  # .4 of 2 slots, half up: 1
    assert (frame.all(-1) == frame.any(-1)).all() and (frame.any(-1).sum(-1) == 1).all()
    tube = MASK_STRATEGIES["tube"](video, 0.95, 0.0).view(2, 3, 2, 4)  # all 4 positions, but one stays: 3
    assert (tube[:, :, 0] == tube[:, :, 1]).all() and (tube.sum((-1, -2)) == 6).all()
    columns = MASK_STRATEGIES["frame"](sound, 0.4, 0.0).view(2, 3, 2, 8)  # .4 of 8 columns: 3
    assert (columns[:, :, 0] == columns[:, :, 1]).all() and (columns[:, :, 0].sum(-1) == 3).all()
    rows = MASK_STRATEGIES["tube"](sound, 0.4, 0.0).view(2, 3, 2, 8)  # .4 of 2 rows: 1
    assert (rows.all(-1) == rows.any(-1)).all() and (rows.any(-1).sum(-1) == 1).all()


def test_random_scores_depend_on_seed_epoch_and_clip_only() -> None:
    both = draw_uniform_scores(RngTree(1), "video", 0, ("a", "b"), 2, 5)
    assert torch.equal(draw_uniform_scores(RngTree(1), "video", 0, ("b",), 2, 5)[0], both[1])
    for other in (
        draw_uniform_scores(RngTree(2), "video", 0, ("a",), 2, 5),
        draw_uniform_scores(RngTree(1), "audio", 0, ("a",), 2, 5),
        draw_uniform_scores(RngTree(1), "video", 1, ("a",), 2, 5),
    ):
        assert not torch.equal(other[0], both[0])


def test_hidden_content_does_not_reach_the_second_pass_and_hints_do() -> None:
    mbt, batch = objective(SMALL.override({"fusion_depth": 2})).predictor.mbt, spoken_batch()
    score = torch.zeros(6, 3, 8)
    score[..., 0], score[..., 7] = 2.0, 1.0  # token 0 is the hint, token 7 is masked
    audio = torch.arange(16).expand(6, 3, 16)
    hidden = hide_ranked(score, 0.1, 0.05)
    visible = VisibleTokens(find_visible_tokens(hidden, int((~hidden[0, 0]).sum())), audio)
    assert 7 not in visible.video[0, 0].tolist() and 0 in visible.video[0, 0].tolist()
    before = mbt.encode(mbt.embed(batch.inputs), visible)
    for area, reaches in ((slice(8, 16), False), (slice(0, 8), True)):
        video = batch.inputs.video.clone()
        frames = slice(0, 2) if reaches else slice(2, 4)  # token 0: first, top left; token 7: last, bottom right
        video[:, :, frames, area, area] = 255
        after = mbt.encode(mbt.embed(with_streams(batch.inputs, video=video)), visible)
        changed = not torch.equal(before.video_class, after.video_class)
        assert changed is reaches
        assert torch.equal(before.audio, after.audio) is not reaches  # through the bottleneck


def test_the_masked_share_grows_during_training() -> None:
    model = objective(SMALL.override({"verify": "none"}))
    shares = [float(model(spoken_batch(progress=p)).notes["hidden_video"][0]) for p in (0.0, 0.5, 0.99)]
    assert shares == [1 / 8, 3 / 8, 4 / 8]  # ceil of .1, .3, .496 of 8


def test_a_mask_of_groups_needs_more_than_one_group() -> None:
    check_mask_groups("tube", (4, 2, 1), 0)
    check_mask_groups("affective", (4, 1, 1), 0)
    for mask, grid, axis in (("tube", (4, 1, 1), 0), ("tube", (1, 5), 1), ("frame", (1, 3, 3), 0)):
        with pytest.raises(ConfigError, match="more than one"):
            check_mask_groups(mask, grid, axis)
