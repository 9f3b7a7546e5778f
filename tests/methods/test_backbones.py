import pytest
import torch

from bench.errors import ConfigError
from bench.rng import RngTree
from methods.mbt.config import MbtConfig
from methods.mbt.layers import (
    AudioTokens,
    VideoTokens,
    centre_mel,
    centre_pixels,
    prepend_special_tokens,
    scale_mel,
    scale_pixels,
    sinusoidal_positions,
)
from methods.mbt.model import Mbt, VisibleTokens, stack_present
from tests.inputs import with_streams
from tests.methods.toys import TINY, one_clip, toy_batch

BOTH, NO_SOUND, NO_PICTURE = (True, True), (True, False), (False, True)


def make(config=TINY, seed=0):
    return Mbt(config, 3, RngTree(seed)).eval()


def encode(mbt, inputs, **options):
    with torch.no_grad():
        return mbt.encode(mbt.embed(inputs), **options)


def disturbed(inputs, video=False, audio=False):
    """Return the clips with the content of a modality replaced; `present` is unchanged."""
    return with_streams(
        inputs,
        video=255 - inputs.video if video else inputs.video,
        audio=inputs.audio * -3 + 5 if audio else inputs.audio,
    )


def places(inputs, mbt, order):
    """Return the same indices, `order(count)`, of both modalities in every segment."""
    clips, segments = inputs.video.shape[:2]
    counts = (torch.tensor(mbt.video_grid).prod(), torch.tensor(mbt.audio_grid).prod())
    return VisibleTokens(*(order(int(count)).expand(clips, segments, -1) for count in counts))


def test_the_paper_s_segment_has_392_video_and_108_audio_tokens():
    paper = MbtConfig()
    video = VideoTokens(paper.frames, paper.size, paper.tubelet, paper.patch, 4)
    audio = AudioTokens(paper.mels, paper.audio_patch, paper.audio_stride, 4)
    assert video.grid == (8, 7, 7) and audio.grid == (12, 9)  # audio: bins, then time
    assert video(torch.zeros(1, 16, 112, 112, 3)).shape == (1, 392, 4)
    assert audio(torch.zeros(1, 100, 128)).shape == (1, 108, 4)
    assert (video.get_special_tokens().shape[1], audio.get_special_tokens().shape[1]) == (1, 2)


def test_features_attention_and_scores_have_the_documented_shapes():
    mbt, inputs = make(), toy_batch().inputs
    encoded = encode(mbt, inputs, attention=True)
    assert encoded.video.shape == (3, 2, 4, 16) and encoded.audio.shape == (3, 2, 12, 16)
    assert encoded.video_class.shape == encoded.audio_class.shape == (3, 2, 16)
    assert encoded.video_attention.shape == (3, 2, 4) and encoded.audio_attention.shape == (3, 2, 12)
    video, audio = mbt.score_classes(encoded.video_class, encoded.audio_class, stack_present(inputs))
    assert video.shape == audio.shape == (3, 2, 3)
    assert encode(mbt, inputs).video_attention is None


def test_inputs_are_on_the_scale_of_the_released_weights():
    assert scale_pixels(torch.tensor([[0, 100, 255]], dtype=torch.uint8))[0].tolist() == pytest.approx(
        [-100 / 255, 0.0, 155 / 255]
    )
    assert scale_mel(torch.tensor([[-6.6268, 0.0]]))[0].tolist() == pytest.approx([0.0, 6.6268 / 10.717])


def test_a_video_token_depends_on_its_own_patch_only():
    tokens = VideoTokens(2, 16, 2, 8, 6)
    video = torch.rand(1, 2, 16, 16, 3)
    changed = video.clone()
    changed[0, 1, 3, 12, 0] += 1  # second frame, upper right patch: token 1
    moved = (tokens(changed) - tokens(video)).abs().sum(-1)[0] > 1e-9
    assert moved.tolist() == [False, True, False, False]


def test_an_audio_token_depends_on_its_own_bins_and_frames_only():
    tokens = AudioTokens(32, 16, 16, 6)  # grid of 2 x 6
    sound = torch.rand(1, 100, 32)
    changed = sound.clone()
    changed[0, 50, 20] += 1  # fourth column of time (48-63), upper half of the bins
    moved = (tokens(changed) - tokens(sound)).abs().sum(-1)[0] > 1e-9
    assert moved.nonzero().flatten().tolist() == [1 * 6 + 3]


def test_positions_are_distinct_and_bounded():
    table = sinusoidal_positions(392, 16)[0]
    assert table.abs().max() <= 1 and table[0, 0::2].abs().max() == 0 and (table[0, 1::2] == 1).all()
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 0.01
    assert table[5, 4] == pytest.approx(float(torch.tensor(5 / 10000 ** (4 / 16)).sin()), abs=1e-6)


