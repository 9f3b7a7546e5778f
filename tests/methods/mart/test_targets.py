"""Targets of recovery: pixels and audio by hand, HOG against scikit-image, sizes as the decoders need them."""

from __future__ import annotations

import pytest
import torch

from methods.mart.recovery import (
    RECOVERY_TARGETS,
    choose_cell_size,
    compute_audio_target,
    compute_gradient_histograms,
    compute_hog_target,
    compute_video_target,
)
from tests.methods.mart.toys import SMALL


def picture(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    video = torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)
    video[..., : shape[-1] // 3, :] = 90  # flat, with steps to both sides
    video[..., shape[-2] // 2 :, :, 1] = torch.arange(shape[-1], dtype=torch.uint8) * 3  # a ramp
    return video


def test_video_patches_are_normalised_by_channel() -> None:
    video = torch.zeros(1, 1, 1, 2, 4, 3)  # two patches of 2 x 2
    video[..., 0, :, 0] = torch.tensor([0.0, 0.0, 5.0, 5.0])
    video[..., 1, :, 0] = torch.tensor([2.0, 2.0, 5.0, 5.0])
    found = compute_video_target(video, tubelet=1, patch=2).view(2, 4, 3)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([-1.0, -1.0, 1.0, 1.0]), atol=1e-5, rtol=0)
    assert found[0, :, 1:].abs().max() == 0 and found[1].abs().max() == 0  # constant channels


def test_video_patches_follow_the_order_of_tokens() -> None:
    video = torch.rand(1, 1, 4, 4, 4, 3)
    whole = compute_video_target(video, tubelet=2, patch=2)
    assert whole.shape == (1, 1, 8, 24)
    last = compute_video_target(video[:, :, 2:, 2:, 2:], tubelet=2, patch=2)
    torch.testing.assert_close(whole[:, :, 7:], last)


def test_audio_patches_overlap_and_are_normalised_by_their_own_values() -> None:
    audio = torch.tensor([[[[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]]]])  # 3 frames of 2 bins
    found = compute_audio_target(audio, patch=2, stride=1)
    expected = torch.tensor([[-1.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", [8, 12, 4])
def test_gradients_are_scikit_images(cell: int) -> None:
    from skimage.feature import hog

    frame = picture(24, 48)
    ours = compute_gradient_histograms(frame.permute(2, 0, 1)[None].float() / 255, cell)[0]
    for colour in range(3):
        theirs = hog(
            frame[..., colour].double().numpy() / 255,
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(1, 1),
            block_norm="L2",
            feature_vector=False,
        )
        expected = torch.tensor(theirs[:, :, 0, 0]).permute(2, 0, 1).float()
        torch.testing.assert_close(ours[colour], expected, atol=1e-5, rtol=1e-4)


def test_gradients_of_a_patch_are_those_of_its_place_and_time_and_of_unit_length() -> None:
    video = picture(2, 3, 4, 32, 32)
    found = compute_hog_target(video, tubelet=2, patch=16)
    assert found.shape == (2, 3, 2 * 4, 2 * 4 * 3 * 9)  # frames, cells, colours, orientations
    frames = compute_gradient_histograms(video[1, 2].permute(0, 3, 1, 2).float() / 255, 8)
    token = found[1, 2, 4 + 2].view(2, 2, 2, 3, 9)  # second moment, low left
    torch.testing.assert_close(token[1, 0, 1], frames[3, :, :, 2, 1])
    length = found.view(-1, 9).norm(dim=-1)
    assert ((length - 1).abs() < 1e-3).logical_or(length == 0).all()


def test_a_uniform_frame_has_no_gradients() -> None:
    assert compute_hog_target(torch.full((1, 1, 1, 16, 16, 3), 77, dtype=torch.uint8), 1, 16).abs().max() == 0


def test_cells_fill_a_patch_of_any_size() -> None:
    assert {patch: choose_cell_size(patch) for patch in (8, 12, 14, 16, 24, 7, 2)} == {
        **{8: 8, 12: 6, 14: 7, 16: 8, 24: 8, 7: 7, 2: 1}
    }


@pytest.mark.parametrize("name", [name for name in RECOVERY_TARGETS if name != "clip"])
def test_a_target_has_its_stated_number_of_values(name: str) -> None:
    patches = RECOVERY_TARGETS[name].make_video_target(SMALL)
    video = picture(1, 2, SMALL.frames, SMALL.size, SMALL.size)
    assert patches.compute(video).shape == (1, 2, 2 * 2 * 2, patches.size)