def test_all_tokens_visible_is_the_same_as_no_selection():
    mbt, inputs = make(), toy_batch().inputs
    whole, chosen = encode(mbt, inputs), encode(mbt, inputs, visible=places(inputs, mbt, torch.arange))
    for name in ("video", "audio", "video_class", "audio_class"):
        torch.testing.assert_close(getattr(chosen, name), getattr(whole, name), rtol=0, atol=0)


def test_tokens_keep_their_positions_in_any_order():
    mbt, inputs = make(), toy_batch().inputs
    whole = encode(mbt, inputs)
    turned = encode(mbt, inputs, visible=places(inputs, mbt, lambda count: torch.arange(count).flip(0)))
    torch.testing.assert_close(turned.video.flip(2), whole.video, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.audio.flip(2), whole.audio, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.video_class, whole.video_class, rtol=1e-4, atol=1e-5)


def test_hidden_tokens_are_neither_returned_nor_read():
    mbt, inputs = make(), toy_batch().inputs
    visible = places(inputs, mbt, lambda count: torch.arange(count - 1))  # the last patch is hidden
    shown = encode(mbt, inputs, visible=visible, attention=True)
    assert shown.video.shape[2] == shown.video_attention.shape[2] == 3
    assert shown.audio.shape[2] == shown.audio_attention.shape[2] == 11
    video, audio = inputs.video.clone(), inputs.audio.clone()
    video[..., 8:, 8:, :] = 0
    audio[:, :, 80:96, 16:] = 0
    again = encode(mbt, with_streams(inputs, video=video, audio=audio), visible=visible)
    torch.testing.assert_close(again.video_class, shown.video_class, rtol=0, atol=0)
    torch.testing.assert_close(again.audio_class, shown.audio_class, rtol=0, atol=0)


def test_each_segment_can_have_other_visible_tokens():
    tokens = torch.arange(24.0).view(2, 4, 3)
    shown = prepend_special_tokens(torch.full((1, 1, 3), -1.0), tokens, torch.tensor([[3, 0], [1, 2]]))
    assert (shown[:, 0] == -1).all()
    shown = shown[:, 1:]
    assert shown[..., 0].tolist() == [[9.0, 0.0], [15.0, 18.0]]


def test_the_modalities_exchange_information_through_the_bottleneck():
    mbt, inputs = make(), toy_batch().inputs
    before, after = encode(mbt, inputs), encode(mbt, disturbed(inputs, audio=True))
    torch.testing.assert_close(
        after.video, before.video, rtol=0, atol=0
    )  # one fusion block: no information returns yet
    deep = make(TINY.override({"fusion_depth": 2}))
    assert not torch.equal(encode(deep, inputs).video_class, encode(deep, disturbed(inputs, audio=True)).video_class)


@pytest.mark.parametrize(("present", "missing"), [(NO_SOUND, "audio"), (NO_PICTURE, "video")])
def test_the_content_of_a_missing_modality_has_no_effect(present, missing):
    mbt = make(TINY.override({"fusion_depth": 2}))
    inputs = toy_batch(present=(BOTH, present)).inputs
    before, after = encode(mbt, inputs), encode(mbt, disturbed(inputs, **{missing: True}))
    for name in ("video", "audio", "video_class", "audio_class"):
        torch.testing.assert_close(getattr(after, name)[1], getattr(before, name)[1], rtol=0, atol=0)
    assert getattr(before, f"{missing}_class")[1].abs().max() == 0
    scores = mbt.score_classes(before.video_class, before.audio_class, stack_present(inputs))
    assert scores[("video", "audio").index(missing)][1].abs().max() == 0  # without the head's bias too
    other = scores[("audio", "video").index(missing)]
    assert other[1].abs().max() > 0


def test_the_bottleneck_uses_the_present_modality_only():
    mbt = make(TINY.override({"fusion_depth": 2}))
    with torch.no_grad():
        for block in mbt.audio_blocks:
            for parameter in block.parameters():
                parameter.fill_(float("1e3"))  # would dominate if missing audio were fused
    alone = toy_batch(present=(NO_SOUND,)).inputs
    other = make(TINY.override({"fusion_depth": 2}))
    torch.testing.assert_close(encode(mbt, alone).video_class, encode(other, alone).video_class, rtol=0, atol=0)


def test_clips_do_not_depend_on_their_neighbours():
    mbt, inputs = make(TINY.override({"fusion_depth": 2})), toy_batch(present=(BOTH, NO_SOUND, NO_PICTURE)).inputs
    together = encode(mbt, inputs, attention=True)
    for index in range(3):
        alone = encode(mbt, one_clip(inputs, index), attention=True)
        for name in ("video", "audio", "video_class", "audio_class", "video_attention", "audio_attention"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[index], rtol=1e-4, atol=1e-5)


def test_the_attention_is_that_of_the_last_block_s_class_tokens():
    mbt, inputs, entered = make(), toy_batch().inputs, []
    for blocks in (mbt.video_blocks, mbt.audio_blocks):
        blocks[-1].register_forward_pre_hook(lambda block, given: entered.append((block, given[0])))
    encoded, maps = encode(mbt, inputs, attention=True), []
    for block, tokens in entered:
        block.attn.fused_attn = False  # timm then passes its softmax through attn_drop
        block.attn.attn_drop.register_forward_hook(lambda _module, _given, out: maps.append(out))
        block.attn(block.norm1(tokens))
    video, audio = maps  # (B S, heads, tokens, tokens); class token(s), patches, bottleneck
    expected_v = video.mean(1)[:, 0, 1:5].view(3, 2, 4)
    expected_a = audio.mean(1)[:, :2, 2:14].mean(1).view(3, 2, 12)
    torch.testing.assert_close(encoded.video_attention, expected_v)
    torch.testing.assert_close(encoded.audio_attention, expected_a)


def test_one_seed_gives_one_set_of_weights_for_any_state_of_the_generator():
    torch.manual_seed(1)
    first = make().state_dict()
    state = torch.get_rng_state()
    second = make().state_dict()
    assert torch.equal(torch.get_rng_state(), state)  # building does not advance the global generator
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = make(seed=1).state_dict()
    assert not torch.equal(first["video_blocks.0.attn.qkv.weight"], other["video_blocks.0.attn.qkv.weight"])
    assert not torch.equal(first["bottleneck_token"], other["bottleneck_token"])


def test_the_number_of_classes_does_not_shift_the_encoders():
    few, many = Mbt(TINY, 3, RngTree(0)).state_dict(), Mbt(TINY, 8, RngTree(0)).state_dict()
    assert all(torch.equal(few[name], many[name]) for name in few if "head" not in name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heads": 3}, "width 16 is not a multiple of heads 3"),
        ({"fusion_depth": 3}, "fusion_depth 3 exceeds depth 2"),
        ({"size": 20}, "multiples of tubelet 2 and patch 8"),
        ({"frames": 3}, "multiples of tubelet 2 and patch 8"),
        ({"audio_patch": 40}, "audio_patch 40 is larger than the 32 mel bins"),
    ],
)
def test_sizes_that_do_not_fit_are_the_user_s_mistake(values, message):
    with pytest.raises(ConfigError, match=message):
        make(TINY.override(values))


@pytest.mark.parametrize("stem", ["linear", "local"])
def test_a_stem_depends_on_its_own_tubelet_only(stem):
    tokens = VideoTokens(4, 16, 2, 8, 12, stem).stem  # 2 x 2 x 2 tubelets
    video = torch.rand(1, 4, 16, 16, 3)
    changed = video.clone()
    changed[:, 2:, 8:, :8] += 1  # second in time, lower left: token 4 + 2
    differs = (tokens(video) != tokens(changed)).any(-1)[0]
    assert differs.tolist() == [number == 6 for number in range(8)]


def test_a_local_stem_is_invariant_to_the_position_of_a_shape():
    stem = VideoTokens(1, 24, 1, 24, 12, "local").stem
    video = torch.zeros(2, 1, 24, 24, 3)
    video[0, 0, 4:10, 4:10], video[1, 0, 12:18, 8:14] = 1, 1
    with torch.no_grad():
        assert torch.allclose(*stem(video), atol=1e-5)


def test_the_segment_scale_removes_colour_cast_and_loudness():
    video = torch.randint(0, 100, (1, 2, 4, 4, 3), dtype=torch.uint8)
    assert torch.allclose(centre_pixels(video), centre_pixels(video + 50), atol=1e-6)
    audio = torch.randn(1, 100, 8)
    assert torch.allclose(centre_mel(audio), centre_mel(audio + 3), atol=1e-5)


@pytest.mark.parametrize(("modality", "other"), [("audio", "video"), ("video", "audio")])
def test_a_modality_that_is_left_out_is_neither_computed_nor_trained(modality, other):
    mbt = make(TINY.override({"modalities": modality}))
    frozen = {name for name, parameter in mbt.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in mbt.named_parameters() if name.startswith(other)}
    for block in getattr(mbt, f"{other}_blocks"):
        block.register_forward_pre_hook(lambda *_: pytest.fail("it was computed"))
    present = (modality == "video", modality == "audio")
    batch = toy_batch(TINY, (present, present))
    encoded = encode(mbt, batch.inputs)
    both = make()
    both.load_state_dict(mbt.state_dict())
    usual = encode(both, batch.inputs)
    for name in ("video_class", "audio_class", modality):
        torch.testing.assert_close(getattr(encoded, name), getattr(usual, name))
